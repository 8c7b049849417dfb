//! A worker pool: jobs that submit others, wait for room, fail or panic; a way to wait for all of it, and a graceful stop.
//!
//! ```text
//! cargo run --release --example workers
//! ```
//!
//! Jobs are counted in the transaction that submits them, and taken off the count in the one that notes how they have
//! ended. So "all is done" is a condition over cells: no thread can find the pool idle while a job is on its way.

use contempo::collections::{TChannel, TMap};
use contempo::{StmResult, TVar, Transaction, atomically, snapshot};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{self, Scope};

type Work = Arc<dyn Fn(&Pool) -> Result<(), String> + Send + Sync>;

/// Something to be done. (A copy is the same job: what is taken from a channel is a reference.)
#[derive(Clone)]
struct Job {
    name: String,
    work: Work,
}

/// A pool. Clones are the same pool.
#[derive(Clone)]
struct Pool {
    jobs: TChannel<Job>,
    /// Jobs that were submitted and have not ended.
    open: TVar<u64>,
    done: TVar<u64>,
    failed: TMap<String, String>,
}

impl Pool {
    /// At most so many jobs wait at a time; each worker is a thread of `scope`.
    fn start<'s>(scope: &'s Scope<'s, '_>, workers: usize, room: usize) -> Self {
        let jobs = TChannel::bounded(room);
        let pool = Pool { jobs, open: TVar::new(0), done: TVar::new(0), failed: TMap::new() };
        for _ in 0..workers {
            let pool = pool.clone();
            scope.spawn(move || pool.run());
        }
        pool
    }

    /// Submits a job as a part of a transaction: with whatever else is to happen at that moment. Waits while there is no
    /// room; false if the pool has stopped.
    fn submit(&self, tx: &Transaction<'_>, job: Job) -> StmResult<bool> {
        let sent = self.jobs.send(tx, job)?.is_ok();
        if sent {
            tx.modify(&self.open, |open| open + 1)?;
        }
        Ok(sent)
    }

    /// A worker: takes jobs until the pool stops and none is left. Others take turns with it, and a job that panics takes
    /// no worker with it.
    fn run(&self) {
        for Job { name, work } in self.jobs.blocking_iter() {
            let result = catch_unwind(AssertUnwindSafe(|| work(self)));
            let result = result.unwrap_or_else(|_| Err("it has panicked".to_owned()));
            atomically(|tx| {
                match &result {
                    Ok(()) => tx.modify(&self.done, |done| done + 1)?,
                    Err(why) => drop(self.failed.insert(tx, name.clone(), why.clone())?),
                }
                tx.modify(&self.open, |open| open - 1)
            });
        }
    }

    /// Does it here if there is no room: a worker that waited for room, as all others do, would wait for ever.
    fn submit_or_do(&self, job: &Job) -> Result<(), String> {
        let sent =
            atomically(|tx| tx.or_else(|tx| self.submit(tx, job.clone()).map(Some), |_| Ok(None)));
        match sent {
            Some(true) => Ok(()),
            Some(false) => Err("the pool has stopped".to_owned()),
            None => (job.work)(self),
        }
    }

    /// Waits until all that was submitted has ended.
    fn wait_until_idle(&self) {
        self.open.wait_until(|open| *open == 0);
    }

    /// No more jobs come; those that are there are done.
    fn stop(&self) {
        self.jobs.close_now();
    }
}

/// Adds up a range: splits it into jobs, until the parts are small.
fn add(range: std::ops::Range<u64>, sum: &TVar<u64>) -> Job {
    let (name, sum) = (format!("{range:?}"), sum.clone());
    let work = move |pool: &Pool| {
        let middle = range.start + (range.end - range.start) / 2;
        if range.end - range.start <= 100 {
            let part: u64 = range.clone().sum();
            sum.update(|sum| sum + part);
            return Ok(());
        }
        pool.submit_or_do(&add(range.start..middle, &sum))?;
        pool.submit_or_do(&add(middle..range.end, &sum))
    };
    Job { name, work: Arc::new(work) }
}

fn job(name: &str, work: impl Fn(&Pool) -> Result<(), String> + Send + Sync + 'static) -> Job {
    Job { name: name.to_owned(), work: Arc::new(work) }
}

fn main() -> ExitCode {
    const END: u64 = 100_000;
    // (The panic of the job is expected: it is told by its result.)
    std::panic::set_hook(Box::new(|_| {}));
    let sum = TVar::new(0);
    let pool = thread::scope(|scope| {
        let pool = Pool::start(scope, 4, 16);
        // Three jobs at one moment: a worker sees all of them or none.
        let submitted = atomically(|tx| {
            let broken = job("broken", |_| Err("it cannot be done".to_owned()));
            let panics = job("panics", |_| panic!("on purpose"));
            Ok([
                pool.submit(tx, add(0..END, &sum))?,
                pool.submit(tx, broken)?,
                pool.submit(tx, panics)?,
            ])
        });
        assert_eq!(submitted, [true; 3]);
        pool.wait_until_idle();
        pool.stop();
        assert!(!atomically(|tx| pool.submit(tx, job("late", |_| Ok(())))), "it has stopped");
        pool
    });
    let (open, done) = snapshot(|view| (*view.read(&pool.open), *view.read(&pool.done)));
    let mut failed: Vec<_> = snapshot(|view| {
        pool.failed.iter(view).map(|(name, why)| format!("{name}: {why}")).collect()
    });
    failed.sort();
    println!("{done} jobs done, {open} open, failed: {}; sum {}", failed.join(", "), sum.load());
    let right = sum.load() == END * (END - 1) / 2
        && open == 0
        && failed == ["broken: it cannot be done", "panics: it has panicked"];
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
