//! The broadcast: once in each world.

use crate::world::{At, Local, World, attempts, config, in_both_worlds, local};
use contempo::collections::{BroadcastError, TBroadcast, TSubscriber};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::sync::mpsc::SendError;

type Received = Result<Option<u64>, BroadcastError>;

/// A world with broadcasts.
trait Broadcasts: World + Sized {
    type Broadcast: Clone + Send + Sync;
    type Subscriber: Clone + Send + Sync;

    fn broadcast(&self, capacity: usize) -> Self::Broadcast;
    fn send(
        tx: &Self::Tx<'_>,
        broadcast: &Self::Broadcast,
        value: u64,
    ) -> Result<Result<(), SendError<u64>>, Self::Stop>;
    fn close(tx: &Self::Tx<'_>, broadcast: &Self::Broadcast) -> Result<bool, Self::Stop>;
    fn is_closed(at: At<'_, '_, Self>, broadcast: &Self::Broadcast) -> Result<bool, Self::Stop>;
    fn kept(view: &Self::View<'_>, broadcast: &Self::Broadcast) -> Result<Vec<u64>, Self::Stop>;
    fn subscribe(
        tx: &Self::Tx<'_>,
        broadcast: &Self::Broadcast,
    ) -> Result<Self::Subscriber, Self::Stop>;
    fn recv(
        tx: &Self::Tx<'_>,
        subscriber: &Self::Subscriber,
    ) -> Result<Result<u64, BroadcastError>, Self::Stop>;
    fn try_recv(tx: &Self::Tx<'_>, subscriber: &Self::Subscriber) -> Result<Received, Self::Stop>;
    fn len(at: At<'_, '_, Self>, subscriber: &Self::Subscriber) -> Result<u64, Self::Stop>;
    fn is_empty(at: At<'_, '_, Self>, subscriber: &Self::Subscriber) -> Result<bool, Self::Stop>;
    /// In a region its place is a cell that must be freed.
    fn leave(&self, subscriber: Self::Subscriber);
}

macro_rules! broadcasts {
    ($world:ty, $read:ident, [$broadcast:ty, $subscriber:ty], |$shared:ident, $n:ident| $new:expr,
     |$item:ident| $plain:expr, |$items:ident| $all:expr, |$world_of:ident, $leaver:ident| $leave:expr) => {
        impl Broadcasts for $world {
            type Broadcast = $broadcast;
            type Subscriber = $subscriber;

            fn broadcast(&self, $n: usize) -> $broadcast {
                let $shared = self;
                $new
            }
            fn send(
                tx: &Self::Tx<'_>,
                broadcast: &$broadcast,
                value: u64,
            ) -> Result<Result<(), SendError<u64>>, Self::Stop> {
                broadcast.send(tx, value)
            }
            fn close(tx: &Self::Tx<'_>, broadcast: &$broadcast) -> Result<bool, Self::Stop> {
                broadcast.close(tx)
            }
            fn is_closed(at: At<'_, '_, Self>, broadcast: &$broadcast) -> Result<bool, Self::Stop> {
                Ok($read!(at, |at| broadcast.is_closed(at)))
            }
            fn kept(view: &Self::View<'_>, broadcast: &$broadcast) -> Result<Vec<u64>, Self::Stop> {
                let $items = broadcast.iter(view);
                $all
            }
            fn subscribe(
                tx: &Self::Tx<'_>,
                broadcast: &$broadcast,
            ) -> Result<$subscriber, Self::Stop> {
                broadcast.subscribe(tx)
            }
            fn recv(
                tx: &Self::Tx<'_>,
                subscriber: &$subscriber,
            ) -> Result<Result<u64, BroadcastError>, Self::Stop> {
                Ok(subscriber.recv(tx)?.map(|$item| $plain))
            }
            fn try_recv(
                tx: &Self::Tx<'_>,
                subscriber: &$subscriber,
            ) -> Result<Received, Self::Stop> {
                Ok(subscriber.try_recv(tx)?.map(|item| item.map(|$item| $plain)))
            }
            fn len(at: At<'_, '_, Self>, subscriber: &$subscriber) -> Result<u64, Self::Stop> {
                Ok($read!(at, |at| subscriber.len(at)))
            }
            fn is_empty(
                at: At<'_, '_, Self>,
                subscriber: &$subscriber,
            ) -> Result<bool, Self::Stop> {
                Ok($read!(at, |at| subscriber.is_empty(at)))
            }
            fn leave(&self, $leaver: $subscriber) {
                let $world_of = self;
                $leave
            }
        }
    };
}

broadcasts!(
    Local, local, [TBroadcast<u64>, TSubscriber<u64>], |_world, n| TBroadcast::new(n),
    |item| *item, |items| Ok(items.copied().collect()), |_world, subscriber| drop(subscriber)
);

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod in_a_region {
    use super::{At, BroadcastError, Broadcasts, Received, SendError, World};
    use crate::world::{Region, region};
    use contempo::shared::collections::{Broadcast, Subscriber};
    use contempo::shared::{RootKind, TransactionError};

    broadcasts!(
        Region, region, [Broadcast<u64>, Subscriber<u64>],
        |world, n| Broadcast::root(&world.shared, "broadcast", n).unwrap(),
        |item| item, |items| items.collect(),
        |world, subscriber| world.commit(|tx| subscriber.free(tx))
    );

    /// The broadcast goes with its root, and a subscriber, which is told, with its own.
    #[test]
    fn nothing_is_left_of_removed_roots() {
        let world = Region::new();
        let broadcast = world.broadcast(100);
        let named = Subscriber::root(&world.shared, "named", &broadcast).unwrap();
        let own = world.commit(|tx| broadcast.subscribe(tx));
        world.commit(|tx| (0..7).try_for_each(|n| broadcast.send(tx, n).map(drop)));
        assert_eq!(Subscriber::root(&world.shared, "named", &broadcast).unwrap(), named);
        assert_eq!(world.snapshot(|view| named.broadcast(view)), broadcast);
        let roots = world.shared.roots().unwrap();
        assert_eq!((roots[0].kind, roots[1].kind), (RootKind::Broadcast, RootKind::Cell));
        assert!(world.shared.remove_root("broadcast").unwrap());
        let gone = world.shared.atomically(|tx| own.recv(tx));
        assert!(matches!(gone, Err(TransactionError::NoSuchCell)), "{gone:?}");
        world.commit(|tx| own.free(tx));
        assert!(world.shared.remove_root("named").unwrap());
        world.shared.collect().unwrap();
        world.sound(Some(0));
    }

    /// Items of any size.
    #[test]
    fn odd_items_come_as_they_were_sent() {
        let world = Region::new();
        let broadcast: Broadcast<[u8; 5]> = Broadcast::root(&world.shared, "odd", 3).unwrap();
        let reader = world.commit(|tx| broadcast.subscribe(tx));
        for n in 0..10 {
            world.commit(|tx| broadcast.send(tx, [n, 1, 2, 3, n])).unwrap();
            assert_eq!(world.commit(|tx| reader.recv(tx)), Ok([n, 1, 2, 3, n]));
        }
        world.commit(|tx| reader.free(tx));
        world.sound(None);
    }
}

/// Each subscriber receives what was sent since it has subscribed, or is told how much it has missed: then as many
/// as are kept. What is undone was neither sent nor received.
fn a_broadcast_reaches_all_and_counts_what_was_missed<W: Broadcasts>() {
    let run = |(steps, capacity): (Vec<(u8, u8, bool)>, usize)| {
        let world = W::new();
        let broadcast = world.broadcast(capacity);
        let mut subscribers: Vec<(W::Subscriber, u64)> = Vec::new();
        let mut sent = 0_u64;
        for (what, many, cancelled) in steps {
            match what % 4 {
                0 => subscribers.push((world.commit(|tx| W::subscribe(tx, &broadcast)), sent)),
                1 | 2 => {
                    let many = u64::from(many % 6);
                    let done = world.run(cancelled, |tx| {
                        let mut all = sent..sent + many;
                        all.try_for_each(|n| W::send(tx, &broadcast, n).map(Result::unwrap))
                    });
                    sent += done.map_or(0, |()| many);
                }
                _ => {
                    let number = subscribers.len().max(1);
                    let Some((subscriber, next)) = subscribers.get_mut(usize::from(many) % number)
                    else {
                        continue;
                    };
                    let (left, room) = (sent - *next, capacity as u64);
                    let len = world.snapshot(|view| W::len(At::View(view), subscriber));
                    let none = world.snapshot(|view| W::is_empty(At::View(view), subscriber));
                    assert_eq!((len, none), (left, left == 0));
                    let (expected, then) = match left {
                        0 => (Ok(None), *next),
                        _ if left > room => (Err(BroadcastError::Lagged(left - room)), sent - room),
                        _ => (Ok(Some(*next)), *next + 1),
                    };
                    let received = world.run(cancelled, |tx| {
                        let received = W::try_recv(tx, subscriber)?;
                        assert_eq!(received, expected);
                        Ok(())
                    });
                    *next = received.map_or(*next, |()| then);
                }
            }
            let kept = world.snapshot(|view| W::kept(view, &broadcast));
            assert!(kept.into_iter().eq(sent.saturating_sub(capacity as u64)..sent));
        }
        assert!(world.run(true, |tx| W::close(tx, &broadcast)).is_none());
        assert!(!world.snapshot(|view| W::is_closed(At::View(view), &broadcast)));
        assert!(world.commit(|tx| W::close(tx, &broadcast)));
        assert!(!world.commit(|tx| W::close(tx, &broadcast)));
        assert_eq!(world.commit(|tx| W::send(tx, &broadcast, 0)), Err(SendError(0)));
        for (subscriber, mut next) in subscribers {
            loop {
                match world.commit(|tx| W::recv(tx, &subscriber)) {
                    Ok(item) => assert_eq!(item, next),
                    Err(BroadcastError::Lagged(missed)) => next += missed - 1,
                    Err(BroadcastError::Closed) => break,
                }
                next += 1;
            }
            assert_eq!(next, sent);
            world.leave(subscriber);
        }
        world.sound(None);
        Ok(())
    };
    let step = (any::<u8>(), any::<u8>(), prop::bool::weighted(0.2));
    let steps = prop::collection::vec(step, 1..80);
    TestRunner::new(config()).run(&(steps, 1..9_usize), run).unwrap();
}

/// Subscribers of several threads: each sees all that it has not missed, in order, sleeps while there is nothing, and is
/// told of the end.
fn all_subscribers_see_all<W: Broadcasts>() {
    const ITEMS: u64 = 300;
    let world = W::new();
    let broadcast = world.broadcast(16);
    let subscribers = [(); 2].map(|()| world.commit(|tx| W::subscribe(tx, &broadcast)));
    std::thread::scope(|scope| {
        for subscriber in &subscribers {
            let world = &world;
            scope.spawn(move || {
                let mut next = 0;
                loop {
                    match world.commit(|tx| W::recv(tx, subscriber)) {
                        Ok(item) => {
                            assert_eq!(item, next);
                            next += 1;
                        }
                        Err(BroadcastError::Lagged(missed)) => next += missed,
                        Err(BroadcastError::Closed) => break assert_eq!(next, ITEMS),
                    }
                }
            });
        }
        for n in 0..ITEMS {
            world.commit(|tx| W::send(tx, &broadcast, n)).unwrap();
        }
        world.commit(|tx| W::close(tx, &broadcast));
    });
    subscribers.into_iter().for_each(|subscriber| world.leave(subscriber));
    world.sound(None);
}

/// What sends and what receives do not conflict while there is something to receive; nor do two that receive.
fn senders_and_subscribers_do_not_conflict<W: Broadcasts>() {
    let world = W::new();
    let broadcast = world.broadcast(4);
    let [one, other] = [(); 2].map(|()| world.commit(|tx| W::subscribe(tx, &broadcast)));
    let send = |n| world.commit(|tx| W::send(tx, &broadcast, n)).unwrap();
    (0..2).for_each(send);
    assert_eq!(attempts(&world, |tx| W::recv(tx, &one).map(drop), || send(2)), 1);
    let receive = || assert_eq!(world.commit(|tx| W::recv(tx, &other)), Ok(0));
    assert_eq!(attempts(&world, |tx| W::recv(tx, &one).map(drop), receive), 1);
}

in_both_worlds!(
    a_broadcast_reaches_all_and_counts_what_was_missed,
    all_subscribers_see_all,
    senders_and_subscribers_do_not_conflict,
);
