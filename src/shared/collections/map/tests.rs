//! What hashes that do not differ do.

use super::Map;
use super::page::{Children, Sizes, node};
use crate::shared::{Options, Shared, liveness_path};
use bytemuck::Pod;
use std::cell::Cell;
use std::collections::BTreeMap;

thread_local! {
    /// The bits of a hash that count.
    pub(super) static MASK: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// A map from nothing to `entries` and back, with so many bits of each hash. How many buckets and how many cells it
/// came to.
fn fill(mask: u64, entries: u64) -> (usize, usize) {
    MASK.set(mask);
    let path =
        std::env::temp_dir().join(format!("contempo-masked-{}-{mask:x}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let shared = Shared::create(&path, &Options::new()).unwrap();
    let map: Map<u64, u64> = Map::root(&shared, "map", 1).unwrap();
    // The directory's hashes are masked, too.
    let others = shared.verify().cells - 1;
    let mut model = BTreeMap::new();
    for n in 0..entries {
        assert_eq!(shared.atomically(|tx| map.insert(tx, n, n * n)).unwrap(), None);
        model.insert(n, n * n);
        if n % 7 == 0 {
            let again = shared.atomically(|tx| map.insert(tx, n / 2, n)).unwrap();
            assert_eq!(again, model.insert(n / 2, n));
        }
    }
    let found: BTreeMap<u64, u64> = shared.snapshot(|view| map.iter(view).collect()).unwrap();
    assert_eq!(found, model);
    let buckets = shared.snapshot(|view| map.buckets(view)).unwrap();
    let cells = shared.verify().cells - others;
    let (first, last): (Vec<_>, Vec<_>) = model.into_iter().partition(|(n, _)| n % 3 == 0);
    for (n, value) in first.into_iter().chain(last) {
        assert_eq!(shared.snapshot(|view| map.get(view, &n)).unwrap(), Some(value));
        assert_eq!(shared.atomically(|tx| map.remove(tx, &n)).unwrap(), Some(value));
        assert_eq!(shared.atomically(|tx| map.remove(tx, &n)).unwrap(), None);
        assert_eq!(shared.snapshot(|view| map.get(view, &n)).unwrap(), None);
    }
    assert_eq!(shared.snapshot(|view| map.buckets(view)).unwrap(), 1, "it has shrunk");
    for n in 0..entries {
        shared.atomically(|tx| map.insert(tx, n, n)).unwrap();
    }
    shared.atomically(|tx| map.clear(tx)).unwrap();
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.unreachable == 0, "{report}");
    assert_eq!(report.cells, others + 1);
    drop(shared);
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(liveness_path(&path)).unwrap();
    MASK.set(u64::MAX);
    (buckets, cells)
}

#[test]
fn keys_whose_hashes_are_equal_are_in_a_list() {
    let most = Sizes::<u64, u64>::MOST;
    // Few are in a bucket; of more, a split for each bit comes first: seven nodes, of which each has eight buckets
    // but one that leads on.
    assert_eq!(fill(0, most as u64), (1, 1));
    let (buckets, cells) = fill(0, 10 * most as u64);
    assert_eq!(buckets, 7 * 8 + 1);
    assert_eq!(cells, 7 + buckets + 9);
}

#[test]
fn hashes_that_differ_late_are_told_apart() {
    // By the bytes beside the entries, and by the last bits that nodes take.
    assert_eq!(fill(0xf << 60, 60).0, 7 * 8 + 1);
    let (buckets, _) = fill(0xf << 52, 200);
    assert!((6 * 8 + 4 + 8..=6 * 8 + 4 + 16).contains(&buckets), "{buckets}");
    let (buckets, cells) = fill(u64::MAX, 1000);
    assert!(buckets >= 1000 / 26 && cells == buckets + 1, "{buckets}");
}

/// Entries of a bucket with these keys and values.
fn most<K: Pod, V: Pod>() -> usize {
    Sizes::<K, V>::MOST
}

#[test]
fn buckets_are_neither_tiny_nor_larger_than_values() {
    assert_eq!((most::<u64, u64>(), most::<u32, u32>(), most::<u16, ()>()), (26, 49, 64));
    assert_eq!((most::<u64, [u64; 12]>(), most::<[u8; 3], [u8; 301]>()), (4, 6));
    assert_eq!((most::<u64, [u64; 240]>(), most::<u64, [u64; 4000]>()), (2, 1));
    assert_eq!(most::<(), ()>(), 64);
}

#[test]
fn what_is_no_node_is_none() {
    let good = node(&[7, 8]);
    assert_eq!(Children::parse(&good).unwrap().to_vec(), [7, 8]);
    assert!((0..good.len()).all(|length| Children::parse(&good[..length]).is_none()));
    assert!(Children::parse(&node(&[7])).is_none() && Children::parse(&node(&[7; 3])).is_none());
    assert!(Children::parse(&node(&[7; 512])).is_none());
}
