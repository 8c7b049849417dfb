//! What a workload must offer to be measured, and how it is measured.

use super::control::Control;
use super::pin::Cores;
use super::sample::Sample;
use super::seat::Seat;
use std::any::Any;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Something that must hold at every moment did not.
#[derive(Clone, Debug)]
pub(crate) struct Violation(pub(crate) String);

impl Violation {
    /// Fails with what `what` says unless `holds`.
    pub(crate) fn unless(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
        if holds { Ok(()) } else { Err(Violation(what())) }
    }
}

/// What is known of a window as a whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// How long it really was.
    pub(crate) lasted: Duration,
    /// Attempts of all threads in it, if they are counted together.
    pub(crate) attempts: Option<u64>,
    /// Processor time of this process meanwhile, where it can be known.
    pub(crate) processor: Option<Duration>,
}

/// How long the parts of a trial last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Before the first window.
    pub(crate) warm_up: Duration,
    /// One window.
    pub(crate) window: Duration,
}

/// One contender with the data of one workload: what threads are let loose on.
pub(crate) trait Trial: Sync {
    /// What kinds of operations there are.
    fn kinds(&self) -> &'static [&'static str];

    /// What the windows are called. A trial with one window gives it no name.
    fn windows(&self) -> &'static [&'static str] {
        &[""]
    }

    /// Does the worker on this seat do operations of this kind? Fairness is a matter of those that
    /// do.
    fn does(&self, _seat: usize, _kind: usize) -> bool {
        true
    }

    /// Do threads take from the same pile of work until none is left? Then which does more is not
    /// favoured, only faster.
    fn shares_work(&self) -> bool {
        false
    }

    /// The work of one thread, until its seat says that it is over.
    fn work(&self, seat: &mut Seat<'_>);

    /// What happens meanwhile: by default, a warm-up during which the invariant is looked at, and
    /// one window.
    fn conduct(&self, control: &Control, timing: Timing) -> Vec<Window> {
        self.warm_up(control, timing);
        let window = self.window(control, 0, timing.window);
        self.look(control);
        vec![window]
    }

    /// Opens a window for some time.
    fn window(&self, control: &Control, number: usize, length: Duration) -> Window {
        let before = self.attempts();
        let window = control.window(number, length);
        let attempts = before.zip(self.attempts()).map(|(before, after)| after - before);
        Window { attempts, ..window }
    }

    /// Attempts so far, where threads cannot count them by themselves, since many wait all the
    /// time and never finish an operation.
    fn attempts(&self) -> Option<u64> {
        None
    }

    /// Lets the workers run, uncounted, and looks at the invariant meanwhile.
    fn warm_up(&self, control: &Control, timing: Timing) {
        let end = Instant::now() + timing.warm_up;
        for _ in 0..2 {
            std::thread::sleep(timing.warm_up / 4);
            self.look(control);
        }
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
    }

    /// Looks at the invariant while the workers are busy, and notes a violation.
    fn look(&self, control: &Control) {
        if control.looks
            && let Err(Violation(what)) = self.inspect()
        {
            control.violation(format!("while threads were running: {what}"));
        }
    }

    /// Does what must always hold, hold now? Called while the workers are busy.
    fn inspect(&self) -> Result<(), Violation> {
        Ok(())
    }

    /// Wakes workers that wait for one another. Called once the trial is over.
    fn release(&self) {}

    /// Does everything add up? `done` has, for each worker, the operations of each kind that it
    /// ever did.
    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation>;

    /// Figures that are not about operations. Asked after the check.
    fn figures(&self) -> Vec<(String, f64)> {
        Vec::new()
    }
}

/// Makes a trial: not before it is needed, since it may fill large structures.
pub(crate) type Maker = Box<dyn FnOnce() -> Box<dyn Trial>>;

/// With what a trial is run.
pub(crate) struct Terms<'a> {
    /// Workers.
    pub(crate) threads: usize,
    /// How long.
    pub(crate) timing: Timing,
    /// Of all random choices.
    pub(crate) seed: u64,
    /// Where the workers run.
    pub(crate) cores: &'a Cores,
    /// May another thread look at the invariant meanwhile?
    pub(crate) looks: bool,
}

/// Runs one trial: threads, warm-up, windows, checks.
///
/// # Errors
/// If an invariant did not hold, during the trial or at its end, or if a worker panicked.
pub(crate) fn run(trial: &dyn Trial, terms: &Terms<'_>) -> Result<Sample, Violation> {
    let threads = terms.threads;
    let control = Control::new(threads, terms.looks);
    let kinds = trial.kinds().len();
    let names = trial.windows().len();
    let start = Barrier::new(threads + 1);
    let work = |index: usize| {
        terms.cores.bind(index);
        let mut seat = Seat::new(&control, index, kinds, terms.seed);
        start.wait();
        let _leaving = Leaving(&control);
        trial.work(&mut seat);
        seat.into_tallies(names)
    };
    let work = &work;
    let before = contempo::statistics();
    let (windows, results) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|index| scope.spawn(move || work(index))).collect();
        start.wait();
        let windows = trial.conduct(&control, terms.timing);
        control.end();
        trial.release();
        let results: Result<Vec<_>, _> = workers.into_iter().map(|worker| worker.join()).collect();
        (windows, results)
    });
    if let Some(what) = control.found() {
        return Err(Violation(what));
    }
    let results = results.map_err(|panic| Violation(told_by(&*panic)))?;
    let (tallies, done): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    trial.check(&done).map_err(|Violation(what)| Violation(format!("at the end: {what}")))?;
    Ok(Sample::of(trial, &windows, &tallies, &contempo::statistics().since(&before)))
}

/// Says that a worker has left, also if it panics.
struct Leaving<'c>(&'c Control);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

fn told_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a worker panicked: {}", text.unwrap_or_else(|| "it did not say why".into()))
}
