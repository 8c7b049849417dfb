//! Dictionaries whose keys collide, and what no dictionary writes.

use super::*;
use crate::shared::{Options, Shared, TransactionError};
use std::path::PathBuf;

thread_local! {
    /// The bits of a key's hash that count.
    pub(super) static MASK: LocalCell<u64> = const { LocalCell::new(u64::MAX) };
}

/// Removes the region when dropped.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        MASK.set(u64::MAX);
        let _ = Shared::remove(&self.0);
    }
}

fn fresh(name: &str) -> (Place, Shared) {
    let path = std::env::temp_dir().join(format!("contempo-{name}-{}", std::process::id()));
    let _ = Shared::remove(&path);
    let shared = Shared::create(&path, &Options::new()).unwrap();
    (Place(path), shared)
}

/// Keys that agree in all bits of their hash, in the lower half of it, or in most: all are told apart, and what is left
/// after all were removed is one empty bucket.
#[test]
fn keys_with_the_same_hash_are_told_apart() {
    for mask in [0, 1 << 63, u64::MAX << 32, 0xf000_0000_0000_00ff] {
        let (_place, shared) = fresh(&format!("dictionary-hash-{mask:x}"));
        MASK.set(mask);
        let all = Dictionary::root(&shared, "all").unwrap();
        let key = |n: u32| n.to_ne_bytes();
        let cells = shared.verify().cells;
        for n in 0..100 {
            let put = |tx: &Transaction<'_>| all.insert(tx, &key(n), &key(n + 1), &[]);
            assert!(!shared.atomically(put).unwrap(), "{mask:x} {n}");
        }
        shared
            .snapshot(|view| {
                for n in 0..100 {
                    let value = all.get(view, &key(n))?.expect("it was inserted");
                    assert_eq!(*value.bytes(view)?, key(n + 1), "{mask:x} {n}");
                }
                let in_order = all.in_order(view)?;
                assert!(in_order.iter().map(|(key, _)| *key).eq((0..100).map(key)));
                assert_eq!((all.iter(view).count(), all.len(view)?), (100, 100));
                Ok(())
            })
            .unwrap();
        for n in 0..100 {
            assert!(shared.atomically(|tx| all.remove(tx, &key(n))).unwrap(), "{mask:x} {n}");
            assert!(!shared.atomically(|tx| all.contains(tx, &key(n))).unwrap(), "{mask:x} {n}");
        }
        shared.collect().unwrap();
        assert_eq!(shared.verify().cells, cells, "{mask:x}");
    }
}

/// A top that is no dictionary's, or a trie that no dictionary makes, is an error, and no walk goes on for ever.
#[test]
fn what_no_dictionary_writes_is_an_error() {
    let (_place, shared) = fresh("dictionary-damage");
    let all = Dictionary::root(&shared, "all").unwrap();
    let top = all.cell();
    let itself = node(0, &[top.to_bits()[0]; FAN]);
    let mut child_of_wrong_level = node(3, &[0; FAN]);
    child_of_wrong_level.truncate(8 + 8 * FAN);
    let mut cut = bucket(&[Entry::new((1, 1), 0, b"key", b"value", &[], 0)]);
    cut.pop();
    for nonsense in [&b""[..], b"text", &itself, &child_of_wrong_level, &cut] {
        shared.atomically(|tx| tx.write(top, nonsense)).unwrap();
        let outcomes = [
            shared.atomically(|tx| all.get(tx, b"?").map(|_| ())),
            shared.snapshot(|view| all.iter(view).try_for_each(|entry| entry.map(drop))),
            shared.snapshot(|view| all.in_order(view).map(drop)),
            shared.atomically(|tx| all.insert(tx, b"key", b"", &[]).map(drop)),
            shared.atomically(|tx| all.clear(tx)),
        ];
        let damaged = |outcome: &Result<(), TransactionError>| {
            matches!(outcome, Err(TransactionError::Corrupt))
        };
        // (A cut bucket is found out by what looks at its entries.)
        let found = outcomes.iter().filter(|outcome| damaged(outcome)).count();
        assert!(found == outcomes.len() || (nonsense == cut && found == 4), "{outcomes:?}");
    }
}
