//! How long a sleeper takes to wake, and how many wake in vain.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::structures::baton::{self, Baton, OnBaton};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Long enough that a thread that waits is asleep.
const PAUSE: Duration = Duration::from_micros(100);
/// One puts the token, the others wait for it; fewer in tests.
const HERD: usize = if cfg!(test) { 51 } else { 1_001 };

/// One wakes, one sleeps.
#[derive(Clone, Copy)]
struct WakeUp;

struct WakeUpTrial<B> {
    baton: B,
    start: Instant,
    /// When the sleeper was woken, in nanoseconds since the start.
    woken: AtomicU64,
}

/// One puts a token now and then, a thousand wait for it.
#[derive(Clone, Copy)]
struct Herd;

struct HerdTrial<B> {
    baton: B,
    /// Is a token on its way?
    given: AtomicBool,
    /// Tokens taken.
    taken: AtomicU64,
}

/// A sleeper and a herd.
pub(super) const ALL: &[Workload] = &[
    Workload::new(
        "wake-up",
        Threads::Exactly(2),
        |contender, _| baton::maker(contender, WakeUp),
        "from the change that one thread makes to the return of another that sleeps until then",
    )
    .with("pause_us=100")
    .catches(&[Fault::NoWait])
    .weight(2.0),
    Workload::new(
        "herd",
        Threads::Exactly(HERD),
        |contender, _| baton::maker(contender, Herd),
        "1,000 threads wait for a token that another one gives now and then",
    )
    .with("pause_us=100 giving_threads=1")
    .catches(&[Fault::NoWait])
    .windows(1, Duration::from_millis(200))
    .short()
    .slow(),
];

impl OnBaton for WakeUp {
    fn trial<B: Baton>(self) -> Box<dyn Trial> {
        Box::new(WakeUpTrial { baton: B::new(2), start: Instant::now(), woken: AtomicU64::new(0) })
    }
}

const WAKER: usize = 0;
const SLEEPER: usize = 1;

impl<B: Baton> WakeUpTrial<B> {
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

impl<B: Baton> Trial for WakeUpTrial<B> {
    fn kinds(&self) -> &'static [&'static str] {
        &["wake-up"]
    }

    fn does(&self, seat: usize, _kind: usize) -> bool {
        seat == SLEEPER
    }

    fn work(&self, seat: &mut Seat<'_>) {
        while seat.goes_on() {
            if seat.index == WAKER {
                std::thread::sleep(PAUSE);
                // Relaxed: passing the baton publishes it.
                self.woken.store(self.now(), Ordering::Relaxed);
                if !self.baton.pass(WAKER, SLEEPER) {
                    return;
                }
                seat.ever[0] += 1;
            } else {
                if !self.baton.pass(SLEEPER, WAKER) {
                    return;
                }
                let taken = self.now().saturating_sub(self.woken.load(Ordering::Relaxed));
                seat.note(0, Duration::from_nanos(taken), 0);
            }
        }
    }

    fn release(&self) {
        self.baton.close();
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let (wakes, woken) = (done[WAKER][0], done[SLEEPER][0]);
        Violation::unless(wakes.abs_diff(woken) <= 1, || {
            format!("the sleeper was to wake {wakes} times, and woke {woken} times")
        })
    }
}

impl OnBaton for Herd {
    fn trial<B: Baton>(self) -> Box<dyn Trial> {
        let baton = B::new(HERD);
        // The first token is not for the herd. Later ones are put by the waker, so that any
        // other thread may take them.
        baton.take(WAKER);
        Box::new(HerdTrial { baton, given: AtomicBool::new(false), taken: AtomicU64::new(0) })
    }
}

impl<B: Baton> HerdTrial<B> {
    /// Gives a token and waits until it has been taken.
    fn give(&self, seat: &mut Seat<'_>) {
        std::thread::sleep(PAUSE);
        self.given.store(true, Ordering::Relaxed);
        self.baton.put(WAKER);
        seat.ever[0] += 1;
        while self.given.load(Ordering::Acquire) && seat.goes_on() {
            std::thread::sleep(PAUSE / 4);
        }
    }
}

impl<B: Baton> Trial for HerdTrial<B> {
    fn kinds(&self) -> &'static [&'static str] {
        &["item"]
    }

    fn does(&self, seat: usize, _kind: usize) -> bool {
        seat != WAKER
    }

    fn work(&self, seat: &mut Seat<'_>) {
        while seat.goes_on() {
            if seat.index == WAKER {
                self.give(seat);
            } else if seat.timed(0, |_| self.baton.take(SLEEPER)) {
                self.taken.fetch_add(1, Ordering::Relaxed);
                if !self.given.swap(false, Ordering::AcqRel) {
                    seat.violation("a token was taken that no thread had given".into());
                }
            } else {
                seat.ever[0] -= 1;
                return;
            }
        }
    }

    fn attempts(&self) -> Option<u64> {
        Some(self.baton.looks())
    }

    fn release(&self) {
        self.baton.close();
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let given = done[WAKER][0];
        let taken = self.taken.load(Ordering::Relaxed);
        Violation::unless(taken <= given && given <= taken + 1, || {
            format!("{given} tokens were given and {taken} were taken")
        })
    }
}
