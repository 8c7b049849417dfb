//! The dining philosophers' table: a fork between any two neighbours.

use crate::contenders::contempo::Contempo;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::monitors::Monitor;
use crate::contenders::peers::{FastStm, RustStm};
use crate::contenders::transactional::{Access, Stm};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};

/// A round table with a fork between any two neighbours.
pub(crate) trait Table: Send + Sync + 'static {
    /// With so many seats, at least two.
    fn new(seats: usize) -> Self;

    /// Waits until the forks to both sides of this seat are free, takes them, eats, and puts them
    /// back. False if closed instead.
    fn dine(&self, seat: usize, eat: &mut dyn FnMut()) -> bool;

    /// Wakes all; none waits any more.
    fn close(&self);
}

/// A workload at a table.
pub(crate) trait OnTable {
    /// The trial for this table.
    fn trial<T: Table>(self) -> Box<dyn Trial>;
}

/// A variable per fork. Both are taken in one transaction, and put back in another.
pub(crate) struct Variables<S: Stm> {
    taken: Vec<S::Var<bool>>,
    closed: S::Var<bool>,
}

impl<S: Stm> Table for Variables<S> {
    fn new(seats: usize) -> Self {
        Variables { taken: (0..seats).map(|_| S::var(false)).collect(), closed: S::var(false) }
    }

    fn dine(&self, seat: usize, eat: &mut dyn FnMut()) -> bool {
        let (left, right) = (&self.taken[seat], &self.taken[(seat + 1) % self.taken.len()]);
        let seated = S::atomically(|tx| {
            if *tx.read(&self.closed)? {
                return Ok(false);
            }
            if *tx.read(left)? || *tx.read(right)? {
                return S::retry(tx);
            }
            S::write(tx, left, true)?;
            S::write(tx, right, true)?;
            Ok(true)
        });
        if seated {
            eat();
            S::atomically(|tx| {
                S::write(tx, left, false)?;
                S::write(tx, right, false)
            });
        }
        seated
    }

    fn close(&self) {
        S::atomically(|tx| S::write(tx, &self.closed, true));
    }
}

/// A mutex per fork, the one with the lower number first. They are held while eating.
pub(crate) struct Ordered<M>(Vec<M>);

impl<M: Monitor<()>> Table for Ordered<M> {
    fn new(seats: usize) -> Self {
        Ordered((0..seats).map(|_| M::monitor(())).collect())
    }

    fn dine(&self, seat: usize, eat: &mut dyn FnMut()) -> bool {
        let other = (seat + 1) % self.0.len();
        let _first = self.0[seat.min(other)].enter();
        let _second = self.0[seat.max(other)].enter();
        eat();
        true
    }

    /// A philosopher that waits for a fork gets it when a neighbour has eaten.
    fn close(&self) {}
}

/// What is behind the mutex of [`Monitored`].
pub(crate) struct State {
    taken: Vec<bool>,
    closed: bool,
}

/// A mutex with a condition per philosopher. It is not held while eating.
pub(crate) struct Monitored<M: Monitor<State>> {
    state: M,
    hungry: Vec<M::Condition>,
}

impl<M: Monitor<State>> Table for Monitored<M> {
    fn new(seats: usize) -> Self {
        Monitored {
            state: M::monitor(State { taken: vec![false; seats], closed: false }),
            hungry: (0..seats).map(|_| M::Condition::default()).collect(),
        }
    }

    fn dine(&self, seat: usize, eat: &mut dyn FnMut()) -> bool {
        let seats = self.hungry.len();
        let (left, right) = (seat, (seat + 1) % seats);
        let mut state = self.state.enter();
        while !state.closed && (state.taken[left] || state.taken[right]) {
            state = M::wait(&self.hungry[seat], state);
        }
        if state.closed {
            return false;
        }
        (state.taken[left], state.taken[right]) = (true, true);
        drop(state);
        eat();
        let mut state = self.state.enter();
        (state.taken[left], state.taken[right]) = (false, false);
        drop(state);
        M::notify_one(&self.hungry[(seat + seats - 1) % seats]);
        M::notify_one(&self.hungry[(seat + 1) % seats]);
        true
    }

    fn close(&self) {
        self.state.enter().closed = true;
        self.hungry.iter().for_each(M::notify_all);
    }
}

/// A table that goes wrong.
pub(crate) struct Faulty {
    table: Monitored<std::sync::Mutex<State>>,
    breakage: Breakage,
}

impl Table for Faulty {
    fn new(seats: usize) -> Self {
        Faulty { table: Table::new(seats), breakage: Breakage::planted() }
    }

    fn dine(&self, seat: usize, eat: &mut dyn FnMut()) -> bool {
        if self.breakage.strikes(Fault::LoseUpdate) {
            return true;
        }
        if self.breakage.strikes(Fault::NoWait) {
            eat();
            return true;
        }
        self.table.dine(seat, eat)
    }

    fn close(&self) {
        self.table.close();
    }
}

fn later<T: Table>(workload: impl OnTable + 'static) -> Maker {
    Box::new(move || workload.trial::<T>())
}

/// Makes trials of a workload at a table; none if this contender has none, or loses
/// wake-ups (see [`peers`](crate::contenders::peers)).
pub(crate) fn maker(contender: &Contender, workload: impl OnTable + 'static) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<Variables<Contempo>>(workload),
        Family::RustStm => later::<Variables<RustStm>>(workload),
        Family::FastStm => later::<Variables<FastStm>>(workload),
        Family::StdMutex => later::<Monitored<std::sync::Mutex<_>>>(workload),
        Family::ParkingLotMutex => later::<Monitored<parking_lot::Mutex<_>>>(workload),
        Family::OrderedStd => later::<Ordered<std::sync::Mutex<()>>>(workload),
        Family::OrderedParkingLot => later::<Ordered<parking_lot::Mutex<()>>>(workload),
        Family::Faulty => later::<Faulty>(workload),
        _ => return None,
    })
}
