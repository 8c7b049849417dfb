//! Programs on collections under loom and under shuttle, as in `checked.rs`: what waits is woken in every schedule, and
//! what is handed over arrives once. Run by `ci/checked.sh`; in an ordinary build on threads of the system.

use contempo::checking::{explore, thread};
use contempo::collections::{
    BroadcastError, TBarrier, TBoundedQueue, TBroadcast, TChannel, TCounter, TDeque, TLatch, TMVar,
    TPromise, TRwLock, TSemaphore,
};
use contempo::{TVar, atomically, snapshot};

/// Runs it in every schedule that the checker comes to, which are more than one.
fn always(program: impl Fn() + Send + Sync + 'static) {
    let schedules = explore(program);
    assert!(schedules > 1 || cfg!(not(any(contempo_loom, contempo_shuttle))), "{schedules}");
}

#[test]
fn a_bounded_queue_hands_over_and_wakes_both_sides() {
    always(|| {
        let queue = TBoundedQueue::new(1);
        let to = queue.clone();
        // The second waits for room, or comes to an empty queue.
        let sender = thread::spawn(move || (1..3).for_each(|n| to.blocking_push(n)));
        assert_eq!((queue.blocking_pop(), queue.blocking_pop()), (1, 2));
        sender.join().unwrap();
        assert!(snapshot(|view| queue.is_empty(view)));
    });
}

#[test]
fn two_ends_of_a_deque_take_each_item_once() {
    always(|| {
        let deque = TDeque::from([1, 2]);
        let other = deque.clone();
        let thief = thread::spawn(move || atomically(|tx| Ok(other.try_pop_back(tx)?.copied())));
        let own = atomically(|tx| Ok(deque.try_pop_front(tx)?.copied()));
        assert_eq!((own, thief.join().unwrap()), (Some(1), Some(2)));
    });
    always(|| {
        let deque = TDeque::from([1]);
        let other = deque.clone();
        let thief = thread::spawn(move || atomically(|tx| Ok(other.try_pop_back(tx)?.copied())));
        let own = atomically(|tx| Ok(deque.try_pop_front(tx)?.copied()));
        let stolen = thief.join().unwrap();
        assert!(own.xor(stolen) == Some(1), "{own:?} {stolen:?}");
    });
}

/// A receiver that sleeps is woken by an item, and by the end.
#[test]
fn a_channel_is_received_from_until_it_is_closed() {
    always(|| {
        let channel = TChannel::bounded(1);
        let to = channel.clone();
        let sender = thread::spawn(move || {
            to.blocking_send(1).unwrap();
            to.close_now();
        });
        let mut received = 0;
        while let Ok(item) = channel.blocking_recv() {
            received += item;
        }
        assert_eq!(received, 1);
        assert!(channel.blocking_send(2).is_err());
        sender.join().unwrap();
    });
}

/// A sender that waits for room is told of the end, too.
#[test]
fn a_sender_that_waits_for_room_is_woken_by_the_end() {
    always(|| {
        let channel = TChannel::bounded(1);
        channel.blocking_send(1).unwrap();
        let to = channel.clone();
        let sender = thread::spawn(move || to.blocking_send(2).is_err());
        channel.close_now();
        assert!(sender.join().unwrap());
    });
}

#[test]
fn a_subscriber_that_lags_is_told() {
    always(|| {
        let broadcast = TBroadcast::new(1);
        let subscriber = broadcast.subscribe_now();
        let sender = thread::spawn(move || (0..2).for_each(|n| broadcast.send_now(n).unwrap()));
        let (mut missed, mut last) = (0, None);
        while last != Some(1) {
            match subscriber.blocking_recv() {
                Ok(item) => last = Some(item),
                Err(BroadcastError::Lagged(many)) => missed += many,
                Err(BroadcastError::Closed) => unreachable!(),
            }
        }
        assert!(missed <= 1);
        sender.join().unwrap();
    });
}

#[test]
fn slots_and_promises_wake() {
    always(|| {
        let (there, back) = (TMVar::empty(), TPromise::new());
        let theirs = (there.clone(), back.clone());
        let other = thread::spawn(move || theirs.1.set_now(theirs.0.blocking_take() + 1));
        there.blocking_put(1);
        assert_eq!(back.blocking_wait(), 2);
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

/// A permit that is given back while another thread comes to wait for it is not lost.
#[test]
fn a_permit_is_not_lost() {
    always(|| {
        let (semaphore, inside) = (TSemaphore::new(1), TVar::new(0));
        let work = |semaphore: &TSemaphore, inside: &TVar<u32>| {
            let _permit = semaphore.blocking_acquire(1);
            inside.update(|n| n + 1);
            assert_eq!(inside.load(), 1);
            inside.update(|n| n - 1);
        };
        let theirs = (semaphore.clone(), inside.clone());
        let other = thread::spawn(move || work(&theirs.0, &theirs.1));
        work(&semaphore, &inside);
        other.join().unwrap();
        assert_eq!(snapshot(|view| (semaphore.available(view), semaphore.waiting(view))), (1, 0));
    });
}

#[test]
fn a_barrier_opens_once_for_all() {
    always(|| {
        let barrier = TBarrier::new(2);
        let other = barrier.clone();
        let theirs = thread::spawn(move || other.blocking_wait().is_leader());
        let mine = barrier.blocking_wait().is_leader();
        assert!(mine != theirs.join().unwrap());
    });
}

#[test]
fn a_latch_opens() {
    always(|| {
        let (latch, done) = (TLatch::new(2), TVar::new(0));
        let theirs = (latch.clone(), done.clone());
        let other = thread::spawn(move || {
            theirs.1.update(|n| n + 1);
            theirs.0.count_down_now();
        });
        latch.count_down_now();
        latch.blocking_wait();
        assert_eq!(done.load(), 1);
        other.join().unwrap();
    });
}

#[test]
fn a_lock_keeps_others_out_between_transactions() {
    always(|| {
        let (lock, left, right) = (TRwLock::new(), TVar::new(0), TVar::new(0));
        let theirs = (lock.clone(), left.clone(), right.clone());
        let writer = thread::spawn(move || {
            let _guard = theirs.0.blocking_write();
            theirs.1.store(1);
            theirs.2.store(1);
        });
        {
            let _guard = lock.blocking_read();
            assert_eq!(left.load(), right.load());
        }
        writer.join().unwrap();
        assert_eq!(snapshot(|view| lock.holders(view)), (0, false));
    });
}

#[test]
fn a_counter_loses_nothing() {
    always(|| {
        let counter = TCounter::new();
        let other = counter.clone();
        let theirs = thread::spawn(move || other.add_now(2));
        counter.add_now(3);
        let now = counter.load();
        theirs.join().unwrap();
        assert!((now == 3 || now == 5) && counter.load() == 5);
    });
}
