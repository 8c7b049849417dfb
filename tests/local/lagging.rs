//! Readers that began long ago beside writers that never pause: what they see, and how far they have to walk.

use crate::support::{alone, settle};
use contempo::{TVar, Transaction, atomically, collect, snapshot};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

const CELLS: usize = 100;

/// Another thread inside a session, which does what it is told.
struct Session {
    say: Option<Sender<()>>,
    heard: Receiver<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Session {
    /// Begins `session`, which waits for the first word when it has begun, and then says when it has ended.
    fn begin(session: impl FnOnce(&dyn Fn()) + Send + 'static) -> Self {
        let ((say, hears), (says, heard)) = (channel(), channel());
        let thread = thread::spawn(move || {
            session(&|| {
                says.send(()).unwrap();
                hears.recv().unwrap();
            });
        });
        heard.recv().unwrap();
        Session { say: Some(say), heard, thread: Some(thread) }
    }

    /// Lets it go on, and waits for its end.
    fn end(mut self) {
        self.say.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap();
        assert!(self.heard.recv().is_err());
    }
}

fn cells() -> Vec<TVar<usize>> {
    (0..CELLS).map(|_| TVar::new(0)).collect()
}

/// Every cell gets this value, one after the other, and once more in a transaction of all.
fn write_all(cells: &[TVar<usize>], rounds: std::ops::Range<usize>) {
    for round in rounds {
        cells.iter().for_each(|cell| cell.store(usize::MAX));
        atomically(|tx| cells.iter().try_for_each(|cell| tx.write(cell, round)));
    }
}

/// A session that sees all cells at `round`, whenever it looks.
fn snapshot_at(cells: &[TVar<usize>], round: usize) -> Session {
    let cells = cells.to_vec();
    Session::begin(move |wait| {
        snapshot(|view| {
            assert_eq!(*view.read(&cells[0]), round);
            wait();
            assert!(cells.iter().all(|cell| *view.read(cell) == round), "at {round}");
        });
    })
}

#[test]
fn each_of_many_lagging_snapshots_sees_its_moment() {
    let _turn = alone();
    let cells = cells();
    let mut sessions = Vec::new();
    for round in 0..12 {
        sessions.push(snapshot_at(&cells, round * 20));
        write_all(&cells, round * 20 + 1..round * 20 + 21);
    }
    // Those in the middle end first: what they needed is needed by none then, and their neighbours see theirs.
    for at in [5, 4, 4, 0, 2, 3, 0] {
        sessions.remove(at).end();
        write_all(&cells, 300..340);
    }
    sessions.into_iter().for_each(Session::end);
    collect();
}

#[test]
fn a_read_only_transaction_that_lags_sees_its_moment() {
    let _turn = alone();
    let cells = cells();
    let lagging = {
        let cells = cells.clone();
        Session::begin(move |wait| {
            let mut attempts = 0;
            atomically(|tx: &Transaction<'_>| {
                attempts += 1;
                assert_eq!(*tx.read(&cells[0])?, 0);
                wait();
                for cell in &cells {
                    assert_eq!(*tx.read(cell)?, 0);
                }
                Ok(())
            });
            assert_eq!(attempts, 1, "a transaction that only reads is not repeated");
        })
    };
    write_all(&cells, 1..200);
    lagging.end();
}

#[test]
fn a_writing_transaction_that_lags_reads_the_newest_or_is_repeated() {
    let _turn = alone();
    let (cells, sum) = (cells(), TVar::new(0));
    let lagging = {
        let (cells, sum) = (cells.clone(), sum.clone());
        Session::begin(move |wait| {
            let mut attempts = 0;
            atomically(|tx: &Transaction<'_>| {
                attempts += 1;
                tx.write(&sum, 0)?;
                if attempts == 1 {
                    // Nothing of what was read changes: the attempt may go on at the bound of now.
                    tx.read(&sum)?;
                    wait();
                }
                let mut all = 0;
                for cell in &cells {
                    all += *tx.read(cell)?;
                }
                tx.write(&sum, all)
            });
            assert_eq!(attempts, 1, "it moved its bound, as nothing that it had read was changed");
        })
    };
    write_all(&cells, 1..200);
    lagging.end();
    assert_eq!(sum.load(), 199 * CELLS);
}

#[test]
fn values_with_destructors_are_seen_by_those_that_lag() {
    let _turn = alone();
    let cell = TVar::new(String::from("first"));
    let mut sessions = Vec::new();
    for n in 0..6 {
        let (seen, same) = (cell.load(), cell.clone());
        sessions.push(Session::begin(move |wait| {
            snapshot(|view| {
                wait();
                assert_eq!(*view.read(&same), seen);
            });
        }));
        (0..2000).for_each(|m| cell.store(format!("{n}, {m}")));
    }
    sessions.into_iter().rev().for_each(Session::end);
}

#[test]
fn links_of_threads_that_have_ended_are_looked_at_by_others() {
    let _turn = alone();
    let cells = cells();
    let lagging = snapshot_at(&cells, 0);
    for round in 1..200 {
        let cells = cells.clone();
        thread::spawn(move || write_all(&cells, round..round + 1)).join().unwrap();
    }
    lagging.end();
}

/// Money that is always the same, in values that say if they are torn.
#[derive(Clone, Copy)]
struct Account {
    balance: i64,
    check: [i64; 3],
}

impl Account {
    fn new(balance: i64) -> Self {
        Account { balance, check: [!balance, balance ^ 0x5555, !balance] }
    }

    fn balance(&self) -> i64 {
        let Account { balance, check } = *self;
        assert_eq!(check, [!balance, balance ^ 0x5555, !balance], "a torn value");
        balance
    }
}

/// One of a few simple random numbers.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
    (*state >> 33) as usize
}

#[test]
fn sums_hold_beside_readers_that_lag_and_writers_that_stop() {
    let _turn = alone();
    const ACCOUNTS: usize = 40;
    let accounts: Vec<_> = (0..ACCOUNTS).map(|_| TVar::new(Account::new(100))).collect();
    let names: Vec<_> = (0..ACCOUNTS).map(|n| TVar::new(format!("{n}: 0"))).collect();
    let stop = AtomicBool::new(false);
    let sum_of = |view: &contempo::Snapshot<'_>| -> i64 {
        accounts.iter().map(|account| view.read(account).balance()).sum()
    };
    thread::scope(|scope| {
        for seed in 0..3_u64 {
            let (accounts, names, stop) = (&accounts, &names, &stop);
            scope.spawn(move || {
                let mut state = seed;
                while !stop.load(Ordering::Relaxed) {
                    let (from, to) = (next(&mut state) % ACCOUNTS, next(&mut state) % ACCOUNTS);
                    let amount = next(&mut state) as i64 % 10;
                    match next(&mut state) % 64 {
                        0 => accounts[from].update(|it| Account::new(it.balance())),
                        1 => names[from].store(format!("{from}: {amount}")),
                        2 => atomically(|tx| {
                            tx.modify(&names[from], |it| {
                                format!("{}: {amount}", it.split(':').next().unwrap())
                            })
                        }),
                        // One that stops in its closure, now and then for long.
                        3 if next(&mut state).is_multiple_of(64) => atomically(|tx| {
                            let before = tx.read(&accounts[from])?.balance();
                            thread::sleep(std::time::Duration::from_millis(3));
                            tx.write(&accounts[from], Account::new(before))
                        }),
                        _ if from != to => atomically(|tx| {
                            let (a, b) = (tx.read(&accounts[from])?, tx.read(&accounts[to])?);
                            tx.write(&accounts[from], Account::new(a.balance() - amount))?;
                            tx.write(&accounts[to], Account::new(b.balance() + amount))
                        }),
                        _ => {}
                    }
                }
            });
        }
        for seed in 10..13_u64 {
            let (names, stop, sum_of) = (&names, &stop, &sum_of);
            scope.spawn(move || {
                let mut state = seed;
                while !stop.load(Ordering::Relaxed) {
                    snapshot(|view| {
                        for _ in 0..next(&mut state) % 4 {
                            thread::sleep(std::time::Duration::from_millis(
                                next(&mut state) as u64 % 9,
                            ));
                            assert_eq!(sum_of(view), 100 * ACCOUNTS as i64);
                            for (n, name) in names.iter().enumerate() {
                                assert!(view.read(name).starts_with(&format!("{n}:")));
                            }
                        }
                    });
                }
            });
        }
        thread::sleep(std::time::Duration::from_secs(2));
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(snapshot(sum_of), 100 * ACCOUNTS as i64);
}

/// Says when it is dropped, and is large: memory of such values goes back to the system.
struct Large {
    name: &'static str,
    _rest: [u64; 1 << 12],
}

fn large(name: &'static str) -> Large {
    Large { name, _rest: [1; 1 << 12] }
}

/// What the destructor of the value "runs" does, once.
static IN_DESTRUCTOR: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);
static DROPPED: AtomicBool = AtomicBool::new(false);

impl Drop for Large {
    fn drop(&mut self) {
        if self.name == "runs"
            && let Some(run) = { IN_DESTRUCTOR.lock().unwrap().take() }
        {
            run();
        }
        if self.name == "watched" {
            DROPPED.store(true, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_cell_without_handles_stays_for_a_session_that_moves_its_bound() {
    let _turn = alone();
    DROPPED.store(false, Ordering::SeqCst);
    let handle = Arc::new(Mutex::new(Some(TVar::new(large("watched")))));
    let (counter, other) = (TVar::new(0), TVar::new(0));
    let mut attempts = 0;
    atomically(|tx| {
        attempts += 1;
        let theirs = handle.lock().unwrap().clone();
        let Some(cell) = theirs else { return Ok(()) };
        let value = tx.read(&cell)?;
        drop(cell);
        tx.write(&other, 1)?;
        // The last handle goes, and much is committed, and freed.
        let (handle, shared) = (Arc::clone(&handle), counter.clone());
        thread::spawn(move || {
            drop(handle.lock().unwrap().take());
            (0..5000).for_each(|n| shared.store(n));
            collect();
        })
        .join()
        .unwrap();
        assert_eq!(*tx.read(&counter)?, 4999, "it moves its bound");
        let shared = counter.clone();
        thread::spawn(move || {
            (0..100).for_each(|n| shared.store(n));
            collect();
        })
        .join()
        .unwrap();
        assert!(!DROPPED.load(Ordering::SeqCst) && value.name == "watched");
        Ok(())
    });
    settle(&format!("it goes after {attempts} attempts"), || {
        collect();
        DROPPED.load(Ordering::SeqCst)
    });
}

#[test]
fn what_goes_with_a_cell_that_was_dropped_before_its_commit_is_not_followed() {
    let _turn = alone();
    let (busy, other) = (TVar::new([0_u64; 1 << 10]), TVar::new(0));
    let mut lagging = None;
    atomically(|tx| {
        let cell = TVar::new(large(""));
        tx.write(&cell, large(""))?;
        drop(cell); // It is retired at the clock of this moment.
        let other = other.clone();
        lagging.get_or_insert_with(|| {
            Session::begin(move |wait| {
                (0..50).for_each(|n| other.store(n));
                collect();
                snapshot(|view| {
                    assert_eq!(*view.read(&other), 49);
                    wait();
                });
            })
        });
        Ok(())
    });
    // It looks at what it has committed, which has gone with that cell.
    (0..10_000).for_each(|n| busy.store([n; 1 << 10]));
    lagging.unwrap().end();
}

#[test]
fn a_destructors_transaction_begins_above_what_its_thread_has_freed() {
    let _turn = alone();
    let (first, second) = (TVar::new(large("")), TVar::new(large("runs")));
    let (own, other) = (TVar::new(0), TVar::new(0));
    let ((inside, is_inside), (go_on, goes_on)) = (channel(), channel::<()>());
    let cell = own.clone();
    *IN_DESTRUCTOR.lock().unwrap() = Some(Box::new(move || {
        atomically(|tx| {
            tx.write(&cell, 7)?;
            inside.send(()).unwrap();
            goes_on.recv().unwrap();
            Ok(())
        });
    }));
    // One that has written, and so knows a stamp; then it lags.
    let lagging = Session::begin(move |wait| {
        other.store(1);
        snapshot(|_| wait());
    });
    // Another keeps a link to what the one holds.
    let ((say, hears), (says, heard)) = (channel::<()>(), channel());
    let cell = first.clone();
    let writer = thread::spawn(move || {
        let plain = TVar::new(0);
        cell.store(large(""));
        says.send(()).unwrap();
        hears.recv().unwrap();
        (0..20_000).for_each(|n| plain.store(n));
    });
    heard.recv().unwrap();
    thread::spawn(move || {
        first.store(large(""));
        second.store(large(""));
    })
    .join()
    .unwrap();
    // The one ends, frees all of that, and runs the destructor's transaction; the other looks meanwhile.
    let ending = thread::spawn(move || lagging.end());
    is_inside.recv().unwrap();
    say.send(()).unwrap();
    writer.join().unwrap();
    go_on.send(()).unwrap();
    ending.join().unwrap();
    assert_eq!(own.load(), 7);
}
