//! Deques and bounded queues against the deque of std, once in each world.

use crate::world::{At, Local, World, attempts, config, in_both_worlds, local};
use contempo::collections::{TBoundedQueue, TDeque};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::collections::VecDeque;

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Front,
    Back,
}
use End::{Back, Front};

/// A world with rings.
trait Rings: World + Sized {
    type Deque: Clone + Send + Sync;
    type Bounded: Clone + Send + Sync;

    fn deque(&self) -> Self::Deque;
    fn push(tx: &Self::Tx<'_>, deque: &Self::Deque, end: End, value: u64)
    -> Result<(), Self::Stop>;
    fn try_pop(tx: &Self::Tx<'_>, deque: &Self::Deque, end: End)
    -> Result<Option<u64>, Self::Stop>;
    fn clear(tx: &Self::Tx<'_>, deque: &Self::Deque) -> Result<(), Self::Stop>;
    /// The items, the first, the last, that of an index, and how many.
    fn look(at: At<'_, '_, Self>, deque: &Self::Deque, index: usize) -> Result<Seen, Self::Stop>;

    fn bounded(&self, capacity: usize) -> Self::Bounded;
    fn send(tx: &Self::Tx<'_>, queue: &Self::Bounded, value: u64) -> Result<(), Self::Stop>;
    fn try_send(
        tx: &Self::Tx<'_>,
        queue: &Self::Bounded,
        value: u64,
    ) -> Result<Result<(), u64>, Self::Stop>;
    fn receive(tx: &Self::Tx<'_>, queue: &Self::Bounded) -> Result<u64, Self::Stop>;
    fn try_receive(tx: &Self::Tx<'_>, queue: &Self::Bounded) -> Result<Option<u64>, Self::Stop>;
    fn empty(tx: &Self::Tx<'_>, queue: &Self::Bounded) -> Result<(), Self::Stop>;
    /// The items from the back, the first, and how many.
    fn look_at(at: At<'_, '_, Self>, queue: &Self::Bounded) -> Result<Seen, Self::Stop>;
}

type Seen = (Vec<u64>, [Option<u64>; 3], usize);

impl Rings for Local {
    type Deque = TDeque<u64>;
    type Bounded = TBoundedQueue<u64>;

    fn deque(&self) -> TDeque<u64> {
        TDeque::new()
    }

    fn push(
        tx: &Self::Tx<'_>,
        deque: &TDeque<u64>,
        end: End,
        value: u64,
    ) -> Result<(), Self::Stop> {
        match end {
            Front => deque.push_front(tx, value),
            Back => deque.push_back(tx, value),
        }
    }

    fn try_pop(
        tx: &Self::Tx<'_>,
        deque: &TDeque<u64>,
        end: End,
    ) -> Result<Option<u64>, Self::Stop> {
        Ok(match end {
            Front => deque.try_pop_front(tx)?.copied(),
            Back => deque.try_pop_back(tx)?.copied(),
        })
    }

    fn clear(tx: &Self::Tx<'_>, deque: &TDeque<u64>) -> Result<(), Self::Stop> {
        deque.clear(tx)
    }

    fn look(at: At<'_, '_, Self>, deque: &TDeque<u64>, index: usize) -> Result<Seen, Self::Stop> {
        let items = match &at {
            At::Tx(tx) => deque.iter(*tx).map(|item| item.copied()).collect::<Result<_, _>>()?,
            At::View(view) => deque.iter(*view).copied().collect(),
        };
        let others = match at {
            At::Tx(tx) => {
                ([deque.front(tx)?, deque.back(tx)?, deque.get(tx, index)?], deque.len(tx)?)
            }
            At::View(view) => {
                ([deque.front(view), deque.back(view), deque.get(view, index)], deque.len(view))
            }
        };
        Ok((items, others.0.map(|item| item.copied()), others.1))
    }

    fn bounded(&self, capacity: usize) -> TBoundedQueue<u64> {
        TBoundedQueue::new(capacity)
    }

    fn send(tx: &Self::Tx<'_>, queue: &TBoundedQueue<u64>, value: u64) -> Result<(), Self::Stop> {
        queue.push(tx, value)
    }

    fn try_send(
        tx: &Self::Tx<'_>,
        queue: &TBoundedQueue<u64>,
        value: u64,
    ) -> Result<Result<(), u64>, Self::Stop> {
        queue.try_push(tx, value)
    }

    fn receive(tx: &Self::Tx<'_>, queue: &TBoundedQueue<u64>) -> Result<u64, Self::Stop> {
        queue.pop(tx).copied()
    }

    fn try_receive(
        tx: &Self::Tx<'_>,
        queue: &TBoundedQueue<u64>,
    ) -> Result<Option<u64>, Self::Stop> {
        Ok(queue.try_pop(tx)?.copied())
    }

    fn empty(tx: &Self::Tx<'_>, queue: &TBoundedQueue<u64>) -> Result<(), Self::Stop> {
        queue.clear(tx)
    }

    fn look_at(at: At<'_, '_, Self>, queue: &TBoundedQueue<u64>) -> Result<Seen, Self::Stop> {
        let (items, first) = match &at {
            At::Tx(tx) => {
                let items = queue.iter(*tx).rev().map(|item| item.copied());
                (items.collect::<Result<_, _>>()?, queue.peek(*tx)?.copied())
            }
            At::View(view) => {
                (queue.iter(*view).rev().copied().collect(), queue.peek(*view).copied())
            }
        };
        Ok((items, [first; 3], local!(at, |at| queue.len(at))))
    }
}

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod in_a_region {
    use super::{At, Back, End, Front, Rings, Seen, World};
    use crate::world::Region;
    use contempo::shared::collections::{BoundedQueue, Deque, Vector};
    use contempo::shared::{Cell, Interrupt, Reader, TransactionError};

    fn look<'a, R: Reader<'a>>(
        at: &R,
        deque: &Deque<u64>,
        index: usize,
    ) -> Result<Seen, Interrupt> {
        let items = deque.iter(at).collect::<Result<_, _>>()?;
        let others = [deque.front(at)?, deque.back(at)?, deque.get(at, index)?];
        assert_eq!(deque.is_empty(at)?, others[0].is_none());
        Ok((items, others, deque.len(at)?))
    }

    fn look_at<'a, R: Reader<'a>>(at: &R, queue: &BoundedQueue<u64>) -> Result<Seen, Interrupt> {
        let items = queue.iter(at).rev().collect::<Result<_, _>>()?;
        assert_eq!(queue.is_empty(at)?, queue.peek(at)?.is_none());
        Ok((items, [queue.peek(at)?; 3], queue.len(at)?))
    }

    impl Region {
        /// A name that no root has.
        fn new_name(&self) -> String {
            self.shared.roots().unwrap().len().to_string()
        }
    }

    impl Rings for Region {
        type Deque = Deque<u64>;
        type Bounded = BoundedQueue<u64>;

        fn deque(&self) -> Deque<u64> {
            Deque::root(&self.shared, &self.new_name()).unwrap()
        }

        fn push(
            tx: &Self::Tx<'_>,
            deque: &Deque<u64>,
            end: End,
            value: u64,
        ) -> Result<(), Self::Stop> {
            match end {
                Front => deque.push_front(tx, value),
                Back => deque.push_back(tx, value),
            }
        }

        fn try_pop(
            tx: &Self::Tx<'_>,
            deque: &Deque<u64>,
            end: End,
        ) -> Result<Option<u64>, Self::Stop> {
            match end {
                Front => deque.try_pop_front(tx),
                Back => deque.try_pop_back(tx),
            }
        }

        fn clear(tx: &Self::Tx<'_>, deque: &Deque<u64>) -> Result<(), Self::Stop> {
            deque.clear(tx)
        }

        fn look(
            at: At<'_, '_, Self>,
            deque: &Deque<u64>,
            index: usize,
        ) -> Result<Seen, Self::Stop> {
            match at {
                At::Tx(tx) => look(tx, deque, index),
                At::View(view) => look(view, deque, index),
            }
        }

        fn bounded(&self, capacity: usize) -> BoundedQueue<u64> {
            BoundedQueue::root(&self.shared, &self.new_name(), capacity).unwrap()
        }

        fn send(
            tx: &Self::Tx<'_>,
            queue: &BoundedQueue<u64>,
            value: u64,
        ) -> Result<(), Self::Stop> {
            queue.push(tx, value)
        }

        fn try_send(
            tx: &Self::Tx<'_>,
            queue: &BoundedQueue<u64>,
            value: u64,
        ) -> Result<Result<(), u64>, Self::Stop> {
            queue.try_push(tx, value)
        }

        fn receive(tx: &Self::Tx<'_>, queue: &BoundedQueue<u64>) -> Result<u64, Self::Stop> {
            queue.pop(tx)
        }

        fn try_receive(
            tx: &Self::Tx<'_>,
            queue: &BoundedQueue<u64>,
        ) -> Result<Option<u64>, Self::Stop> {
            queue.try_pop(tx)
        }

        fn empty(tx: &Self::Tx<'_>, queue: &BoundedQueue<u64>) -> Result<(), Self::Stop> {
            queue.clear(tx)
        }

        fn look_at(at: At<'_, '_, Self>, queue: &BoundedQueue<u64>) -> Result<Seen, Self::Stop> {
            match at {
                At::Tx(tx) => look_at(tx, queue),
                At::View(view) => look_at(view, queue),
            }
        }
    }

    /// Ends that cannot be, and a vector that is none: errors, and nothing worse.
    #[test]
    fn nonsense_in_a_ring_is_an_error() {
        let world = Region::new();
        let shared = &world.shared;
        let deque: Deque<u64> = Deque::root(shared, "deque").unwrap();
        let queue: BoundedQueue<u64> = BoundedQueue::root(shared, "queue", 3).unwrap();
        world.commit(|tx| (0..3).try_for_each(|n| deque.push_back(tx, n).and(queue.push(tx, n))));
        let corrupt = |result: Result<(), TransactionError>| {
            assert!(matches!(result, Err(TransactionError::Corrupt)), "{result:?}");
        };
        let cells: [Vector<Cell<i64>>; 2] = [bytemuck::cast(deque), bytemuck::cast(queue)];
        let ends = [[0, -1], [0, 99], [i64::MAX, i64::MIN], [i64::MIN, i64::MAX], [i64::MIN; 2]];
        for (which, ends) in ends.iter().enumerate() {
            for cells in cells {
                world.commit(|tx| {
                    (0..2).try_for_each(|end| match cells.get(tx, end)? {
                        Some(cell) => tx.write(cell, &ends[end]),
                        None => unreachable!(),
                    })
                });
            }
            // Whatever these do, they come back.
            let _ = shared.atomically(|tx| deque.try_pop_back(tx));
            let _ = shared.atomically(|tx| deque.try_pop_front(tx));
            let _ = shared.atomically(|tx| (0..40).try_for_each(|n| deque.push_front(tx, n)));
            let _ = shared.atomically(|tx| queue.try_pop(tx));
            let _ = shared.atomically(|tx| queue.try_push(tx, 1));
            let _ = shared.snapshot(|view| deque.iter(view).collect::<Result<Vec<_>, _>>());
            let _ = shared.snapshot(|view| queue.iter(view).rev().collect::<Result<Vec<_>, _>>());
            if which < 4 {
                world.commit(|tx| match cells[1].get(tx, 0)? {
                    Some(front) => tx.write(front, &ends[0]),
                    None => unreachable!(),
                });
                world.commit(|tx| match cells[1].get(tx, 1)? {
                    Some(back) => tx.write(back, &ends[1]),
                    None => unreachable!(),
                });
                corrupt(shared.snapshot(|view| queue.len(view).map(drop)));
                corrupt(shared.atomically(|tx| queue.clear(tx)));
            }
        }
        for cells in cells {
            let top = Cell::<[u8]>::from_bits(bytemuck::cast(cells));
            shared.atomically(|tx| tx.write(top, &[0; 8][..])).unwrap();
        }
        corrupt(shared.atomically(|tx| deque.push_back(tx, 1)));
        corrupt(shared.atomically(|tx| queue.push(tx, 1)));
        corrupt(shared.snapshot(|view| queue.peek(view).map(drop)));
    }

    /// With its root a ring gives back all that it had; and so does one without a name.
    #[test]
    fn rings_are_freed_with_all_that_they_have() {
        let world = Region::new();
        world.shared.root("other", 1_u64).unwrap();
        world.sound(Some(1));
        let queue: BoundedQueue<u64> = BoundedQueue::root(&world.shared, "queue", 200).unwrap();
        let deque: Deque<u64> = Deque::root(&world.shared, "deque").unwrap();
        world.commit(|tx| (0..100).try_for_each(|n| queue.push(tx, n)));
        world.commit(|tx| (0..1000).try_for_each(|n| deque.push_front(tx, n)));
        world.sound(None);
        assert!(world.shared.remove_root("queue").unwrap());
        assert!(world.shared.remove_root("deque").unwrap());
        world.sound(Some(1));
        let (queue, deque) = world.commit(|tx| {
            let (queue, deque) = (
                BoundedQueue::<u64>::create(tx, 3.try_into().unwrap())?,
                Deque::<u64>::create(tx)?,
            );
            (0..40).try_for_each(|n| deque.push_back(tx, n))?;
            queue.push(tx, 1)?;
            Ok((queue, deque))
        });
        world.commit(|tx| queue.free(tx).and(deque.free(tx)));
        world.sound(Some(1));
        assert!(world.shared.snapshot(|view| deque.len(view)).is_err());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(bool, u64),
    Pop(bool),
    /// So many, one after the other: so that what can grow does.
    PushMany(bool, u8),
    PopMany(bool, u8),
    Look(u8),
    Clear,
}

fn bodies() -> impl Strategy<Value = Vec<(Vec<Step>, bool)>> {
    let front = || any::<bool>();
    let step = prop_oneof![
        10 => (front(), any::<u64>()).prop_map(|(front, value)| Step::Push(front, value)),
        9 => front().prop_map(Step::Pop),
        2 => (front(), any::<u8>()).prop_map(|(front, many)| Step::PushMany(front, many)),
        2 => (front(), any::<u8>()).prop_map(|(front, many)| Step::PopMany(front, many)),
        2 => any::<u8>().prop_map(Step::Look),
        1 => Just(Step::Clear),
    ];
    let steps = prop::collection::vec(step, 1..30);
    prop::collection::vec((steps, prop::bool::weighted(0.2)), 1..8)
}

fn at_end(front: bool) -> End {
    if front { Front } else { Back }
}

type Model = VecDeque<u64>;

/// Transactions, some of which are cancelled: the ring does what the model does.
fn run<W: World>(
    world: &W,
    bodies: &[(Vec<Step>, bool)],
    step: impl Fn(&W::Tx<'_>, &mut Model, &Step) -> Result<(), W::Stop>,
    items: impl Fn(&W::View<'_>) -> Result<Vec<u64>, W::Stop>,
) {
    let mut model = Model::new();
    for (steps, cancelled) in bodies {
        let mut tried = Model::new();
        let done = world.run(*cancelled, |tx| {
            tried.clone_from(&model);
            steps.iter().try_for_each(|one| step(tx, &mut tried, one))
        });
        assert_eq!(done.is_none(), *cancelled);
        if done.is_some() {
            model = tried;
        }
        assert_eq!(world.snapshot(&items), Vec::from(model.clone()));
    }
}

fn a_deque_does_what_that_of_std_does<W: Rings>() {
    let run = |bodies: Vec<(Vec<Step>, bool)>| {
        let world = W::new();
        let deque = world.deque();
        let push = |tx: &W::Tx<'_>, model: &mut Model, front, value| {
            if front {
                model.push_front(value)
            } else {
                model.push_back(value)
            }
            W::push(tx, &deque, at_end(front), value)
        };
        let pop = |tx: &W::Tx<'_>, model: &mut Model, front| {
            let expected = if front { model.pop_front() } else { model.pop_back() };
            assert_eq!(W::try_pop(tx, &deque, at_end(front))?, expected);
            Ok(())
        };
        let step = |tx: &W::Tx<'_>, model: &mut Model, step: &Step| {
            match *step {
                Step::Push(front, value) => push(tx, model, front, value)?,
                Step::PushMany(front, many) => {
                    (0..u64::from(many)).try_for_each(|n| push(tx, model, front, n))?;
                }
                Step::Pop(front) => pop(tx, model, front)?,
                Step::PopMany(front, many) => (0..many).try_for_each(|_| pop(tx, model, front))?,
                Step::Look(index) => {
                    let index = usize::from(index);
                    let others = [model.front(), model.back(), model.get(index)];
                    let expected =
                        (Vec::from(model.clone()), others.map(|item| item.copied()), model.len());
                    assert_eq!(W::look(At::Tx(tx), &deque, index)?, expected);
                }
                Step::Clear => {
                    model.clear();
                    W::clear(tx, &deque)?;
                }
            }
            Ok(())
        };
        self::run(&world, &bodies, step, |view| Ok(W::look(At::View(view), &deque, 0)?.0));
        world.commit(|tx| W::clear(tx, &deque));
        // The vector of handles is one cell, beside 16 slots and two ends.
        world.sound(Some(19));
        Ok(())
    };
    TestRunner::new(config()).run(&bodies(), run).unwrap();
}

fn a_bounded_queue_does_what_a_queue_with_a_bound_does<W: Rings>() {
    let run = |(bodies, capacity): (Vec<(Vec<Step>, bool)>, usize)| {
        let world = W::new();
        let queue = world.bounded(capacity);
        let push = |tx: &W::Tx<'_>, model: &mut Model, value| {
            let expected = if model.len() < capacity { Ok(()) } else { Err(value) };
            if expected.is_ok() {
                model.push_back(value);
            }
            assert_eq!(W::try_send(tx, &queue, value)?, expected);
            Ok(())
        };
        let pop = |tx: &W::Tx<'_>, model: &mut Model| {
            assert_eq!(W::try_receive(tx, &queue)?, model.pop_front());
            Ok(())
        };
        let step = |tx: &W::Tx<'_>, model: &mut Model, step: &Step| {
            match *step {
                Step::Push(_, value) => push(tx, model, value)?,
                Step::PushMany(_, many) => {
                    (0..u64::from(many)).try_for_each(|value| push(tx, model, value))?;
                }
                Step::Pop(_) => pop(tx, model)?,
                Step::PopMany(_, many) => (0..many).try_for_each(|_| pop(tx, model))?,
                Step::Look(_) => {
                    let items = model.iter().rev().copied().collect();
                    let first = model.front().copied();
                    assert_eq!(W::look_at(At::Tx(tx), &queue)?, (items, [first; 3], model.len()));
                }
                Step::Clear => {
                    model.clear();
                    W::empty(tx, &queue)?;
                }
            }
            Ok(())
        };
        self::run(&world, &bodies, step, |view| {
            let mut items = W::look_at(At::View(view), &queue)?.0;
            items.reverse();
            Ok(items)
        });
        world.sound(Some(3 + capacity));
        Ok(())
    };
    TestRunner::new(config()).run(&(bodies(), 1..40_usize), run).unwrap();
}

/// What works at the two ends does not conflict while there are two items, and room for two.
fn the_two_ends_do_not_conflict<W: Rings>() {
    let world = W::new();
    let deque = &world.deque();
    world.commit(|tx| (0..3).try_for_each(|n| W::push(tx, deque, Back, n)));
    let push = |end| move |tx: &W::Tx<'_>| W::push(tx, deque, end, 7);
    let pop = |end| move |tx: &W::Tx<'_>| W::try_pop(tx, deque, end).map(|_| ());
    assert_eq!(attempts(&world, pop(Front), || world.commit(push(Back))), 1);
    assert_eq!(attempts(&world, pop(Back), || world.commit(push(Front))), 1);
    assert_eq!(attempts(&world, pop(Back), || world.commit(pop(Front))), 1);
    assert_eq!(attempts(&world, push(Back), || world.commit(push(Front))), 1);
    assert_eq!(attempts(&world, push(Back), || world.commit(push(Back))), 2);
    let queue = world.bounded(4);
    world.commit(|tx| (0..2).try_for_each(|n| W::send(tx, &queue, n)));
    let send = |tx: &W::Tx<'_>| W::send(tx, &queue, 7);
    let receive = |tx: &W::Tx<'_>| W::receive(tx, &queue).map(|_| ());
    assert_eq!(attempts(&world, receive, || world.commit(send)), 1);
    assert_eq!(attempts(&world, send, || world.commit(receive)), 1);
    assert_eq!(attempts(&world, send, || world.commit(send)), 2);
}

/// Two threads send, two receive, through little room; what each has sent comes out once, and in its order.
fn hands_over_between_threads<W: Rings>() {
    const EACH: u64 = 1500;
    let world = W::new();
    let queue = world.bounded(3);
    let taken: Vec<Vec<u64>> = std::thread::scope(|scope| {
        for sender in 0..2 {
            let (world, queue) = (&world, &queue);
            scope.spawn(move || {
                (0..EACH).for_each(|n| world.commit(|tx| W::send(tx, queue, sender << 32 | n)));
            });
        }
        let takers = [(); 2].map(|()| {
            scope.spawn(|| (0..EACH).map(|_| world.commit(|tx| W::receive(tx, &queue))).collect())
        });
        takers.into_iter().map(|taker| taker.join().unwrap()).collect()
    });
    for sender in 0..2 {
        let of = |item: &&u64| **item >> 32 == sender;
        assert!(taken.iter().all(|items| items.iter().filter(of).is_sorted()));
    }
    let mut all = taken.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq((0..EACH).chain((0..EACH).map(|n| 1 << 32 | n))));
    world.sound(Some(6));
}

/// A deque that was full has few slots again, once around.
fn a_deque_shrinks_with_its_items<W: Rings>() {
    let world = W::new();
    let deque = world.deque();
    for n in 0..300 {
        world.commit(|tx| W::push(tx, &deque, if n % 2 == 0 { Front } else { Back }, n));
    }
    for n in 0..300 {
        let end = if n % 2 == 0 { Front } else { Back };
        assert!(world.commit(|tx| W::try_pop(tx, &deque, end)).is_some());
    }
    for n in 0..512 {
        world.commit(|tx| W::push(tx, &deque, Back, n));
        assert_eq!(world.commit(|tx| W::try_pop(tx, &deque, Front)), Some(n));
    }
    world.sound(Some(19));
}

in_both_worlds!(
    a_deque_does_what_that_of_std_does,
    a_bounded_queue_does_what_a_queue_with_a_bound_does,
    the_two_ends_do_not_conflict,
    hands_over_between_threads,
    a_deque_shrinks_with_its_items,
);

/// The number of slots, which only one process tells.
#[test]
fn slots_come_and_go() {
    let deque = TDeque::new();
    let slots = || contempo::snapshot(|view| deque.capacity(view));
    (0..1000).for_each(|n| deque.push_back_now(n));
    assert_eq!(slots(), 1024);
    (0..1000).for_each(|n| assert_eq!(deque.blocking_pop_front(), n));
    (0..100).for_each(|n| {
        deque.push_front_now(n);
        assert_eq!(deque.blocking_pop_back(), n);
    });
    assert!(slots() <= 1024);
    (0..1100).for_each(|n| {
        deque.push_back_now(n);
        assert_eq!(deque.blocking_pop_front(), n);
    });
    assert_eq!(slots(), 8);
    (0..1000).for_each(|n| deque.push_back_now(n));
    contempo::atomically(|tx| deque.clear(tx));
    assert_eq!(slots(), 8);
}
