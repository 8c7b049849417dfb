//! An ordered map in which of each two neighbouring keys, 2n and 2n + 1, one is there: a change
//! removes it and inserts the other. So whatever is read in order has each pair once, unless it is
//! torn.

use super::skip_list::SkipList;
use crate::contenders::contempo::Contempo;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::guards::{Guard, Unguarded};
use crate::contenders::monitors::Monitor;
use crate::contenders::peers::{AsyncStm, FastStm, RustStm};
use crate::contenders::transactional::{Access, Stm};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};
use contempo::collections::TOrderedMap;
use contempo::snapshot;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};

/// The two keys of a pair.
fn keys(pair: u64) -> [u64; 2] {
    [2 * pair, 2 * pair + 1]
}

/// What a walk over a range of pairs has seen: a value says how often its pair was changed, and so
/// which of the two keys is there.
pub(crate) struct Walk {
    next: u64,
    end: u64,
    sound: bool,
    /// All values.
    pub(crate) changes: u64,
}

impl Walk {
    fn over(pairs: &Range<u64>) -> Self {
        Walk { next: pairs.start, end: pairs.end, sound: true, changes: 0 }
    }

    /// The next entry.
    #[inline(always)]
    fn see(&mut self, key: u64, value: u64) {
        self.sound &= key / 2 == self.next && key % 2 == value % 2;
        self.next += 1;
        self.changes = self.changes.wrapping_add(value);
    }

    /// Was each pair there, once, with a value that fits its key?
    pub(crate) fn is_sound(&self) -> bool {
        self.sound && self.next == self.end
    }
}

/// An ordered map of pairs.
pub(crate) trait Pairs: Send + Sync + 'static {
    /// With so many pairs, none of which was changed.
    fn filled(pairs: u64) -> Self;

    /// Removes the key of this pair that is there and inserts the other, in one step.
    fn change(&self, pair: u64);

    /// Walks over these pairs, as they were at one moment.
    fn walk(&self, pairs: Range<u64>) -> Walk;
}

/// A workload on pairs.
pub(crate) trait OnPairs {
    /// The trial for this map.
    fn trial<P: Pairs>(self) -> Box<dyn Trial>;
}

/// contempo's own ordered map.
pub(crate) struct Ordered(TOrderedMap<u64, u64>);

impl Pairs for Ordered {
    fn filled(pairs: u64) -> Self {
        Ordered((0..pairs).map(|pair| (2 * pair, 0)).collect())
    }

    fn change(&self, pair: u64) {
        let [even, odd] = keys(pair);
        Contempo::atomically(|tx| {
            let (there, other) =
                if self.0.contains_key(tx, &even)? { (even, odd) } else { (odd, even) };
            if let Some(value) = self.0.remove(tx, &there)?.copied() {
                self.0.insert(tx, other, value + 1)?;
            }
            Ok(())
        });
    }

    fn walk(&self, pairs: Range<u64>) -> Walk {
        snapshot(|view| {
            let mut walk = Walk::over(&pairs);
            let entries = self.0.range(view, 2 * pairs.start..2 * pairs.end);
            entries.for_each(|(key, value)| walk.see(*key, *value));
            walk
        })
    }
}

/// A skip list of transactional variables, for memories that bring no ordered map.
pub(crate) struct Skipping<S: Stm>(SkipList<S, u64>);

impl<S: Stm> Pairs for Skipping<S> {
    fn filled(pairs: u64) -> Self {
        Skipping(SkipList::filled((0..pairs).map(|pair| (2 * pair, 0))))
    }

    fn change(&self, pair: u64) {
        let [even, odd] = keys(pair);
        S::atomically(|tx| {
            let value = |key| match self.0.find(tx, key)? {
                Some(found) => Ok(Some(*tx.read(found.value())?)),
                None => Ok(None),
            };
            let (there, other, value) = match value(even)? {
                Some(value) => (even, odd, value),
                None => (odd, even, value(odd)?.unwrap_or_default()),
            };
            self.0.remove(tx, there)?;
            self.0.insert(tx, other, value + 1).map(drop)
        });
    }

    fn walk(&self, pairs: Range<u64>) -> Walk {
        S::look(|view| {
            let mut walk = Walk::over(&pairs);
            self.0.walk(view, Bound::Included(2 * pairs.start), |node| {
                if node.key >= 2 * pairs.end {
                    return Ok(false);
                }
                walk.see(node.key, *view.read(&node.value)?);
                Ok(true)
            })?;
            Ok(walk)
        })
    }
}

type Plain = BTreeMap<u64, u64>;

fn change(map: &mut Plain, pair: u64) {
    let [even, odd] = keys(pair);
    let there = map.remove(&even).map(|value| (odd, value));
    let there = there.or_else(|| map.remove(&odd).map(|value| (even, value)));
    if let Some((other, value)) = there {
        map.insert(other, value + 1);
    }
}

fn plain(pairs: Range<u64>) -> Plain {
    pairs.map(|pair| (2 * pair, 0)).collect()
}

/// A `BTreeMap` behind one guard.
pub(crate) struct Guarded<G>(G);

impl<G: Guard<Plain>> Pairs for Guarded<G> {
    fn filled(pairs: u64) -> Self {
        Guarded(G::guard(plain(0..pairs)))
    }

    fn change(&self, pair: u64) {
        self.0.write(|map| change(map, pair));
    }

    fn walk(&self, pairs: Range<u64>) -> Walk {
        self.0.read(|map| {
            let mut walk = Walk::over(&pairs);
            let entries = map.range(2 * pairs.start..2 * pairs.end);
            entries.for_each(|(key, value)| walk.see(*key, *value));
            walk
        })
    }
}

/// Pairs are distributed over so many mutexes.
const SHARDS: u64 = 64;

/// A mutex per shard: ranges take those that they need, in order.
pub(crate) struct Sharded<M> {
    shards: Vec<M>,
    /// Pairs of a shard.
    each: u64,
}

impl<M: Monitor<Plain>> Pairs for Sharded<M> {
    fn filled(pairs: u64) -> Self {
        let each = pairs.div_ceil(SHARDS).max(1);
        let shard = |at| M::monitor(plain(pairs.min(at * each)..pairs.min((at + 1) * each)));
        Sharded { shards: (0..SHARDS).map(shard).collect(), each }
    }

    fn change(&self, pair: u64) {
        change(&mut self.shards[(pair / self.each) as usize].enter(), pair);
    }

    fn walk(&self, pairs: Range<u64>) -> Walk {
        let needed = (pairs.start / self.each) as usize..=((pairs.end - 1) / self.each) as usize;
        let locked: Vec<_> = self.shards[needed].iter().map(M::enter).collect();
        let mut walk = Walk::over(&pairs);
        for shard in &locked {
            let entries = shard.range(2 * pairs.start..2 * pairs.end);
            entries.for_each(|(key, value)| walk.see(*key, *value));
        }
        walk
    }
}

/// A map behind a mutex that goes wrong.
pub(crate) struct Faulty {
    map: Guarded<std::sync::Mutex<Plain>>,
    breakage: Breakage,
}

impl Pairs for Faulty {
    fn filled(pairs: u64) -> Self {
        Faulty { map: Pairs::filled(pairs), breakage: Breakage::planted() }
    }

    fn change(&self, pair: u64) {
        if self.breakage.strikes(Fault::HalfUpdate) {
            let [even, odd] = keys(pair);
            self.map.0.write(|map| map.remove(&even).or_else(|| map.remove(&odd)));
            return;
        }
        if !self.breakage.strikes(Fault::LoseUpdate) {
            self.map.change(pair);
        }
    }

    fn walk(&self, pairs: Range<u64>) -> Walk {
        if !self.breakage.strikes(Fault::TornRead) {
            return self.map.walk(pairs);
        }
        // Half of it before a change, and half of it after.
        let (middle, mut walk) = (pairs.start.midpoint(pairs.end), self.map.walk(pairs.clone()));
        self.map.change(middle);
        walk.see(2 * middle, 0);
        walk
    }
}

fn later<P: Pairs>(workload: impl OnPairs + 'static) -> Maker {
    Box::new(move || workload.trial::<P>())
}

/// Makes trials of a workload on pairs; none if this contender has no ordered map in which a range is
/// read as it was at one moment.
pub(crate) fn maker(contender: &Contender, workload: impl OnPairs + 'static) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<Ordered>(workload),
        Family::RustStm => later::<Skipping<RustStm>>(workload),
        Family::FastStm => later::<Skipping<FastStm>>(workload),
        Family::AsyncStm => later::<Skipping<AsyncStm>>(workload),
        Family::Sequential => later::<Guarded<Unguarded<_>>>(workload),
        Family::StdMutex => later::<Guarded<std::sync::Mutex<_>>>(workload),
        Family::ParkingLotMutex => later::<Guarded<parking_lot::Mutex<_>>>(workload),
        Family::StdRwLock => later::<Guarded<std::sync::RwLock<_>>>(workload),
        Family::ParkingLotRwLock => later::<Guarded<parking_lot::RwLock<_>>>(workload),
        Family::OrderedStd => later::<Sharded<std::sync::Mutex<_>>>(workload),
        Family::OrderedParkingLot => later::<Sharded<parking_lot::Mutex<_>>>(workload),
        Family::Faulty => later::<Faulty>(workload),
        _ => return None,
    })
}
