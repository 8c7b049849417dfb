//! Readers that began long ago beside writers that never pause, of this process and of others: what they see. (How far they
//! walk: `stm-core/src/region/tests/lagging.rs`.)

use crate::support::crowd::CROWDED;
use crate::support::region::{Place, command, fresh, role, sound};
use contempo::shared::{Cell, Options, Shared, Transaction};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

const CELLS: usize = 100;

fn cells(shared: &Shared) -> Vec<Cell<u64>> {
    (0..CELLS).map(|n| shared.root(&format!("cell {n}"), 0).unwrap()).collect()
}

/// Every cell gets this value, one after the other, and once more in a transaction of all.
fn write_all(shared: &Shared, cells: &[Cell<u64>], rounds: std::ops::Range<u64>) {
    for round in rounds {
        for cell in cells {
            shared.atomically(|tx| tx.write(*cell, &u64::MAX)).unwrap();
        }
        let all = |tx: &Transaction<'_>| cells.iter().try_for_each(|cell| tx.write(*cell, &round));
        shared.atomically(all).unwrap();
    }
}

/// A snapshot that sees all cells at `round`, now and once `wait` has returned.
fn sees(shared: &Shared, cells: &[Cell<u64>], round: u64, wait: impl FnOnce()) {
    let seen = shared.snapshot(|view| {
        assert_eq!(view.read(cells[0])?, round);
        wait();
        cells.iter().map(|cell| view.read(*cell)).collect::<Result<Vec<u64>, _>>()
    });
    let seen = seen.unwrap();
    assert!(seen.iter().all(|value| *value == round), "at {round}: {seen:?}");
}

#[test]
fn each_of_many_lagging_snapshots_sees_its_moment() {
    let (_place, shared) = fresh();
    let (cells, before) = (cells(&shared), shared.verify().cells);
    thread::scope(|scope| {
        let lag = |round| -> (Sender<()>, thread::ScopedJoinHandle<'_, ()>) {
            let ((say, hears), (begun, has_begun)) = (channel(), channel());
            let (shared, cells) = (&shared, &cells);
            let lagging = scope.spawn(move || {
                sees(shared, cells, round, || {
                    begun.send(()).unwrap();
                    hears.recv().unwrap();
                });
            });
            has_begun.recv().unwrap();
            (say, lagging)
        };
        let end = |(say, lagging): (Sender<()>, thread::ScopedJoinHandle<'_, ()>)| {
            say.send(()).unwrap();
            lagging.join().unwrap();
        };
        let mut lagging = Vec::new();
        for round in 0..12 {
            lagging.push(lag(round * 20));
            write_all(&shared, &cells, round * 20 + 1..round * 20 + 21);
        }
        // Those in the middle end first: what they needed is needed by none then, and their neighbours see theirs.
        for at in [5, 4, 4, 0, 2, 3, 0] {
            end(lagging.remove(at));
            write_all(&shared, &cells, 300..320);
        }
        lagging.into_iter().for_each(end);
    });
    shared.collect().unwrap();
    sound(&shared, before);
}

/// This test again, as another process that plays `role`, until it says that it has begun.
fn begin(test: &str, role: &str, place: &Path) -> Child {
    let mut child = command(test, role, place).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("begun")), "{role} has not begun");
    child
}

/// Tells it to go on, and waits for its end.
fn end(mut child: Child) {
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    assert!(child.wait().unwrap().success());
}

fn say_and_wait() {
    println!("begun");
    std::io::stdin().lines().next().unwrap().unwrap();
}

#[test]
fn snapshots_of_other_processes_see_their_moments() {
    let test = "snapshots_of_other_processes_see_their_moments";
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let cells = cells(&shared);
        match role.parse() {
            Ok(round) => sees(&shared, &cells, round, say_and_wait),
            // It writes, and says so when it has written.
            Err(_) => {
                write_all(&shared, &cells, 201..300);
                say_and_wait();
            }
        }
        return;
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let (cells, before) = (cells(&shared), shared.verify().cells);
    let mut readers = Vec::new();
    for round in 0..4 {
        readers.push(begin(test, &(round * 50).to_string(), place.path()));
        write_all(&shared, &cells, round * 50 + 1..round * 50 + 51);
    }
    // One is ended by a signal, and recovered: its neighbours go on.
    let mut killed = readers.remove(2);
    killed.kill().unwrap();
    killed.wait().unwrap();
    shared.reap().unwrap();
    // And a snapshot of this process, beside a writer in another one.
    sees(&shared, &cells, 200, || {
        let writer = begin(test, "writes", place.path());
        readers.drain(..).for_each(end);
        end(writer);
    });
    assert_eq!(shared.snapshot(|view| view.read(cells[0])).unwrap(), 299);
    shared.reap().unwrap();
    shared.collect().unwrap();
    sound(&shared, before);
}

#[test]
fn a_region_with_little_room_is_written_beside_a_reader_that_stays() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new().most_bytes(CROWDED)).unwrap();
    let cell = |n| shared.root_of(&format!("cell {n}"), &[0_u8; 500][..]).unwrap();
    let cells: Vec<_> = (0..CELLS).map(cell).collect();
    let before = shared.verify().cells;
    let ((begun, has_begun), (end, ends)) = (channel(), channel::<()>());
    thread::scope(|scope| {
        // (In a thread that has made nothing: what a thread inside of a session has, it keeps.)
        let (shared, cells) = (&shared, &cells);
        let reader = scope.spawn(move || {
            shared.snapshot(|view| {
                view.read(cells[0])?;
                begun.send(()).unwrap();
                ends.recv().unwrap();
                let is_first = |cell: &Cell<[u8]>| Ok(view.read(*cell)?.iter().all(|it| *it == 0));
                cells.iter().map(is_first).collect::<Result<Vec<bool>, _>>()
            })
        });
        has_begun.recv().unwrap();
        // Forty times as much as there is room for.
        for round in 1..=1000 {
            for cell in cells {
                let value = [round as u8; 500];
                shared.atomically(|tx| tx.write(*cell, &value[..])).unwrap();
            }
        }
        end.send(()).unwrap();
        assert!(reader.join().unwrap().unwrap().into_iter().all(|is_first| is_first));
    });
    sound(&shared, before);
}

#[test]
fn a_writing_transaction_that_lags_moves_to_the_newest() {
    let (_place, shared) = fresh();
    let (cells, sum) = (cells(&shared), shared.root("sum", 0_u64).unwrap());
    let (mut attempts, mut all) = (0, 0);
    let done = shared.atomically(|tx| {
        attempts += 1;
        tx.write(sum, &0)?;
        if attempts == 1 {
            // Nothing of what was read changes: the attempt may go on at the bound of now.
            let write = || write_all(&shared, &cells, 1..100);
            thread::scope(|scope| scope.spawn(write).join().unwrap());
        }
        all = 0;
        for cell in &cells {
            all += tx.read(*cell)?;
        }
        tx.write(sum, &all)
    });
    done.unwrap();
    assert_eq!((attempts, all), (1, 99 * CELLS as u64), "it moved its bound");
}

#[test]
fn sums_are_those_of_one_moment_beside_transfers() {
    const TRANSFERS: usize = 40_000;
    let (_place, shared) = fresh();
    let cells = cells(&shared);
    cells.iter().for_each(|cell| shared.atomically(|tx| tx.write(*cell, &1000)).unwrap());
    let (made, writing) = (AtomicUsize::new(0), AtomicUsize::new(2));
    let (shared, cells, made, writing) = (&shared, &cells, &made, &writing);
    // Reads half of them, lets so many transfers be made, and reads the rest.
    let look = |lag: usize| {
        let sum = shared.snapshot(|view| {
            let (mut sum, begin) = (0, made.load(Ordering::Relaxed));
            for (n, cell) in cells.iter().enumerate() {
                let goes_on = || made.load(Ordering::Relaxed) < begin + lag;
                while n == CELLS / 2 && goes_on() && writing.load(Ordering::Relaxed) > 0 {
                    thread::yield_now();
                }
                sum += view.read(*cell)?;
            }
            Ok(sum)
        });
        assert_eq!(sum.unwrap(), 1000 * CELLS as u64, "{lag} transfers behind");
    };
    thread::scope(|scope| {
        for first in 0..2 {
            scope.spawn(move || {
                for n in 0..TRANSFERS {
                    let (from, to) = (cells[n * 7 % CELLS], cells[(n * 13 + first + 1) % CELLS]);
                    let done = shared.atomically(|tx| {
                        let sum = tx.read(from)?.min(3);
                        tx.modify(from, |value| value - sum)?;
                        tx.modify(to, |value| value + sum)
                    });
                    done.unwrap();
                    made.fetch_add(1, Ordering::Relaxed);
                }
                writing.fetch_sub(1, Ordering::Relaxed);
            });
        }
        for lag in [0, 5000, 20_000] {
            scope.spawn(move || {
                while writing.load(Ordering::Relaxed) > 0 {
                    look(lag);
                }
            });
        }
    });
    look(0);
}
