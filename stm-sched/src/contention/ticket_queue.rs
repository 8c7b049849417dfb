//! Queues between processes: two counters in memory that they share.
//!
//! A ticket queue is to processes what a [`queue`](crate::contention::lock_queue) is to threads, and is used in the
//! same way: a transaction that has lost waits in it, outside any attempt, holding nothing; the first lets others pass
//! for a while, by its own timer, leaves, and escalates. It is a hint: nothing rests on it but which thread runs when.
//! So it has no list, which a death could leave half-linked. A thread that joins draws a ticket; the first is the one
//! with the ticket at the head; a thread that leaves moves the head on, from its own ticket only. A thread that has
//! died in a queue does not move the head: then the next one does, after it has seen the head stand still for a grace
//! period ([`skip`](TicketQueue::skip)). Should the skipped one be merely slow, then it finds that it was passed over,
//! and does as if it were the first.
//!
//! Counters and tickets wrap.

use crate::primitives::fault::{Fault, planted};
use crate::primitives::{AtomicU32, CHECKED, Ordering};

/// A queue of tickets. All zero is an empty one.
///
/// | counter | moved on by |
/// | --- | --- |
/// | `tail`, the next ticket | a thread that joins |
/// | `head`, the first's ticket | the first, when it leaves; or a waiter that finds it standing still |
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct TicketQueue {
    head: AtomicU32,
    tail: AtomicU32,
    /// Which slots have drawn the last few tickets: lower half of the ticket, and slot plus 1, or 0 if that thread has
    /// gone out of turn. So that a thread that waits can ask whether the first is there, and alive.
    holders: [AtomicU32; HOLDERS],
}

const HOLDERS: usize = if CHECKED { 1 } else { 8 };
const HALF: u32 = 16;

/// Waiters that cannot be: more than there are threads. What is in the counters then, no thread has drawn.
const TOO_MANY: u32 = 1 << 16;
/// Attempts at one's leaving out of order: the head moves on meanwhile.
const JUMPS: u32 = 8;

impl TicketQueue {
    /// Joins at the end: a ticket for `slot`.
    pub fn join(&self, slot: u32) -> u32 {
        // SeqCst, partner: `wake_first`: a thread that leaves and does not see that we have joined has moved the head
        // on before, and we see that: here, or in the kernel, which compares before it lets us sleep.
        let ticket = self.tail.fetch_add(1, Ordering::SeqCst);
        if !CHECKED {
            // So that a waiter can ask after the first (`holder`). Relaxed: a hint, and a word of its own.
            let holder = ticket << HALF | (slot + 1) & ((1 << HALF) - 1);
            self.holders[ticket as usize % HOLDERS].store(holder, Ordering::Relaxed);
        }
        ticket
    }

    /// The slot that has drawn this ticket, if that is known: it may have been drawn just now, or long ago.
    pub fn holder(&self, ticket: u32) -> Option<u32> {
        // Relaxed: a hint. It is this ticket's if the half of the ticket that it keeps is the same.
        let holder = self.holders[ticket as usize % HOLDERS].load(Ordering::Relaxed);
        let (slot, is_its) =
            (holder & ((1 << HALF) - 1), holder >> HALF == ticket & ((1 << HALF) - 1));
        if is_its { slot.checked_sub(1) } else { None }
    }

    /// The thread of this ticket waits no more, wherever in the queue it is. True if the next one is the first now;
    /// else a waiter that comes to it passes it over.
    pub fn abandon(&self, ticket: u32) -> bool {
        if !CHECKED && self.holder(ticket).is_some() {
            // Relaxed: a hint, and a word of its own. A thread that sees it late waits a little longer.
            self.holders[ticket as usize % HOLDERS].store(ticket << HALF, Ordering::Relaxed);
        }
        self.leave(ticket)
    }

    /// Was this ticket abandoned, as far as is known?
    pub fn is_abandoned(&self, ticket: u32) -> bool {
        // Relaxed: see `abandon`.
        !CHECKED
            && self.holders[ticket as usize % HOLDERS].load(Ordering::Relaxed) == ticket << HALF
    }

    /// The ticket at the head.
    pub fn head(&self) -> u32 {
        // Acquire, partner: the release in `move_on`: what the one before us has done happens before what we do as
        // the first. SeqCst: see `join`.
        self.head.load(Ordering::SeqCst)
    }

    /// How many wait before this ticket. 0: it is the first, or was passed over, or the queue makes no sense.
    pub fn ahead(&self, ticket: u32) -> u32 {
        let ahead = ticket.wrapping_sub(self.head());
        if ahead < TOO_MANY { ahead } else { 0 }
    }

    /// Leaves. True if the next one is the first now.
    pub fn leave(&self, ticket: u32) -> bool {
        if planted(Fault::LeftByPassedOver) {
            self.head.fetch_add(1, Ordering::Release);
            return true;
        }
        if self.is_lost(ticket) { self.jump(ticket) } else { self.move_on(ticket) }
    }

    /// Passes the first over, whose ticket is `head`. True if the next one is the first now.
    pub fn skip(&self, head: u32) -> bool {
        if planted(Fault::SkippedTwice) {
            self.head.fetch_add(1, Ordering::Release);
            return true;
        }
        self.move_on(head)
    }

    /// Leaves before it is one's turn: each waiter before this ticket is passed over. Also puts a queue in order whose
    /// counters make no sense. True if there is a new first.
    pub fn jump(&self, ticket: u32) -> bool {
        for _ in 0..JUMPS {
            let head = self.head();
            // The head is beyond this ticket already: another has passed it over, and there is a first.
            let passed_over = head.wrapping_sub(ticket);
            if passed_over != 0 && passed_over < TOO_MANY {
                return false;
            }
            // SeqCst: a release, partner: `head`, whose reader sees what was done by the one that it follows; and
            // before the look at the tail in `wake_first`.
            let next = ticket.wrapping_add(1);
            if self.head.compare_exchange(head, next, Ordering::SeqCst, Ordering::Relaxed).is_ok() {
                return true;
            }
        }
        false
    }

    /// Does the place of this ticket make no sense: neither before the head, nor after it?
    fn is_lost(&self, ticket: u32) -> bool {
        let ahead = ticket.wrapping_sub(self.head());
        ahead >= TOO_MANY && ahead.wrapping_neg() >= TOO_MANY
    }

    /// Moves the head on by one, if it is still at `from`.
    fn move_on(&self, from: u32) -> bool {
        // SeqCst: a release, partner: `head`; and before the look at the tail in `wake_first`.
        let next = from.wrapping_add(1);
        self.head.compare_exchange(from, next, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Sleeps until the head is not `head` any more, or for `time`. May return early.
    #[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
    pub fn wait(&self, ticket: u32, head: u32, time: std::time::Duration) {
        let end = crate::primitives::time::now().saturating_add(time.as_nanos() as u64);
        let end = libc::timespec {
            tv_sec: (end / 1_000_000_000) as _,
            tv_nsec: (end % 1_000_000_000) as _,
        };
        let (word, operation) = (self.head.as_ptr(), libc::FUTEX_WAIT_BITSET);
        // SAFETY: the word and the time are alive for the length of the call; there is no second word.
        unsafe {
            let none = std::ptr::null::<u32>();
            libc::syscall(
                libc::SYS_futex,
                word,
                operation,
                head,
                &raw const end,
                none,
                bit(ticket),
            );
        }
    }

    /// Wakes the thread that has become the first, if there is one. (And those whose tickets are 32 behind, and so on.)
    #[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
    pub fn wake_first(&self) {
        let (word, operation) = (self.head.as_ptr(), libc::FUTEX_WAKE_BITSET);
        let (head, tail) = (self.head(), self.tail.load(Ordering::SeqCst)); // SeqCst: see `join`.
        if head == tail {
            return;
        }
        // Each waiter sleeps on the same word, under the bit of its ticket: so only the first wakes.
        let bits = bit(head);
        // SAFETY: the word is alive for the length of the call, and the kernel does not write to it; this
        // operation looks at no time and at no second word.
        unsafe {
            let none = std::ptr::null::<u32>();
            libc::syscall(libc::SYS_futex, word, operation, i32::MAX, none, none, bits);
        }
    }
}

/// What a sleeper with this ticket is woken by.
#[cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
fn bit(ticket: u32) -> u32 {
    1 << (ticket % u32::BITS)
}

#[cfg(all(test, target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_ticket_is_the_oldest_and_none_is_passed_over_twice() {
        let queue = TicketQueue::default();
        let [a, b, c] = std::array::from_fn(|_| queue.join(0));
        assert_eq!([a, b, c].map(|ticket| queue.ahead(ticket)), [0, 1, 2]);
        assert!(queue.skip(queue.head()) && !queue.leave(a), "it was passed over");
        assert_eq!([a, b, c].map(|ticket| queue.ahead(ticket)), [0, 0, 1]);
        assert!(!queue.skip(a), "from a head that has moved on");
        assert!(queue.leave(b) && queue.leave(c));
        assert_eq!(queue.ahead(queue.join(0)), 0);
    }

    #[test]
    fn the_holders_of_the_last_tickets_are_known() {
        let queue = TicketQueue::default();
        assert_eq!(queue.holder(0), None, "no waiter has drawn it");
        let tickets: Vec<u32> = (0..10).map(|number| queue.join(4095 - number)).collect();
        let holders: Vec<_> = tickets.iter().map(|ticket| queue.holder(*ticket)).collect();
        assert_eq!(holders[..2], [None; 2], "long ago");
        let last: Vec<_> = (2..10).map(|number| Some(4095 - number)).collect();
        assert_eq!(holders[2..], last);
        assert_eq!(queue.holder(tickets[9].wrapping_add(8)), None, "not yet");
    }

    #[test]
    fn what_was_abandoned_in_the_middle_is_known_to_be_passed_over() {
        let queue = TicketQueue::default();
        let [a, b, c, d] = std::array::from_fn(|slot| queue.join(slot as u32));
        assert!(!queue.abandon(b), "it is not the first");
        assert_eq!([a, b, c].map(|ticket| queue.is_abandoned(ticket)), [false, true, false]);
        assert_eq!((queue.holder(a), queue.holder(b)), (Some(0), None));
        assert!(queue.leave(a) && queue.is_abandoned(queue.head()) && queue.skip(b));
        assert!(queue.abandon(c), "the next one is the first at once");
        assert_eq!(queue.ahead(d), 0);
    }

    #[test]
    fn tickets_wrap_and_nonsense_holds_up_no_waiter() {
        let queue = TicketQueue {
            head: AtomicU32::new(u32::MAX),
            tail: AtomicU32::new(u32::MAX),
            ..TicketQueue::default()
        };
        let (a, b) = (queue.join(0), queue.join(0));
        assert_eq!((queue.ahead(a), queue.ahead(b)), (0, 1));
        assert!(queue.leave(a) && queue.ahead(b) == 0);
        let damaged = TicketQueue {
            head: AtomicU32::new(7),
            tail: AtomicU32::new(1 << 31),
            ..TicketQueue::default()
        };
        let ticket = damaged.join(0);
        assert_eq!(damaged.ahead(ticket), 0);
        assert!(damaged.leave(ticket), "and puts it in order");
        let (a, b) = (damaged.join(0), damaged.join(0));
        assert_eq!((damaged.ahead(a), damaged.ahead(b)), (0, 1));
    }

    #[test]
    fn a_waiter_that_leaves_out_of_order_takes_its_ticket_along() {
        let queue = TicketQueue::default();
        let [a, b, c, d] = std::array::from_fn(|_| queue.join(0));
        assert!(queue.jump(c), "it has waited for too long");
        assert_eq!([a, b, d].map(|ticket| queue.ahead(ticket)), [0, 0, 0]);
        assert!(!queue.leave(a) && !queue.jump(b), "they were passed over");
        assert!(queue.leave(d));
        assert_eq!(queue.ahead(queue.join(0)), 0);
    }

    #[test]
    fn a_waiter_that_becomes_the_first_is_woken_and_the_others_sleep_on() {
        let queue = TicketQueue::default();
        let (first, second, third) = (queue.join(0), queue.join(0), queue.join(0));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                while queue.ahead(second) > 0 {
                    queue.wait(second, queue.head(), Duration::from_secs(3600));
                }
                queue.leave(second)
            });
            assert!(queue.leave(first));
            queue.wake_first();
            assert!(waiter.join().unwrap());
        });
        assert_eq!(queue.ahead(third), 0);
        queue.wait(third, third, Duration::from_millis(1)); // Comes back by itself.
    }
}
