//! The queues with bounds, two ends, priorities and an end, between threads.

use crate::support::canary::Cage;
use crate::world::{Local, attempts, next};
use contempo::collections::{TBoundedQueue, TChannel, TDeque, TPriorityQueue, TQueue};
use contempo::{atomically, snapshot};
use std::sync::mpsc::{SendError, TryRecvError, TrySendError};

/// What adds and what takes do not conflict while there are two items, and room for two.
#[test]
fn what_sends_and_what_receives_do_not_conflict() {
    for channel in [TChannel::unbounded(), TChannel::bounded(4)] {
        (0..2).for_each(|n| channel.blocking_send(n).unwrap());
        let send = || channel.blocking_send(2).unwrap();
        assert_eq!(attempts(&Local, |tx| channel.recv(tx).map(drop), send), 1);
    }
}

#[test]
fn items_of_deques_are_dropped_once() {
    let cage = Cage::new();
    let deque = TDeque::new();
    for n in 0..100 {
        atomically(|tx| {
            if n % 3 == 0 {
                deque.push_front(tx, cage.canary(n))
            } else {
                deque.push_back(tx, cage.canary(n))
            }
        });
    }
    cage.settles_at(100);
    for _ in 0..30 {
        atomically(|tx| Ok((deque.pop_front(tx)?.sing(), deque.pop_back(tx)?.sing())));
    }
    contempo::collect();
    cage.settles_at(40);
    drop(deque);
    contempo::collect();
    cage.settles_at(0);
    assert_eq!(cage.made(), cage.dropped());
}

#[test]
fn a_channel_gives_what_was_sent_and_then_ends() {
    for channel in [TChannel::unbounded(), TChannel::bounded(2)] {
        let is_bounded = snapshot(|view| channel.iter(view).count()) == 0 && {
            channel.blocking_send(1).unwrap();
            channel.blocking_send(2).unwrap();
            let third = channel.try_send_now(3);
            assert!(matches!(third, Ok(()) | Err(TrySendError::Full(3))));
            third.is_err()
        };
        assert!(channel.close_now() && !channel.close_now());
        assert_eq!(channel.blocking_send(4), Err(SendError(4)));
        assert_eq!(channel.try_send_now(4), Err(TrySendError::Disconnected(4)));
        let all: Vec<i32> = channel.blocking_iter().collect();
        assert_eq!(all, if is_bounded { vec![1, 2] } else { vec![1, 2, 3] });
        assert!(channel.blocking_recv().is_err());
        assert_eq!(channel.try_recv_now(), Err(TryRecvError::Disconnected));
    }
}

/// Threads send, threads receive: each item comes out once, and those of one thread in order.
#[test]
fn channels_hand_over_between_threads() {
    const EACH: u64 = 2000;
    for channel in [TChannel::unbounded(), TChannel::bounded(3)] {
        let received: Vec<Vec<u64>> = std::thread::scope(|scope| {
            let receivers = [(); 2].map(|()| scope.spawn(|| channel.blocking_iter().collect()));
            let senders = [0, 1].map(|sender| {
                let channel = &channel;
                scope.spawn(move || {
                    (0..EACH).for_each(|n| channel.blocking_send(sender << 32 | n).unwrap());
                })
            });
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            channel.close_now();
            receivers.map(|receiver| receiver.join().unwrap()).into()
        });
        let of = |sender: u64| move |item: &u64| item >> 32 == sender;
        for sender in 0..2 {
            for items in &received {
                assert!(items.iter().copied().filter(of(sender)).is_sorted());
            }
        }
        let mut all = received.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq((0..EACH).chain((0..EACH).map(|n| 1 << 32 | n))));
    }
}

/// Items go around between a bounded queue, a deque and a priority queue: at every moment each is in one of them.
#[test]
fn items_that_go_around_are_in_one_place() {
    const ITEMS: u64 = 24;
    let (bounded, deque) = (TBoundedQueue::new(64), TDeque::new());
    let (queue, ranked) = (TQueue::new(), TPriorityQueue::new());
    (0..ITEMS).for_each(|n| bounded.blocking_push(n));
    std::thread::scope(|scope| {
        for seed in 1..3_u64 {
            let (bounded, deque, queue, ranked) = (&bounded, &deque, &queue, &ranked);
            scope.spawn(move || {
                let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                for _ in 0..1500 {
                    let (from, to) = (next(&mut state) % 5, next(&mut state) % 5);
                    atomically(|tx| {
                        let item = match from {
                            0 => bounded.try_pop(tx)?,
                            1 => deque.try_pop_front(tx)?,
                            2 => deque.try_pop_back(tx)?,
                            3 => queue.try_pop(tx)?,
                            _ => ranked.try_pop(tx)?,
                        };
                        let Some(item) = item else { return Ok(()) };
                        match to {
                            0 => bounded.push(tx, *item),
                            1 => deque.push_front(tx, *item),
                            2 => deque.push_back(tx, *item),
                            3 => queue.push(tx, *item),
                            _ => ranked.push(tx, *item),
                        }
                    });
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..200 {
                snapshot(|view| {
                    let ends = bounded.iter(view).chain(deque.iter(view));
                    let mut all: Vec<u64> =
                        ends.chain(queue.iter(view)).chain(ranked.iter(view)).copied().collect();
                    all.sort_unstable();
                    assert!(all.into_iter().eq(0..ITEMS));
                    assert_eq!(deque.len(view), deque.iter(view).count());
                });
            }
        });
    });
}

/// The loop around an iterator may change what it goes through.
#[test]
fn a_loop_may_change_the_deque() {
    let deque: TDeque<u32> = (0..40).collect();
    let seen = atomically(|tx| {
        let mut seen = Vec::new();
        for item in deque.iter(tx) {
            let item = *item?;
            seen.push(item);
            match item {
                // Takes what comes next, and more slots.
                10 => (0..12).try_for_each(|_| deque.pop_front(tx).map(drop))?,
                20 => (100..200).try_for_each(|n| deque.push_back(tx, n))?,
                _ => {}
            }
        }
        Ok(seen)
    });
    let expected = (0..=10).chain(12..40).chain(100..200);
    assert!(seen.into_iter().eq(expected));
}
