//! The vector of regions against that of std: first sequentially, then by threads, then by processes.
#![cfg(all(target_os = "linux", target_pointer_width = "64", not(feature = "clock-tsc")))]

#[path = "support/collections.rs"]
mod collections;
#[path = "support/region.rs"]
mod region;

use bytemuck::Pod;
use collections::{config, sound};
use contempo::shared::collections::Vector;
use contempo::shared::{
    Cell, Interrupt, Options, Reader, RootError, Shared, Transaction, TransactionError,
};
use proptest::prelude::*;
use region::{Place, play, role};
use std::fmt::Debug;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug)]
enum Step {
    Push(u32),
    PushAll(u32),
    Pop,
    PopAll(u32),
    Get(usize),
    Set(usize, u32),
    Look,
    Clear,
}

fn bodies() -> impl Strategy<Value = Vec<(Vec<Step>, bool)>> {
    let index = || prop_oneof![0..4_usize, 0..300_usize, Just(usize::MAX)];
    let step = prop_oneof![
        8 => any::<u32>().prop_map(Step::Push),
        3 => (0..100_u32).prop_map(Step::PushAll),
        8 => Just(Step::Pop),
        2 => (0..100_u32).prop_map(Step::PopAll),
        6 => index().prop_map(Step::Get),
        6 => (index(), any::<u32>()).prop_map(|(index, value)| Step::Set(index, value)),
        2 => Just(Step::Look),
        1 => Just(Step::Clear),
    ];
    let steps = prop::collection::vec(step, 1..30);
    prop::collection::vec((steps, prop::bool::weighted(0.2)), 1..10)
}

fn agree<'a, T: Pod + PartialEq + Debug>(
    at: &impl Reader<'a>,
    vector: &Vector<T>,
    model: &[T],
) -> Result<(), Interrupt> {
    let all: Vec<T> = vector.iter(at).collect::<Result<_, _>>()?;
    assert_eq!(all, model);
    assert_eq!((vector.len(at)?, vector.is_empty(at)?), (model.len(), model.is_empty()));
    for index in (0..model.len() + 3).step_by(7) {
        assert_eq!(vector.get(at, index)?.as_ref(), model.get(index));
    }
    Ok(())
}

fn run<T: Pod + PartialEq + Debug>(
    tx: &Transaction<'_>,
    vector: &Vector<T>,
    model: &mut Vec<T>,
    steps: &[Step],
    value: fn(u32) -> T,
) -> Result<(), Interrupt> {
    let push = |model: &mut Vec<T>, n| -> Result<(), Interrupt> {
        assert_eq!(vector.push(tx, value(n))?, model.len());
        model.push(value(n));
        Ok(())
    };
    for step in steps {
        match step {
            Step::Push(n) => push(model, *n)?,
            Step::PushAll(count) => (0..*count).try_for_each(|n| push(model, n))?,
            Step::Pop => assert_eq!(vector.pop(tx)?, model.pop()),
            Step::PopAll(count) => {
                for _ in 0..*count {
                    assert_eq!(vector.pop(tx)?, model.pop());
                }
            }
            Step::Get(index) => {
                assert_eq!(vector.get(tx, *index)?.as_ref(), model.get(*index));
            }
            Step::Set(index, n) => {
                let place = model.get_mut(*index);
                let before = place.map(|place| std::mem::replace(place, value(*n)));
                assert_eq!(vector.set(tx, *index, value(*n))?, before);
            }
            Step::Look => agree(tx, vector, model)?,
            Step::Clear => {
                vector.clear(tx)?;
                model.clear();
            }
        }
    }
    Ok(())
}

fn agrees_with_the_model<T: Pod + PartialEq + Debug>(
    bodies: &[(Vec<Step>, bool)],
    value: fn(u32) -> T,
) {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let vector: Vector<T> = Vector::root(&shared, "vector").unwrap();
    let mut model = Vec::new();
    for (steps, cancelled) in bodies {
        let mut tried = Vec::new();
        let result = shared.atomically(|tx| {
            tried.clone_from(&model);
            run(tx, &vector, &mut tried, steps, value)?;
            if *cancelled { tx.cancel() } else { Ok(()) }
        });
        assert_eq!(result.is_err(), *cancelled, "{result:?}");
        if result.is_ok() {
            model = tried;
        }
        shared.snapshot(|view| agree(view, &vector, &model)).unwrap();
    }
    sound(&shared);
    shared.atomically(|tx| (0..model.len()).try_for_each(|_| vector.pop(tx).map(drop))).unwrap();
    sound(&shared);
    assert_eq!(shared.check().cells, 2, "the directory, and an empty chunk");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_vector_of_words(bodies in bodies()) {
        agrees_with_the_model(&bodies, u64::from);
    }

    /// One item in a chunk: there are as many chunks as items.
    #[test]
    fn a_vector_of_large_items(bodies in bodies()) {
        agrees_with_the_model(&bodies, |n| [n as u8; 1025]);
    }

    #[test]
    fn a_vector_of_nothing(bodies in bodies()) {
        agrees_with_the_model(&bodies, |_| ());
    }
}

#[test]
fn a_vector_grows_by_levels_and_shrinks_again() {
    const ITEMS: u64 = 64 * 64 + 70;
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let vector: Vector<[u64; 129]> = Vector::root(&shared, "vector").unwrap();
    for n in 0..ITEMS {
        assert_eq!(shared.atomically(|tx| vector.push(tx, [n; 129])).unwrap(), n as usize);
    }
    // A chunk for each item; 64 + 2 nodes above them, 2 above those, and the top; the directory.
    assert_eq!(shared.check().cells as u64, ITEMS + 66 + 2 + 1 + 1);
    let all = shared.snapshot(|view| {
        assert_eq!(vector.len(view)? as u64, ITEMS);
        vector.iter(view).map(|item| Ok(item?[0])).collect::<Result<Vec<_>, _>>()
    });
    assert!(all.unwrap().into_iter().eq(0..ITEMS));
    for n in (0..ITEMS).rev() {
        let (last, beyond) =
            shared.atomically(|tx| Ok((vector.pop(tx)?, vector.get(tx, n as usize)?))).unwrap();
        assert_eq!((last.map(|item| item[128]), beyond), (Some(n), None));
    }
    sound(&shared);
    assert_eq!(shared.check().cells, 2);
}

#[test]
fn different_chunks_do_not_conflict() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let vector: Vector<u64> = Vector::root(&shared, "vector").unwrap();
    shared.atomically(|tx| (0..1000).try_for_each(|n| vector.push(tx, n).map(drop))).unwrap();
    let elsewhere = |what: &(dyn Fn(&Transaction<'_>) -> Result<(), Interrupt> + Sync)| {
        let commit = || shared.atomically(what).unwrap();
        std::thread::scope(|scope| scope.spawn(commit).join().unwrap());
    };
    let mut attempts = 0;
    shared
        .atomically(|tx| {
            attempts += 1;
            let before = vector.get(tx, 10)?;
            vector.set(tx, 100, 7)?;
            if attempts == 1 {
                elsewhere(&|tx| vector.push(tx, 0).map(drop)); // The last chunk, which has room.
                elsewhere(&|tx| vector.set(tx, 500, 1).map(drop));
            }
            assert_eq!((before, vector.get(tx, 11)?), (Some(10), Some(11)));
            Ok(())
        })
        .unwrap();
    assert_eq!(attempts, 1);
    shared
        .atomically(|tx| {
            attempts += 1;
            vector.get(tx, 10)?;
            vector.set(tx, 100, 8)?;
            if attempts == 2 {
                elsewhere(&|tx| vector.set(tx, 12, 1).map(drop)); // The same chunk as 10.
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(attempts, 3, "that should have been a conflict");
}

#[test]
fn threads_share_a_vector() {
    const THREADS: u64 = 3;
    const EACH: u64 = 3000;
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let vector: Vector<u64> = Vector::root(&shared, "vector").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let shared = &shared;
                scope.spawn(move || {
                    for n in 0..EACH {
                        shared
                            .atomically(|tx| {
                                let at = vector.push(tx, thread << 32 | n)?;
                                // Two more go and come: chunks do, too.
                                if n % 5 == 0 && at > 1 {
                                    let two = [vector.pop(tx)?, vector.pop(tx)?];
                                    for item in two.into_iter().rev().flatten() {
                                        vector.push(tx, item)?;
                                    }
                                }
                                Ok(())
                            })
                            .unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let all = shared.snapshot(|view| {
                    let all: Vec<u64> = vector.iter(view).collect::<Result<_, _>>()?;
                    assert_eq!(vector.len(view)?, all.len());
                    Ok(all)
                });
                in_order(&all.unwrap(), THREADS);
            }
        });
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    let all: Vec<u64> = shared.snapshot(|view| vector.iter(view).collect()).unwrap();
    assert_eq!(in_order(&all, THREADS), [EACH; THREADS as usize]);
    sound(&shared);
}

/// What each of them has pushed is there in its order, and without a gap. How many of each there are.
fn in_order(items: &[u64], pushers: u64) -> Vec<u64> {
    let mut counts = vec![0; pushers as usize];
    for item in items {
        let count = &mut counts[(item >> 32) as usize];
        assert_eq!(item & 0xffff_ffff, *count, "{items:x?}");
        *count += 1;
    }
    counts
}

#[test]
fn processes_share_a_vector() {
    let name = "processes_share_a_vector";
    const EACH: u64 = 3000;
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let vector: Vector<u64> = Vector::root(&shared, "vector").unwrap();
        let worker: u64 = role.parse().unwrap();
        // The last one goes on until it is killed.
        for n in 0..if worker == 2 { u64::MAX } else { EACH } {
            shared.atomically(|tx| vector.push(tx, worker << 32 | n)).unwrap();
        }
        return;
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let vector: Vector<u64> = Vector::root(&shared, "vector").unwrap();
    let mut all: Vec<_> =
        (0..3).map(|worker| play(name, &worker.to_string(), place.path())).collect();
    let mut victim = all.pop().unwrap();
    let has_begun = || {
        let items = shared.snapshot(|view| vector.iter(view).collect::<Result<Vec<_>, _>>());
        items.unwrap().iter().any(|item| item >> 32 == 2)
    };
    while !has_begun() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    std::thread::sleep(std::time::Duration::from_millis(20));
    victim.kill().unwrap();
    assert_eq!(victim.wait().unwrap().signal(), Some(libc::SIGKILL));
    all.iter_mut().for_each(|worker| assert!(worker.wait().unwrap().success()));
    shared.reap().unwrap();
    let items: Vec<u64> = shared.snapshot(|view| vector.iter(view).collect()).unwrap();
    let counts = in_order(&items, 3);
    assert_eq!(counts[..2], [EACH, EACH]);
    assert!(counts[2] > 0);
    sound(&shared);
}

/// What no vector writes is an error of whoever reads it.
#[test]
fn nonsense_in_a_node_is_an_error() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let vector: Vector<u64> = Vector::root(&shared, "vector").unwrap();
    assert!(matches!(Vector::<i64>::root(&shared, "vector"), Err(RootError::OtherType)));
    let top = Cell::<[u8]>::from_words(bytemuck::cast(vector));
    let node = |level: u32, items: &[u64]| {
        let mut bytes = bytemuck::cast::<_, [u8; 8]>([items.len() as u32, level]).to_vec();
        bytes.extend(items.iter().flat_map(|item| item.to_ne_bytes()));
        bytes
    };
    let own = top.words()[0];
    let nonsense = [
        vec![],
        node(1, &[]),
        node(1, &[own]),
        node(1, &[own; 65]),
        node(40, &[own, own]),
        node(41, &[own]),
        node(0, &[1; 3])[..31].to_vec(),
    ];
    for bytes in nonsense {
        shared.atomically(|tx| tx.write(top, &bytes[..])).unwrap();
        let corrupt = |result: Result<(), TransactionError>| {
            assert!(matches!(result, Err(TransactionError::Corrupt)), "{result:?} for {bytes:?}");
        };
        corrupt(shared.atomically(|tx| vector.push(tx, 1).map(drop)));
        corrupt(shared.atomically(|tx| vector.pop(tx).map(drop)));
        corrupt(shared.atomically(|tx| vector.set(tx, 0, 1).map(drop)));
        corrupt(shared.snapshot(|view| vector.get(view, 0).map(drop)));
        corrupt(shared.snapshot(|view| vector.len(view).map(drop)));
        corrupt(shared.snapshot(|view| vector.iter(view).try_for_each(|item| item.map(drop))));
    }
    // One chunk 64 times, and that node 64 times, and so on: more items than anybody can count.
    let mut below = shared.atomically(|tx| tx.create(&node(0, &[7; 64])[..])).unwrap();
    for level in 1..8 {
        let full = node(level, &[below.words()[0]; 64]);
        below = shared.atomically(|tx| tx.create(&full[..])).unwrap();
    }
    let full = node(8, &[below.words()[0]; 64]);
    shared.atomically(|tx| tx.write(top, &full[..])).unwrap();
    let (mut count, last) = (0, 64_usize.pow(9) - 1);
    let all = shared.snapshot(|view| {
        assert_eq!(vector.len(view)?, last + 1);
        assert_eq!((vector.get(view, last)?, vector.get(view, last + 1)?), (Some(7), None));
        vector.iter(view).try_for_each(|item| item.map(|_| count += 1))
    });
    assert!(matches!(all, Err(TransactionError::Corrupt)), "{all:?}");
    assert_eq!(count, 64);
    shared.atomically(|tx| tx.write(top, &node(0, &[5])[..])).unwrap();
    assert_eq!(shared.atomically(|tx| vector.pop(tx)).unwrap(), Some(5));
}
