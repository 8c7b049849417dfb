//! A queue under random operations: its lists stay whole, and something is on duty whenever a sleeper is owed a
//! look.

use super::exchange::{Change, Outcome, WakeToken};
use super::learned::Learned;
use super::nodes::{Id, NONE, Nodes, Sleeper, State};
use super::queue::Queue;
use crate::primitives::parker::Parker;
use crate::primitives::waiter::Waiter;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::Arc;
use std::task::Waker;

/// What the threads of all worlds sleep on. (None of them really does.)
static PARKERS: [Parker; 1000] = [const { Parker::new() }; 1000];

/// Of what kind are the waiters?
#[derive(Clone, Copy)]
enum Kind {
    Threads,
    Tasks,
    /// Every third is a task.
    Both,
}

const KINDS: [Kind; 3] = [Kind::Threads, Kind::Tasks, Kind::Both];

/// To be woken does nothing.
struct Inert;

impl std::task::Wake for Inert {
    fn wake(self: Arc<Self>) {}
}

/// What a waiter does.
#[derive(Clone, Copy)]
enum Thread {
    Awake(Option<WakeToken>),
    Enlisted(Id),
}

struct World {
    queue: Queue,
    nodes: Nodes,
    threads: Vec<Thread>,
    waiters: Vec<Waiter>,
    /// The newest change.
    now: u64,
    /// The newest change that the queue was told of.
    told: u64,
    random: SmallRng,
}

impl World {
    fn new(threads: usize, kind: Kind, seed: u64) -> Self {
        let waiter = |me| match kind {
            Kind::Both if me % 3 > 0 => Waiter::Thread(&PARKERS[me]),
            Kind::Threads => Waiter::Thread(&PARKERS[me]),
            Kind::Tasks | Kind::Both => Waiter::Task(Waker::from(Arc::new(Inert))),
        };
        World {
            waiters: (0..threads).map(waiter).collect(),
            queue: Queue::new(Learned::NOTHING),
            nodes: Nodes::new(),
            threads: vec![Thread::Awake(None); threads],
            now: 0,
            told: 0,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// One step of a random thread.
    fn step(&mut self) {
        let me = self.random.random_range(0..self.threads.len());
        self.threads[me] = match self.threads[me] {
            Thread::Awake(token) if self.random.random_bool(0.6) => {
                // It blocks. Now and then it has seen a change that the queue has not been told of.
                let sleeper = Sleeper { seen: self.now, since: self.since() };
                let (id, lies) = self.block(me, sleeper);
                if lies && let Some(token) = token {
                    let _ = self.queue.pass(&mut self.nodes, token, Outcome::Blocked(self.now));
                }
                Thread::Enlisted(id)
            }
            Thread::Awake(token) => {
                let changes = self.random.random_bool(0.7);
                if changes {
                    self.now += 1;
                    let late = self.random.random_bool(0.2);
                    if !late {
                        let woken = token.is_some();
                        let change = Change { stamp: self.now, by: me as u32, woken };
                        self.told = self.now;
                        let _ = self.queue.change(&mut self.nodes, change);
                    }
                }
                if let Some(token) = token {
                    let outcome = if changes || self.random.random_bool(0.5) {
                        Outcome::WentOn(me as u32)
                    } else {
                        Outcome::Left
                    };
                    let _ = self.queue.pass(&mut self.nodes, token, outcome);
                }
                Thread::Awake(None)
            }
            Thread::Enlisted(id) => {
                let state = self.nodes[id].state;
                let goes = match state {
                    State::Asleep => {
                        if self.queue.interval(id).is_some() && self.random.random_bool(0.5) {
                            let _ = self.queue.pace(&mut self.nodes, id);
                        } else if self.queue.is_kept() && self.random.random_bool(0.1) {
                            let _ = self.queue.pace_for_tasks(&mut self.nodes);
                        }
                        self.random.random_bool(0.05) // A time-out.
                    }
                    State::Rising | State::Woken(_) => true,
                };
                if goes {
                    Thread::Awake(self.queue.leave(&mut self.nodes, id).token)
                } else {
                    Thread::Enlisted(id)
                }
            }
        };
        self.queue.check(&self.nodes);
    }

    /// Enlists and lies down, unless it may not.
    fn block(&mut self, me: usize, sleeper: Sleeper) -> (Id, bool) {
        self.queue.rise();
        let id = self.nodes.add(1, sleeper);
        let mut waiter = Some(self.waiters[me].clone());
        let lies = self.queue.lie_down(&mut self.nodes, id, &mut waiter);
        assert_eq!(waiter.is_none(), lies, "a waiter that does not lie down keeps its waker");
        (id, lies)
    }

    /// The number of the thread that this waiter belongs to.
    fn index_of(&self, waiter: &Waiter) -> usize {
        let same = |own: &Waiter| match (own, waiter) {
            (Waiter::Thread(one), Waiter::Thread(other)) => std::ptr::eq(*one, *other),
            (own, Waiter::Task(waker)) => own.wakes_by(waker),
            _ => false,
        };
        self.waiters.iter().position(same).expect("a waiter of this world")
    }

    fn since(&mut self) -> u64 {
        self.random.random_range(0..=self.now)
    }
}

#[test]
fn lists_stay_whole_and_a_thread_is_on_duty() {
    for seed in 0..60 {
        let kind = KINDS[seed as usize / 3 % 3];
        let mut world = World::new([2, 5, 40][seed as usize % 3], kind, seed);
        for _ in 0..3000 {
            world.step();
        }
        assert!(world.now > 20 && world.told > 0);
    }
}

impl World {
    /// Each thread that was woken comes back and blocks again; the timer's time is up. For each once.
    fn round(&mut self) {
        for me in 0..self.threads.len() {
            if let Thread::Enlisted(id) = self.threads[me] {
                if self.queue.interval(id).is_some() {
                    let _ = self.queue.pace(&mut self.nodes, id);
                }
                let _ = self.queue.pace_for_tasks(&mut self.nodes);
                if self.nodes[id].state != State::Asleep {
                    let token = self.queue.leave(&mut self.nodes, id).token;
                    self.threads[me] = Thread::Awake(token);
                }
            }
            if let Thread::Awake(token) = self.threads[me] {
                let (id, lies) = self.block(me, Sleeper { seen: self.now, since: me as u64 });
                assert!(lies);
                if let Some(token) = token {
                    let _ = self.queue.pass(&mut self.nodes, token, Outcome::Blocked(self.now));
                }
                self.threads[me] = Thread::Enlisted(id);
            }
            self.queue.check(&self.nodes);
        }
    }

    fn change(&mut self, woken: bool) {
        self.now += 1;
        let change = Change { stamp: self.now, by: 99, woken };
        let _ = self.queue.change(&mut self.nodes, change);
    }

    /// The stamp up to which every thread has seen the changes.
    fn seen_by_all(&self) -> u64 {
        let seen = |thread: &Thread| match *thread {
            Thread::Enlisted(id) => self.nodes[id].sleeper.seen,
            Thread::Awake(_) => panic!("all sleep"),
        };
        self.threads.iter().map(seen).min().expect("there are threads")
    }
}

#[test]
fn everybody_is_woken_in_the_end() {
    for seed in 0..60 {
        let mut world = World::new(30, KINDS[seed as usize % 3], seed);
        for _ in 0..500 {
            world.step();
        }
        world.change(seed % 2 == 0);
        for _ in 0..200 {
            world.round();
        }
        assert_eq!(world.seen_by_all(), world.now, "a sleeper was forgotten");
    }
}

#[test]
fn everybody_has_a_turn_however_fast_changes_come() {
    for (woken, kind) in [false, true].into_iter().flat_map(|woken| KINDS.map(|kind| (woken, kind)))
    {
        let mut world = World::new(30, kind, 1);
        world.round();
        for _ in 0..30 {
            world.change(woken);
            world.round();
        }
        assert_ne!(world.seen_by_all(), 0, "the oldest are in the way of the others");
    }
}

/// All of `sleepers` wait for one change, and each of them ends its transaction as `end` says once it was
/// woken, and changes nothing. The timer does nothing. How many have not been woken, and how many tokens came back.
fn left_asleep(sleepers: usize, kind: Kind, end: impl Fn(u32) -> Outcome) -> (usize, usize) {
    let mut world = World::new(sleepers, kind, 1);
    world.round();
    world.now += 1;
    let change = Change { stamp: world.now, by: 99, woken: false };
    let mut due = Vec::from_iter(world.queue.change(&mut world.nodes, change).wakes);
    let mut tokens = 0;
    while let Some(waiter) = due.pop() {
        let slot = world.index_of(&waiter);
        if let Some(token) = world.come(slot) {
            tokens += 1;
            let rouse = world.queue.pass(&mut world.nodes, token, end(slot as u32));
            due.extend(rouse.wakes);
        }
        world.queue.check(&world.nodes);
    }
    let asleep = |thread: &&Thread| matches!(thread, Thread::Enlisted(_));
    (world.threads.iter().filter(asleep).count(), tokens)
}

impl World {
    /// A waiter that was woken comes and leaves the list.
    fn come(&mut self, slot: usize) -> Option<WakeToken> {
        let Thread::Enlisted(id) = self.threads[slot] else { panic!("woken twice") };
        self.threads[slot] = Thread::Awake(None);
        self.queue.leave(&mut self.nodes, id).token
    }
}

#[test]
fn whatever_way_a_woken_thread_ends_the_others_are_woken_without_the_timer() {
    for kind in KINDS {
        assert_eq!(left_asleep(1000, kind, Outcome::WentOn).0, 0, "all commit");
        assert_eq!(left_asleep(1000, kind, |_| Outcome::Left).0, 0, "all fail");
        let either = |n| if n % 3 == 0 { Outcome::WentOn(n) } else { Outcome::Left };
        assert_eq!(left_asleep(1000, kind, either).0, 0, "some commit");
    }
}

#[test]
fn of_tasks_that_go_on_few_come_back_with_tokens() {
    assert!(left_asleep(1000, Kind::Tasks, Outcome::WentOn).1 < 200);
    // No more than two threads are woken at once. (Half of them are the last: nothing is owed any more.)
    assert!(left_asleep(1000, Kind::Threads, Outcome::WentOn).1 > 400);
}

#[test]
fn what_is_passed_on_is_not_left_to_a_task_without_a_token() {
    let mut world = World::new(100, Kind::Tasks, 1);
    world.queue.learned.eager = 1000;
    world.round();
    world.now += 1;
    let change = Change { stamp: world.now, by: 99, woken: false };
    // In the order in which they were woken. The first three go on; no other can use the change.
    let mut due = Vec::from_iter(world.queue.change(&mut world.nodes, change).wakes);
    let (mut at, mut tokens, mut without) = (0, 0, 0);
    while let Some(waiter) = due.get(at).cloned() {
        at += 1;
        let slot = world.index_of(&waiter);
        let Some(token) = world.come(slot) else {
            without += 1;
            continue;
        };
        tokens += 1;
        let go_on = if tokens <= 3 { Outcome::WentOn(0) } else { Outcome::Blocked(world.now) };
        due.extend(world.queue.pass(&mut world.nodes, token, go_on).wakes);
        world.queue.check(&world.nodes);
    }
    assert!(without > 1, "a gate was open");
    assert_eq!(due.len(), 100, "the rest is left to the timer");
}

#[test]
fn a_task_without_a_token_gets_one_if_the_cell_changes_meanwhile() {
    let mut world = World::new(100, Kind::Tasks, 1);
    world.round();
    world.change(false);
    let Some(first) = world.threads.iter().position(|thread| match *thread {
        Thread::Enlisted(id) => world.nodes[id].state != State::Asleep,
        Thread::Awake(_) => false,
    }) else {
        panic!("a change wakes one")
    };
    // All that are woken go on, until a gate is open: some are on the way that are to have no tokens.
    let mut due = vec![first];
    while due.len() < 20 {
        let token = world.come(due.remove(0));
        if let Some(token) = token {
            let rouse = world.queue.pass(&mut world.nodes, token, Outcome::WentOn(0));
            due.extend(rouse.wakes.iter().map(|waiter| world.index_of(waiter)));
        }
    }
    world.change(false);
    assert!(due.into_iter().all(|slot| world.come(slot).is_some()), "what it cannot use is lost");
}

impl Queue {
    /// Panics unless everything in it fits together.
    fn check(&self, nodes: &Nodes) {
        let all = self.sleepers(nodes);
        let fresh: Vec<Id> = all.iter().copied().filter(|&id| self.is_fresh(nodes, id)).collect();
        assert!(all.iter().all(|&id| nodes[id].state == State::Asleep));
        self.check_counts(all.len(), fresh.len());
        assert!(all.iter().all(|&id| nodes[id].waiter.is_some()), "a sleeper that cannot be woken");
        for id in [self.group_start(), self.timer()] {
            assert!(id == NONE || (all.contains(&id) && !fresh.contains(&id)), "{id} is not owed");
        }
        if self.timer() != NONE {
            let timer = nodes[self.timer()].waiter.as_ref().expect("asleep");
            assert!(timer.thread().is_some(), "a task keeps no time");
        }
        if all.len() > fresh.len() {
            assert!(self.timer() != NONE || self.is_kept(), "nothing is on duty");
        }
    }
}
