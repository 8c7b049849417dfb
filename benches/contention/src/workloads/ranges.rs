//! An ordered map under updates, and range reads of 10,000 keys by threads of their own.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::keys::below;
use crate::structures::pairs::{self, OnPairs, Pairs, Walk};
use rand::Rng as _;
use std::ops::Range;
use std::time::Duration;

/// In the map, all the time; fewer in tests.
const KEYS: u64 = if cfg!(test) { 4_000 } else { 100_000 };
/// In one range.
const RANGE: u64 = KEYS / 10;

struct Ranges {
    threads: usize,
}

struct RangesTrial<P> {
    map: P,
    /// Threads that read.
    readers: usize,
}

const READ: usize = 0;
const UPDATE: usize = 1;

/// From two threads on.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "ranges",
    Threads::Few { least: 2 },
    |contender, threads| pairs::maker(contender, Ranges { threads }),
    "an ordered map of 100,000 keys: half of the threads remove and insert, half read 10,000 in order",
)
.with("keys=100000 range=10000")
.catches(&[Fault::TornRead, Fault::HalfUpdate, Fault::LoseUpdate])
.weight(2.0)
.windows(1, Duration::from_millis(100))];

impl OnPairs for Ranges {
    fn trial<P: Pairs>(self) -> Box<dyn Trial> {
        Box::new(RangesTrial { map: P::filled(KEYS), readers: self.threads / 2 })
    }
}

fn sound(walk: &Walk, pairs: &Range<u64>) -> Result<(), Violation> {
    Violation::unless(walk.is_sound(), || {
        format!("of the pairs {} to {} not each was there once", pairs.start, pairs.end)
    })
}

impl<P: Pairs> Trial for RangesTrial<P> {
    fn kinds(&self) -> &'static [&'static str] {
        &["range", "update"]
    }

    /// Half of them read.
    fn does(&self, seat: usize, kind: usize) -> bool {
        (seat < self.readers) == (kind == READ)
    }

    fn work(&self, seat: &mut Seat<'_>) {
        if !self.does(seat.index, READ) {
            return seat.repeat(UPDATE, |random| {
                self.map.change(below(random.next_u32(), KEYS as usize) as u64);
            });
        }
        while seat.goes_on() {
            let first = below(seat.random.next_u32(), (KEYS - RANGE) as usize) as u64;
            let pairs = first..first + RANGE;
            let walk = seat.timed(READ, |_| self.map.walk(pairs.clone()));
            if let Err(Violation(what)) = sound(&walk, &pairs) {
                return seat.violation(what);
            }
        }
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let walk = self.map.walk(0..KEYS);
        sound(&walk, &(0..KEYS))?;
        let expected: u64 = done.iter().map(|kinds| kinds[UPDATE]).sum();
        Violation::unless(walk.changes == expected, || {
            format!("{expected} changes were made, but the map has {}", walk.changes)
        })
    }
}
