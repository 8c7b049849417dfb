//! A hash map and a sorted map with the mixes A, B, C and F of YCSB: 10,000 records of 64 bytes,
//! keys by a Zipf distribution (0.99).

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::keys::Keys;
use crate::structures::map::{self, Map, OnMap, Record};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::cell::Cell;

const KEYS: u64 = 10_000;
const SKEW: f64 = 0.99;

/// What is not a read is …
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// a new record, whatever there was;
    Put,
    /// the record after the one that is there.
    Bump,
}

#[derive(Clone, Copy)]
struct Mix {
    /// Of a hundred operations.
    reads: u32,
    change: Change,
}

const A: Mix = Mix { reads: 50, change: Change::Put };
const B: Mix = Mix { reads: 95, change: Change::Put };
const C: Mix = Mix { reads: 100, change: Change::Put };
const F: Mix = Mix { reads: 50, change: Change::Bump };

struct MapTrial<M> {
    map: M,
    mix: Mix,
}

const READ: usize = 0;
const CHANGE: usize = 1;

macro_rules! on_map {
    ($name:literal, $make:expr, $about:literal, $percent:literal, $faults:expr) => {
        Workload::new($name, Threads::Few { least: 1 }, $make, $about)
            .with(concat!("keys=10000 record_bytes=64 choice=zipf:0.99 ", $percent))
            .catches($faults)
    };
}

/// Both kinds of map, four mixes each.
pub(super) const ALL: &[Workload] = &[
    on_map!(
        "hash-a",
        |contender, _| map::hashed(contender, A),
        "a hash map: 50 % reads, 50 % updates",
        "reads=50 updates=50",
        &[Fault::TornRead, Fault::HalfUpdate]
    ),
    on_map!(
        "hash-b",
        |contender, _| map::hashed(contender, B),
        "a hash map: 95 % reads, 5 % updates",
        "reads=95 updates=5",
        &[Fault::TornRead, Fault::HalfUpdate]
    ),
    on_map!(
        "hash-c",
        |contender, _| map::hashed(contender, C),
        "a hash map: only reads",
        "reads=100",
        &[Fault::TornRead, Fault::OutOfOrder]
    )
    .slow(),
    on_map!(
        "hash-f",
        |contender, _| map::hashed(contender, F),
        "a hash map: 50 % reads, 50 % read-modify-writes",
        "reads=50 read_modify_writes=50",
        &[Fault::TornRead, Fault::LoseUpdate]
    )
    .slow(),
    on_map!(
        "sorted-a",
        |contender, _| map::sorted(contender, A, true),
        "a sorted map: 50 % reads, 50 % updates",
        "reads=50 updates=50",
        &[Fault::TornRead, Fault::HalfUpdate]
    )
    .slow(),
    on_map!(
        "sorted-b",
        |contender, _| map::sorted(contender, B, true),
        "a sorted map: 95 % reads, 5 % updates",
        "reads=95 updates=5",
        &[Fault::TornRead, Fault::HalfUpdate]
    ),
    on_map!(
        "sorted-c",
        |contender, _| map::sorted(contender, C, false),
        "a sorted map: only reads",
        "reads=100",
        &[Fault::TornRead, Fault::OutOfOrder]
    )
    .slow(),
    on_map!(
        "sorted-f",
        |contender, _| map::sorted(contender, F, true),
        "a sorted map: 50 % reads, 50 % read-modify-writes",
        "reads=50 read_modify_writes=50",
        &[Fault::TornRead, Fault::LoseUpdate]
    )
    .slow(),
];

impl OnMap for Mix {
    fn trial<M: Map>(self) -> Box<dyn Trial> {
        Box::new(MapTrial { map: M::filled(KEYS), mix: self })
    }
}

/// The stamp of the record of this key, or what is wrong with it.
fn stamp(found: Option<Record>, key: u64) -> Result<u64, Violation> {
    let record = found.ok_or_else(|| Violation(format!("key {key} is missing")))?;
    record.stamp().ok_or_else(|| Violation(format!("the record of key {key} is torn: {record:?}")))
}

impl<M: Map> Trial for MapTrial<M> {
    fn kinds(&self) -> &'static [&'static str] {
        &["operation", "change"]
    }

    /// Both kinds of operations are measured together; changes are counted for the check.
    fn does(&self, _seat: usize, kind: usize) -> bool {
        kind == READ
    }

    fn work(&self, seat: &mut Seat<'_>) {
        let mut keys =
            Keys::zipf(&mut SmallRng::seed_from_u64(seat.random.next_u64()), KEYS as usize, SKEW);
        let changes = Cell::new(0);
        let wrong = Cell::new(None);
        seat.repeat(READ, |random| {
            let key = keys.next() as u64;
            let number = random.next_u64();
            if (number as u32 % 100) < self.mix.reads {
                if let Err(violation) = stamp(self.map.get(key), key) {
                    wrong.set(Some(violation));
                }
                return;
            }
            match self.mix.change {
                Change::Put => self.map.put(key, Record::new(number)),
                Change::Bump => self.map.bump(key),
            }
            changes.set(changes.get() + 1);
        });
        seat.ever[CHANGE] = changes.get();
        if let Some(Violation(what)) = wrong.take() {
            seat.violation(what);
        }
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let mut sum = 0;
        for key in 0..KEYS {
            sum += u128::from(stamp(self.map.get(key), key)?);
        }
        let changes: u64 = done.iter().map(|kinds| kinds[CHANGE]).sum();
        Violation::unless(self.mix.change == Change::Put || sum == u128::from(changes), || {
            format!("{changes} records were made the next one, but the stamps' sum is {sum}")
        })
    }
}
