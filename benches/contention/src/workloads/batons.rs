//! Threads that wait for one another: in turn, or for a token.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::structures::baton::{self, Baton, OnBaton};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Threads take turns in order.
struct Turns {
    threads: usize,
}

struct TurnsTrial<B> {
    baton: B,
    threads: usize,
    /// The turns that each thread has had, as far as it has told.
    told: Vec<AtomicU64>,
}

/// Threads wait for a token.
struct Token {
    threads: usize,
}

struct TokenTrial<B> {
    baton: B,
    /// The thread that holds the token, by its own account; else `NO_THREAD`.
    holder: AtomicUsize,
    /// The thread that held it last.
    last: AtomicUsize,
}

const NO_THREAD: usize = usize::MAX;

/// Turns of two and of many, and a token.
pub(super) const ALL: &[Workload] = &[
    Workload::new(
        "ping-pong",
        Threads::Exactly(2),
        |contender, threads| baton::maker(contender, Turns { threads }),
        "two threads wait for each other in turn",
    )
    .catches(&[Fault::NoWait])
    .weight(2.0),
    Workload::new(
        "ring",
        Threads::Exactly(32),
        |contender, threads| baton::maker(contender, Turns { threads }),
        "32 threads take turns in order, on one cell that tells whose turn it is",
    )
    .catches(&[Fault::NoWait])
    .short(),
    Workload::new(
        "token",
        Threads::Exactly(32),
        |contender, threads| baton::maker(contender, Token { threads }),
        "32 threads wait for one token; none gets it twice in a row",
    )
    .catches(&[Fault::NoWait, Fault::Twice])
    .weight(2.0)
    .short(),
];

impl OnBaton for Turns {
    fn trial<B: Baton>(self) -> Box<dyn Trial> {
        let told = (0..self.threads).map(|_| AtomicU64::new(0)).collect();
        Box::new(TurnsTrial { baton: B::new(self.threads), threads: self.threads, told })
    }
}

impl<B: Baton> TurnsTrial<B> {
    /// Turns differ by at most so much, or a thread had one that was not its own.
    fn at_most_apart(&self, turns: &[u64], limit: u64) -> Result<(), Violation> {
        let (least, most) = (turns.iter().min(), turns.iter().max());
        Violation::unless(most.zip(least).is_none_or(|(most, least)| most - least <= limit), || {
            format!("threads that take turns have had {turns:?} turns")
        })
    }
}

impl<B: Baton> Trial for TurnsTrial<B> {
    fn kinds(&self) -> &'static [&'static str] {
        &["turn"]
    }

    fn work(&self, seat: &mut Seat<'_>) {
        let (me, next) = (seat.index, (seat.index + 1) % self.threads);
        while seat.goes_on() {
            if !seat.timed(0, |_| self.baton.pass(me, next)) {
                seat.ever[0] -= 1;
                return;
            }
            self.told[me].store(seat.ever[0], Ordering::Release);
        }
    }

    fn inspect(&self) -> Result<(), Violation> {
        // A thread may be about to tell while the others have had a turn each; and we do not look
        // at all of them at the same moment, so only two threads can be held to a limit.
        if self.threads > 2 {
            return Ok(());
        }
        let one = self.told[0].load(Ordering::Acquire);
        let other = self.told[1].load(Ordering::Acquire);
        let again = self.told[0].load(Ordering::Acquire);
        Violation::unless(one <= other + 2 && other <= again + 2, || {
            format!("threads that take turns have had {one}, then {other}, then {again} turns")
        })
    }

    fn attempts(&self) -> Option<u64> {
        Some(self.baton.looks())
    }

    fn release(&self) {
        self.baton.close();
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let turns: Vec<u64> = done.iter().map(|kinds| kinds[0]).collect();
        self.at_most_apart(&turns, 1)
    }
}

impl OnBaton for Token {
    fn trial<B: Baton>(self) -> Box<dyn Trial> {
        Box::new(TokenTrial {
            baton: B::new(self.threads),
            holder: AtomicUsize::new(NO_THREAD),
            last: AtomicUsize::new(NO_THREAD),
        })
    }
}

impl<B: Baton> Trial for TokenTrial<B> {
    fn kinds(&self) -> &'static [&'static str] {
        &["hand-off"]
    }

    fn work(&self, seat: &mut Seat<'_>) {
        let me = seat.index;
        while seat.goes_on() {
            if !seat.timed(0, |_| self.baton.take(me)) {
                seat.ever[0] -= 1;
                return;
            }
            let other = self.holder.swap(me, Ordering::Relaxed);
            if other != NO_THREAD {
                seat.violation(format!("threads {other} and {me} hold the token at once"));
            }
            if self.last.swap(me, Ordering::Relaxed) == me {
                seat.violation(format!("thread {me} got the token twice in a row"));
            }
            self.holder.store(NO_THREAD, Ordering::Relaxed);
            self.baton.put(me);
        }
    }

    fn attempts(&self) -> Option<u64> {
        Some(self.baton.looks())
    }

    fn release(&self) {
        self.baton.close();
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        Violation::unless(done.iter().any(|kinds| kinds[0] > 0), || {
            "no thread ever got the token".into()
        })
    }
}
