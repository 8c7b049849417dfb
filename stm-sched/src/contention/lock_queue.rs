//! Queues for locks that they know nothing about: a key, and turns.
//!
//! The turn of a thread lies in its descriptor, and the queue names its slot. A task has neither while it waits: its
//! turn is an allocation of its own ([`TaskTurn`]), which the queue keeps alive. A transaction joins as the thread
//! that runs it, and [hands its place over](Queues::hand_over) if it leaves that.
//!
//! A transaction that has lost waits in the queue of one cell, outside any transaction, holding
//! nothing. The first of a queue lets others pass for a while, by its own timer, and then escalates
//! ([`turn`](crate::contention::turns)); so no thread need be told to hand over, and a release wakes at most two: the
//! one that it calls, and the one that is first after that. The others sleep.
//!
//! A queue is a list behind a mutex that is only ever *tried*, for a bounded time. It is a hint: a thread
//! that cannot get at it waits for a bounded time without it, and each waiter in it has a time-out. So a
//! thread that stops inside delays others, and stops none.

use crate::contention::task_turn::TaskTurn;
use crate::descriptor::table::DescriptorTable;
use crate::primitives::fault::{Fault, planted};
use crate::primitives::waiter::Tasks;
use crate::primitives::{CHECKED, Mutex, MutexGuard, Ordering, spin, thread};
use crate::words::{Reservation, TurnPhase, TurnWord};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, TryLockError};

const STRIPES: usize = if CHECKED { 1 } else { 64 };
/// Attempts at a stripe that spin, and those after them that yield the processor.
const SPINS: u32 = 64;
const YIELDS: u32 = 4;

type Waiters = BTreeMap<usize, VecDeque<Place>>;

/// The turn at a place of the queue.
#[derive(Clone, Debug)]
enum Place {
    /// That of a thread, in its descriptor.
    Thread(Reservation),
    /// That of a task. To drop it runs no code of the user's, under a mutex or not: what wakes the task was taken out when
    /// it was called, or its turn has ended (which it has, or the task would keep it alive).
    Task(Arc<TaskTurn>),
}

/// The queues of one domain, found by key. Cells with the same stripe share a mutex, not a queue.
#[derive(Debug)]
pub struct Queues {
    stripes: [Mutex<Waiters>; STRIPES],
}

/// How joining a queue went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Joined {
    /// The turn to wait by, in phase First or Waiting, and how many are ahead.
    As(TurnWord, usize),
    /// Another thread was at the list for too long: wait a little without it.
    Not,
}

impl Queues {
    crate::const_unless_checked! {
        /// Queues in which no thread waits.
        pub fn new() -> Self {
            #[cfg(not(any(contempo_loom, contempo_shuttle)))]
            let stripes = [const { Mutex::new(BTreeMap::new()) }; STRIPES];
            #[cfg(any(contempo_loom, contempo_shuttle))]
            let stripes = std::array::from_fn(|_| Mutex::new(BTreeMap::new()));
            Queues { stripes }
        }
    }

    /// The list of this key, locked; none if another thread was at it for too long.
    fn stripe(&self, key: usize) -> Option<MutexGuard<'_, Waiters>> {
        let stripe = &self.stripes[stripe_of(key)];
        if CHECKED {
            // Here no thread stops for ever, and to spin would only add schedules.
            return stripe.lock().ok();
        }
        for attempt in 0..SPINS + YIELDS {
            match stripe.try_lock() {
                Ok(waiters) => return Some(waiters),
                Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) if attempt < SPINS => spin(),
                Err(TryLockError::WouldBlock) => thread::yield_now(),
            }
        }
        None
    }

    /// Puts `slot` at the end of the queue of `key`, with its next turn. `mark` runs while no other
    /// thread is at the list, and must set the cell's "has a queue" flag.
    pub fn join(
        &self,
        key: usize,
        slot: u32,
        table: &DescriptorTable,
        tasks: &mut Tasks,
        mark: impl FnOnce(),
    ) -> Joined {
        let Some(mut waiters) = self.stripe(key) else { return Joined::Not };
        // The front may have given up since: then the next one is first before this one counts the waiters ahead.
        let queue = waiters.entry(key).or_default();
        let first = make_first(queue, table);
        let phase = if queue.is_empty() { TurnPhase::First } else { TurnPhase::Waiting };
        let ahead = queue.len();
        // By the ticket of this new turn the others know the waiter; an entry with an older one has given up.
        let (before, turn) = table.get(slot).begin_turn(phase);
        debug_assert!(!before.has_reserved(), "a thread queues while it escalates: {before:?}");
        queue.push_back(Place::Thread(Reservation { slot, ticket: turn.ticket() }));
        // The flag is set under the mutex: a release that sees it finds this waiter, and one that unmarks comes before.
        mark();
        // Wakes outside the mutex: that may be a system call, and the woken thread may come here.
        drop(waiters);
        wake(first, table, tasks);
        Joined::As(turn, ahead)
    }

    /// Takes `waiter`, a thread, off the front of the queue of `key`, if it is there, and makes the next one the
    /// first. (A waiter that leaves from elsewhere is known by its turn word when it comes to the front.)
    /// Returns how many it woke; tasks are put to `tasks`.
    pub fn leave(
        &self,
        key: usize,
        waiter: Reservation,
        table: &DescriptorTable,
        tasks: &mut Tasks,
    ) -> u64 {
        let is_own = |place: &Place| matches!(place, Place::Thread(own) if *own == waiter);
        self.take_off(key, is_own, table, tasks)
    }

    /// As [`leave`](Self::leave), for a task, which has ended its turn.
    pub fn leave_as_task(
        &self,
        key: usize,
        turn: &Arc<TaskTurn>,
        table: &DescriptorTable,
        tasks: &mut Tasks,
    ) -> u64 {
        let is_own = |place: &Place| matches!(place, Place::Task(own) if Arc::ptr_eq(own, turn));
        self.take_off(key, is_own, table, tasks)
    }

    /// Gives the place of `waiter`, a thread, in the queue of `key` to a task, in the same phase; the thread has to end
    /// its own turn then. Nothing if it has no place there any more, or another thread was at the list for too long.
    pub fn hand_over(
        &self,
        key: usize,
        waiter: Reservation,
        table: &DescriptorTable,
    ) -> Option<Arc<TaskTurn>> {
        let mut waiters = self.stripe(key)?;
        // It has joined lately, so it is among the last.
        let is_own = |place: &&mut Place| matches!(place, Place::Thread(own) if *own == waiter);
        let place = waiters.get_mut(&key)?.iter_mut().rev().find(is_own)?;
        // No other thread moves the turn on while we are at the list.
        let phase = table.get(waiter.slot).turn.load(Ordering::Acquire).phase();
        let turn = Arc::new(TaskTurn::new(phase));
        *place = Place::Task(turn.clone());
        Some(turn)
    }

    fn take_off(
        &self,
        key: usize,
        is_own: impl Fn(&Place) -> bool,
        table: &DescriptorTable,
        tasks: &mut Tasks,
    ) -> u64 {
        let Some(mut waiters) = self.stripe(key) else { return 0 };
        let Some(queue) = waiters.get_mut(&key) else { return 0 };
        if queue.front().is_some_and(is_own) {
            queue.pop_front();
        }
        let first = make_first(queue, table);
        if queue.is_empty() {
            waiters.remove(&key);
        }
        drop(waiters);
        wake(first, table, tasks)
    }

    /// Calls the first waiter of `key` out of the queue, and makes the next one the first. `unmark`
    /// runs if no waiter is left, and must clear the cell's flag. Returns how many it woke; tasks are put to `tasks`.
    pub fn call_first(
        &self,
        key: usize,
        table: &DescriptorTable,
        tasks: &mut Tasks,
        unmark: impl FnOnce(),
    ) -> u64 {
        let Some(mut waiters) = self.stripe(key) else { return 0 };
        let queue = waiters.entry(key).or_default();
        // Calls the first that still waits; those that have given up go.
        let mut called = None;
        while let Some(waiter) = queue.pop_front() {
            if is_waiting(table, &waiter) && advance(table, &waiter, TurnPhase::Called) {
                called = Some(waiter);
                break;
            }
        }
        // The one behind it is first now. If there is none, releases need not come here any more: the flag is cleared
        // under the mutex, so that it does not undo the mark of a thread that joins.
        let first = make_first(queue, table);
        if queue.is_empty() {
            unmark();
            waiters.remove(&key);
        }
        drop(waiters);
        if planted(Fault::CalledNotWoken) {
            called = None;
        }
        wake(called, table, tasks) + wake(first, table, tasks)
    }
}

/// Fibonacci hashing of an address: the high bits are well mixed.
fn stripe_of(key: usize) -> usize {
    let mixed = (key as u64 >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 58) as usize % STRIPES
}

/// Makes the waiter at the front the first. Waiters that have given up are taken off on the way. Returns the one to
/// wake: nothing if it was the first already.
fn make_first(queue: &mut VecDeque<Place>, table: &DescriptorTable) -> Option<Place> {
    while let Some(front) = queue.front() {
        if is_waiting(table, front) {
            let promoted = advance(table, front, TurnPhase::First);
            return (promoted && !planted(Fault::NextNotWoken)).then(|| front.clone());
        }
        queue.pop_front();
    }
    None
}

/// Does this waiter still wait?
fn is_waiting(table: &DescriptorTable, waiter: &Place) -> bool {
    // Only the waiter itself takes its turn out of these phases while we are at the list.
    match waiter {
        // Acquire, partner: the release of the thread that stored it.
        Place::Thread(own) => waits(table.get(own.slot).turn.load(Ordering::Acquire), *own),
        Place::Task(turn) => turn.now().is_waiting() || planted(Fault::GivenUpCalled),
    }
}

/// Is this the turn of that waiter, a thread, and not over?
fn waits(turn: TurnWord, waiter: Reservation) -> bool {
    let same = turn.ticket() == waiter.ticket || planted(Fault::TicketIgnored);
    same && (turn.is_waiting() || planted(Fault::GivenUpCalled))
}

/// Moves a waiter on to `phase`; false if it is there already, or waits no more.
fn advance(table: &DescriptorTable, waiter: &Place, phase: TurnPhase) -> bool {
    let waiter = match waiter {
        Place::Thread(own) => *own,
        Place::Task(turn) => return turn.advance(phase),
    };
    let descriptor = table.get(waiter.slot);
    let turn = descriptor.turn.load(Ordering::Relaxed);
    // Looked at again: it may have given up since `is_waiting`.
    if !waits(turn, waiter) || turn.phase() == phase {
        return false;
    }
    debug_assert_eq!(turn.ticket(), waiter.ticket, "a call for another turn than waits here");
    descriptor.advance_turn(turn, phase)
}

/// Wakes this waiter; of a task, puts its waker to `tasks`. Returns how many that are.
fn wake(waiter: Option<Place>, table: &DescriptorTable, tasks: &mut Tasks) -> u64 {
    match waiter {
        None => return 0,
        Some(Place::Thread(own)) => table.get(own.slot).parker.unpark(),
        Some(Place::Task(turn)) => turn.wake(tasks),
    }
    1
}

impl Default for Queues {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use std::time::Instant;

    const KEY: usize = 64;

    /// A table with this many slots taken, and queues in which no thread waits.
    fn world<const WAITERS: usize>() -> (DescriptorTable, Queues, [u32; WAITERS]) {
        let table = DescriptorTable::new();
        let slots = [(); WAITERS].map(|()| table.take().unwrap().0);
        (table, Queues::new(), slots)
    }

    fn join(queues: &Queues, table: &DescriptorTable, slot: u32) -> (Reservation, usize) {
        let mut marked = false;
        match queues.join(KEY, slot, table, &mut Tasks::none(), || marked = true) {
            Joined::As(turn, ahead) => {
                assert!(marked && turn == table.get(slot).turn.load(Ordering::Relaxed));
                let expected = if ahead == 0 { TurnPhase::First } else { TurnPhase::Waiting };
                assert_eq!(turn.phase(), expected);
                (Reservation { slot, ticket: turn.ticket() }, ahead)
            }
            Joined::Not => panic!("no other thread is at the list"),
        }
    }

    fn leave(queues: &Queues, table: &DescriptorTable, waiter: Reservation) -> u64 {
        queues.leave(KEY, waiter, table, &mut Tasks::none())
    }

    fn call(queues: &Queues, table: &DescriptorTable, unmark: impl FnOnce()) -> u64 {
        queues.call_first(KEY, table, &mut Tasks::none(), unmark)
    }

    fn phase(table: &DescriptorTable, slot: u32) -> TurnPhase {
        table.get(slot).turn.load(Ordering::Relaxed).phase()
    }

    /// Was this one woken since it was asked last?
    fn woken(table: &DescriptorTable, slot: u32) -> bool {
        table.get(slot).parker.park_until(Some(Instant::now()))
    }

    #[test]
    fn the_first_is_known_to_be_first_whichever_waiter_leaves() {
        let (table, queues, slots) = world::<4>();
        let joined = slots.map(|slot| join(&queues, &table, slot));
        assert_eq!(joined.map(|(_, ahead)| ahead), [0, 1, 2, 3]);
        // One leaves from the middle: it is taken off when it comes to the front.
        table.get(slots[2]).next_turn(TurnPhase::Idle);
        assert_eq!(leave(&queues, &table, joined[2].0), 0, "the first is that already");
        // The first gives up, the second becomes first.
        assert_eq!(leave(&queues, &table, joined[0].0), 1);
        assert_eq!(phase(&table, slots[1]), TurnPhase::First);
        assert_eq!(slots.map(|slot| woken(&table, slot)), [false, true, false, false]);
        // The second is called, and the fourth becomes first.
        assert_eq!(call(&queues, &table, || panic!("a waiter is left")), 2);
        assert_eq!(phase(&table, slots[1]), TurnPhase::Called);
        assert_eq!(phase(&table, slots[3]), TurnPhase::First);
        assert_eq!(phase(&table, slots[2]), TurnPhase::Idle, "it waits no more");
        assert_eq!(slots.map(|slot| woken(&table, slot)), [false, true, false, true]);
        let mut unmarked = false;
        assert_eq!(call(&queues, &table, || unmarked = true), 1);
        assert!(unmarked && woken(&table, slots[3]));
        assert_eq!(call(&queues, &table, || ()), 0);
        assert_eq!(leave(&queues, &table, joined[3].0), 0, "no waiter is left");
    }

    #[test]
    fn a_waiter_that_has_given_up_is_passed_over_by_calls_and_joins() {
        let (table, queues, slots) = world::<3>();
        let first = join(&queues, &table, slots[0]).0;
        join(&queues, &table, slots[1]);
        // The same ticket, but its turn is over: it has not left yet.
        table.get(slots[0]).end_turn();
        assert_eq!(join(&queues, &table, slots[2]).1, 1, "one of the two waits");
        assert_eq!(slots.map(|slot| woken(&table, slot)), [false, true, false]);
        assert_eq!(phase(&table, slots[1]), TurnPhase::First);
        table.get(slots[1]).end_turn();
        assert_eq!(call(&queues, &table, || ()), 1);
        let phases = slots.map(|slot| phase(&table, slot));
        assert_eq!(phases, [TurnPhase::Idle, TurnPhase::Idle, TurnPhase::Called]);
        assert_eq!(leave(&queues, &table, first), 0);
        // Its next turn is in another queue: a call here does not reach it.
        join(&queues, &table, slots[0]);
        let elsewhere = table.get(slots[0]).next_turn(TurnPhase::Waiting);
        assert_eq!(call(&queues, &table, || ()), 0);
        assert_eq!(table.get(slots[0]).turn.load(Ordering::Relaxed), elsewhere);
    }

    #[test]
    fn a_thread_that_cannot_get_at_the_list_goes_on_without_it() {
        let (table, queues, slots) = world::<2>();
        let first = join(&queues, &table, slots[0]).0;
        let list = queues.stripe(KEY).expect("no other thread is at the list");
        assert_eq!(
            queues.join(KEY, slots[1], &table, &mut Tasks::none(), || panic!("not joined")),
            Joined::Not
        );
        assert_eq!(leave(&queues, &table, first), 0);
        assert_eq!(call(&queues, &table, || panic!("a waiter waits")), 0);
        drop(list);
        assert_eq!(phase(&table, slots[0]), TurnPhase::First);
        assert_eq!(call(&queues, &table, || ()), 1);
    }

    #[test]
    fn cells_side_by_side_are_spread_over_the_stripes() {
        for distance in [8, 24, 64, 4096] {
            let mut hit = [0; STRIPES];
            (0..16 * STRIPES).for_each(|n| hit[stripe_of(0x7F00_0000_1000 + distance * n)] += 1);
            let most = hit.into_iter().max().unwrap();
            assert!(most <= 64, "{most} of 1,024 cells, {distance} bytes apart, in one stripe");
        }
    }
}
