//! Tasks on the runtimes that people use: tokio with many threads and with one, smol, pollster. (What a task is, without
//! any of them: `local/futures`.)

use contempo::{
    Abort, CancellationToken, Exhausted, TVar, Transaction, atomically, atomically_async,
    atomically_on_async, try_atomically_async,
};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A runtime: what runs tasks beside each other, and waits for all.
trait Runtime {
    const NAME: &str;
    fn run(main: impl Future<Output = ()> + Send + 'static, jobs: Vec<Job>);
}

struct TokioThreads;

impl Runtime for TokioThreads {
    const NAME: &str = "tokio, 4 threads";

    fn run(main: impl Future<Output = ()> + Send + 'static, jobs: Vec<Job>) {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        on_tokio(builder.worker_threads(4), main, jobs);
    }
}

struct TokioThread;

impl Runtime for TokioThread {
    const NAME: &str = "tokio, this thread";

    fn run(main: impl Future<Output = ()> + Send + 'static, jobs: Vec<Job>) {
        on_tokio(&mut tokio::runtime::Builder::new_current_thread(), main, jobs);
    }
}

/// No timer, no input: contempo needs nothing of a runtime but its wakers.
fn on_tokio(builder: &mut tokio::runtime::Builder, main: impl Future<Output = ()>, jobs: Vec<Job>) {
    builder.build().unwrap().block_on(async {
        let jobs: Vec<_> = jobs.into_iter().map(tokio::spawn).collect();
        main.await;
        for job in jobs {
            job.await.unwrap();
        }
    });
}

struct Smol;

impl Runtime for Smol {
    const NAME: &str = "smol";

    fn run(main: impl Future<Output = ()> + Send + 'static, jobs: Vec<Job>) {
        smol::block_on(async {
            let jobs: Vec<_> = jobs.into_iter().map(smol::spawn).collect();
            main.await;
            for job in jobs {
                job.await;
            }
        });
    }
}

/// A thread for each.
struct Pollster;

impl Runtime for Pollster {
    const NAME: &str = "pollster";

    fn run(main: impl Future<Output = ()> + Send + 'static, jobs: Vec<Job>) {
        let jobs: Vec<_> =
            jobs.into_iter().map(|job| std::thread::spawn(|| pollster::block_on(job))).collect();
        pollster::block_on(main);
        for job in jobs {
            job.join().unwrap();
        }
    }
}

fn on_each(scenario: impl Fn(&dyn Fn(Job, Vec<Job>))) {
    fn on<R: Runtime>(scenario: &impl Fn(&dyn Fn(Job, Vec<Job>))) {
        println!("{}", R::NAME);
        scenario(&|main, jobs| R::run(main, jobs));
    }
    on::<TokioThreads>(&scenario);
    on::<TokioThread>(&scenario);
    on::<Smol>(&scenario);
    on::<Pollster>(&scenario);
}

fn job(future: impl Future<Output = ()> + Send + 'static) -> Job {
    Box::pin(future)
}

/// Takes one from the cell.
async fn take_one(cell: &TVar<u64>) {
    atomically_async(|tx| {
        let left = *tx.read(cell)?;
        tx.check(left > 0)?;
        tx.write(cell, left - 1)
    })
    .await;
}

#[test]
fn producers_and_consumers() {
    const EACH: u64 = 200;
    const PAIRS: usize = 6;
    on_each(|run| {
        let stock = TVar::new(0);
        let jobs = (0..2 * PAIRS).map(|n| {
            let stock = stock.clone();
            job(async move {
                for _ in 0..EACH {
                    if n % 2 == 0 {
                        take_one(&stock).await;
                    } else {
                        atomically_async(|tx| tx.modify(&stock, |left| left + 1)).await;
                    }
                }
            })
        });
        run(job(async {}), jobs.collect());
        assert_eq!(stock.load(), 0);
    });
}

#[test]
fn transfers_conflict_and_no_money_is_lost() {
    const EACH: u64 = 200;
    const TASKS: u64 = 8;
    on_each(|run| {
        let accounts: Vec<TVar<u64>> = (0..3).map(|_| TVar::new(1000)).collect();
        let jobs = (0..TASKS).map(|n| {
            let accounts = accounts.clone();
            job(async move {
                for step in 0..EACH {
                    let from = &accounts[((n + step) % 3) as usize];
                    let to = &accounts[((n + 2 * step + 1) % 3) as usize];
                    let transfer = |tx: &Transaction<'_>| {
                        tx.modify(from, |balance| balance - 1)?;
                        tx.modify(to, |balance| balance + 1)
                    };
                    if n % 2 == 0 {
                        atomically_async(transfer).await;
                    } else {
                        atomically_on_async((from, to), transfer).await;
                    }
                }
            })
        });
        run(job(async {}), jobs.collect());
        assert_eq!(accounts.iter().map(TVar::load).sum::<u64>(), 3000);
    });
}

#[test]
fn threads_serve_tasks_and_tasks_serve_threads() {
    const EACH: u64 = 100;
    const PAIRS: usize = 4;
    on_each(|run| {
        let cells: Vec<TVar<u64>> = (0..PAIRS).map(|_| TVar::new(0)).collect();
        let threads: Vec<_> = cells
            .iter()
            .map(|cell| {
                let cell = cell.clone();
                std::thread::spawn(move || {
                    for n in 0..EACH {
                        atomically(|tx| {
                            tx.check(*tx.read(&cell)? == 2 * n)?;
                            tx.write(&cell, 2 * n + 1)
                        });
                    }
                })
            })
            .collect();
        let jobs = cells.iter().map(|cell| {
            let cell = cell.clone();
            job(async move {
                for n in 0..EACH {
                    atomically_async(|tx| {
                        tx.check(*tx.read(&cell)? == 2 * n + 1)?;
                        tx.write(&cell, 2 * n + 2)
                    })
                    .await;
                }
            })
        });
        run(job(async {}), jobs.collect());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(cells.iter().all(|cell| cell.load() == 2 * EACH));
    });
}

#[test]
fn all_that_poll_for_one_change_are_answered() {
    const TASKS: usize = 600;
    on_each(|run| {
        let (news, ready) = (TVar::new(0_u64), TVar::new(0_usize));
        let jobs = (0..TASKS).map(|n| {
            let (news, ready) = (news.clone(), ready.clone());
            job(async move {
                ready.update(|n| n + 1);
                if n % 2 == 0 {
                    let answer = atomically_async(|tx| {
                        let now = *tx.read(&news)?;
                        tx.check(now > 0)?;
                        Ok(now)
                    });
                    assert_eq!(answer.await, 1);
                } else {
                    let mut changes = news.changes();
                    while changes.next().await == 0 {}
                }
            })
        });
        let main = {
            let (news, ready) = (news.clone(), ready.clone());
            async move {
                atomically_async(|tx| tx.check(*tx.read(&ready)? == TASKS)).await;
                news.store(1);
            }
        };
        run(job(main), jobs.collect());
    });
}

#[test]
fn time_outs_and_cancellation_need_no_timer_of_the_runtime() {
    on_each(|run| {
        let (never, stop) = (TVar::new(0_u64), CancellationToken::new());
        let soon = Duration::from_millis(5);
        let (cell, token) = (never.clone(), stop.clone());
        let cancelled = job(async move {
            let builder = Transaction::builder().cancelled_by(&token);
            let ended = builder.run_async(|tx| tx.check(*tx.read(&cell)? > 0)).await;
            assert_eq!(ended, Err(Exhausted::Cancelled));
        });
        let (cell, token) = (never.clone(), stop.clone());
        let main = async move {
            let waited = atomically_async(|tx| match *tx.read(&cell)? {
                0 => tx.retry_timeout(soon).map(|()| false),
                _ => Ok(true),
            });
            assert!(!waited.await);
            let builder = Transaction::builder().timeout(soon);
            let ended = builder.run_async(|tx| tx.check(*tx.read(&cell)? > 0)).await;
            assert!(matches!(ended, Err(Exhausted::Deadline { .. })));
            let failed = try_atomically_async(|tx| {
                tx.write(&cell, 1)?;
                Err::<(), _>(Abort::error("undone"))
            });
            assert_eq!((failed.await, cell.load()), (Err("undone"), 0));
            token.cancel();
        };
        run(job(main), vec![cancelled]);
    });
}

#[test]
fn a_runtimes_own_time_out_and_select_drop_the_future() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (cell, other) = (TVar::new(0_u64), TVar::new(0_u64));
        let late = tokio::time::timeout(Duration::from_millis(5), take_one(&cell)).await;
        assert!(late.is_err());
        cell.store(1);
        tokio::select! {
            () = take_one(&other) => panic!("there is nothing"),
            () = take_one(&cell) => {}
        }
        assert_eq!((cell.load(), other.load()), (0, 0));
        // What was dropped takes no wake-up from another.
        let waiting = tokio::spawn({
            let other = other.clone();
            async move { take_one(&other).await }
        });
        tokio::task::yield_now().await;
        other.store(1);
        waiting.await.unwrap();
        assert_eq!(other.load(), 0);
    });
}
