//! A bounded queue that blocks.

use crate::contenders::contempo::Contempo;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::monitors::Monitor;
use crate::contenders::peers::{FastStm, RustStm};
use crate::contenders::transactional::{Access, Stm};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};
use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A bounded queue: first in, first out.
pub(crate) trait Queue: Send + Sync + 'static {
    /// An empty one with room for so many items.
    fn new(room: usize) -> Self;

    /// Puts an item in, and waits for room first if there is none. False if closed instead.
    fn push(&self, item: u64) -> bool;

    /// Takes the next item out, and waits for it if there is none. None if closed instead, whether
    /// or not there are items left.
    fn pop(&self) -> Option<u64>;

    /// Wakes all; none waits any more.
    fn close(&self);

    /// Takes out what is left, after it was closed and all have gone.
    fn drain(&self) -> Vec<u64>;
}

/// A workload on a queue.
pub(crate) trait OnQueue {
    /// The trial for this queue.
    fn trial<Q: Queue>(self) -> Box<dyn Trial>;
}

/// A ring of variables. Producers and consumers meet only at a slot, not at the indexes of the
/// others: an empty slot tells that there is room, a full one that there is an item.
pub(crate) struct Ring<S: Stm> {
    slots: Vec<S::Var<Option<u64>>>,
    head: S::Var<usize>,
    tail: S::Var<usize>,
    closed: S::Var<bool>,
}

impl<S: Stm> Queue for Ring<S> {
    fn new(room: usize) -> Self {
        Ring {
            slots: (0..room).map(|_| S::var(None)).collect(),
            head: S::var(0),
            tail: S::var(0),
            closed: S::var(false),
        }
    }

    #[inline]
    fn push(&self, item: u64) -> bool {
        S::atomically(|tx| {
            if *tx.read(&self.closed)? {
                return Ok(false);
            }
            let at = *tx.read(&self.tail)?;
            let slot = &self.slots[at];
            if tx.read(slot)?.is_some() {
                return S::retry(tx);
            }
            S::write(tx, slot, Some(item))?;
            S::write(tx, &self.tail, (at + 1) % self.slots.len())?;
            Ok(true)
        })
    }

    #[inline]
    fn pop(&self) -> Option<u64> {
        S::atomically(|tx| {
            if *tx.read(&self.closed)? {
                return Ok(None);
            }
            let at = *tx.read(&self.head)?;
            let slot = &self.slots[at];
            let Some(item) = *tx.read(slot)? else { return S::retry(tx) };
            S::write(tx, slot, None)?;
            S::write(tx, &self.head, (at + 1) % self.slots.len())?;
            Ok(Some(item))
        })
    }

    fn close(&self) {
        S::atomically(|tx| S::write(tx, &self.closed, true));
    }

    fn drain(&self) -> Vec<u64> {
        S::look(|view| {
            let head = *view.read(&self.head)?;
            let mut items = Vec::new();
            for slot in self.slots[head..].iter().chain(&self.slots[..head]) {
                items.extend(*view.read(slot)?);
            }
            Ok(items)
        })
    }
}

/// What is behind the mutex of [`Monitored`].
pub(crate) struct State {
    items: VecDeque<u64>,
    room: usize,
    closed: bool,
}

/// A mutex with two conditions, as in a textbook.
pub(crate) struct Monitored<M: Monitor<State>> {
    state: M,
    not_empty: M::Condition,
    not_full: M::Condition,
}

impl<M: Monitor<State>> Queue for Monitored<M> {
    fn new(room: usize) -> Self {
        Monitored {
            state: M::monitor(State { items: VecDeque::with_capacity(room), room, closed: false }),
            not_empty: M::Condition::default(),
            not_full: M::Condition::default(),
        }
    }

    #[inline]
    fn push(&self, item: u64) -> bool {
        let mut state = self.state.enter();
        while state.items.len() == state.room && !state.closed {
            state = M::wait(&self.not_full, state);
        }
        if state.closed {
            return false;
        }
        state.items.push_back(item);
        drop(state);
        M::notify_one(&self.not_empty);
        true
    }

    #[inline]
    fn pop(&self) -> Option<u64> {
        let mut state = self.state.enter();
        while state.items.is_empty() && !state.closed {
            state = M::wait(&self.not_empty, state);
        }
        if state.closed {
            return None;
        }
        let item = state.items.pop_front();
        drop(state);
        M::notify_one(&self.not_full);
        item
    }

    fn close(&self) {
        self.state.enter().closed = true;
        M::notify_all(&self.not_empty);
        M::notify_all(&self.not_full);
    }

    fn drain(&self) -> Vec<u64> {
        self.state.enter().items.drain(..).collect()
    }
}

/// A channel of `crossbeam-channel`. It cannot be closed while both ends are in use, so what waits
/// looks up now and then.
pub(crate) struct Channel {
    sender: Sender<u64>,
    receiver: Receiver<u64>,
    closed: AtomicBool,
}

const LOOK_UP: Duration = Duration::from_millis(20);

impl Queue for Channel {
    fn new(room: usize) -> Self {
        let (sender, receiver) = bounded(room);
        Channel { sender, receiver, closed: AtomicBool::new(false) }
    }

    #[inline]
    fn push(&self, item: u64) -> bool {
        if self.sender.try_send(item).is_ok() {
            return true;
        }
        while !self.closed.load(Ordering::Relaxed) {
            match self.sender.send_timeout(item, LOOK_UP) {
                Ok(()) => return true,
                Err(SendTimeoutError::Timeout(_)) => {}
                Err(SendTimeoutError::Disconnected(_)) => return false,
            }
        }
        false
    }

    #[inline]
    fn pop(&self) -> Option<u64> {
        if let Ok(item) = self.receiver.try_recv() {
            return Some(item);
        }
        while !self.closed.load(Ordering::Relaxed) {
            match self.receiver.recv_timeout(LOOK_UP) {
                Ok(item) => return Some(item),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        None
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    fn drain(&self) -> Vec<u64> {
        self.receiver.try_iter().collect()
    }
}

/// A queue behind a mutex that goes wrong.
pub(crate) struct Faulty {
    queue: Monitored<std::sync::Mutex<State>>,
    breakage: Breakage,
}

impl Queue for Faulty {
    fn new(room: usize) -> Self {
        Faulty { queue: Queue::new(room), breakage: Breakage::planted() }
    }

    fn push(&self, item: u64) -> bool {
        self.breakage.strikes(Fault::LoseUpdate) || self.queue.push(item)
    }

    fn pop(&self) -> Option<u64> {
        let item = self.queue.pop()?;
        if self.breakage.strikes(Fault::Twice) {
            self.queue.state.enter().items.push_front(item);
        }
        if self.breakage.strikes(Fault::OutOfOrder)
            && let Some(next) = self.queue.state.enter().items.front_mut()
        {
            return Some(std::mem::replace(next, item));
        }
        Some(item)
    }

    fn close(&self) {
        self.queue.close();
    }

    fn drain(&self) -> Vec<u64> {
        self.queue.drain()
    }
}

fn later<Q: Queue>(workload: impl OnQueue + 'static) -> Maker {
    Box::new(move || workload.trial::<Q>())
}

/// Makes trials of a workload on a queue; none if this contender has none, or loses
/// wake-ups (see [`peers`](crate::contenders::peers)).
pub(crate) fn maker(contender: &Contender, workload: impl OnQueue + 'static) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<Ring<Contempo>>(workload),
        Family::RustStm => later::<Ring<RustStm>>(workload),
        Family::FastStm => later::<Ring<FastStm>>(workload),
        Family::StdMutex => later::<Monitored<std::sync::Mutex<_>>>(workload),
        Family::ParkingLotMutex => later::<Monitored<parking_lot::Mutex<_>>>(workload),
        Family::Channel => later::<Channel>(workload),
        Family::Faulty => later::<Faulty>(workload),
        _ => return None,
    })
}
