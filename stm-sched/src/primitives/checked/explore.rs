//! The harness: one call that runs a program in many schedules, under whichever checker is there.

#[cfg(contempo_loom)]
pub use loom::{sync, thread};
#[cfg(contempo_shuttle)]
pub use shuttle::{sync, thread};
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
pub use std::{sync, thread};

/// Runs `program` in many schedules: under loom in all that differ, with at most two preemptions; under
/// shuttle in 2,000; in an ordinary build 100 times on threads of the system. Returns how many it has run.
/// [`Explorer`] sets other bounds.
///
/// Threads come from [`thread`], and what they share, unless it is in cells, from [`sync`]: those of the
/// checker, or of the standard library.
///
/// # Panics
/// As the program does in one of the schedules, and (under a checker) if it comes to a deadlock, or to an
/// end of the bounds. Before that it prints, to standard error, what the threads have done in that schedule.
///
/// ```
/// # use contempo_sched::primitives::checked as checking;
/// use checking::{explore, sync::atomic::{AtomicU32, Ordering}, sync::Arc, thread};
/// let schedules = explore(|| {
///     let count = Arc::new(AtomicU32::new(0));
///     let theirs = Arc::clone(&count);
///     let thread = thread::spawn(move || theirs.fetch_add(1, Ordering::Relaxed));
///     count.fetch_add(1, Ordering::Relaxed);
///     thread.join().unwrap();
///     assert_eq!(count.load(Ordering::Relaxed), 2);
/// });
/// assert!(schedules > 1);
/// ```
pub fn explore(program: impl Fn() + Send + Sync + 'static) -> usize {
    Explorer::new().run(program)
}

/// [`explore`] with other bounds.
///
/// | variable | overrides | under |
/// | --- | --- | --- |
/// | `LOOM_MAX_PREEMPTIONS` | [`preemptions`](Self::preemptions) | loom |
/// | `LOOM_MAX_BRANCHES` | [`steps`](Self::steps) | loom |
/// | `CONTEMPO_SCHEDULES` | [`schedules`](Self::schedules) | shuttle, ordinary |
/// | `CONTEMPO_SEED` | [`seed`](Self::seed) | shuttle |
/// | `CONTEMPO_REPLAY` | all: runs this schedule, which shuttle has printed, and no other | shuttle |
///
/// ```
/// # use contempo_sched::primitives::checked as checking;
/// let ran = checking::Explorer::new().preemptions(3).schedules(10).run(|| {});
/// assert!(ran >= 1);
/// ```
#[derive(Clone, Debug)]
#[must_use = "an explorer does nothing until `run`"]
pub struct Explorer {
    preemptions: usize,
    steps: usize,
    schedules: usize,
    seed: u64,
}

impl Explorer {
    /// With the bounds of [`explore`].
    pub fn new() -> Self {
        let schedules = if cfg!(contempo_shuttle) { 2_000 } else { 100 };
        Explorer { preemptions: 2, steps: 20_000, schedules, seed: 20_261_129 }
    }

    /// Under loom: at most so many times a thread is interrupted although it could go on. Two find most
    /// faults; each more costs several times as long.
    pub fn preemptions(mut self, most: usize) -> Self {
        self.preemptions = most;
        self
    }

    /// At most so many choices (loom) or steps (shuttle) in one schedule: one that takes more fails, as one
    /// that waits without sleeping does.
    pub fn steps(mut self, most: usize) -> Self {
        self.steps = most;
        self
    }

    /// Under shuttle, and in an ordinary build: so many schedules. (Under shuttle half of them at random, and
    /// half by PCT.)
    pub fn schedules(mut self, schedules: usize) -> Self {
        self.schedules = schedules;
        self
    }

    /// Under shuttle: which ones.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Runs `program` in many schedules. Returns how many.
    ///
    /// # Panics
    /// As [`explore`].
    pub fn run(self, program: impl Fn() + Send + Sync + 'static) -> usize {
        imp::run(&self, program)
    }
}

impl Default for Explorer {
    fn default() -> Self {
        Self::new()
    }
}

/// The number in an environment variable, if it is set.
///
/// # Panics
/// If it is no number.
#[cfg(not(contempo_loom))]
fn chosen<T: std::str::FromStr>(variable: &str, default: T) -> T {
    let Ok(text) = std::env::var(variable) else { return default };
    text.parse().unwrap_or_else(|_| panic!("contempo: {variable} is not a number: {text:?}"))
}

#[cfg(any(contempo_loom, contempo_shuttle))]
mod telling {
    use crate::primitives::PROGRAM;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts its runs, and tells of the last one if one fails.
    pub(super) fn counted(
        program: impl Fn() + Send + Sync + 'static,
        explore: impl FnOnce(Arc<dyn Fn() + Send + Sync>),
    ) -> usize {
        let runs = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&runs);
        let run: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
            // Relaxed: a count, by one thread of the system.
            counter.fetch_add(1, Ordering::Relaxed);
            program();
        });
        let explored = catch_unwind(AssertUnwindSafe(|| explore(run)));
        let runs = runs.load(Ordering::Relaxed);
        if let Err(found) = explored {
            if PROGRAM {
                let taken = super::super::taken();
                eprintln!("contempo: found in schedule {runs}, whose threads did this:{taken}");
            }
            resume_unwind(found);
        }
        runs
    }
}

#[cfg(contempo_loom)]
mod imp {
    use super::Explorer;

    pub(super) fn run(bounds: &Explorer, program: impl Fn() + Send + Sync + 'static) -> usize {
        let mut builder = loom::model::Builder::new(); // Reads its variables.
        builder.preemption_bound.get_or_insert(bounds.preemptions);
        if std::env::var_os("LOOM_MAX_BRANCHES").is_none() {
            builder.max_branches = bounds.steps;
        }
        super::telling::counted(program, |run| builder.check(move || run()))
    }
}

#[cfg(contempo_shuttle)]
mod imp {
    use super::{Explorer, chosen};
    use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
    use std::sync::Arc;

    /// Preemptions that PCT makes, but for one.
    const DEPTH: usize = 3;
    const STACK: usize = 0x40000;

    pub(super) fn run(bounds: &Explorer, program: impl Fn() + Send + Sync + 'static) -> usize {
        let explore = |run: Arc<dyn Fn() + Send + Sync>| {
            let under = |scheduler: Box<dyn Scheduler + Send>| {
                let mut config = shuttle::Config::new();
                config.stack_size = STACK;
                config.max_steps = shuttle::MaxSteps::FailAfter(bounds.steps);
                config.silence_warnings = true;
                let run = Arc::clone(&run);
                shuttle::Runner::new(scheduler, config).run(move || run());
            };
            if let Ok(schedule) = std::env::var("CONTEMPO_REPLAY") {
                return under(Box::new(ReplayScheduler::new_from_encoded(&schedule)));
            }
            let schedules = chosen("CONTEMPO_SCHEDULES", bounds.schedules);
            let seed = chosen("CONTEMPO_SEED", bounds.seed);
            under(Box::new(RandomScheduler::new_from_seed(seed, schedules.div_ceil(2))));
            // PCT refuses a program of one thread.
            if schedules > 1 && super::super::several() {
                under(Box::new(PctScheduler::new_from_seed(seed, DEPTH, schedules / 2)));
            }
        };
        super::telling::counted(program, explore)
    }
}

#[cfg(not(any(contempo_loom, contempo_shuttle)))]
mod imp {
    use super::{Explorer, chosen};

    pub(super) fn run(bounds: &Explorer, program: impl Fn() + Send + Sync + 'static) -> usize {
        let runs = chosen("CONTEMPO_SCHEDULES", bounds.schedules);
        (0..runs).for_each(|_| program());
        runs
    }
}
