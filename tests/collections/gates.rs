//! What threads and processes wait for, and channels: once in each world.

use crate::world::{At, Local, World, attempts, in_both_worlds, local};
use contempo::collections::{TBarrier, TChannel, TLatch, TMVar, TPromise, TSemaphore};
use std::collections::VecDeque;
use std::sync::mpsc::{TryRecvError, TrySendError};

/// A world with all of them.
trait Gates: World + Sized {
    type Semaphore: Clone + Send + Sync;
    type Latch: Clone + Send + Sync;
    type Barrier: Clone + Send + Sync;
    type Arrival: Send;
    type Slot: Clone + Send + Sync;
    type Promise: Clone + Send + Sync;
    type Channel: Clone + Send + Sync;

    fn semaphore(&self, permits: usize) -> Self::Semaphore;
    fn acquire(tx: &Self::Tx<'_>, of: &Self::Semaphore, permits: usize) -> Result<(), Self::Stop>;
    fn try_acquire(
        tx: &Self::Tx<'_>,
        of: &Self::Semaphore,
        permits: usize,
    ) -> Result<bool, Self::Stop>;
    fn release(tx: &Self::Tx<'_>, of: &Self::Semaphore, permits: usize) -> Result<(), Self::Stop>;
    fn available(at: At<'_, '_, Self>, of: &Self::Semaphore) -> Result<usize, Self::Stop>;

    fn latch(&self, count: usize) -> Self::Latch;
    fn count_down(tx: &Self::Tx<'_>, latch: &Self::Latch) -> Result<(), Self::Stop>;
    fn wait_latch(tx: &Self::Tx<'_>, latch: &Self::Latch) -> Result<(), Self::Stop>;
    fn count(at: At<'_, '_, Self>, latch: &Self::Latch) -> Result<usize, Self::Stop>;

    fn barrier(&self, threads: usize) -> Self::Barrier;
    fn arrive(tx: &Self::Tx<'_>, barrier: &Self::Barrier) -> Result<Self::Arrival, Self::Stop>;
    fn is_leader(arrival: &Self::Arrival) -> bool;
    fn wait_barrier(
        tx: &Self::Tx<'_>,
        barrier: &Self::Barrier,
        arrival: &Self::Arrival,
    ) -> Result<(), Self::Stop>;

    fn slot(&self) -> Self::Slot;
    fn put(tx: &Self::Tx<'_>, slot: &Self::Slot, value: u64) -> Result<(), Self::Stop>;
    fn try_put(
        tx: &Self::Tx<'_>,
        slot: &Self::Slot,
        value: u64,
    ) -> Result<Result<(), u64>, Self::Stop>;
    fn take(tx: &Self::Tx<'_>, slot: &Self::Slot) -> Result<u64, Self::Stop>;
    fn try_take(tx: &Self::Tx<'_>, slot: &Self::Slot) -> Result<Option<u64>, Self::Stop>;

    fn promise(&self) -> Self::Promise;
    fn set(
        tx: &Self::Tx<'_>,
        promise: &Self::Promise,
        value: u64,
    ) -> Result<Result<(), u64>, Self::Stop>;
    fn kept(tx: &Self::Tx<'_>, promise: &Self::Promise) -> Result<u64, Self::Stop>;

    fn channel(&self, capacity: usize) -> Self::Channel;
    fn try_send(
        tx: &Self::Tx<'_>,
        channel: &Self::Channel,
        value: u64,
    ) -> Result<Result<(), TrySendError<u64>>, Self::Stop>;
    fn send(tx: &Self::Tx<'_>, channel: &Self::Channel, value: u64) -> Result<bool, Self::Stop>;
    fn try_recv(
        tx: &Self::Tx<'_>,
        channel: &Self::Channel,
    ) -> Result<Result<u64, TryRecvError>, Self::Stop>;
    fn recv(tx: &Self::Tx<'_>, channel: &Self::Channel) -> Result<Option<u64>, Self::Stop>;
    fn drain(tx: &Self::Tx<'_>, channel: &Self::Channel) -> Result<Vec<u64>, Self::Stop>;
    fn close(tx: &Self::Tx<'_>, channel: &Self::Channel) -> Result<bool, Self::Stop>;
    fn is_closed(at: At<'_, '_, Self>, channel: &Self::Channel) -> Result<bool, Self::Stop>;
}

/// The same calls in both worlds, where results differ by a reference alone. `$root` makes one.
macro_rules! gates {
    ($world:ty, $read:ident, $tx:ty, $arrival:ty,
     [$semaphore:ty, $latch:ty, $barrier:ty, $slot:ty, $promise:ty, $channel:ty],
     |$shared:ident, $n:ident| [$new_semaphore:expr, $new_latch:expr, $new_barrier:expr, $new_slot:expr, $new_promise:expr, $new_channel:expr],
     |$value:ident| $plain:expr) => {
        impl Gates for $world {
            type Semaphore = $semaphore;
            type Latch = $latch;
            type Barrier = $barrier;
            type Arrival = $arrival;
            type Slot = $slot;
            type Promise = $promise;
            type Channel = $channel;

            fn semaphore(&self, $n: usize) -> $semaphore {
                let $shared = self;
                $new_semaphore
            }
            fn acquire(tx: &Self::Tx<'_>, of: &$semaphore, n: usize) -> Result<(), Self::Stop> {
                of.acquire(tx, n)
            }
            fn try_acquire(
                tx: &Self::Tx<'_>,
                of: &$semaphore,
                n: usize,
            ) -> Result<bool, Self::Stop> {
                of.try_acquire(tx, n)
            }
            fn release(tx: &Self::Tx<'_>, of: &$semaphore, n: usize) -> Result<(), Self::Stop> {
                of.release(tx, n)
            }
            fn available(at: At<'_, '_, Self>, of: &$semaphore) -> Result<usize, Self::Stop> {
                Ok($read!(at, |at| of.available(at)))
            }
            fn latch(&self, $n: usize) -> $latch {
                let $shared = self;
                $new_latch
            }
            fn count_down(tx: &Self::Tx<'_>, latch: &$latch) -> Result<(), Self::Stop> {
                latch.count_down(tx)
            }
            fn wait_latch(tx: &Self::Tx<'_>, latch: &$latch) -> Result<(), Self::Stop> {
                latch.wait(tx)
            }
            fn count(at: At<'_, '_, Self>, latch: &$latch) -> Result<usize, Self::Stop> {
                Ok($read!(at, |at| latch.count(at)))
            }
            fn barrier(&self, $n: usize) -> $barrier {
                let $shared = self;
                $new_barrier
            }
            fn arrive(tx: &Self::Tx<'_>, barrier: &$barrier) -> Result<$arrival, Self::Stop> {
                barrier.arrive(tx)
            }
            fn is_leader(arrival: &$arrival) -> bool {
                arrival.is_leader()
            }
            fn wait_barrier(
                tx: &Self::Tx<'_>,
                barrier: &$barrier,
                arrival: &$arrival,
            ) -> Result<(), Self::Stop> {
                barrier.wait(tx, arrival)
            }
            fn slot(&self) -> $slot {
                let $shared = self;
                $new_slot
            }
            fn put(tx: &Self::Tx<'_>, slot: &$slot, value: u64) -> Result<(), Self::Stop> {
                slot.put(tx, value)
            }
            fn try_put(
                tx: &Self::Tx<'_>,
                slot: &$slot,
                value: u64,
            ) -> Result<Result<(), u64>, Self::Stop> {
                slot.try_put(tx, value)
            }
            fn take(tx: &Self::Tx<'_>, slot: &$slot) -> Result<u64, Self::Stop> {
                let $value = slot.take(tx)?;
                Ok($plain)
            }
            fn try_take(tx: &Self::Tx<'_>, slot: &$slot) -> Result<Option<u64>, Self::Stop> {
                Ok(slot.try_take(tx)?.map(|$value| $plain))
            }
            fn promise(&self) -> $promise {
                let $shared = self;
                $new_promise
            }
            fn set(
                tx: &Self::Tx<'_>,
                promise: &$promise,
                value: u64,
            ) -> Result<Result<(), u64>, Self::Stop> {
                promise.set(tx, value)
            }
            fn kept(tx: &Self::Tx<'_>, promise: &$promise) -> Result<u64, Self::Stop> {
                let $value = promise.wait(tx)?;
                Ok($plain)
            }
            fn channel(&self, $n: usize) -> $channel {
                let $shared = self;
                $new_channel
            }
            fn try_send(
                tx: &Self::Tx<'_>,
                channel: &$channel,
                value: u64,
            ) -> Result<Result<(), TrySendError<u64>>, Self::Stop> {
                channel.try_send(tx, value)
            }
            fn send(tx: &Self::Tx<'_>, channel: &$channel, value: u64) -> Result<bool, Self::Stop> {
                Ok(channel.send(tx, value)?.is_ok())
            }
            fn try_recv(
                tx: &Self::Tx<'_>,
                channel: &$channel,
            ) -> Result<Result<u64, TryRecvError>, Self::Stop> {
                Ok(channel.try_recv(tx)?.map(|$value| $plain))
            }
            fn recv(tx: &Self::Tx<'_>, channel: &$channel) -> Result<Option<u64>, Self::Stop> {
                Ok(channel.recv(tx)?.ok().map(|$value| $plain))
            }
            fn drain(tx: &Self::Tx<'_>, channel: &$channel) -> Result<Vec<u64>, Self::Stop> {
                Ok(channel.drain(tx)?.into_iter().map(|$value| $plain).collect())
            }
            fn close(tx: &Self::Tx<'_>, channel: &$channel) -> Result<bool, Self::Stop> {
                channel.close(tx)
            }
            fn is_closed(at: At<'_, '_, Self>, channel: &$channel) -> Result<bool, Self::Stop> {
                Ok($read!(at, |at| channel.is_closed(at)))
            }
        }
    };
}

gates!(
    Local, local, contempo::Transaction<'_>, contempo::collections::Arrival,
    [TSemaphore, TLatch, TBarrier, TMVar<u64>, TPromise<u64>, TChannel<u64>],
    |_world, n| [
        TSemaphore::new(n), TLatch::new(n), TBarrier::new(n), TMVar::empty(), TPromise::new(),
        TChannel::bounded(n)
    ],
    |value| *value
);

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod in_a_region {
    use super::{At, Gates, TryRecvError, TrySendError, World};
    use crate::world::{Region, region};
    use contempo::shared::collections::{
        Arrival, Barrier, Channel, Latch, MVar, Promise, Semaphore,
    };

    gates!(
        Region, region, contempo::shared::Transaction<'_>, Arrival,
        [Semaphore, Latch, Barrier, MVar<u64>, Promise<u64>, Channel<u64>],
        |world, n| [
            Semaphore::root(&world.shared, "semaphore", n).unwrap(),
            Latch::root(&world.shared, "latch", n).unwrap(),
            Barrier::root(&world.shared, "barrier", n).unwrap(),
            MVar::root(&world.shared, &world.shared.roots().unwrap().len().to_string()).unwrap(),
            Promise::root(&world.shared, "promise").unwrap(),
            Channel::root(&world.shared, "channel", n).unwrap()
        ],
        |value| value
    );

    /// All that they have is freed with their roots, and handles of what was freed are errors.
    #[test]
    fn nothing_is_left_of_removed_roots() {
        let world = Region::new();
        let channel = world.channel(7);
        world.commit(|tx| (0..5).try_for_each(|n| Region::send(tx, &channel, n).map(drop)));
        world.semaphore(1);
        world.latch(1);
        world.barrier(1);
        world.slot();
        world.promise();
        let roots = world.shared.roots().unwrap();
        assert_eq!(roots.len(), 6);
        assert!(roots.iter().any(|root| root.kind.to_string() == "channel"));
        for root in roots {
            assert!(world.shared.remove_root(&root.name).unwrap());
        }
        world.shared.collect().unwrap();
        world.sound(Some(0));
        assert!(world.shared.atomically(|tx| channel.recv(tx)).is_err());
    }
}

fn permits_are_taken_and_given_back<W: Gates>() {
    let world = W::new();
    let semaphore = world.semaphore(3);
    let free = || world.snapshot(|view| W::available(At::View(view), &semaphore));
    assert!(world.commit(|tx| W::try_acquire(tx, &semaphore, 2)));
    assert!(!world.commit(|tx| W::try_acquire(tx, &semaphore, 2)));
    assert_eq!(free(), 1);
    // Undone, nothing was taken.
    assert!(world.run(true, |tx| W::acquire(tx, &semaphore, 1)).is_none());
    assert_eq!(free(), 1);
    world.commit(|tx| W::release(tx, &semaphore, 2));
    // Never more is taken than there is.
    let held = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (world, semaphore, held) = (&world, &semaphore, &held);
            scope.spawn(move || {
                for n in 0..100 {
                    let permits = 1 + (n + thread) % 3;
                    world.commit(|tx| W::acquire(tx, semaphore, permits));
                    let now = held.fetch_add(permits, std::sync::atomic::Ordering::SeqCst);
                    assert!(now + permits <= 3, "{now} and {permits}");
                    held.fetch_sub(permits, std::sync::atomic::Ordering::SeqCst);
                    world.commit(|tx| W::release(tx, semaphore, permits));
                }
            });
        }
    });
    assert_eq!(free(), 3);
    world.sound(None);
}

fn a_latch_opens_once<W: Gates>() {
    let world = W::new();
    let latch = world.latch(2);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| world.commit(|tx| W::wait_latch(tx, &latch)));
        assert!(world.run(true, |tx| W::count_down(tx, &latch)).is_none());
        assert_eq!(world.snapshot(|view| W::count(At::View(view), &latch)), 2);
        world.commit(|tx| W::count_down(tx, &latch));
        assert!(!waiter.is_finished());
        world.commit(|tx| W::count_down(tx, &latch));
    });
    world.commit(|tx| W::count_down(tx, &latch)); // does nothing
    assert_eq!(world.snapshot(|view| W::count(At::View(view), &latch)), 0);
}

fn a_barrier_holds_all_together<W: Gates>() {
    const THREADS: usize = 3;
    let world = W::new();
    let barrier = world.barrier(THREADS);
    let [came, led] = [(); 2].map(|()| std::sync::atomic::AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 1..=50 {
                    came.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let arrival = world.commit(|tx| W::arrive(tx, &barrier));
                    led.fetch_add(
                        W::is_leader(&arrival).into(),
                        std::sync::atomic::Ordering::SeqCst,
                    );
                    world.commit(|tx| W::wait_barrier(tx, &barrier, &arrival));
                    assert!(came.load(std::sync::atomic::Ordering::SeqCst) >= round * THREADS);
                }
            });
        }
    });
    assert_eq!(led.into_inner(), 50);
}

fn slots_hand_over<W: Gates>() {
    let world = W::new();
    let (there, back) = (world.slot(), world.slot());
    world.commit(|tx| {
        assert_eq!(W::try_put(tx, &back, 0)?, Ok(()));
        assert_eq!(W::try_put(tx, &back, 1)?, Err(1));
        assert_eq!(W::try_take(tx, &there)?, None);
        Ok(())
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                let value = world.commit(|tx| W::take(tx, &there));
                world.commit(|tx| W::put(tx, &back, value + 1));
            }
        });
        for _ in 0..200 {
            world.commit(|tx| {
                let value = W::take(tx, &back)?;
                W::put(tx, &there, value)
            });
        }
    });
    assert_eq!(world.commit(|tx| W::take(tx, &back)), 200);
}

fn a_promise_is_kept_once<W: Gates>() {
    let world = W::new();
    let promise = world.promise();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| world.commit(|tx| W::kept(tx, &promise)));
        assert!(world.run(true, |tx| W::set(tx, &promise, 1)).is_none());
        assert_eq!(world.commit(|tx| W::set(tx, &promise, 2)), Ok(()));
        assert_eq!(world.commit(|tx| W::set(tx, &promise, 3)), Err(3));
        assert_eq!(waiter.join().unwrap(), 2);
    });
}

fn a_channel_does_what_a_deque_does<W: Gates>() {
    const ROOM: usize = 4;
    let world = W::new();
    let (channel, mut model, mut state) = (world.channel(ROOM), VecDeque::new(), 1_u64);
    for n in 0..300 {
        let step = crate::world::next(&mut state);
        match step % 8 {
            0..4 => {
                let sent = world.run(step & 64 != 0, |tx| W::try_send(tx, &channel, n));
                match sent {
                    Some(Ok(())) => model.push_back(n),
                    Some(Err(TrySendError::Full(n))) => assert_eq!((model.len(), n), (ROOM, n)),
                    Some(Err(TrySendError::Disconnected(_))) => panic!("it is open"),
                    None => {}
                }
            }
            4..7 => {
                let received = world.commit(|tx| W::try_recv(tx, &channel));
                assert_eq!(received, model.pop_front().ok_or(TryRecvError::Empty));
            }
            _ => assert_eq!(
                world.commit(|tx| W::drain(tx, &channel)),
                model.drain(..).collect::<Vec<_>>()
            ),
        }
    }
    world.commit(|tx| W::drain(tx, &channel));
    assert_eq!(world.commit(|tx| W::try_send(tx, &channel, 7)), Ok(()));
    assert!(world.run(true, |tx| W::close(tx, &channel)).is_none());
    assert!(!world.snapshot(|view| W::is_closed(At::View(view), &channel)));
    assert!(
        world.commit(|tx| W::close(tx, &channel)) && !world.commit(|tx| W::close(tx, &channel))
    );
    let late = world.commit(|tx| W::try_send(tx, &channel, 8));
    assert_eq!(late, Err(TrySendError::Disconnected(8)));
    // What was sent can still be received.
    assert_eq!(world.commit(|tx| W::recv(tx, &channel)), Some(7));
    assert_eq!(world.commit(|tx| W::recv(tx, &channel)), None);
    world.sound(None);
}

/// One that receives sleeps until something is sent, or the channel closed; all items come once, those of a sender in order.
fn channels_connect_threads<W: Gates>() {
    let world = W::new();
    let channel = world.channel(2);
    let received = std::thread::scope(|scope| {
        let receivers = [(); 2].map(|()| {
            scope.spawn(|| {
                let mut items = Vec::new();
                while let Some(item) = world.commit(|tx| W::recv(tx, &channel)) {
                    items.push(item);
                }
                items
            })
        });
        let senders = [0, 1].map(|sender| {
            let (world, channel) = (&world, &channel);
            scope.spawn(move || {
                for n in 0..200 {
                    assert!(world.commit(|tx| W::send(tx, channel, sender << 32 | n)));
                }
            })
        });
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        world.commit(|tx| W::close(tx, &channel));
        receivers.map(|receiver| receiver.join().unwrap())
    });
    for items in &received {
        for sender in 0..2 {
            assert!(items.iter().filter(|item| *item >> 32 == sender).is_sorted());
        }
    }
    let mut all = received.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq((0..2).flat_map(|sender| (0..200).map(move |n| sender << 32 | n))));
}

/// The two ends of a channel do not conflict while it is neither empty nor full.
fn the_ends_of_a_channel_do_not_conflict<W: Gates>() {
    let world = W::new();
    let channel = world.channel(8);
    world.commit(|tx| (0..4).try_for_each(|n| W::send(tx, &channel, n).map(drop)));
    let receive = || assert!(world.commit(|tx| W::recv(tx, &channel)).is_some());
    let tried = attempts(&world, |tx| W::send(tx, &channel, 9).map(drop), receive);
    assert_eq!(tried, 1);
}

in_both_worlds!(
    permits_are_taken_and_given_back,
    a_latch_opens_once,
    a_barrier_holds_all_together,
    slots_hand_over,
    a_promise_is_kept_once,
    a_channel_does_what_a_deque_does,
    channels_connect_threads,
    the_ends_of_a_channel_do_not_conflict,
);
