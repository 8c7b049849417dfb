//! Queues whose plain operations change one cell, beside transactions that use the same queue.

use crate::support::elsewhere;
use crate::world::next;
use contempo::collections::{TBoundedQueue, TQueue};
use contempo::{Abort, atomically, snapshot, try_atomically};
use std::collections::VecDeque;

/// Both kinds, by what they have alike.
trait Fifo: Sync {
    /// How many items may be in it.
    const ROOM: usize;

    fn new() -> Self;
    fn push_alone(&self, item: u64);
    fn pop_alone(&self) -> u64;
    fn push(&self, tx: &contempo::Transaction<'_>, item: u64) -> contempo::StmResult<()>;
    fn try_pop(&self, tx: &contempo::Transaction<'_>) -> contempo::StmResult<Option<u64>>;
    fn clear(&self, tx: &contempo::Transaction<'_>) -> contempo::StmResult<()>;
    /// The items, the first, and how many there are.
    fn look(&self, view: &contempo::Snapshot<'_>) -> (Vec<u64>, Option<u64>, usize);
    fn look_in(&self, tx: &contempo::Transaction<'_>) -> contempo::StmResult<Vec<u64>>;
}

macro_rules! fifo {
    ($queue:ty, $room:expr, $new:expr, $push_alone:ident) => {
        impl Fifo for $queue {
            const ROOM: usize = $room;

            fn new() -> Self {
                $new
            }

            fn push_alone(&self, item: u64) {
                self.$push_alone(item);
            }

            fn pop_alone(&self) -> u64 {
                self.blocking_pop()
            }

            fn push(&self, tx: &contempo::Transaction<'_>, item: u64) -> contempo::StmResult<()> {
                self.push(tx, item)
            }

            fn try_pop(&self, tx: &contempo::Transaction<'_>) -> contempo::StmResult<Option<u64>> {
                Ok(self.try_pop(tx)?.copied())
            }

            fn clear(&self, tx: &contempo::Transaction<'_>) -> contempo::StmResult<()> {
                self.clear(tx)
            }

            fn look(&self, view: &contempo::Snapshot<'_>) -> (Vec<u64>, Option<u64>, usize) {
                assert_eq!(self.is_empty(view), self.peek(view).is_none());
                let items = self.iter(view).copied().collect();
                (items, self.peek(view).copied(), self.len(view))
            }

            fn look_in(&self, tx: &contempo::Transaction<'_>) -> contempo::StmResult<Vec<u64>> {
                self.iter(tx).map(|item| item.copied()).collect()
            }
        }
    };
}

fifo!(TBoundedQueue<u64>, 5, TBoundedQueue::new(5), blocking_push);
fifo!(TQueue<u64>, usize::MAX, TQueue::new(), push_now);

fn agrees<Q: Fifo>(queue: &Q, model: &VecDeque<u64>) {
    let (items, first, len) = snapshot(|view| queue.look(view));
    assert_eq!((&VecDeque::from(items), first, len), (model, model.front().copied(), model.len()));
    assert_eq!(&VecDeque::from(atomically(|tx| queue.look_in(tx))), model);
}

/// Plain operations, transactions of several, some of them undone, in any order.
fn does_what_a_deque_of_std_does<Q: Fifo>() {
    let (queue, mut model, mut state) = (Q::new(), VecDeque::new(), 0x9E37_79B9);
    for n in 0..3000 {
        // Long for a while, and short for a while.
        let pushes = next(&mut state) % 100 < if n / 500 % 2 == 0 { 60 } else { 40 };
        match next(&mut state) % 3 {
            0 | 1 if pushes && model.len() < Q::ROOM => {
                queue.push_alone(n);
                model.push_back(n);
            }
            0 | 1 if !pushes && !model.is_empty() => {
                assert_eq!(Some(queue.pop_alone()), model.pop_front());
            }
            _ => {
                let (seed, undone) = (next(&mut state), next(&mut state).is_multiple_of(4));
                let mut tried = model.clone();
                let result = try_atomically(|tx| {
                    tried.clone_from(&model);
                    let mut state = seed;
                    for n in 0..next(&mut state) % 12 {
                        match next(&mut state) % 32 {
                            0 => {
                                queue.clear(tx)?;
                                tried.clear();
                            }
                            1..16 => assert_eq!(queue.try_pop(tx)?, tried.pop_front()),
                            _ if tried.len() < Q::ROOM => {
                                queue.push(tx, n)?;
                                tried.push_back(n);
                            }
                            _ => {}
                        }
                    }
                    assert_eq!(VecDeque::from(queue.look_in(tx)?), tried);
                    if undone { Err(Abort::error(())) } else { Ok(()) }
                });
                if result.is_ok() {
                    model = tried;
                }
            }
        }
        agrees(&queue, &model);
    }
}

/// A snapshot, and a transaction, that began before others have pushed and popped see nothing of that: although what
/// these threads have learnt of the ends is newer.
fn a_moment_stays_as_it_was<Q: Fifo>() {
    for before in 0..5_u64 {
        let queue = Q::new();
        (0..before).for_each(|n| queue.push_alone(n));
        let others = || {
            for n in 100..140 {
                if before > 0 {
                    queue.pop_alone();
                }
                queue.push_alone(n);
                if before == 0 {
                    queue.pop_alone();
                }
            }
        };
        let expected: Vec<u64> = (0..before).collect();
        let seen = snapshot(|view| {
            elsewhere(others);
            queue.look(view)
        });
        assert_eq!(seen, (expected.clone(), expected.first().copied(), expected.len()));
        let mut attempts = 0;
        let seen = atomically(|tx| {
            attempts += 1;
            let first = queue.look_in(tx)?;
            if attempts == 1 {
                elsewhere(others);
            }
            // The same again, or another attempt.
            assert_eq!(queue.look_in(tx)?, first);
            Ok(first)
        });
        assert_eq!(seen.len(), expected.len());
    }
}

/// Threads that push and pop in both ways: each item comes once, those of a thread in its order, and every snapshot
/// sees a part of that order without a gap.
fn no_item_is_lost_and_none_overtakes<Q: Fifo>() {
    const ITEMS: u64 = 2000;
    let queue = Q::new();
    let seen = std::thread::scope(|scope| {
        for producer in 0..2_u64 {
            let queue = &queue;
            scope.spawn(move || {
                for n in 0..ITEMS {
                    let item = producer << 32 | n;
                    if n % 3 == producer {
                        atomically(|tx| queue.push(tx, item));
                    } else {
                        queue.push_alone(item);
                    }
                }
            });
        }
        let consumers = [0, 1].map(|consumer| {
            let queue = &queue;
            scope.spawn(move || {
                let mut items = Vec::new();
                while items.len() < ITEMS as usize {
                    if items.len() % 4 == consumer {
                        items.extend(atomically(|tx| queue.try_pop(tx)));
                    } else {
                        items.push(queue.pop_alone());
                    }
                    if items.len().is_multiple_of(64) {
                        let (there, first, len) = snapshot(|view| queue.look(view));
                        assert_eq!((there.first().copied(), there.len()), (first, len));
                        for producer in 0..2 {
                            let of: Vec<_> =
                                there.iter().filter(|n| *n >> 32 == producer).collect();
                            assert!(of.windows(2).all(|two| two[0] + 1 == *two[1]), "{of:?}");
                        }
                    }
                }
                items
            })
        });
        consumers.map(|consumer| consumer.join().unwrap())
    });
    for items in &seen {
        for producer in 0..2 {
            let of: Vec<_> = items.iter().filter(|n| *n >> 32 == producer).collect();
            assert!(of.is_sorted(), "an item has overtaken another");
        }
    }
    let mut all = seen.concat();
    all.sort_unstable();
    assert!(
        all.into_iter().eq((0..2).flat_map(|producer| (0..ITEMS).map(move |n| producer << 32 | n)))
    );
    agrees(&queue, &VecDeque::new());
}

macro_rules! of_both {
    ($($name:ident),* $(,)?) => {
        mod bounded {
            $(#[test]
            fn $name() {
                super::$name::<contempo::collections::TBoundedQueue<u64>>();
            })*
        }

        mod unbounded {
            $(#[test]
            fn $name() {
                super::$name::<contempo::collections::TQueue<u64>>();
            })*
        }
    };
}

of_both!(
    does_what_a_deque_of_std_does,
    a_moment_stays_as_it_was,
    no_item_is_lost_and_none_overtakes
);
