//! A queue under random operations: its lists stay whole, and a thread is on duty whenever one
//! is owed a look.

use super::nodes::{Id, NONE, Nodes, Sleeper, State};
use super::queue::{Change, Learned, Outcome, Queue, WakeToken};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// What a thread does.
#[derive(Clone, Copy)]
enum Thread {
    Awake(Option<WakeToken>),
    Enlisted(Id),
}

struct World {
    queue: Queue,
    nodes: Nodes,
    threads: Vec<Thread>,
    /// The newest change.
    now: u64,
    /// The newest change that the queue was told of.
    told: u64,
    random: SmallRng,
}

impl World {
    fn new(threads: usize, seed: u64) -> Self {
        World {
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
                let sleeper = Sleeper { slot: me as u32, seen: self.now, since: self.since() };
                self.queue.rise();
                let id = self.nodes.add(1, sleeper);
                let lies = self.queue.lie_down(&mut self.nodes, id);
                if lies && let Some(token) = token {
                    let outcome = Outcome::Blocked(self.now);
                    let _ = self.queue.pass(&mut self.nodes, me as u32, token, outcome);
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
                        Outcome::WentOn
                    } else {
                        Outcome::Left
                    };
                    let _ = self.queue.pass(&mut self.nodes, me as u32, token, outcome);
                }
                Thread::Awake(None)
            }
            Thread::Enlisted(id) => {
                let state = self.nodes[id].state;
                let goes = match state {
                    State::Asleep => {
                        if self.queue.interval(id).is_some() && self.random.random_bool(0.5) {
                            let _ = self.queue.pace(&mut self.nodes, id);
                        }
                        self.random.random_bool(0.05) // A time-out.
                    }
                    State::Rising | State::Woken(_) => true,
                };
                if goes {
                    Thread::Awake(self.queue.leave(&mut self.nodes, id).0)
                } else {
                    Thread::Enlisted(id)
                }
            }
        };
        self.queue.check(&self.nodes);
    }

    fn since(&mut self) -> u64 {
        self.random.random_range(0..=self.now)
    }
}

#[test]
fn lists_stay_whole_and_somebody_is_on_duty() {
    for seed in 0..60 {
        let mut world = World::new([2, 5, 40][seed as usize % 3], seed);
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
                if self.nodes[id].state != State::Asleep {
                    let (token, _) = self.queue.leave(&mut self.nodes, id);
                    self.threads[me] = Thread::Awake(token);
                }
            }
            if let Thread::Awake(token) = self.threads[me] {
                let sleeper = Sleeper { slot: me as u32, seen: self.now, since: me as u64 };
                self.queue.rise();
                let id = self.nodes.add(1, sleeper);
                assert!(self.queue.lie_down(&mut self.nodes, id));
                if let Some(token) = token {
                    let outcome = Outcome::Blocked(self.now);
                    let _ = self.queue.pass(&mut self.nodes, me as u32, token, outcome);
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
        let mut world = World::new(30, seed);
        for _ in 0..500 {
            world.step();
        }
        world.change(seed % 2 == 0);
        for _ in 0..200 {
            world.round();
        }
        assert_eq!(world.seen_by_all(), world.now, "somebody was forgotten");
    }
}

#[test]
fn everybody_has_a_turn_however_fast_changes_come() {
    for woken in [false, true] {
        let mut world = World::new(30, 1);
        world.round();
        for _ in 0..30 {
            world.change(woken);
            world.round();
        }
        assert_ne!(world.seen_by_all(), 0, "the oldest are in the way of the others");
    }
}

/// All of `sleepers` wait for one change, and each of them ends its transaction as `end` says once it was
/// woken, and changes nothing. The timer does nothing. How many have not been woken.
fn left_asleep(sleepers: usize, end: impl Fn(usize) -> Outcome) -> usize {
    let mut world = World::new(sleepers, 1);
    world.round();
    world.now += 1;
    let change = Change { stamp: world.now, by: 99, woken: false };
    let mut due = Vec::from(world.queue.change(&mut world.nodes, change).wakes);
    while let Some(wake) = due.pop() {
        let Some(slot) = wake else { continue };
        let Thread::Enlisted(id) = world.threads[slot as usize] else { panic!("woken twice") };
        let (token, _) = world.queue.leave(&mut world.nodes, id);
        world.threads[slot as usize] = Thread::Awake(None);
        if let Some(token) = token {
            let whom = world.queue.pass(&mut world.nodes, slot, token, end(slot as usize));
            due.extend(whom.wakes);
        }
        world.queue.check(&world.nodes);
    }
    world.threads.iter().filter(|thread| matches!(thread, Thread::Enlisted(_))).count()
}

#[test]
fn whatever_way_a_woken_thread_ends_the_others_are_woken_without_the_timer() {
    assert_eq!(left_asleep(1000, |_| Outcome::WentOn), 0, "all commit");
    assert_eq!(left_asleep(1000, |_| Outcome::Left), 0, "all fail");
    let either = |n| if n % 3 == 0 { Outcome::WentOn } else { Outcome::Left };
    assert_eq!(left_asleep(1000, either), 0, "some commit");
}

impl Queue {
    /// Panics unless everything in it fits together.
    fn check(&self, nodes: &Nodes) {
        let all = self.sleepers(nodes);
        let fresh: Vec<Id> = all.iter().copied().filter(|&id| self.is_fresh(nodes, id)).collect();
        assert!(all.iter().all(|&id| nodes[id].state == State::Asleep));
        self.check_counts(all.len(), fresh.len());
        for id in [self.group_start(), self.on_duty()] {
            assert!(id == NONE || (all.contains(&id) && !fresh.contains(&id)), "{id} is not owed");
        }
        if all.len() > fresh.len() {
            assert_ne!(self.on_duty(), NONE, "nobody is on duty");
        }
    }
}
