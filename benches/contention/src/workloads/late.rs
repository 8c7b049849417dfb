//! How late an item of a queue is that comes after a pause: by then its consumer is asleep.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::structures::queue::{self, OnQueue, Queue};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One sends an item after each pause, the other takes it.
struct Late {
    pause: Duration,
}

struct LateTrial<Q> {
    queue: Q,
    pause: Duration,
    start: Instant,
    /// The sum of all items, wrapped: as they were sent, and as they came.
    sent: AtomicU64,
    got: AtomicU64,
}

const ROOM: usize = 256;
const PRODUCER: usize = 0;

/// A pause in which a consumer has just gone to sleep, or is about to; and one in which it has slept for long.
pub(super) const ALL: &[Workload] = &[
    Workload::new(
        "late-item-50us",
        Threads::Exactly(2),
        |contender, _| queue::maker(contender, Late { pause: Duration::from_micros(50) }),
        "from the sending of an item, after a pause of 50 µs or more, to its arrival at a thread that waits for it",
    )
    .with("room=256 pause_us=50")
    .catches(&[Fault::LoseUpdate])
    .weight(2.0),
    Workload::new(
        "late-item-1ms",
        Threads::Exactly(2),
        |contender, _| queue::maker(contender, Late { pause: Duration::from_millis(1) }),
        "the same, after a pause of 1 ms",
    )
    .with("room=256 pause_us=1000")
    .catches(&[Fault::LoseUpdate])
    .weight(4.0),
];

impl OnQueue for Late {
    fn trial<Q: Queue>(self) -> Box<dyn Trial> {
        Box::new(LateTrial {
            queue: Q::new(ROOM),
            pause: self.pause,
            start: Instant::now(),
            sent: AtomicU64::new(0),
            got: AtomicU64::new(0),
        })
    }
}

impl<Q: Queue> LateTrial<Q> {
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

impl<Q: Queue> Trial for LateTrial<Q> {
    fn kinds(&self) -> &'static [&'static str] {
        &["item"]
    }

    fn does(&self, seat: usize, _kind: usize) -> bool {
        seat != PRODUCER
    }

    fn work(&self, seat: &mut Seat<'_>) {
        while seat.goes_on() {
            if seat.index == PRODUCER {
                std::thread::sleep(self.pause);
                let item = self.now();
                if !self.queue.push(item) {
                    return;
                }
                // Relaxed: read once both threads have ended.
                self.sent.fetch_add(item, Ordering::Relaxed);
                seat.ever[0] += 1;
            } else {
                let Some(item) = self.queue.pop() else { return };
                let late = self.now().saturating_sub(item);
                self.got.fetch_add(item, Ordering::Relaxed);
                seat.note(0, Duration::from_nanos(late), 0);
            }
        }
    }

    fn release(&self) {
        self.queue.close();
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let left = self.queue.drain();
        let (sent, came) = (done[PRODUCER][0], done[1 - PRODUCER][0] + left.len() as u64);
        Violation::unless(sent == came, || format!("{sent} items were sent, and {came} came"))?;
        let got = left.into_iter().fold(self.got.load(Ordering::Relaxed), u64::wrapping_add);
        Violation::unless(self.sent.load(Ordering::Relaxed) == got, || {
            "other items came than were sent".into()
        })
    }
}
