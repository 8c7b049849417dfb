//! A word that many sleep on, in memory that processes share, and a change that wakes few of them.
//!
//! A change wakes one sleeper, which looks for itself. What it finds of no use to it, it passes on: if it sleeps again, it
//! wakes the next one (a *hop*), and if its transaction ends, whatever way, without the word having been raised since,
//! the next two. So a wake-up is passed from thread to thread, and from process to process, and no thread keeps a list
//! of the others, which a death would leave half-linked. A thread that dies, or stops, with a wake-up in its hands
//! breaks the chain; each sleeper looks for itself after a nap at the latest, so that is all that it costs.
//!
//! A sleeper that finds the word raised, and nothing changed that it waits for, sleeps on another cell of the word: then
//! all that sleep there are woken, once for each change, since none of them may be concerned.
//!
//! **How long a chain gets** (hops in vain) is learned for each word, apart for changes by others and by a thread that
//! was woken there itself (a consumer that has taken what it was woken for leaves nothing for other consumers). It is a
//! hint, in a word that any bits do for: nothing rests on it but how soon a sleeper looks.

use crate::primitives::CHECKED;
use crate::primitives::fault::{Fault, planted};
use crate::primitives::signal::{Seen, Signal};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A word to sleep on. All zero is a new one.
#[derive(Debug, Default)]
#[repr(C)]
pub struct WakeWord {
    signal: Signal,
    /// Not part of the protocol, so not a checker's: see [`Chain`]. All Relaxed for the same reason; of two threads that
    /// change it at once, one may have no effect.
    chain: AtomicU32,
}

/// What a transaction was woken for: a change that has raised a word of some number, as its thread has seen it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WakeToken {
    /// Which word.
    pub word: usize,
    /// How often that had been raised when the thread looked what had changed.
    pub seen: Seen,
}

/// How the transaction of a woken thread has gone on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Went {
    /// It sleeps again.
    Blocked,
    /// It has ended, whatever way.
    Ended,
}

/// What is known of the change that was made last, and what was learned from those before.
///
/// | bits | meaning |
/// | --- | --- |
/// | 7–0 | sleepers woken one after the other for this change; at most [`MOST`] |
/// | 8 | it was made by a thread that was woken here itself |
/// | 9 | no more are to be woken for it: the chain is at its end, or all were woken |
/// | 10 | a sleeper that it woke waits for another cell of this word: see [`Chain::all`] |
/// | 23–16 | how long a chain may get after a change by any other thread, xor [`AT_FIRST`] |
/// | 31–24 | how long after one by a thread that was woken, xor [`AT_FIRST`] |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Chain {
    woken: u32,
    by_woken: bool,
    over: bool,
    foreign: bool,
    /// By others, and by the woken.
    limits: [u32; 2],
}

/// So that a token that goes round among some threads need not wait for naps until that is learned.
const AT_FIRST: u32 = 16;
/// As many as there are.
const ALL: u32 = i32::MAX as u32;
/// The longest chain: then the last one wakes all.
const MOST: u32 = 255;

impl Chain {
    const fn from_bits(bits: u32) -> Self {
        Chain {
            woken: bits & 0xff,
            by_woken: bits & 1 << 8 != 0,
            over: bits & 1 << 9 != 0,
            foreign: bits & 1 << 10 != 0,
            limits: [(bits >> 16 & 0xff) ^ AT_FIRST, (bits >> 24) ^ AT_FIRST],
        }
    }

    const fn bits(self) -> u32 {
        let [others, woken] = [self.limits[0] ^ AT_FIRST, self.limits[1] ^ AT_FIRST];
        self.woken
            | (self.by_woken as u32) << 8
            | (self.over as u32) << 9
            | (self.foreign as u32) << 10
            | others << 16
            | woken << 24
    }

    fn limit(&mut self) -> &mut u32 {
        &mut self.limits[usize::from(self.by_woken)]
    }

    /// There is a change. How many to wake for it.
    fn change(&mut self, by_woken: bool) -> u32 {
        if by_woken {
            // A sleeper could use the change before this one: as late in the chain as it was, or later still, by its own
            // look, if the chain had come to its end.
            let late = self.over || self.woken == 0;
            let (place, limit) = (self.woken, self.limit());
            let enough = if late { (2 * *limit).max(AT_FIRST) } else { 2 * place };
            *limit = enough.max(*limit).min(MOST);
        }
        (self.by_woken, self.over, self.woken) = (by_woken, false, 0);
        // The last change woke a sleeper on another cell, perhaps of a cell that no thread watches any more: all look, and
        // the cell is not marked again. Threads that do watch it mark it when they look.
        if std::mem::take(&mut self.foreign) {
            (self.over, self.woken) = (true, 1);
            return ALL;
        }
        self.woken = (*self.limit()).min(1);
        self.woken
    }

    /// A woken thread sleeps again. How many to wake in its place.
    fn hop(&mut self) -> u32 {
        if self.over {
            return 0;
        }
        if self.woken < *self.limit() {
            self.woken += 1;
            return 1;
        }
        // All in vain. (After a change by another thread one is always woken.)
        self.over = true;
        let least = u32::from(!self.by_woken);
        let limit = self.limit();
        *limit = (*limit - (*limit / 4).max(1).min(*limit)).max(least);
        0
    }

    /// A sleeper that was woken waits for another cell: all are woken, if that was not done yet for this change. The
    /// next change wakes all at once, and leaves its cell unmarked: else a cell that was watched once would stay marked
    /// as long as any thread sleeps on the word, and each change of it wake them all in two steps.
    fn all(&mut self) -> bool {
        self.foreign |= !self.over;
        !std::mem::replace(&mut self.over, true)
    }
}

impl WakeWord {
    /// How often it was raised. To be called before a look at what it is raised for.
    pub fn look(&self) -> Seen {
        self.signal.look()
    }

    /// Was it raised since?
    pub fn was_raised_since(&self, seen: Seen) -> bool {
        self.signal.was_raised_since(seen)
    }

    /// Sleeps until it is woken, if it was not raised since; for at most `time`. True if it was woken, and not by the
    /// end of its time. May return early.
    pub fn sleep(&self, seen: Seen, time: Option<Duration>) -> bool {
        self.signal.sleep(seen, time)
    }

    /// Wakes all threads that sleep until then.
    pub fn raise_all(&self) {
        self.signal.raise();
    }

    fn chain<R>(&self, step: impl FnOnce(&mut Chain) -> R) -> R {
        let before = self.chain.load(Ordering::Relaxed);
        let mut chain = Chain::from_bits(before);
        let result = step(&mut chain);
        if chain.bits() != before {
            self.chain.store(chain.bits(), Ordering::Relaxed);
        }
        result
    }

    /// Wakes a thread that sleeps until then, if that is of use; `by_woken`: this thread was woken here itself. May a
    /// thread still sleep here?
    fn change(&self, by_woken: bool) -> bool {
        let most = self.chain(|chain| chain.change(by_woken));
        // Under the checkers no nap ends.
        self.signal.raise_few(if CHECKED { 1 } else { most })
    }

    /// A thread that was woken here, and had looked when the word was `seen`, goes on so.
    pub fn pass(&self, seen: Seen, went: Went) {
        let kept = match went {
            Went::Blocked => Fault::TokenKeptWhenBlocked,
            Went::Ended => Fault::TokenKeptAtTheEnd,
        };
        if planted(kept) || self.was_raised_since(seen) {
            return; // The thread that has raised it has woken another.
        }
        let most = match went {
            Went::Blocked if CHECKED => 1,
            Went::Blocked => self.chain(Chain::hop),
            Went::Ended => 2,
        };
        if most > 0 {
            self.signal.wake(most);
        }
    }

    /// A thread has found the word raised, and nothing changed that it waits for.
    pub fn pass_to_all(&self) {
        if self.chain(Chain::all) {
            self.signal.wake(ALL);
        }
    }
}

/// What sleepers on these words wait for has changed; beside each: was this thread woken there itself? `mark` sets and
/// clears the mark that leads here.
pub fn changed<const N: usize>(words: [(&WakeWord, bool); N], mark: impl Fn(bool)) {
    // Before the words are raised: a thread that marks it again after this sees the change, or sleeps on a newer word.
    mark(false);
    let asleep = words.map(|(word, by_woken)| word.change(by_woken));
    // What is changed until then wakes no thread by itself: the one that was woken above sees it, or wakes one that
    // does.
    if asleep.contains(&true) && !planted(Fault::UnmarkedWhileWatched) {
        mark(true);
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn any_bits_are_a_chain_and_none_is_the_first() {
        let first = Chain::from_bits(0);
        assert_eq!(
            first,
            Chain { woken: 0, by_woken: false, over: false, foreign: false, limits: [16, 16] }
        );
        for bits in [0, 0x0102_03ff, 0xffff_ffff, 0x8000_0201] {
            let chain = Chain::from_bits(bits);
            assert_eq!(Chain::from_bits(chain.bits()), chain, "{bits:#x}");
            let (mut changed, mut hops) = (chain, chain);
            let woken = changed.change(bits % 2 == 0);
            assert!((woken <= 1 || woken == ALL && chain.foreign) && hops.hop() <= 1);
            assert!(changed.limits.iter().all(|limit| *limit <= MOST));
        }
    }

    /// Of `sleepers`, the one at `place` of the queue can use each change, which the one before makes; the rest come to
    /// its end. How many are woken for each of `changes`, and how many of those found it by their own look.
    fn hand_around(sleepers: u32, place: u32, changes: usize) -> Vec<(u32, bool)> {
        let mut chain = Chain::from_bits(0);
        (0..changes)
            .map(|_| {
                let mut woken = chain.change(true);
                while woken > 0 && woken < place.min(sleepers) && chain.hop() == 1 {
                    woken += 1;
                }
                (woken, woken < place)
            })
            .collect()
    }

    #[test]
    fn a_chain_gets_as_long_as_was_of_use() {
        let around = hand_around(40, 30, 40);
        assert_eq!(around[0], (16, true), "the first is too short, and naps end it");
        assert!(around[8..].iter().all(|(woken, napped)| *woken == 30 && !napped), "{around:?}");
    }

    #[test]
    fn what_a_consumer_leaves_wakes_fewer_and_fewer_consumers() {
        let mut chain = Chain::from_bits(0);
        let woken: Vec<u32> = (0..40)
            .map(|_| {
                // A producer's change: the first can use it.
                let mut woken = chain.change(false);
                // Its own change is of use to no other.
                let mut next = chain.change(true);
                while next > 0 {
                    woken += next;
                    next = chain.hop();
                }
                woken
            })
            .collect();
        assert!(woken[0] <= 17 && woken[10..].iter().all(|woken| *woken == 1), "{woken:?}");
    }

    #[test]
    fn all_are_woken_once_for_a_change() {
        let mut chain = Chain::from_bits(0);
        assert_eq!(chain.change(false), 1);
        assert!(chain.all() && !chain.all() && chain.hop() == 0);
        // A sleeper on another cell was woken: all look at the next change, and then it is as at first.
        assert_eq!(chain.change(false), ALL);
        assert!(!chain.all() && chain.hop() == 0);
        assert_eq!(chain.change(false), 1);
        assert!(chain.all());
    }

    #[test]
    fn a_change_by_another_thread_always_wakes_one() {
        let mut chain = Chain::from_bits(0);
        for _ in 0..100 {
            assert_eq!(chain.change(false), 1);
            while chain.hop() > 0 {}
        }
        assert_eq!(chain.limits[0], 1);
    }
}
