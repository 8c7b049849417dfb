//! A user's program under loom or shuttle: its steps, as the checker sees them.
//!
//! That contempo itself is right is what its own models are for; a check of a program explores its
//! schedules, not contempo's. So a transaction is a few *steps* ([`Step`]): it begins, it reads, it commits.
//! At each of them the checker may switch threads, and only there (and where a thread sleeps, is woken, or
//! gives way). What contempo does between two of them no other thread can interrupt, and it uses the standard
//! library's words and locks: it costs no schedules, meets no limit of the checker's, and may run wherever a
//! checker's object may not be touched: in a destructor while a failure unwinds, or when the checker's
//! statics are gone.
//!
//! A step is a read-modify-write of one word of the domain's. So steps are totally ordered, and a commit
//! happens before every step after it, as it does through the commit clock: data that the program guards by
//! transactions is not reported as a race.
//!
//! In ordinary builds, and in models of contempo's own parts (`--cfg contempo_models`), a step is nothing.

mod explore;

pub use explore::{Explorer, explore, sync, thread};

use std::time::Instant;

/// A step of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// It begins: the moment of its snapshot.
    Begin,
    /// It reads a cell.
    Read,
    /// It commits what it has written.
    Commit,
    /// A question about the domain: statistics, a report.
    Ask,
}

/// The time now, to compare with deadlines. Under the checkers it moves only when a thread sleeps until
/// a deadline, to that; so it is the same in every run.
#[inline(always)]
pub fn instant() -> Instant {
    #[cfg(not(any(contempo_loom, contempo_shuttle)))]
    return Instant::now();
    #[cfg(any(contempo_loom, contempo_shuttle))]
    time::instant()
}

#[cfg(any(contempo_loom, contempo_shuttle))]
pub use time::pass_until;

#[cfg(any(contempo_loom, contempo_shuttle))]
mod time {
    use std::cell::Cell;
    use std::time::Instant;

    thread_local! {
        // A checker runs its threads one at a time, on one thread of the system.
        static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
    }

    pub(super) fn instant() -> Instant {
        NOW.get().unwrap_or_else(|| {
            let now = Instant::now();
            NOW.set(Some(now));
            now
        })
    }

    /// An execution begins: time goes on from now.
    #[cfg(not(contempo_models))]
    pub(super) fn begin() {
        NOW.set(None);
    }

    /// A thread has slept until `deadline`.
    pub fn pass_until(deadline: Instant) {
        NOW.set(Some(instant().max(deadline)));
    }
}

#[cfg(not(all(any(contempo_loom, contempo_shuttle), not(contempo_models))))]
mod imp {
    use super::Step;

    /// Where the threads of a domain take their steps.
    #[derive(Debug, Default)]
    pub struct Steps(());

    impl Steps {
        crate::const_unless_checked! {
            /// No step yet.
            pub fn new() -> Self {
                Steps(())
            }
        }

        /// The thread of `slot` takes a step: nothing, in this build.
        #[inline(always)]
        pub fn take(&self, _slot: u32, _step: Step) {}
    }

    /// In models nothing is told.
    #[cfg(any(contempo_loom, contempo_shuttle))]
    pub(super) fn taken() -> String {
        String::new()
    }

    #[cfg(contempo_shuttle)]
    pub(super) fn several() -> bool {
        true
    }
}

#[cfg(all(any(contempo_loom, contempo_shuttle), not(contempo_models)))]
mod imp {
    use super::Step;
    use crate::primitives::{thread, unwinding};
    use std::cell::RefCell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[cfg(contempo_loom)]
    use loom::sync::atomic::{AtomicUsize, Ordering};
    #[cfg(contempo_shuttle)]
    use shuttle::sync::atomic::{AtomicUsize, Ordering};

    thread_local! {
        /// The steps of this execution, for the reader of a failure.
        static TAKEN: RefCell<Vec<(u32, &'static str)>> = const { RefCell::new(Vec::new()) };
    }

    /// Where the threads of a domain take their steps.
    #[derive(Debug)]
    pub struct Steps {
        word: AtomicUsize,
    }

    impl Steps {
        /// No step yet: an execution begins.
        pub fn new() -> Self {
            TAKEN.with_borrow_mut(Vec::clear);
            super::time::begin();
            Steps { word: AtomicUsize::new(0) }
        }

        /// The thread of `slot` takes a step: the checker may let others run before it.
        pub fn take(&self, slot: u32, step: Step) {
            if unwinding() {
                return;
            }
            // Read-modify-writes, so that each comes after all before it. Acquire, partner: the commits
            // before. A step that publishes nothing releases nothing: a program that relies on it is wrong.
            let (name, order) = match step {
                Step::Begin => ("begins", Ordering::Acquire),
                Step::Read => ("reads", Ordering::Acquire),
                Step::Commit => ("commits", Ordering::AcqRel),
                Step::Ask => ("asks", Ordering::Acquire),
            };
            self.word.fetch_add(1, order);
            note(slot, name);
        }
    }

    impl Default for Steps {
        fn default() -> Self {
            Self::new()
        }
    }

    /// Adds to what is told of a schedule that fails.
    fn note(slot: u32, step: &'static str) {
        TAKEN.with_borrow_mut(|taken| taken.push((slot, step)));
    }

    /// What the threads have done in this execution, by their slots: a line for each series of steps of one thread.
    pub(super) fn taken() -> String {
        let mut lines = String::new();
        let mut last = None;
        TAKEN.with_borrow(|taken| {
            for &(slot, step) in taken {
                let same = last.replace(slot) == Some(slot);
                let line = if same { format!(", {step}") } else { format!("\n  {slot}: {step}") };
                lines.push_str(&line);
            }
        });
        lines
    }

    /// Did several threads take steps in this execution?
    #[cfg(contempo_shuttle)]
    pub(super) fn several() -> bool {
        TAKEN.with_borrow(|taken| taken.iter().any(|(slot, _)| *slot != taken[0].0))
    }

    /// Wakes a thread, also while a panic unwinds: the program may catch that.
    pub(crate) fn unpark(sleeper: &thread::Thread) {
        if unwinding() {
            // The checker may have come to its end.
            let _ = catch_unwind(AssertUnwindSafe(|| sleeper.unpark()));
        } else {
            sleeper.unpark();
        }
    }
}

pub use imp::Steps;
#[cfg(contempo_shuttle)]
use imp::several;
#[cfg(any(contempo_loom, contempo_shuttle))]
use imp::taken;
#[cfg(all(any(contempo_loom, contempo_shuttle), not(contempo_models)))]
pub(crate) use imp::unpark;
