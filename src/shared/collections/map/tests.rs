//! What hashes that do not differ do.

use super::Map;
use crate::shared::{Options, Shared, lease_path};
use std::cell::Cell;
use std::collections::BTreeMap;

thread_local! {
    /// The bits of a hash that count.
    pub(super) static MASK: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// A map from nothing to `entries` and back, with so many bits of each hash. How many buckets it came to.
fn fill(mask: u64, entries: u64) -> usize {
    MASK.set(mask);
    let path =
        std::env::temp_dir().join(format!("contempo-masked-{}-{mask:x}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let shared = Shared::create(&path, &Options::new()).unwrap();
    let map: Map<u64, u64> = Map::root(&shared, "map", 1).unwrap();
    let mut model = BTreeMap::new();
    for n in 0..entries {
        assert_eq!(shared.atomically(|tx| map.insert(tx, n, n * n)).unwrap(), None);
        model.insert(n, n * n);
    }
    let found: BTreeMap<u64, u64> = shared.snapshot(|view| map.iter(view).collect()).unwrap();
    assert_eq!(found, model);
    let buckets = shared.snapshot(|view| map.buckets(view)).unwrap();
    for n in 0..entries {
        assert_eq!(shared.atomically(|tx| map.remove(tx, &n)).unwrap(), Some(n * n));
        assert_eq!(shared.snapshot(|view| map.get(view, &n)).unwrap(), None);
    }
    let report = shared.check();
    assert!(report.is_sound() && report.unreachable == 0, "{report}");
    // Inner nodes and buckets, and the directory.
    assert_eq!(report.cells, buckets + (buckets - 1) / 15 + 1);
    drop(shared);
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(lease_path(&path)).unwrap();
    MASK.set(u64::MAX);
    buckets
}

#[test]
fn keys_whose_hashes_are_equal_stay_in_one_list() {
    // A split for each four bits of the hash, and then no more.
    assert_eq!(fill(0, 100), 1 + 16 * 15);
}

#[test]
fn hashes_that_differ_late_are_told_apart() {
    let buckets = fill(0xf << 60, 60);
    assert_eq!(buckets, 1 + 16 * 15);
    assert!(fill(u64::MAX, 1000) >= 1000 / 8);
}
