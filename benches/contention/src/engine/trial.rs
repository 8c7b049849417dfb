//! What a workload must offer to be measured, and how it is measured.

use super::pin::Cores;
use super::sample::Sample;
use super::seat::{Control, Seat};
use super::tally::Tally;
use crate::plan::Case;
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

    /// Does the worker on this seat do operations of this kind? Fairness is a matter of those who
    /// do.
    fn does(&self, _seat: usize, _kind: usize) -> bool {
        true
    }

    /// The work of one thread, until its seat says that it is over.
    fn work(&self, seat: &mut Seat<'_>);

    /// What happens meanwhile: by default, a warm-up during which the invariant is looked at, and
    /// one window. Returns how long each window lasted.
    fn conduct(&self, control: &Control, timing: Timing) -> Vec<Duration> {
        self.warm_up(control, timing);
        let lasted = vec![control.window(0, timing.window)];
        self.look(control);
        lasted
    }

    /// Lets the workers run, uncounted, and looks at the invariant meanwhile.
    fn warm_up(&self, control: &Control, timing: Timing) {
        let end = Instant::now() + timing.warm_up;
        std::thread::sleep(timing.warm_up / 4);
        self.look(control);
        std::thread::sleep(timing.warm_up / 4);
        self.look(control);
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
}

/// Runs one trial: threads, warm-up, windows, checks.
///
/// # Errors
/// If an invariant did not hold, during the trial or at its end.
pub(crate) fn run(
    trial: &dyn Trial,
    case: Case,
    seed: u64,
    cores: &Cores,
) -> Result<Sample, Violation> {
    let threads = case.threads;
    let control = Control::new(case.contender.shared);
    let kinds = trial.kinds();
    let windows = trial.windows().len();
    let start = Barrier::new(threads + 1);
    let work = |index: usize| {
        cores.bind(index);
        let mut seat = Seat::new(&control, index, kinds.len(), seed);
        start.wait();
        trial.work(&mut seat);
        seat.into_tallies(windows)
    };
    let work = &work;
    let counted = contempo::statistics();
    let (lasted, results) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|index| scope.spawn(move || work(index))).collect();
        start.wait();
        let lasted = trial.conduct(&control, case.timing);
        control.end();
        trial.release();
        let results: Vec<(Vec<Tally>, Vec<u64>)> =
            workers.into_iter().map(|worker| worker.join().expect("a worker panicked")).collect();
        (lasted, results)
    });
    if let Some(what) = control.found() {
        return Err(Violation(what));
    }
    let (tallies, done): (Vec<_>, Vec<_>) = results.into_iter().unzip();
    trial.check(&done).map_err(|Violation(what)| Violation(format!("at the end: {what}")))?;
    let statistics = contempo::statistics().since(&counted);
    Ok(Sample::of(trial, &lasted, tallies, &statistics))
}
