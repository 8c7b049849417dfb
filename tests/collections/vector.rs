//! Vectors against that of std, and shared by threads.

use crate::support::canary::Cage;
use crate::support::elsewhere;
use crate::world::{At, Local, World, config, in_both_worlds, local};
use contempo::atomically;
use contempo::collections::TVector;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

/// A world with vectors.
trait Vectors<T>: World + Sized {
    type Vector: Clone + Send + Sync;

    /// The items of a chunk, and the children of a node.
    const CHUNK: usize;

    fn vector(&self) -> Self::Vector;
    fn push(tx: &Self::Tx<'_>, vector: &Self::Vector, value: T) -> Result<usize, Self::Stop>;
    fn pop(tx: &Self::Tx<'_>, vector: &Self::Vector) -> Result<Option<T>, Self::Stop>;
    fn set(
        tx: &Self::Tx<'_>,
        vector: &Self::Vector,
        index: usize,
        value: T,
    ) -> Result<Option<T>, Self::Stop>;
    fn clear(tx: &Self::Tx<'_>, vector: &Self::Vector) -> Result<(), Self::Stop>;
    fn get(
        at: At<'_, '_, Self>,
        vector: &Self::Vector,
        index: usize,
    ) -> Result<Option<T>, Self::Stop>;
    fn len(at: At<'_, '_, Self>, vector: &Self::Vector) -> Result<usize, Self::Stop>;
    fn is_empty(at: At<'_, '_, Self>, vector: &Self::Vector) -> Result<bool, Self::Stop>;
    fn items(at: At<'_, '_, Self>, vector: &Self::Vector) -> Result<Vec<T>, Self::Stop>;
}

impl<T: Clone + Send + Sync + 'static> Vectors<T> for Local {
    type Vector = TVector<T>;

    const CHUNK: usize = 32;

    fn vector(&self) -> Self::Vector {
        TVector::new()
    }

    fn push(tx: &Self::Tx<'_>, vector: &Self::Vector, value: T) -> Result<usize, Self::Stop> {
        vector.push(tx, value)
    }

    fn pop(tx: &Self::Tx<'_>, vector: &Self::Vector) -> Result<Option<T>, Self::Stop> {
        Ok(vector.pop(tx)?.cloned())
    }

    fn set(
        tx: &Self::Tx<'_>,
        vector: &Self::Vector,
        index: usize,
        value: T,
    ) -> Result<Option<T>, Self::Stop> {
        Ok(vector.set(tx, index, value)?.cloned())
    }

    fn clear(tx: &Self::Tx<'_>, vector: &Self::Vector) -> Result<(), Self::Stop> {
        vector.clear(tx)
    }

    fn get(
        at: At<'_, '_, Self>,
        vector: &Self::Vector,
        index: usize,
    ) -> Result<Option<T>, Self::Stop> {
        Ok(local!(at, |at| vector.get(at, index)).cloned())
    }

    fn len(at: At<'_, '_, Self>, vector: &Self::Vector) -> Result<usize, Self::Stop> {
        Ok(local!(at, |at| vector.len(at)))
    }

    fn is_empty(at: At<'_, '_, Self>, vector: &Self::Vector) -> Result<bool, Self::Stop> {
        Ok(local!(at, |at| vector.is_empty(at)))
    }

    fn items(at: At<'_, '_, Self>, vector: &Self::Vector) -> Result<Vec<T>, Self::Stop> {
        match at {
            At::Tx(tx) => vector.iter(tx).map(|item| item.cloned()).collect(),
            At::View(view) => Ok(vector.iter(view).cloned().collect()),
        }
    }
}

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod in_a_region {
    use super::{At, Vectors};
    use crate::support::collections::sound;
    use crate::support::region::{play, role};
    use crate::world::{Region, World, region};
    use bytemuck::Pod;
    use contempo::shared::collections::Vector;
    use contempo::shared::{Cell, RootError, Shared, TransactionError};
    use std::os::unix::process::ExitStatusExt;

    impl<T: Pod> Vectors<T> for Region {
        type Vector = Vector<T>;

        const CHUNK: usize = 64;

        fn vector(&self) -> Self::Vector {
            Vector::root(&self.shared, "vector").unwrap()
        }

        fn push(tx: &Self::Tx<'_>, vector: &Self::Vector, value: T) -> Result<usize, Self::Stop> {
            vector.push(tx, value)
        }

        fn pop(tx: &Self::Tx<'_>, vector: &Self::Vector) -> Result<Option<T>, Self::Stop> {
            vector.pop(tx)
        }

        fn set(
            tx: &Self::Tx<'_>,
            vector: &Self::Vector,
            index: usize,
            value: T,
        ) -> Result<Option<T>, Self::Stop> {
            vector.set(tx, index, value)
        }

        fn clear(tx: &Self::Tx<'_>, vector: &Self::Vector) -> Result<(), Self::Stop> {
            vector.clear(tx)
        }

        fn get(
            at: At<'_, '_, Self>,
            vector: &Self::Vector,
            index: usize,
        ) -> Result<Option<T>, Self::Stop> {
            Ok(region!(at, |at| vector.get(at, index)))
        }

        fn len(at: At<'_, '_, Self>, vector: &Self::Vector) -> Result<usize, Self::Stop> {
            Ok(region!(at, |at| vector.len(at)))
        }

        fn is_empty(at: At<'_, '_, Self>, vector: &Self::Vector) -> Result<bool, Self::Stop> {
            Ok(region!(at, |at| vector.is_empty(at)))
        }

        fn items(at: At<'_, '_, Self>, vector: &Self::Vector) -> Result<Vec<T>, Self::Stop> {
            match at {
                At::Tx(tx) => vector.iter(tx).collect(),
                At::View(view) => vector.iter(view).collect(),
            }
        }
    }

    #[test]
    fn processes_share_a_vector() {
        let name = "in_a_region::processes_share_a_vector";
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
        let world = Region::new();
        let (shared, place) = (&world.shared, &world.place);
        let vector: Vector<u64> = Vector::root(shared, "vector").unwrap();
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
        let counts = super::in_order(&items, 3);
        assert_eq!(counts[..2], [EACH, EACH]);
        assert!(counts[2] > 0);
        sound(shared);
    }

    /// What no vector writes is an error of the transaction that reads it.
    #[test]
    fn nonsense_in_a_node_is_an_error() {
        let world = Region::new();
        let shared = &world.shared;
        let vector: Vector<u64> = Vector::root(shared, "vector").unwrap();
        assert!(matches!(Vector::<i64>::root(shared, "vector"), Err(RootError::OtherType)));
        let top = Cell::<[u8]>::from_bits(bytemuck::cast(vector));
        let node = |level: u32, items: &[u64]| {
            let mut bytes = bytemuck::cast::<_, [u8; 8]>([items.len() as u32, level]).to_vec();
            bytes.extend(items.iter().flat_map(|item| item.to_ne_bytes()));
            bytes
        };
        let own = top.to_bits()[0];
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
                assert!(
                    matches!(result, Err(TransactionError::Corrupt)),
                    "{result:?} for {bytes:?}"
                );
            };
            corrupt(shared.atomically(|tx| vector.push(tx, 1).map(drop)));
            corrupt(shared.atomically(|tx| vector.pop(tx).map(drop)));
            corrupt(shared.atomically(|tx| vector.set(tx, 0, 1).map(drop)));
            corrupt(shared.snapshot(|view| vector.get(view, 0).map(drop)));
            corrupt(shared.snapshot(|view| vector.len(view).map(drop)));
            corrupt(shared.snapshot(|view| vector.iter(view).try_for_each(|item| item.map(drop))));
        }
        // One chunk 64 times, and that node 64 times, and so on: more items than any program can count.
        let mut below = shared.atomically(|tx| tx.create(&node(0, &[7; 64])[..])).unwrap();
        for level in 1..8 {
            let full = node(level, &[below.to_bits()[0]; 64]);
            below = shared.atomically(|tx| tx.create(&full[..])).unwrap();
        }
        let full = node(8, &[below.to_bits()[0]; 64]);
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
}

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

/// Looks the same things up in both.
macro_rules! agree {
    ($world:ty, $value:ty, $at:expr, $vector:expr, $model:expr) => {{
        let (vector, model): (_, &Vec<$value>) = ($vector, $model);
        assert_eq!(&<$world as Vectors<$value>>::items($at, vector)?, model);
        assert_eq!(<$world as Vectors<$value>>::len($at, vector)?, model.len());
        assert_eq!(<$world as Vectors<$value>>::is_empty($at, vector)?, model.is_empty());
        for index in (0..model.len() + 3).step_by(7) {
            let item = <$world as Vectors<$value>>::get($at, vector, index)?;
            assert_eq!(item.as_ref(), model.get(index));
        }
    }};
}

fn run<W: Vectors<T>, T: PartialEq + Debug + Clone>(
    tx: &W::Tx<'_>,
    vector: &W::Vector,
    model: &mut Vec<T>,
    steps: &[Step],
    value: fn(u32) -> T,
) -> Result<(), W::Stop> {
    let push = |model: &mut Vec<T>, n| -> Result<(), W::Stop> {
        assert_eq!(W::push(tx, vector, value(n))?, model.len());
        model.push(value(n));
        Ok(())
    };
    for step in steps {
        match step {
            Step::Push(n) => push(model, *n)?,
            Step::PushAll(count) => (0..*count).try_for_each(|n| push(model, n))?,
            Step::Pop => assert_eq!(W::pop(tx, vector)?, model.pop()),
            Step::PopAll(count) => {
                for _ in 0..*count {
                    assert_eq!(W::pop(tx, vector)?, model.pop());
                }
            }
            Step::Get(index) => {
                assert_eq!(W::get(At::Tx(tx), vector, *index)?.as_ref(), model.get(*index));
            }
            Step::Set(index, n) => {
                let place = model.get_mut(*index);
                let before = place.map(|place| std::mem::replace(place, value(*n)));
                assert_eq!(W::set(tx, vector, *index, value(*n))?, before);
            }
            Step::Look => agree!(W, T, At::Tx(tx), vector, model),
            Step::Clear => {
                W::clear(tx, vector)?;
                model.clear();
            }
        }
    }
    Ok(())
}

fn agrees_with_the_model<W: Vectors<T>, T: PartialEq + Debug + Clone>(value: fn(u32) -> T) {
    let run = |bodies: Vec<(Vec<Step>, bool)>| {
        let world = W::new();
        let vector = world.vector();
        let mut model = Vec::new();
        for (steps, cancelled) in &bodies {
            let mut tried = Vec::new();
            let done = world.run(*cancelled, |tx| {
                tried.clone_from(&model);
                run::<W, T>(tx, &vector, &mut tried, steps, value)
            });
            assert_eq!(done.is_none(), *cancelled);
            if done.is_some() {
                model = tried;
            }
            world.snapshot(|view| {
                agree!(W, T, At::View(view), &vector, &model);
                Ok(())
            });
        }
        world.sound(None);
        world.commit(|tx| (0..model.len()).try_for_each(|_| W::pop(tx, &vector).map(drop)));
        world.sound(Some(1)); // An empty chunk.
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(), run).unwrap();
}

fn a_vector_of_words<W: Vectors<u64>>() {
    agrees_with_the_model::<W, u64>(u64::from);
}

/// In a region one item in a chunk: there are as many chunks as items.
fn a_vector_of_large_items<W: Vectors<[u8; 1025]>>() {
    agrees_with_the_model::<W, [u8; 1025]>(|n| [n as u8; 1025]);
}

fn a_vector_of_nothing<W: Vectors<()>>() {
    agrees_with_the_model::<W, ()>(|_| ());
}

fn a_vector_grows_by_levels_and_shrinks_again<W: Vectors<u64>>() {
    // Four levels in one process, three in a region.
    let items = (W::CHUNK * 32 * 32 + 70) as u64;
    let world = W::new();
    let vector = world.vector();
    for n in 0..items {
        assert_eq!(world.commit(|tx| W::push(tx, &vector, n)), n as usize);
    }
    // The chunks, the nodes above them, those above these, up to the top.
    let (mut nodes, mut level) = (0, (items as usize).div_ceil(W::CHUNK));
    while level > 1 {
        nodes += level;
        level = level.div_ceil(W::CHUNK);
    }
    world.sound(Some(nodes + 1));
    let all = world.snapshot(|view| {
        assert_eq!(W::len(At::View(view), &vector)? as u64, items);
        W::items(At::View(view), &vector)
    });
    assert!(all.into_iter().eq(0..items));
    for n in (0..items).rev() {
        let (last, beyond) =
            world.commit(|tx| Ok((W::pop(tx, &vector)?, W::get(At::Tx(tx), &vector, n as usize)?)));
        assert_eq!((last, beyond), (Some(n), None));
    }
    world.sound(Some(1));
}

fn different_chunks_do_not_conflict<W: Vectors<u64>>() {
    let world = W::new();
    let vector = world.vector();
    world.commit(|tx| (0..1000).try_for_each(|n| W::push(tx, &vector, n).map(drop)));
    let mut attempts = 0;
    world.commit(|tx| {
        attempts += 1;
        let before = W::get(At::Tx(tx), &vector, 10)?;
        W::set(tx, &vector, 100, 7)?;
        if attempts == 1 {
            // The last chunk, which has room.
            elsewhere(|| world.commit(|tx| W::push(tx, &vector, 0)));
            elsewhere(|| world.commit(|tx| W::set(tx, &vector, 500, 1)));
        }
        assert_eq!((before, W::get(At::Tx(tx), &vector, 11)?), (Some(10), Some(11)));
        Ok(())
    });
    assert_eq!(attempts, 1);
    world.commit(|tx| {
        attempts += 1;
        W::get(At::Tx(tx), &vector, 10)?;
        W::set(tx, &vector, 100, 8)?;
        if attempts == 2 {
            elsewhere(|| world.commit(|tx| W::set(tx, &vector, 10, 1)));
        }
        Ok(())
    });
    assert_eq!(attempts, 3, "that should have been a conflict");
}

fn threads_share_a_vector<W: Vectors<u64>>() {
    const THREADS: u64 = 3;
    const EACH: u64 = 3000;
    let world = W::new();
    let vector = world.vector();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (world, vector) = (&world, &vector);
                scope.spawn(move || {
                    for n in 0..EACH {
                        world.commit(|tx| {
                            let at = W::push(tx, vector, thread << 32 | n)?;
                            // Two more go and come: chunks do, too.
                            if n % 5 == 0 && at > 1 {
                                let two = [W::pop(tx, vector)?, W::pop(tx, vector)?];
                                for item in two.into_iter().rev().flatten() {
                                    W::push(tx, vector, item)?;
                                }
                            }
                            Ok(())
                        });
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let all = world.snapshot(|view| {
                    let all = W::items(At::View(view), &vector)?;
                    assert_eq!(W::len(At::View(view), &vector)?, all.len());
                    Ok(all)
                });
                in_order(&all, THREADS);
            }
        });
        let ended: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    let all = world.snapshot(|view| W::items(At::View(view), &vector));
    assert_eq!(in_order(&all, THREADS), [EACH; THREADS as usize]);
    world.sound(None);
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

in_both_worlds!(
    a_vector_of_words,
    a_vector_of_large_items,
    a_vector_of_nothing,
    a_vector_grows_by_levels_and_shrinks_again,
    different_chunks_do_not_conflict,
    threads_share_a_vector,
);

#[test]
fn items_need_no_clone_and_are_dropped_once() {
    let cage = Cage::new();
    let vector = TVector::new();
    for n in 0..1000 {
        atomically(|tx| vector.push(tx, cage.canary(n)));
    }
    cage.settles_at(1000);
    for n in (900..1000).rev() {
        assert_eq!(atomically(|tx| Ok(vector.pop(tx)?.map(|item| item.sing()))), Some(n));
    }
    atomically(|tx| vector.set(tx, 7, cage.canary(0)).map(drop));
    atomically(|tx| vector.set(tx, 900, cage.canary(0)).map(drop)); // There is none.
    contempo::collect();
    cage.settles_at(900);
    atomically(|tx| vector.clear(tx));
    contempo::collect();
    cage.settles_at(0);
    (&vector).extend((0..100).map(|n| cage.canary(n)));
    drop(vector);
    contempo::collect();
    cage.settles_at(0);
}

/// Each step of a loop gives the item that has the next index then, whatever the loop has done to the vector.
#[test]
fn a_loop_may_change_what_it_goes_through() {
    let vector: TVector<u32> = (0..100).collect();
    let visited = atomically(|tx| {
        let mut visited = Vec::new();
        for item in vector.iter(tx) {
            let item = *item?;
            visited.push(item);
            if item < 50 {
                vector.pop(tx)?;
                vector.set(tx, visited.len(), item + 1000)?;
            }
        }
        Ok(visited)
    });
    // The first sets the second, which is not below 50, and so sets none.
    let expected: Vec<u32> =
        (0..75).map(|n| if n % 2 == 1 && n < 50 { 999 + n } else { n }).collect();
    assert_eq!(visited, expected);
}
