//! Producers and consumers at a bounded queue that blocks: half of the threads each.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::structures::queue::{self, OnQueue, Queue};
use std::collections::HashMap;
use std::sync::Mutex;

const ROOM: usize = 64;
/// Items are the producer's number times this, plus how many it has made before.
const OF_ONE_PRODUCER: u64 = 1 << 40;

struct Pipeline {
    threads: usize,
}

struct PipelineTrial<Q> {
    queue: Q,
    producers: usize,
    /// The sum of all items that consumers got, wrapped.
    got: Mutex<u64>,
}

const PUSH: usize = 0;
const POP: usize = 1;

/// From two threads on.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "pipeline",
    Threads::Sweep { least: 2 },
    |contender, threads| queue::maker(contender, Pipeline { threads }),
    "half of the threads produce, the others consume, through a queue with room for 64",
)
.with("room=64")
.catches(&[Fault::LoseUpdate, Fault::Twice, Fault::OutOfOrder])];

impl OnQueue for Pipeline {
    fn trial<Q: Queue>(self) -> Box<dyn Trial> {
        let producers = self.threads / 2;
        Box::new(PipelineTrial { queue: Q::new(ROOM), producers, got: Mutex::new(0) })
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
        let (mut count, mut sum) = (0, 0_u64);
        let mut wrong = None;
        seat.repeat(POP, |_| {
            let Some(item) = self.queue.pop() else { return };
            (count, sum) = (count + 1, sum.wrapping_add(item));
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
