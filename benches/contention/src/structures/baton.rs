//! A turn, or a token, that threads wait for.

use crate::contenders::contempo::Contempo;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::monitors::Monitor;
use crate::contenders::peers::{FastStm, RustStm};
use crate::contenders::transactional::{Access, Stm};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

/// A turn and a token. A thread that cannot go on sleeps until it can.
pub(crate) trait Baton: Send + Sync + 'static {
    /// For so many threads. It is thread 0's turn, and the token is there.
    fn new(threads: usize) -> Self;

    /// Waits until it is `me`'s turn, and makes it the turn of `next`. False if closed instead.
    fn pass(&self, me: usize, next: usize) -> bool;

    /// Waits until the token is there and was put by another thread, and takes it. False if closed
    /// instead.
    fn take(&self, me: usize) -> bool;

    /// Puts the token back.
    fn put(&self, me: usize);

    /// How often threads that have gone on had looked whether they can, all threads together. (Looks
    /// of those that still wait belong to hand-offs that are still to come: counted at once, they
    /// would make a window's figure depend on which threads wait when it begins and when it ends.)
    fn looks(&self) -> u64;

    /// Wakes all; none waits any more.
    fn close(&self);
}

/// The looks of all threads that have gone on.
#[derive(Default)]
struct Looks(AtomicU64);

impl Looks {
    fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Those of one wait, added when it ends.
    fn wait(&self) -> Wait<'_> {
        Wait { all: self, looks: Cell::new(0) }
    }
}

struct Wait<'a> {
    all: &'a Looks,
    looks: Cell<u64>,
}

impl Wait<'_> {
    fn look(&self) {
        self.looks.set(self.looks.get() + 1);
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.all.0.fetch_add(self.looks.get(), Ordering::Relaxed);
    }
}

/// A workload on a baton.
pub(crate) trait OnBaton {
    /// The trial for this baton.
    fn trial<B: Baton>(self) -> Box<dyn Trial>;
}

/// The thread that put the token first: none.
const NO_THREAD: usize = usize::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Of(usize),
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Held,
    PutBy(usize),
    Closed,
}

/// One variable for the turn, one for the token.
pub(crate) struct Variables<S: Stm> {
    turn: S::Var<Turn>,
    token: S::Var<Token>,
    looks: Looks,
}

impl<S: Stm> Baton for Variables<S> {
    fn new(_threads: usize) -> Self {
        Variables {
            turn: S::var(Turn::Of(0)),
            token: S::var(Token::PutBy(NO_THREAD)),
            looks: Looks::default(),
        }
    }

    #[inline]
    fn pass(&self, me: usize, next: usize) -> bool {
        let wait = self.looks.wait();
        S::atomically(|tx| {
            wait.look();
            let turn = *tx.read(&self.turn)?;
            match turn {
                Turn::Closed => Ok(false),
                Turn::Of(thread) if thread == me => {
                    S::write(tx, &self.turn, Turn::Of(next))?;
                    Ok(true)
                }
                Turn::Of(_) => S::retry(tx),
            }
        })
    }

    #[inline]
    fn take(&self, me: usize) -> bool {
        let wait = self.looks.wait();
        S::atomically(|tx| {
            wait.look();
            let token = *tx.read(&self.token)?;
            match token {
                Token::Closed => Ok(false),
                Token::PutBy(thread) if thread != me => {
                    S::write(tx, &self.token, Token::Held)?;
                    Ok(true)
                }
                _ => S::retry(tx),
            }
        })
    }

    #[inline]
    fn put(&self, me: usize) {
        S::atomically(|tx| {
            if *tx.read(&self.token)? != Token::Closed {
                S::write(tx, &self.token, Token::PutBy(me))?;
            }
            Ok(())
        });
    }

    fn looks(&self) -> u64 {
        self.looks.so_far()
    }

    fn close(&self) {
        S::atomically(|tx| {
            S::write(tx, &self.turn, Turn::Closed)?;
            S::write(tx, &self.token, Token::Closed)
        });
    }
}

/// What is behind the mutex of [`Monitored`].
pub(crate) struct State {
    turn: Turn,
    token: Token,
}

/// A mutex with a condition for each thread's turn, and one for the token: none is woken in vain.
pub(crate) struct Monitored<M: Monitor<State>> {
    state: M,
    turns: Vec<M::Condition>,
    token: M::Condition,
    looks: Looks,
}

impl<M: Monitor<State>> Baton for Monitored<M> {
    fn new(threads: usize) -> Self {
        let state = State { turn: Turn::Of(0), token: Token::PutBy(NO_THREAD) };
        Monitored {
            state: M::monitor(state),
            turns: (0..threads).map(|_| M::Condition::default()).collect(),
            token: M::Condition::default(),
            looks: Looks::default(),
        }
    }

    #[inline]
    fn pass(&self, me: usize, next: usize) -> bool {
        let wait = self.looks.wait();
        let mut state = self.state.enter();
        loop {
            wait.look();
            match state.turn {
                Turn::Closed => return false,
                Turn::Of(thread) if thread == me => break,
                Turn::Of(_) => state = M::wait(&self.turns[me], state),
            }
        }
        state.turn = Turn::Of(next);
        drop(state);
        M::notify_one(&self.turns[next]);
        true
    }

    #[inline]
    fn take(&self, me: usize) -> bool {
        let wait = self.looks.wait();
        let mut state = self.state.enter();
        loop {
            wait.look();
            match state.token {
                Token::Closed => return false,
                Token::PutBy(thread) if thread != me => break,
                _ => state = M::wait(&self.token, state),
            }
        }
        state.token = Token::Held;
        true
    }

    #[inline]
    fn put(&self, me: usize) {
        let mut state = self.state.enter();
        if state.token != Token::Closed {
            state.token = Token::PutBy(me);
        }
        drop(state);
        M::notify_one(&self.token);
    }

    fn looks(&self) -> u64 {
        self.looks.so_far()
    }

    fn close(&self) {
        let mut state = self.state.enter();
        (state.turn, state.token) = (Turn::Closed, Token::Closed);
        drop(state);
        self.turns.iter().for_each(M::notify_all);
        M::notify_all(&self.token);
    }
}

/// A baton behind a mutex that goes wrong.
pub(crate) struct Faulty {
    baton: Monitored<std::sync::Mutex<State>>,
    breakage: Breakage,
}

impl Baton for Faulty {
    fn new(threads: usize) -> Self {
        Faulty { baton: Baton::new(threads), breakage: Breakage::planted() }
    }

    fn pass(&self, me: usize, next: usize) -> bool {
        self.breakage.strikes(Fault::NoWait) || self.baton.pass(me, next)
    }

    fn take(&self, me: usize) -> bool {
        self.breakage.strikes(Fault::NoWait) || self.baton.take(me)
    }

    fn put(&self, me: usize) {
        self.baton.put(if self.breakage.strikes(Fault::Twice) { me + 1 } else { me });
    }

    fn looks(&self) -> u64 {
        self.baton.looks()
    }

    fn close(&self) {
        self.baton.close();
    }
}

fn later<B: Baton>(workload: impl OnBaton + 'static) -> Maker {
    Box::new(move || workload.trial::<B>())
}

/// Makes trials of a workload on a baton; none if this contender has none, or loses
/// wake-ups (see [`peers`](crate::contenders::peers)).
pub(crate) fn maker(contender: &Contender, workload: impl OnBaton + 'static) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<Variables<Contempo>>(workload),
        Family::RustStm => later::<Variables<RustStm>>(workload),
        Family::FastStm => later::<Variables<FastStm>>(workload),
        Family::StdMutex => later::<Monitored<std::sync::Mutex<_>>>(workload),
        Family::ParkingLotMutex => later::<Monitored<parking_lot::Mutex<_>>>(workload),
        Family::Faulty => later::<Faulty>(workload),
        _ => return None,
    })
}
