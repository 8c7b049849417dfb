//! Runs a model as it is, and once more with each planted fault, in a process of its own.
//!
//! A model that fails leaves the checker's world in pieces, so the faulty run is another process of
//! the same test binary: it exits with [`CAUGHT`] at the first panic. Anything else (a crash, a
//! time-out, a success) means that the fault was not caught.

use contempo_sched::primitives::fault::{Fault, plant};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CAUGHT: i32 = 42;
const TIME_LIMIT: Duration = Duration::from_secs(240);

/// Executions of the current model.
static EXECUTIONS: AtomicUsize = AtomicUsize::new(0);

/// To be called at the start of every execution of a model.
pub(crate) fn execution() {
    EXECUTIONS.fetch_add(1, Ordering::Relaxed);
}

/// The model holds in every schedule with at most `bound` preemptions, and with each of these faults it
/// does not.
#[cfg(contempo_loom)]
pub(crate) fn holds_unless(
    test: &str,
    bound: usize,
    faults: &[Fault],
    model: impl Fn() + Sync + Send + Copy + 'static,
) {
    succeeds_unless(test, faults, || {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(bound);
        builder.max_branches = 20_000;
        builder.check(move || {
            execution();
            model();
        });
    });
}

/// The model holds in so many schedules by PCT, and as many at random, and with each of these faults it
/// does not. `CONTEMPO_SCHEDULES` and `CONTEMPO_SEED` choose others.
#[cfg(contempo_shuttle)]
pub(crate) fn holds_unless(
    test: &str,
    schedules: usize,
    faults: &[Fault],
    model: impl Fn() + Send + Sync + Copy + 'static,
) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
    fn chosen<T: std::str::FromStr>(variable: &str, default: T) -> T {
        let Ok(text) = std::env::var(variable) else { return default };
        text.parse().unwrap_or_else(|_| panic!("{variable} is not a number: {text:?}"))
    }
    fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) {
        let mut config = shuttle::Config::new();
        config.stack_size = 0x20000;
        config.max_steps = shuttle::MaxSteps::FailAfter(200_000);
        shuttle::Runner::new(scheduler, config).run(move || {
            execution();
            model();
        });
    }
    let schedules = chosen("CONTEMPO_SCHEDULES", schedules);
    let seed = chosen("CONTEMPO_SEED", 20_261_121);
    println!("{test}: seed {seed}");
    succeeds_unless(test, faults, || {
        run(PctScheduler::new_from_seed(seed, 3, schedules), model);
        run(RandomScheduler::new_from_seed(seed, schedules), model);
    });
}

/// `explore` succeeds, and with each of these faults it does not.
pub(crate) fn succeeds_unless(test: &str, faults: &[Fault], explore: impl Fn()) {
    if let Ok(planted) = std::env::var("CONTEMPO_FAULT") {
        if planted == "None" {
            return explore(); // For ci/mutants.sh, whose faults are others.
        }
        let fault = faults.iter().find(|fault| format!("{fault:?}") == planted);
        plant(*fault.expect("a fault of this model"));
        std::panic::set_hook(Box::new(|info| {
            println!("caught after {} executions: {info}", EXECUTIONS.load(Ordering::Relaxed));
            std::process::exit(CAUGHT);
        }));
        explore();
        return;
    }
    let name = test.rsplit("::").next().unwrap_or(test); // Without the modules of a unit test: for ci/faults.sh.
    let start = Instant::now();
    explore();
    let executions = EXECUTIONS.swap(0, Ordering::Relaxed);
    println!("{name}: holds, {executions} executions, {:.1?}", start.elapsed());
    assert!(executions > 10, "{test}: only {executions} executions: nothing was explored");
    assert!(start.elapsed() < TIME_LIMIT, "{test}: a model that meets its time limit has failed");
    for &fault in faults {
        let start = Instant::now();
        let mut child = Command::new(std::env::current_exe().expect("this test binary"))
            .args(["--exact", test, "--nocapture", "--test-threads", "1"])
            .env("CONTEMPO_FAULT", format!("{fault:?}"))
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("this test binary runs");
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child process") {
                break Some(status);
            }
            if start.elapsed() > TIME_LIMIT {
                child.kill().expect("a child process");
                break None;
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let mut output = String::new();
        use std::io::Read;
        child.stdout.take().expect("piped").read_to_string(&mut output).expect("text");
        let verdict = output.lines().find(|line| line.contains("caught after")).unwrap_or("");
        let verdict = verdict.split(": ").next().unwrap_or("");
        assert!(
            status.is_some_and(|status| status.code() == Some(CAUGHT)),
            "{test} does not catch {fault:?} ({status:?}):\n{output}"
        );
        println!("{name}: {fault:?} {verdict}, {:.1?}", start.elapsed());
    }
}
