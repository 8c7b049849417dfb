//! Exhaustive models of the queues, apart from cells: joining, leaving, being called, and slots that
//! pass to another thread. Run by `ci/loom.sh`. A thread that waits behind others sleeps without a time-out
//! here, so a wake-up that is lost is a deadlock.
#![cfg(contempo_loom)]

use contempo_sched::contention::lock_queue::{Joined, Queues};
use contempo_sched::contention::task_turn::TaskTurn;
use contempo_sched::descriptor::table::DescriptorTable;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::parker::Parker;
use contempo_sched::primitives::waiter::Tasks;
use contempo_sched::words::{Reservation, TurnPhase, TurnWord};
use loom::thread;
use std::sync::Arc;
use std::task::Waker;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

const KEY: usize = 64;

/// What a task is polled by.
struct Executor(Parker);

impl std::task::Wake for Executor {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

struct World {
    table: DescriptorTable,
    queues: Queues,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(World { table: DescriptorTable::new(), queues: Queues::new() })
    }

    fn join(&self, slot: u32) -> TurnWord {
        match self.queues.join(KEY, slot, &self.table, &mut Tasks::none(), || ()) {
            Joined::As(turn, _) => turn,
            Joined::Not => panic!("no thread holds the list for ever here"),
        }
    }

    /// Waits until called, or, if it is `impatient`, until it is the first (whose slice is over at once
    /// then), and leaves.
    fn wait(&self, slot: u32, turn: TurnWord, impatient: bool) {
        let descriptor = self.table.get(slot);
        loop {
            let now = descriptor.turn.load(Ordering::Acquire);
            assert_eq!(now.ticket(), turn.ticket());
            if now.phase() == TurnPhase::Called || now.phase() == TurnPhase::First && impatient {
                break;
            }
            descriptor.parker.park_until(None);
        }
        descriptor.end_turn();
        let own = Reservation { slot, ticket: turn.ticket() };
        self.queues.leave(KEY, own, &self.table, &mut Tasks::none());
    }

    /// A thread that waits its turn.
    fn waiter(world: &Arc<Self>, impatient: bool) -> impl FnOnce() + 'static {
        let world = Arc::clone(world);
        move || {
            let (slot, _) = world.table.take().unwrap();
            let turn = world.join(slot);
            world.wait(slot, turn, impatient);
            world.table.give_back(slot);
        }
    }

    /// A release.
    fn call(&self) -> u64 {
        self.queues.call_first(KEY, &self.table, &mut Tasks::none(), || ())
    }

    /// Joins as the thread at `slot`, and leaves that.
    fn join_as_task(&self, slot: u32) -> Arc<TaskTurn> {
        let turn = self.join(slot);
        let own = Reservation { slot, ticket: turn.ticket() };
        let task = self.queues.hand_over(KEY, own, &self.table).expect("it has just joined");
        self.table.get(slot).end_turn();
        task
    }

    /// Waits until called, as a task that is polled when it is woken.
    fn wait_as_task(&self, turn: &Arc<TaskTurn>) {
        loop {
            let executor = Arc::new(Executor(Parker::new()));
            if turn.poll(&Waker::from(executor.clone())) == TurnPhase::Called {
                return self.give_up(turn);
            }
            executor.0.park_until(None);
        }
    }

    fn give_up(&self, turn: &Arc<TaskTurn>) {
        let mut tasks = Tasks::none();
        turn.end(&mut tasks);
        self.queues.leave_as_task(KEY, turn, &self.table, &mut tasks);
    }

    /// No waiter is left in the queue.
    fn is_empty(&self) -> bool {
        let mut unmarked = false;
        let woken =
            self.queues.call_first(KEY, &self.table, &mut Tasks::none(), || unmarked = true);
        woken == 0 && unmarked
    }
}

#[test]
fn a_waiter_that_leaves_makes_the_next_the_first() {
    holds_unless(
        "a_waiter_that_leaves_makes_the_next_the_first",
        2,
        &[Fault::NextNotWoken],
        || {
            let world = World::new();
            let threads = [(); 2].map(|()| World::waiter(&world, true)).map(thread::spawn);
            World::waiter(&world, true)();
            for thread in threads {
                thread.join().unwrap();
            }
            assert!(world.is_empty());
        },
    );
}

#[test]
fn a_waiter_that_is_called_wakes() {
    holds_unless("a_waiter_that_is_called_wakes", 3, &[Fault::CalledNotWoken], || {
        let world = World::new();
        let (slot, descriptor) = world.table.take().unwrap();
        let other = Arc::clone(&world);
        let waiter = thread::spawn(move || {
            let turn = other.join(slot);
            other.wait(slot, turn, false);
        });
        // A release, again and again until it has met a waiter.
        loop {
            world.call();
            let turn = descriptor.turn.load(Ordering::Acquire);
            if turn.ticket() > 0 && turn.phase() != TurnPhase::First {
                break;
            }
            thread::yield_now();
        }
        waiter.join().unwrap();
        assert!(world.is_empty());
    });
}

#[test]
fn a_waiter_that_has_given_up_is_not_called() {
    // A waiter gives up, and its slot goes to a thread that waits elsewhere: a call for the one must
    // not reach the other.
    holds_unless("a_waiter_that_has_given_up_is_not_called", 3, &[Fault::TicketIgnored], || {
        let world = World::new();
        let other = Arc::clone(&world);
        let caller = thread::spawn(move || {
            other.call();
            other.call();
        });
        let (slot, descriptor) = world.table.take().unwrap();
        world.join(slot);
        descriptor.end_turn(); // It has given up, and is about to leave.
        world.table.give_back(slot);
        let (same, descriptor) = world.table.take().unwrap();
        assert_eq!(same, slot);
        let Joined::As(turn, _) =
            world.queues.join(KEY + 8, same, &world.table, &mut Tasks::none(), || ())
        else {
            panic!("no thread holds the list for ever here")
        };
        caller.join().unwrap();
        let now = descriptor.turn.load(Ordering::Acquire);
        assert_eq!((now, turn.phase()), (turn, TurnPhase::First), "called for another's turn");
    });
}

#[test]
fn a_waiter_that_has_given_up_does_not_take_the_call() {
    // The first of a queue gives up; a release after that must reach the one behind it, which waits until
    // it is called.
    holds_unless(
        "a_waiter_that_has_given_up_does_not_take_the_call",
        3,
        &[Fault::GivenUpCalled],
        || {
            let world = World::new();
            let slots = [(); 2].map(|()| world.table.take().unwrap().0);
            let turns = slots.map(|slot| world.join(slot));
            let other = Arc::clone(&world);
            let patient = thread::spawn(move || other.wait(slots[1], turns[1], false));
            world.table.get(slots[0]).end_turn(); // It has given up, and is about to leave.
            let other = Arc::clone(&world);
            let leaver = thread::spawn(move || {
                let own = Reservation { slot: slots[0], ticket: turns[0].ticket() };
                other.queues.leave(KEY, own, &other.table, &mut Tasks::none());
            });
            world.call();
            patient.join().unwrap();
            leaver.join().unwrap();
            assert!(world.is_empty());
        },
    );
}

#[test]
fn a_turn_that_is_over_stays_over() {
    // The first of a queue gives up while others join behind it and release the cell: neither makes anything of a
    // turn that has ended. (The assertion in `advance_turn` says so. To look at the turn word at the end would not
    // do: loom may show what was there before the plain store that ends the turn.)
    holds_unless("a_turn_that_is_over_stays_over", 3, &[Fault::GivenUpCalled], || {
        let world = World::new();
        let slots = [(); 2].map(|()| world.table.take().unwrap().0);
        let turn = world.join(slots[0]);
        let other = Arc::clone(&world);
        let leaver = thread::spawn(move || {
            other.table.get(slots[0]).end_turn();
            let own = Reservation { slot: slots[0], ticket: turn.ticket() };
            other.queues.leave(KEY, own, &other.table, &mut Tasks::none());
        });
        world.join(slots[1]);
        world.call();
        leaver.join().unwrap();
    });
}

#[test]
fn a_task_that_is_called_is_polled() {
    let faults = [Fault::CalledNotWoken, Fault::TurnLookedAtBeforeTheWaker];
    holds_unless("a_task_that_is_called_is_polled", 3, &faults, || {
        let world = World::new();
        let (slot, _) = world.table.take().unwrap();
        let turn = world.join_as_task(slot);
        let other = Arc::clone(&world);
        let task = thread::spawn(move || other.wait_as_task(&turn));
        world.call();
        task.join().unwrap();
        assert!(world.is_empty());
    });
}

#[test]
fn a_task_that_gives_up_makes_the_next_the_first() {
    let faults = [Fault::NextNotWoken];
    holds_unless("a_task_that_gives_up_makes_the_next_the_first", 3, &faults, || {
        let world = World::new();
        let slots = [(); 2].map(|()| world.table.take().unwrap().0);
        let task = world.join_as_task(slots[0]);
        let behind = world.join(slots[1]);
        let other = Arc::clone(&world);
        let patient = thread::spawn(move || other.wait(slots[1], behind, true));
        let other = Arc::clone(&world);
        let dropper = thread::spawn(move || other.give_up(&task));
        patient.join().unwrap();
        dropper.join().unwrap();
        assert!(world.is_empty());
    });
}

#[test]
fn a_place_that_is_handed_over_is_called_once() {
    // The thread leaves its place to a task while it is called out of it.
    holds_unless("a_place_that_is_handed_over_is_called_once", 3, &[Fault::CalledNotWoken], || {
        let world = World::new();
        let (slot, descriptor) = world.table.take().unwrap();
        let turn = world.join(slot);
        let other = Arc::clone(&world);
        let caller = thread::spawn(move || other.call());
        let own = Reservation { slot, ticket: turn.ticket() };
        match world.queues.hand_over(KEY, own, &world.table) {
            Some(task) => {
                descriptor.end_turn();
                world.wait_as_task(&task);
            }
            None => {
                let now = descriptor.turn.load(Ordering::Acquire);
                assert_eq!(now, turn.with_phase(TurnPhase::Called));
            }
        }
        caller.join().unwrap();
        assert!(world.is_empty());
    });
}
