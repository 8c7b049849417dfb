//! Insertions into a hash map, so many in one transaction: what each costs, as a multiple of what it
//! costs in a transaction of its own. `cargo bench --bench batches` measures the other collections of
//! contempo, and those of regions.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::control::Control;
use crate::engine::resources::thread_time;
use crate::engine::seat::Seat;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::structures::map::{self, Batched, OnBatched};
use rand::Rng as _;
use std::sync::Mutex;
use std::time::Duration;

/// Insertions of each side, at least; fewer in tests.
const LEAST: u64 = if cfg!(test) { 1_000 } else { 100_000 };

/// The name of a figure, which the targets look for, too.
pub(crate) const RATIO: &str = "in a batch / one by one";

#[derive(Clone, Copy)]
struct Batch {
    size: u64,
}

struct BatchTrial<M> {
    /// One for each side.
    maps: [M; 2],
    sizes: [u64; 2],
    total: u64,
    /// What both have taken, when all is in.
    taken: Mutex<Option<[Duration; 2]>>,
}

macro_rules! batch {
    ($name:literal, $size:literal, $shown:literal) => {
        Workload::new(
            $name,
            Threads::Exactly(1),
            |contender, _| map::batched(contender, Batch { size: $size }),
            concat!("insertions into a hash map, ", $shown, " in a transaction, and one by one"),
        )
        .catches(&[Fault::HalfUpdate, Fault::LoseUpdate])
        .windows(0, Duration::from_millis(100 + 3 * $size / 1_000))
        .short()
        .slow()
    };
}

/// One thread, two maps.
pub(super) const ALL: &[Workload] = &[
    batch!("batch-10", 10, "10"),
    batch!("batch-100", 100, "100"),
    batch!("batch-1k", 1_000, "1,000"),
    batch!("batch-10k", 10_000, "10,000"),
    batch!("batch-100k", 100_000, "100,000"),
    batch!("batch-1m", 1_000_000, "1,000,000"),
];

/// Keys in no order, each once.
fn key(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl OnBatched for Batch {
    fn trial<M: Batched>(self) -> Box<dyn Trial> {
        let size = if cfg!(test) { self.size.min(2 * LEAST) } else { self.size };
        let total = size.max(LEAST);
        Box::new(BatchTrial {
            maps: [M::with_room(total), M::with_room(total)],
            sizes: [1, size],
            total,
            taken: Mutex::new(None),
        })
    }
}

impl<M: Batched> BatchTrial<M> {
    /// Fills the map of one side; none if the trial is over before that.
    fn fill(&self, side: usize, seat: &mut Seat<'_>) -> Option<Duration> {
        let (map, size) = (&self.maps[side], self.sizes[side]);
        let (start, mut from) = (thread_time(), 0);
        while from < self.total {
            if !seat.goes_on() {
                return None;
            }
            let to = self.total.min(from + size);
            map.insert_all((from..to).map(key));
            from = to;
        }
        Some(thread_time() - start)
    }
}

impl<M: Batched> Trial for BatchTrial<M> {
    /// What is timed are the two sides as wholes.
    fn kinds(&self) -> &'static [&'static str] {
        &[]
    }

    fn work(&self, seat: &mut Seat<'_>) {
        seat.wait_for_window();
        let mut taken = [Duration::ZERO; 2];
        // Which comes first is a matter of chance.
        let first = (seat.random.next_u32() & 1) as usize;
        for side in [first, 1 - first] {
            let Some(time) = self.fill(side, seat) else { return };
            taken[side] = time;
        }
        *self.taken.lock().expect("no thread panics with it") = Some(taken);
    }

    fn conduct(&self, control: &Control, _timing: Timing) -> Vec<Window> {
        vec![control.until_done(0)]
    }

    fn check(&self, _done: &[Vec<u64>]) -> Result<(), Violation> {
        if self.taken.lock().expect("no thread panics with it").is_none() {
            // Ended early: some are not in.
            return Ok(());
        }
        let stamp = |map: &M, key| map.get(key).and_then(|record| record.stamp());
        for map in &self.maps {
            let missing = (0..self.total).map(key).find(|&key| stamp(map, key) != Some(key));
            Violation::unless(missing.is_none(), || {
                format!("{} keys were inserted, but one of them is missing", self.total)
            })?;
        }
        Ok(())
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let taken = *self.taken.lock().expect("no thread panics with it");
        let Some([alone, batch]) = taken else { return Vec::new() };
        let each = |taken: Duration| taken.as_nanos() as f64 / self.total as f64;
        vec![
            ("ns for each, one by one".to_owned(), each(alone)),
            ("ns for each, in a batch".to_owned(), each(batch)),
            (RATIO.to_owned(), each(batch) / each(alone)),
        ]
    }
}
