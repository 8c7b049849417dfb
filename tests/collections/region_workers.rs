//! Workers that share a map of a region, each with keys of its own.

use crate::world::next;
use contempo::shared::collections::{Map, OrderedMap};
use contempo::shared::{Interrupt, Shared, Transaction};
use std::collections::BTreeMap;

/// What a worker does with a map.
pub(crate) trait Entries {
    fn insert(&self, tx: &Transaction<'_>, key: u64, value: u64) -> Result<Option<u64>, Interrupt>;
    fn remove(&self, tx: &Transaction<'_>, key: u64) -> Result<Option<u64>, Interrupt>;
}

macro_rules! entries {
    ($($map:ident),*) => {
        $(impl Entries for $map<u64, u64> {
            fn insert(
                &self,
                tx: &Transaction<'_>,
                key: u64,
                value: u64,
            ) -> Result<Option<u64>, Interrupt> {
                self.insert(tx, key, value)
            }

            fn remove(&self, tx: &Transaction<'_>, key: u64) -> Result<Option<u64>, Interrupt> {
                self.remove(tx, &key)
            }
        })*
    };
}

entries!(Map, OrderedMap);

/// Inserts and removes keys of its own among those of others: those that are `worker` above a multiple of `stride`.
/// Returns what is there of them in the end.
pub(crate) fn work_on_own_keys(
    shared: &Shared,
    map: &impl Entries,
    (worker, stride): (u64, u64),
    times: u64,
) -> BTreeMap<u64, u64> {
    let (mut model, mut random) = (BTreeMap::new(), 0x9E37_79B9 + worker);
    for n in 0..times {
        let key = next(&mut random) % 500 * stride + worker;
        let remove = next(&mut random).is_multiple_of(3);
        let before = shared
            .atomically(|tx| match remove {
                true => map.remove(tx, key),
                false => map.insert(tx, key, n),
            })
            .unwrap();
        let expected = if remove { model.remove(&key) } else { model.insert(key, n) };
        assert_eq!(before, expected, "worker {worker}, step {n}, key {key}");
    }
    model
}

/// Removes these keys.
pub(crate) fn remove_all(
    tx: &Transaction<'_>,
    map: &impl Entries,
    keys: impl IntoIterator<Item = u64>,
) -> Result<(), Interrupt> {
    keys.into_iter().try_for_each(|key| map.remove(tx, key).map(drop))
}

/// Writes a worker's model into a map of its own, for the test to compare with.
pub(crate) fn report(shared: &Shared, map: &impl Entries, model: &BTreeMap<u64, u64>) {
    shared
        .atomically(|tx| model.iter().try_for_each(|(k, v)| map.insert(tx, *k, *v).map(drop)))
        .unwrap();
}
