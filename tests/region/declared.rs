//! Declared access sets in a region: their shapes, and cells that are none of the region's.

use crate::support::region::{elsewhere, fresh, get};
use contempo::Settings;
use contempo::shared::{Cell, Shared, TransactionError};
use std::time::Duration;

/// Is each of these cells refused to a transaction that comes later and tries once?
fn refused(shared: &Shared, cells: &[Cell<u64>]) -> bool {
    elsewhere(|| {
        let once = |cell: &Cell<u64>| {
            shared.builder().max_attempts(1).run(|tx| tx.modify(*cell, |n| n + 1)).is_err()
        };
        cells.iter().all(once)
    })
}

#[test]
fn access_sets_of_every_shape_are_reserved() {
    let (_place, shared) = fresh();
    let grace = Duration::from_secs(3600);
    let mut settings: Settings = shared.settings();
    settings.grace = grace;
    shared.configure(settings).unwrap();
    let cells: Vec<Cell<u64>> = (0..3).map(|n| shared.root(&n.to_string(), 0).unwrap()).collect();
    let text = shared.root_of("text", "a").unwrap();
    let all = |_: &contempo::shared::Transaction<'_>| Ok(refused(&shared, &cells));
    assert!(shared.atomically_on(&cells[..], all).unwrap(), "a slice of cells");
    assert!(
        shared.atomically_on((cells[0], (cells[1], text, &cells[2..])), all).unwrap(),
        "tuples"
    );
    assert!(!refused(&shared, &cells), "what was reserved is free again");
}

#[test]
fn cells_that_are_none_of_the_region_are_passed_over() {
    let ((_place, shared), (_other_place, other)) = (fresh(), fresh());
    let cell = shared.root("cell", 1_u64).unwrap();
    let freed = shared.atomically(|tx| tx.create(&7_u64)).unwrap();
    shared.atomically(|tx| tx.free(freed)).unwrap();
    let theirs = other.root("theirs", 5_u64).unwrap();
    // A new thread reserves before its first attempt.
    elsewhere(|| {
        let set = (cell, Cell::<u64>::null(), freed, theirs);
        shared.atomically_on(set, |tx| tx.modify(cell, |n| n + 1)).unwrap();
        let used = shared.atomically_on(set, |tx| tx.read(freed));
        assert!(matches!(used, Err(TransactionError::NoSuchCell)), "{used:?}");
        let used = shared.atomically_on(set, |tx| tx.read(theirs));
        assert!(matches!(used, Err(TransactionError::OtherRegion)), "{used:?}");
    });
    assert_eq!((get(&shared, cell), get(&other, theirs)), (2, 5));
}
