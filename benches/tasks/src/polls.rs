//! Long polls: many tasks wait for one change, and all answer it.

use crate::{Run, interleaved, runtime, show};
use contempo::{TVar, atomically_async};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};

/// Counts answers, and tells the writer of the last.
struct Answers {
    tasks: usize,
    left: AtomicUsize,
    writer: Thread,
    /// What has gone before the changes that are measured: all wait for the first time.
    is_over: AtomicBool,
}

impl Answers {
    fn new(tasks: usize) -> Arc<Self> {
        Arc::new(Answers {
            tasks,
            left: AtomicUsize::new(0),
            writer: std::thread::current(),
            is_over: AtomicBool::new(false),
        })
    }

    fn answer(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.writer.unpark();
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Makes so many changes, each answered by all. The whole time, and that of the changes themselves.
    fn measure(&self, changes: u64, mut change: impl FnMut(u64)) -> (Duration, Duration) {
        let mut writing = Duration::ZERO;
        let begin = Instant::now();
        for n in 1..=changes {
            self.left.store(self.tasks, Ordering::Release);
            let before = Instant::now();
            change(n);
            writing += before.elapsed();
            while self.left.load(Ordering::Acquire) > 0 {
                std::thread::park();
            }
        }
        (begin.elapsed(), writing)
    }
}

/// Changes of one round.
fn changes(tasks: usize) -> u64 {
    (60_000 / tasks as u64).max(4)
}

pub(crate) fn row(name: &str, tasks: usize, rounds: usize) {
    let mut writing = Vec::new();
    let mut writes = |side: usize, (all, write): (Duration, Duration)| {
        if writing.len() <= side {
            writing.resize(side + 1, Vec::new());
        }
        writing[side].push(write);
        all
    };
    let writes = std::cell::RefCell::new(&mut writes);
    let runs: Vec<Run<'_>> = vec![
        ("contempo", Box::new(|| writes.borrow_mut()(0, over_cells(tasks)))),
        ("contempo, changes", Box::new(|| writes.borrow_mut()(1, over_streams(tasks)))),
        ("tokio watch", Box::new(|| writes.borrow_mut()(2, over_watch(tasks)))),
        ("tokio Notify", Box::new(|| writes.borrow_mut()(3, over_notify(tasks)))),
    ];
    let (names, rounds) = interleaved(rounds, runs);
    show(name, "an answer", &names, &rounds, (changes(tasks) * tasks as u64) as f64);
    let all: Vec<Vec<Duration>> =
        (1..writing[0].len()).map(|n| writing.iter().map(|own| own[n]).collect()).collect();
    show(name, "a change", &names, &all, changes(tasks) as f64);
}

fn over_cells(tasks: usize) -> (Duration, Duration) {
    let (runtime, answers, news) = (runtime(2), Answers::new(tasks), TVar::new(0_u64));
    answers.left.store(tasks, Ordering::Release);
    for _ in 0..tasks {
        let (answers, news) = (answers.clone(), news.clone());
        runtime.spawn(async move {
            let mut seen = 0;
            answers.answer();
            while !answers.is_over() {
                seen = atomically_async(|tx| {
                    let now = *tx.read(&news)?;
                    tx.check(now != seen)?;
                    Ok(now)
                })
                .await;
                answers.answer();
            }
        });
    }
    all_wait(&answers);
    let measured = answers.measure(changes(tasks), |n| news.store(n));
    end(runtime);
    measured
}

fn over_streams(tasks: usize) -> (Duration, Duration) {
    let (runtime, answers, news) = (runtime(2), Answers::new(tasks), TVar::new(0_u64));
    answers.left.store(tasks, Ordering::Release);
    for _ in 0..tasks {
        let (answers, mut news) = (answers.clone(), news.changes());
        runtime.spawn(async move {
            while !answers.is_over() {
                news.next().await;
                answers.answer();
            }
        });
    }
    all_wait(&answers);
    let measured = answers.measure(changes(tasks), |n| news.store(n));
    end(runtime);
    measured
}

fn over_watch(tasks: usize) -> (Duration, Duration) {
    let (runtime, answers) = (runtime(2), Answers::new(tasks));
    let (news, receiver) = watch::channel(0_u64);
    answers.left.store(tasks, Ordering::Release);
    for _ in 0..tasks {
        let (answers, mut news) = (answers.clone(), receiver.clone());
        runtime.spawn(async move {
            answers.answer();
            while news.changed().await.is_ok() {
                std::hint::black_box(*news.borrow_and_update());
                answers.answer();
            }
        });
    }
    all_wait(&answers);
    let measured = answers.measure(changes(tasks), |n| news.send(n).expect("receivers"));
    end(runtime);
    measured
}

fn over_notify(tasks: usize) -> (Duration, Duration) {
    let (runtime, answers) = (runtime(2), Answers::new(tasks));
    let news = Arc::new((Notify::new(), AtomicU64::new(0)));
    answers.left.store(tasks, Ordering::Release);
    for _ in 0..tasks {
        let (answers, news) = (answers.clone(), news.clone());
        runtime.spawn(async move {
            let mut seen = 0;
            answers.answer();
            while !answers.is_over() {
                // As its documentation says: listen, look, wait.
                let changed = news.0.notified();
                let now = news.1.load(Ordering::Acquire);
                if now == seen {
                    changed.await;
                    continue;
                }
                seen = now;
                answers.answer();
            }
        });
    }
    all_wait(&answers);
    let measured = answers.measure(changes(tasks), |n| {
        news.1.store(n, Ordering::Release);
        news.0.notify_waiters();
    });
    end(runtime);
    measured
}

/// All have begun; and a moment later all wait.
fn all_wait(answers: &Answers) {
    while answers.left.load(Ordering::Acquire) > 0 {
        std::thread::park();
    }
    std::thread::sleep(Duration::from_millis(20));
}

fn end(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_timeout(Duration::from_secs(10));
}
