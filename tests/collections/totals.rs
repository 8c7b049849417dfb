//! Counters and priority queues: once in each world.

use crate::world::{At, Local, World, bodies, config, in_both_worlds, local};
use contempo::collections::{TCounter, TPriorityQueue};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Compared by its priority alone.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    all(feature = "shared", target_os = "linux", target_pointer_width = "64"),
    derive(contempo::shared::bytemuck::Pod, contempo::shared::bytemuck::Zeroable),
    bytemuck(crate = "contempo::shared::bytemuck")
)]
#[repr(C)]
struct Item {
    priority: u64,
    number: u64,
}

impl Item {
    /// As the heap of std has it, which says nothing about equal items: a number that falls tells them apart.
    fn both(&self) -> (u64, Reverse<u64>) {
        (self.priority, Reverse(self.number))
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.priority == other.priority
    }
}

impl Eq for Item {}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.priority.cmp(&other.priority)
    }
}

/// A world with both.
trait Totals: World + Sized {
    type Counter: Clone + Send + Sync;
    type Queue: Clone + Send + Sync;

    fn counter(&self) -> Self::Counter;
    fn add(tx: &Self::Tx<'_>, counter: &Self::Counter, change: i64) -> Result<(), Self::Stop>;
    fn total(at: At<'_, '_, Self>, counter: &Self::Counter) -> Result<i64, Self::Stop>;
    fn reset(tx: &Self::Tx<'_>, counter: &Self::Counter) -> Result<(), Self::Stop>;

    fn queue(&self) -> Self::Queue;
    fn push(tx: &Self::Tx<'_>, queue: &Self::Queue, item: Item) -> Result<(), Self::Stop>;
    fn pop(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<Item, Self::Stop>;
    fn try_pop(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<Option<Item>, Self::Stop>;
    fn peek(at: At<'_, '_, Self>, queue: &Self::Queue) -> Result<Option<Item>, Self::Stop>;
    fn len(at: At<'_, '_, Self>, queue: &Self::Queue) -> Result<usize, Self::Stop>;
    fn is_empty(at: At<'_, '_, Self>, queue: &Self::Queue) -> Result<bool, Self::Stop>;
    fn items(view: &Self::View<'_>, queue: &Self::Queue) -> Result<Vec<Item>, Self::Stop>;
    fn clear(tx: &Self::Tx<'_>, queue: &Self::Queue) -> Result<(), Self::Stop>;
}

macro_rules! totals {
    ($world:ty, $read:ident, [$counter:ty, $queue:ty],
     |$shared:ident| [$new_counter:expr, $new_queue:expr],
     |$item:ident| $plain:expr, |$items:ident| $all:expr) => {
        impl Totals for $world {
            type Counter = $counter;
            type Queue = $queue;

            fn counter(&self) -> $counter {
                let $shared = self;
                $new_counter
            }
            fn add(tx: &Self::Tx<'_>, counter: &$counter, change: i64) -> Result<(), Self::Stop> {
                counter.add(tx, change)
            }
            fn total(at: At<'_, '_, Self>, counter: &$counter) -> Result<i64, Self::Stop> {
                Ok($read!(at, |at| counter.get(at)))
            }
            fn reset(tx: &Self::Tx<'_>, counter: &$counter) -> Result<(), Self::Stop> {
                counter.clear(tx)
            }
            fn queue(&self) -> $queue {
                let $shared = self;
                $new_queue
            }
            fn push(tx: &Self::Tx<'_>, queue: &$queue, item: Item) -> Result<(), Self::Stop> {
                queue.push(tx, item)
            }
            fn pop(tx: &Self::Tx<'_>, queue: &$queue) -> Result<Item, Self::Stop> {
                let $item = queue.pop(tx)?;
                Ok($plain)
            }
            fn try_pop(tx: &Self::Tx<'_>, queue: &$queue) -> Result<Option<Item>, Self::Stop> {
                Ok(queue.try_pop(tx)?.map(|$item| $plain))
            }
            fn peek(at: At<'_, '_, Self>, queue: &$queue) -> Result<Option<Item>, Self::Stop> {
                Ok($read!(at, |at| queue.peek(at)).map(|$item| $plain))
            }
            fn len(at: At<'_, '_, Self>, queue: &$queue) -> Result<usize, Self::Stop> {
                Ok($read!(at, |at| queue.len(at)))
            }
            fn is_empty(at: At<'_, '_, Self>, queue: &$queue) -> Result<bool, Self::Stop> {
                Ok($read!(at, |at| queue.is_empty(at)))
            }
            fn items(view: &Self::View<'_>, queue: &$queue) -> Result<Vec<Item>, Self::Stop> {
                let $items = queue.iter(view);
                $all
            }
            fn clear(tx: &Self::Tx<'_>, queue: &$queue) -> Result<(), Self::Stop> {
                queue.clear(tx)
            }
        }
    };
}

totals!(
    Local, local, [TCounter, TPriorityQueue<Item>],
    |_world| [TCounter::new(), TPriorityQueue::new()],
    |item| *item, |items| Ok(items.copied().collect())
);

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod in_a_region {
    use super::{At, Item, Totals, World};
    use crate::world::attempts;
    use crate::world::{Region, region};
    use contempo::shared::collections::{Counter, PriorityQueue};
    use contempo::shared::{Options, RootKind, Shared, TransactionError};

    totals!(
        Region, region, [Counter, PriorityQueue<Item>],
        |world| [
            Counter::root(&world.shared, "counter").unwrap(),
            PriorityQueue::root(&world.shared, "ranked").unwrap()
        ],
        |item| item, |items| items.collect()
    );

    #[test]
    fn nothing_is_left_of_what_is_freed() {
        let world = Region::new();
        let (counter, queue) = (world.counter(), world.queue());
        let own = world.commit(|tx| Ok((Counter::create(tx)?, PriorityQueue::create(tx)?)));
        world.commit(|tx| {
            for n in 0..2_000_u64 {
                queue.push(tx, Item { priority: n % 10, number: n })?;
                own.1.push(tx, [n as u8, 0, 7])?; // of any size
                own.0.add(tx, 1)?;
            }
            counter.add(tx, 1)
        });
        let kinds = [RootKind::Counter, RootKind::PriorityQueue];
        for (root, kind) in world.shared.roots().unwrap().iter().zip(kinds) {
            assert_eq!(root.kind, kind);
            assert!(world.shared.remove_root(&root.name).unwrap());
        }
        world.commit(|tx| own.0.free(tx).and_then(|()| own.1.free(tx)));
        world.shared.collect().unwrap();
        world.sound(Some(0));
        let gone = world.shared.atomically(|tx| counter.add(tx, 1));
        assert!(matches!(gone, Err(TransactionError::NoSuchCell)), "{gone:?}");
    }

    /// Two threads have two slots, and so do two processes: not one addition conflicts.
    #[test]
    fn additions_of_two_slots_never_conflict() {
        let world = Region::new();
        let counter = world.counter();
        for n in 1..=20 {
            let other = || world.commit(|tx| counter.add(tx, 1));
            assert_eq!(attempts(&world, |tx| counter.add(tx, 1), other), 1, "{n}");
            assert_eq!(world.snapshot(|view| counter.get(view)), 2 * n);
        }
    }

    /// A region with room for one thread has counters with one stripe.
    #[test]
    fn few_slots_are_few_stripes() {
        let place = crate::support::region::Place::new();
        let shared = Shared::create(&place, &Options::new().threads(1)).unwrap();
        let before = shared.verify().cells;
        let counter = Counter::root(&shared, "counter").unwrap();
        let cells = shared.verify().cells - before;
        assert!(cells < 64, "{cells}");
        shared.atomically(|tx| counter.add(tx, -3)).unwrap();
        assert_eq!(shared.snapshot(|view| counter.get(view)).unwrap(), -3);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(u64),
    PushMany(u8),
    Pop,
    Count,
    Clear,
}

fn step<W: Totals>(
    tx: &W::Tx<'_>,
    queue: &W::Queue,
    (model, number): &mut (BinaryHeap<(u64, Reverse<u64>)>, u64),
    step: &Step,
) -> Result<(), W::Stop> {
    let (priority, many) = match *step {
        Step::Push(priority) => (priority, 1),
        Step::PushMany(many) => (u64::from(many % 5), many / 4),
        Step::Pop => {
            let peeked = W::peek(At::Tx(tx), queue)?;
            assert_eq!(peeked.as_ref().map(Item::both), model.peek().copied());
            assert_eq!(W::try_pop(tx, queue)?.as_ref().map(Item::both), model.pop());
            return Ok(());
        }
        Step::Count => {
            assert_eq!(W::len(At::Tx(tx), queue)?, model.len());
            assert_eq!(W::is_empty(At::Tx(tx), queue)?, model.is_empty());
            return Ok(());
        }
        Step::Clear => {
            model.clear();
            return W::clear(tx, queue);
        }
    };
    for _ in 0..many {
        *number += 1;
        W::push(tx, queue, Item { priority, number: *number })?;
        model.push((priority, Reverse(*number)));
    }
    Ok(())
}

fn a_priority_queue_gives_the_greatest_first_and_equals_in_order<W: Totals>() {
    let steps = prop_oneof![
        12 => (0..7_u64).prop_map(Step::Push),
        12 => Just(Step::Pop),
        2 => any::<u8>().prop_map(Step::PushMany),
        2 => Just(Step::Count),
        1 => Just(Step::Clear),
    ];
    let run = |bodies: Vec<(Vec<Step>, bool)>| {
        let world = W::new();
        let (queue, mut model) = (world.queue(), (BinaryHeap::new(), 0));
        for (steps, cancelled) in &bodies {
            let mut tried = model.clone();
            let done = world.run(*cancelled, |tx| {
                tried = model.clone();
                steps.iter().try_for_each(|one| step::<W>(tx, &queue, &mut tried, one))
            });
            if done.is_some() {
                model = tried;
            }
            let items = world.snapshot(|view| W::items(view, &queue));
            let expected = model.0.clone().into_sorted_vec();
            assert!(items.iter().map(Item::both).eq(expected.into_iter().rev()));
        }
        world.sound(None);
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(steps), run).unwrap();
}

/// One that pops sleeps until something is pushed; each item comes out once, equal ones of a thread in order.
fn a_priority_queue_connects_threads<W: Totals>() {
    const EACH: u64 = 150;
    let world = W::new();
    let queue = world.queue();
    let popped = std::thread::scope(|scope| {
        let poppers = [(); 2].map(|()| {
            let pop = || world.commit(|tx| W::pop(tx, &queue));
            scope.spawn(move || (0..EACH).map(|_| pop()).collect::<Vec<_>>())
        });
        for pusher in 0..2 {
            let (world, queue) = (&world, &queue);
            scope.spawn(move || {
                for n in 0..EACH {
                    let item = Item { priority: pusher, number: n };
                    world.commit(|tx| W::push(tx, queue, item));
                }
            });
        }
        poppers.map(|popper| popper.join().unwrap())
    });
    for (items, pusher) in popped.iter().flat_map(|items| [(items, 0), (items, 1)]) {
        let of = items.iter().filter(|item| item.priority == pusher);
        assert!(of.map(|item| item.number).is_sorted());
    }
    let mut all: Vec<_> =
        popped.iter().flatten().map(|item| (item.priority, item.number)).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq((0..2).flat_map(|pusher| (0..EACH).map(move |n| (pusher, n)))));
    world.sound(None);
}

/// Exact while others add: each transaction leaves an even number, and what is undone leaves nothing.
fn a_counter_is_exact<W: Totals>() {
    let world = W::new();
    let counter = world.counter();
    let total = || world.snapshot(|view| W::total(At::View(view), &counter));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (world, counter) = (&world, &counter);
            scope.spawn(move || {
                for n in 0..200 {
                    let none = world.run(n % 5 == 0, |tx| {
                        W::add(tx, counter, 2 * n + 2)?;
                        W::add(tx, counter, -2 * n)
                    });
                    assert_eq!(none.is_none(), n % 5 == 0, "{thread}");
                }
            });
        }
        for _ in 0..200 {
            let now = total();
            assert!(now % 2 == 0 && (0..=3 * 160 * 2).contains(&now), "{now}");
        }
    });
    assert_eq!(total(), 3 * 160 * 2);
    world.commit(|tx| {
        W::reset(tx, &counter)?;
        W::add(tx, &counter, i64::MIN)?;
        W::add(tx, &counter, -1)?; // wraps around
        assert_eq!(W::total(At::Tx(tx), &counter)?, i64::MAX);
        W::reset(tx, &counter)
    });
    assert_eq!(total(), 0);
    world.sound(None);
}

in_both_worlds!(
    a_priority_queue_gives_the_greatest_first_and_equals_in_order,
    a_priority_queue_connects_threads,
    a_counter_is_exact,
);
