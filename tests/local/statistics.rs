//! Statistics: every event is counted once, under its own name. One test at a time in here, so
//! that the counts are exact.

use crate::support::{alone, elsewhere};
use contempo::{TVar, atomically, snapshot, statistics};

#[test]
fn commits_and_reads() {
    let _turn = alone();
    let (a, b) = (TVar::new(0), TVar::new(0));
    let before = statistics();
    atomically(|tx| tx.write(&a, 1));
    atomically(|tx| tx.write(&a, 1).and_then(|()| tx.write(&b, 1)));
    a.store(2);
    a.update(|n| n + 1);
    a.swap(4);
    a.compare_and_store(&4, 5).unwrap();
    let since = statistics().since(&before);
    assert_eq!((since.commits, since.read_only, since.aborts()), (6, 0, 0));
    let before = statistics();
    snapshot(|view| *view.read(&a));
    atomically(|tx| tx.read(&a).copied());
    a.load();
    a.with(|_| ());
    a.compare_and_store(&99, 100).unwrap_err();
    let since = statistics().since(&before);
    assert_eq!((since.commits, since.read_only, since.aborts()), (0, 5, 0));
}

#[test]
fn versions_retired_held_and_reclaimed() {
    let _turn = alone();
    let cell = TVar::new(0);
    let before = statistics();
    snapshot(|view| {
        view.read(&cell);
        elsewhere(|| (0..3000).for_each(|n| cell.store(n)));
        let since = statistics().since(&before);
        assert_eq!(since.retired, 3000);
        // The snapshot sees the first; the others go when it is worth to look for them.
        assert!(since.reclaimed < before.held() + since.retired, "{since:?}");
        assert!(statistics().held() >= 1, "{since:?}");
    });
    crate::support::settle("they are reclaimed", || statistics().held() < 2500);
}

#[test]
fn a_difference_of_equals_is_nothing() {
    let _turn = alone();
    let now = statistics();
    assert_eq!(now.since(&now), contempo::Statistics::default());
    assert_eq!(now, now.clone());
    assert!(format!("{now:?}").contains("aborts_claimed"));
}
