//! Producers and consumers at a bounded queue that blocks: half of the threads each. For one of each
//! it is also counted what an item costs.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::control::Control;
use crate::engine::resources::Usage;
use crate::engine::seat::Seat;
use crate::engine::told::Told;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::structures::queue::{self, OnQueue, Queue};
use std::collections::HashMap;
use std::sync::Mutex;

/// Items are the producer's number times this, plus how many it has made before.
const OF_ONE_PRODUCER: u64 = 1 << 40;

struct Pipeline {
    threads: usize,
    room: usize,
}

struct PipelineTrial<Q> {
    queue: Q,
    producers: usize,
    /// Items that came out so far, told by one consumer: of the only one if there is one.
    popped: Told,
    figures: Mutex<Vec<(String, f64)>>,
    /// The sum of all items that consumers got, wrapped.
    got: Mutex<u64>,
}

/// Figures of a queue with one consumer.
pub(crate) const PROCESSOR: &str = "ns of processor time per item";
pub(crate) const SLEEPS: &str = "sleeps per item";

const PUSH: usize = 0;
const POP: usize = 1;

/// From two threads on.
pub(super) const ALL: &[Workload] = &[
    Workload::new(
        "pipeline",
        Threads::Sweep { least: 2 },
        |contender, threads| queue::maker(contender, Pipeline { threads, room: 64 }),
        "half of the threads produce, the others consume, through a queue with room for 64",
    )
    .with("room=64")
    .catches(&[Fault::LoseUpdate, Fault::Twice, Fault::OutOfOrder]),
    Workload::new(
        "channel",
        Threads::Exactly(2),
        |contender, threads| queue::maker(contender, Pipeline { threads, room: 256 }),
        "one produces, one consumes, room for 256: processor time and sleeps per item",
    )
    .with("room=256")
    .catches(&[Fault::LoseUpdate, Fault::Twice, Fault::OutOfOrder])
    .weight(2.0),
];

impl OnQueue for Pipeline {
    fn trial<Q: Queue>(self) -> Box<dyn Trial> {
        Box::new(PipelineTrial {
            queue: Q::new(self.room),
            producers: self.threads / 2,
            popped: Told::default(),
            figures: Mutex::default(),
            got: Mutex::new(0),
        })
    }
}

/// The sum of a producer's first `count` items, wrapped.
fn sum_of(producer: usize, count: u64) -> u64 {
    let first = producer as u64 * OF_ONE_PRODUCER;
    (0..count).fold(0, |sum: u64, number| sum.wrapping_add(first + number))
}

impl<Q: Queue> PipelineTrial<Q> {
    fn produce(&self, seat: &mut Seat<'_>) {
        let first = seat.index as u64 * OF_ONE_PRODUCER;
        let mut made = 0;
        seat.repeat(PUSH, |_| made += u64::from(self.queue.push(first + made)));
        seat.ever[PUSH] = made;
    }

    fn consume(&self, seat: &mut Seat<'_>) {
        let mut last = HashMap::new();
        let (mut count, mut sum) = (0_u64, 0_u64);
        let mut wrong = None;
        seat.repeat(POP, |_| {
            let Some(item) = self.queue.pop() else { return };
            (count, sum) = (count + 1, sum.wrapping_add(item));
            self.popped.tell(count);
            // What one consumer gets of one producer comes in the order in which it was made.
            let before = last.insert(item / OF_ONE_PRODUCER, item);
            if let Some(before) = before.filter(|before| *before >= item) {
                wrong = Some(format!("item {item} came after {before} of the same producer"));
            }
        });
        seat.ever[POP] = count;
        let mut got = self.got.lock().expect("no thread panics with it");
        *got = got.wrapping_add(sum);
        if let Some(what) = wrong {
            seat.violation(what);
        }
    }
}

impl<Q: Queue> Trial for PipelineTrial<Q> {
    fn kinds(&self) -> &'static [&'static str] {
        &["push", "pop"]
    }

    fn does(&self, seat: usize, kind: usize) -> bool {
        (seat < self.producers) == (kind == PUSH)
    }

    fn work(&self, seat: &mut Seat<'_>) {
        if self.does(seat.index, PUSH) { self.produce(seat) } else { self.consume(seat) }
    }

    /// What an item costs is known of a queue with one consumer, which tells how many came out.
    fn conduct(&self, control: &Control, timing: Timing) -> Vec<Window> {
        self.warm_up(control, timing);
        let now = || (Usage::now(), self.popped.so_far());
        let (before, first) = now();
        let window = self.window(control, 0, timing.window);
        let (after, last) = now();
        if let (1, Some(used)) = (self.producers, after.zip(before).map(Usage::between)) {
            let items = (last - first).max(1) as f64;
            let mut figures = self.figures.lock().expect("no thread panics with it");
            let per_item = used.processor.as_nanos() as f64 / items;
            figures.push((PROCESSOR.into(), per_item));
            figures.push((SLEEPS.into(), used.sleeps as f64 / items));
        }
        self.look(control);
        vec![window]
    }

    fn figures(&self) -> Vec<(String, f64)> {
        self.figures.lock().expect("no thread panics with it").clone()
    }

    fn release(&self) {
        self.queue.close();
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let left = self.queue.drain();
        let pushed: u64 = done.iter().map(|kinds| kinds[PUSH]).sum();
        let popped: u64 = done.iter().map(|kinds| kinds[POP]).sum();
        Violation::unless(pushed == popped + left.len() as u64, || {
            format!("{pushed} items went in, {popped} came out and {} are left", left.len())
        })?;
        let made = done.iter().enumerate().map(|(producer, kinds)| sum_of(producer, kinds[PUSH]));
        let made = made.fold(0, u64::wrapping_add);
        let got = *self.got.lock().expect("no thread panics with it");
        let found = left.into_iter().fold(got, u64::wrapping_add);
        Violation::unless(made == found, || "other items came out than went in".into())
    }
}
