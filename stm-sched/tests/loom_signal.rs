//! Exhaustive models of sleeping on a word between processes. Run by `ci/loom.sh`. No thread's time is up here, so a
//! wake-up that is lost is a deadlock.
#![cfg(contempo_loom)]

use contempo_sched::primitives::fault::Fault;
use contempo_sched::primitives::signal::Signal;
use contempo_sched::wait::chain::{WakeWord, Went, changed};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom::thread;

#[path = "../../stm-core/tests/planted/mod.rs"]
mod planted;
use planted::holds_unless;

struct World {
    signal: Signal,
    changes: AtomicU32,
}

/// Sleeps until there were so many changes.
fn sleep_until(world: &World, changes: u32) {
    loop {
        let seen = world.signal.look();
        // SeqCst: stands for the look at the cells (`wait::enlist`).
        if world.changes.load(Ordering::SeqCst) >= changes {
            break;
        }
        world.signal.sleep(seen, None);
    }
}

#[test]
fn a_thread_that_sleeps_on_a_signal_is_woken() {
    holds_unless(
        "a_thread_that_sleeps_on_a_signal_is_woken",
        3,
        &[Fault::SleeperUnannounced],
        || {
            let world = Arc::new(World { signal: Signal::default(), changes: AtomicU32::new(0) });
            let sleepers: Vec<_> = [1, 2]
                .into_iter()
                .map(|changes| {
                    let world = Arc::clone(&world);
                    thread::spawn(move || sleep_until(&world, changes))
                })
                .collect();
            for _ in 0..2 {
                world.changes.fetch_add(1, Ordering::SeqCst);
                world.signal.raise();
            }
            for sleeper in sleepers {
                sleeper.join().unwrap();
            }
        },
    );
}

/// A cell, which counts its changes, and the word that its sleepers sleep on.
#[derive(Default)]
struct Watched {
    word: WakeWord,
    mark: AtomicBool,
    changes: AtomicU32,
}

impl Watched {
    /// A commit, as in `Commit::run` and `RegionDomain::changed`.
    fn change(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if self.mark.load(Ordering::SeqCst) {
            changed([(&self.word, false)], |mark| self.mark.store(mark, Ordering::SeqCst));
        }
    }

    /// Marks the cell and looks at it, as in `wait::enlist` and `Waiting::look`.
    fn look(&self) -> u32 {
        self.mark.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.changes.load(Ordering::SeqCst)
    }

    /// A transaction that waits for so many changes. `dies`: as soon as it is woken, its process is killed.
    fn wait_for(&self, enough: u32, dies: bool) {
        let mut woken = None;
        loop {
            let mut seen = self.word.look();
            let found = self.look();
            if let Some(woken) = woken.take() {
                self.word.pass(woken, if found >= enough { Went::Ended } else { Went::Blocked });
            }
            if found >= enough {
                return;
            }
            // As in `Waiting::sleep`.
            while woken.is_none() {
                let was_woken = self.word.sleep(seen, None);
                if dies && was_woken {
                    return;
                }
                let raised = self.word.was_raised_since(seen);
                seen = self.word.look();
                if self.look() != found {
                    woken = Some(seen);
                } else if was_woken && raised {
                    self.word.pass_to_all();
                }
            }
        }
    }
}

#[test]
fn an_open_gate_lets_all_through() {
    let faults = &[Fault::TokenKeptAtTheEnd];
    holds_unless("an_open_gate_lets_all_through", 3, faults, || {
        let cell = Arc::new(Watched::default());
        let sleepers: Vec<_> = (0..2)
            .map(|_| {
                let cell = Arc::clone(&cell);
                thread::spawn(move || cell.wait_for(1, false))
            })
            .collect();
        cell.change();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}

#[test]
fn one_that_cannot_use_a_change_passes_it_on() {
    let faults = &[Fault::TokenKeptWhenBlocked];
    holds_unless("one_that_cannot_use_a_change_passes_it_on", 3, faults, || {
        let cell = Arc::new(Watched::default());
        let [first, second] = [1, 2].map(|enough| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.wait_for(enough, false))
        });
        cell.change();
        first.join().unwrap();
        cell.change();
        second.join().unwrap();
    });
}

/// After its death a change wakes again: the cell is marked still, and the word says that a thread sleeps there.
#[test]
fn one_that_dies_with_a_wake_up_costs_no_later_one() {
    let faults = &[Fault::UnmarkedWhileWatched, Fault::SleepersForgotten];
    holds_unless("one_that_dies_with_a_wake_up_costs_no_later_one", 3, faults, || {
        let cell = Arc::new(Watched::default());
        let [dies, lives] = [(1, true), (2, false)].map(|(enough, dies)| {
            let cell = Arc::clone(&cell);
            thread::spawn(move || cell.wait_for(enough, dies))
        });
        cell.change();
        dies.join().unwrap();
        cell.change();
        lives.join().unwrap();
    });
}

/// Two threads change cells of one word at once. One that sleeps there dies with a wake-up; that of the other comes to
/// the other one.
#[test]
fn two_that_raise_a_word_at_once_wake_two() {
    holds_unless("two_that_raise_a_word_at_once_wake_two", 2, &[Fault::RaisedUnheard], || {
        let cells = Arc::new((WakeWord::default(), [AtomicU32::new(0), AtomicU32::new(0)]));
        let change = |cells: &(WakeWord, [AtomicU32; 2]), cell: usize| {
            cells.1[cell].store(1, Ordering::SeqCst);
            changed([(&cells.0, false)], |_| ());
        };
        let sleepers = [0, 1].map(|cell| {
            let cells = Arc::clone(&cells);
            thread::spawn(move || {
                let (word, cells) = (&cells.0, &cells.1);
                let mut seen = word.look();
                while cells[cell].load(Ordering::SeqCst) == 0 {
                    let was_woken = word.sleep(seen, None);
                    let raised = word.was_raised_since(seen);
                    seen = word.look();
                    if was_woken && raised && cells[cell].load(Ordering::SeqCst) == 0 {
                        word.pass_to_all();
                    }
                }
                if cell == 1 {
                    word.pass(seen, Went::Ended); // The other one is dead.
                }
            })
        });
        let other = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || change(&cells, 1))
        };
        change(&cells, 0);
        other.join().unwrap();
        for sleeper in sleepers {
            sleeper.join().unwrap();
        }
    });
}
