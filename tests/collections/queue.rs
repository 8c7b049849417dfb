//! Queues against that of std, and handing over between threads.

use crate::support::canary::Cage;
use crate::world::{At, Local, World, config, in_both_worlds, local};
use contempo::collections::TQueue;
use contempo::{atomically, snapshot};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// A world with queues.
trait Queues: World {
    type Queue: Clone + Send + Sync;

    fn queue(&self) -> Self::Queue;
    fn push(tx: &Self::Tx<'_>, queue: &Self::Queue, value: u64) -> Result<(), Self::Stop>;
    fn pop(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<u64, Self::Stop>;
    fn try_pop(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<Option<u64>, Self::Stop>;
    fn clear(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<(), Self::Stop>;
    fn items(at: At<'_, '_, Self>, queue: &Self::Queue) -> Result<Vec<u64>, Self::Stop>
    where
        Self: Sized;
    fn is_empty(at: At<'_, '_, Self>, queue: &Self::Queue) -> Result<bool, Self::Stop>
    where
        Self: Sized;
}

impl Queues for Local {
    type Queue = TQueue<u64>;

    fn queue(&self) -> Self::Queue {
        TQueue::new()
    }

    fn push(tx: &Self::Tx<'_>, queue: &Self::Queue, value: u64) -> Result<(), Self::Stop> {
        queue.push(tx, value)
    }

    fn pop(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<u64, Self::Stop> {
        queue.pop(tx).copied()
    }

    fn try_pop(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<Option<u64>, Self::Stop> {
        Ok(queue.try_pop(tx)?.copied())
    }

    fn clear(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<(), Self::Stop> {
        queue.clear(tx)
    }

    fn items(at: At<'_, '_, Self>, queue: &Self::Queue) -> Result<Vec<u64>, Self::Stop> {
        match at {
            At::Tx(tx) => queue.iter(tx).map(|item| item.copied()).collect(),
            At::View(view) => Ok(queue.iter(view).copied().collect()),
        }
    }

    fn is_empty(at: At<'_, '_, Self>, queue: &Self::Queue) -> Result<bool, Self::Stop> {
        Ok(local!(at, |at| queue.is_empty(at)))
    }
}

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod in_a_region {
    use super::{At, Queues};
    use crate::world::{Region, region};
    use contempo::shared::collections::Queue;

    impl Queues for Region {
        type Queue = Queue<u64>;

        fn queue(&self) -> Self::Queue {
            // A cell for its handle, so that it is reachable.
            let queue = self.shared.atomically(Queue::create).unwrap();
            let number = self.shared.roots().unwrap().len();
            self.shared.root(&number.to_string(), queue).unwrap();
            queue
        }

        fn push(tx: &Self::Tx<'_>, queue: &Self::Queue, value: u64) -> Result<(), Self::Stop> {
            queue.push(tx, value)
        }

        fn pop(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<u64, Self::Stop> {
            queue.pop(tx)
        }

        fn try_pop(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<Option<u64>, Self::Stop> {
            queue.try_pop(tx)
        }

        fn clear(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<(), Self::Stop> {
            queue.clear(tx)
        }

        fn items(at: At<'_, '_, Self>, queue: &Self::Queue) -> Result<Vec<u64>, Self::Stop> {
            match at {
                At::Tx(tx) => queue.iter(tx).collect(),
                At::View(view) => queue.iter(view).collect(),
            }
        }

        fn is_empty(at: At<'_, '_, Self>, queue: &Self::Queue) -> Result<bool, Self::Stop> {
            Ok(region!(at, |at| queue.is_empty(at)))
        }
    }

    /// A handle is plain data: queues are items of queues, and a freed one is none.
    #[test]
    fn a_queue_of_queues_lies_in_a_region() {
        use crate::world::World;
        use contempo::shared::TransactionError;
        let world = Region::new();
        let all: Queue<Queue<u64>> = Queue::root(&world.shared, "all").unwrap();
        world.commit(|tx| {
            for n in 0..9 {
                let queue = Queue::create(tx)?;
                (0..n).try_for_each(|item| queue.push(tx, item))?;
                all.push(tx, queue)?;
            }
            Ok(())
        });
        world.sound(Some(2 + 9 + 2 * 9 + (0..9).sum::<usize>()));
        let mut freed = None;
        for n in 0..9 {
            freed = Some(world.commit(|tx| {
                let queue = all.pop(tx)?;
                assert_eq!(queue.iter(tx).collect::<Result<Vec<_>, _>>()?, Vec::from_iter(0..n));
                queue.free(tx)?;
                Ok(queue)
            }));
        }
        world.sound(Some(2));
        let gone = world.shared.snapshot(|view| freed.unwrap().is_empty(view));
        assert!(matches!(gone, Err(TransactionError::NoSuchCell)), "{gone:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    TryPop,
    Items,
    Clear,
}

/// Transactions: their steps, and whether they are cancelled in the end.
fn bodies() -> impl Strategy<Value = Vec<(Vec<Step>, bool)>> {
    let step = prop_oneof![
        10 => any::<u64>().prop_map(Step::Push),
        9 => Just(Step::TryPop),
        2 => Just(Step::Items),
        1 => Just(Step::Clear),
    ];
    let steps = prop::collection::vec(step, 1..30);
    prop::collection::vec((steps, prop::bool::weighted(0.2)), 1..12)
}

fn does_what_that_of_std_does<W: Queues>() {
    let run = |bodies: Vec<(Vec<Step>, bool)>| {
        let world = W::new();
        let queue = world.queue();
        let mut model = VecDeque::new();
        for (steps, cancelled) in bodies {
            let mut tried = VecDeque::new();
            let done = world.run(cancelled, |tx| {
                tried.clone_from(&model);
                for step in &steps {
                    match step {
                        Step::Push(value) => {
                            W::push(tx, &queue, *value)?;
                            tried.push_back(*value);
                        }
                        Step::TryPop => assert_eq!(W::try_pop(tx, &queue)?, tried.pop_front()),
                        Step::Items => assert_eq!(tried, W::items(At::Tx(tx), &queue)?),
                        Step::Clear => {
                            W::clear(tx, &queue)?;
                            tried.clear();
                        }
                    }
                    assert_eq!(W::is_empty(At::Tx(tx), &queue)?, tried.is_empty());
                }
                Ok(())
            });
            assert_eq!(done.is_none(), cancelled);
            if done.is_some() {
                model = tried;
            }
            let found = world.snapshot(|view| {
                Ok((W::items(At::View(view), &queue)?, W::is_empty(At::View(view), &queue)?))
            });
            assert_eq!(found, (Vec::from(model.clone()), model.is_empty()));
        }
        // The cell of its handle, two ends, and items.
        world.sound(Some(3 + model.len()));
        world.commit(|tx| W::clear(tx, &queue));
        world.sound(Some(3));
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(), run).unwrap();
}

/// Two threads push, two pop; what each has pushed comes out once, and in its order.
fn hands_over_between_threads<W: Queues>() {
    const EACH: u64 = 2000;
    let world = W::new();
    let queue = world.queue();
    let taken: Vec<Vec<u64>> = std::thread::scope(|scope| {
        for pusher in 0..2 {
            let (world, queue) = (&world, &queue);
            scope.spawn(move || {
                for n in 0..EACH {
                    world.commit(|tx| W::push(tx, queue, pusher << 32 | n));
                }
            });
        }
        let takers = [0; 2].map(|_| {
            // Sleeps while there is nothing.
            scope.spawn(|| (0..EACH).map(|_| world.commit(|tx| W::pop(tx, &queue))).collect())
        });
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    for pusher in 0..2 {
        let of = |item: &&u64| **item >> 32 == pusher;
        assert!(taken.iter().all(|items| items.iter().filter(of).is_sorted()));
        let mut all: Vec<u64> =
            taken.iter().flatten().filter(of).map(|n| n & 0xffff_ffff).collect();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..EACH));
    }
    assert!(world.snapshot(|view| W::is_empty(At::View(view), &queue)));
    world.sound(Some(3));
}

/// Items move between two queues; each is always in exactly one of them.
fn moves_between_queues_are_atomic<W: Queues>() {
    const ITEMS: u64 = 50;
    let world = W::new();
    let (left, right) = (world.queue(), world.queue());
    world.commit(|tx| (0..ITEMS).try_for_each(|n| W::push(tx, &left, n)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let movers = [(&left, &right), (&right, &left)].map(|(from, to)| {
            let world = &world;
            scope.spawn(move || {
                for _ in 0..2000 {
                    world.commit(|tx| match W::try_pop(tx, from)? {
                        Some(item) => W::push(tx, to, item),
                        None => Ok(()),
                    });
                }
            })
        });
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut all = world.snapshot(|view| {
                    let mut all = W::items(At::View(view), &left)?;
                    all.extend(W::items(At::View(view), &right)?);
                    Ok(all)
                });
                all.sort_unstable();
                assert!(all.iter().copied().eq(0..ITEMS), "{all:?}");
            }
        });
        let ended = movers.map(|mover| mover.join());
        done.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
    world.sound(Some(6 + ITEMS as usize));
}

/// With two items, pushing and popping touch nothing in common.
fn a_push_and_a_pop_do_not_conflict<W: Queues>() {
    let world = W::new();
    let queue = world.queue();
    world.commit(|tx| (0..2).try_for_each(|n| W::push(tx, &queue, n)));
    let mut attempts = 0;
    world.commit(|tx| {
        attempts += 1;
        assert_eq!(W::pop(tx, &queue)?, 0);
        if attempts == 1 {
            crate::support::elsewhere(|| world.commit(|tx| W::push(tx, &queue, 2)));
        }
        Ok(())
    });
    assert_eq!(attempts, 1);
    world.commit(|tx| {
        attempts += 1;
        assert_eq!(W::pop(tx, &queue)?, if attempts == 2 { 1 } else { 2 });
        if attempts == 2 {
            crate::support::elsewhere(|| world.commit(|tx| W::pop(tx, &queue)));
        }
        W::push(tx, &queue, 3)
    });
    assert_eq!(attempts, 3, "that should have been a conflict");
}

in_both_worlds!(
    does_what_that_of_std_does,
    hands_over_between_threads,
    moves_between_queues_are_atomic,
    a_push_and_a_pop_do_not_conflict,
);

#[test]
fn items_need_no_clone_and_are_dropped_once() {
    let cage = Cage::new();
    let queue = TQueue::new();
    for n in 0..100 {
        atomically(|tx| queue.push(tx, cage.canary(n)));
    }
    cage.settles_at(100);
    for n in 0..30 {
        assert_eq!(atomically(|tx| Ok(queue.pop(tx)?.sing())), n);
    }
    contempo::collect();
    cage.settles_at(70);
    atomically(|tx| queue.clear(tx));
    contempo::collect();
    cage.settles_at(0);
    (&queue).extend((0..5).map(|n| cage.canary(n)));
    drop(queue);
    contempo::collect();
    cage.settles_at(0);
    assert_eq!(cage.made(), cage.dropped());
}

/// Items, each of which has the last reference to the next one, go without as many destructors inside one another: when the queue is dropped, when it is cleared, and when all are popped in one transaction.
#[test]
fn long_queues_are_dropped_without_overflowing_the_stack() {
    const ITEMS: u64 = 200_000;
    let cage = Cage::new();
    let fill = || {
        let queue = TQueue::new();
        atomically(|tx| (0..ITEMS).try_for_each(|n| queue.push(tx, cage.canary(n))));
        cage.settles_at(ITEMS);
        queue
    };
    drop(fill());
    contempo::collect();
    cage.settles_at(0);
    let queue = fill();
    atomically(|tx| queue.clear(tx));
    contempo::collect();
    cage.settles_at(0);
    let queue = fill();
    let sum = atomically(|tx| {
        let mut sum = 0;
        while let Some(item) = queue.try_pop(tx)? {
            sum += item.sing();
        }
        Ok(sum)
    });
    assert_eq!(sum, ITEMS * (ITEMS - 1) / 2);
    contempo::collect();
    cage.settles_at(0);
    assert!(snapshot(|view| queue.is_empty(view)));
}

/// A destructor that panics does not keep the others from running, in a chain that is longer than what is dropped at once.
#[test]
fn one_destructor_that_panics_costs_no_other_item() {
    struct Bomb(
        #[expect(dead_code, reason = "it is counted")] crate::support::canary::Canary,
        bool,
    );
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(!self.1 || std::thread::panicking(), "boom");
        }
    }
    let cage = Cage::new();
    let queue: TQueue<Bomb> = (0..500).map(|n| Bomb(cage.canary(n), n % 100 == 50)).collect();
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        drop(queue);
        contempo::collect();
    }));
    contempo::collect();
    cage.settles_at(0);
}
