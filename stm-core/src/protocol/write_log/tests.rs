//! Unit tests of the write log and its index.

use super::*;
use crate::domain::Link;
use crate::local::domain::Native;
use crate::local::unpublished::Unpublished;
use crate::protocol::version::Version;
use contempo_sched::words::{AtomicLockWord, LockWord, VersionTag};

fn cells(count: usize) -> Vec<CellHeader<Native>> {
    let cell =
        || CellHeader { value: Link::<Native>::null(), lock: AtomicLockWord::new(LockWord::FREE) };
    (0..count).map(|_| cell()).collect()
}

/// A version that holds `n`.
fn version(n: u64) -> *mut VersionHeader<Native> {
    crate::local::frozen::version(VersionTag::committed(0), n)
}

fn value(of: *mut VersionHeader<Native>) -> u64 {
    // SAFETY: such versions live as long as the process.
    unsafe { *Version::<u64, Native>::value(of) }
}

fn lend(version: *mut VersionHeader<Native>) {
    // SAFETY: such versions live as long as the process.
    Unpublished::lend(0, unsafe { &(*version).prev });
}

/// What the log gives away because nothing can reach it.
fn gone(log: &mut WriteLog<Native>) -> Vec<u64> {
    std::iter::from_fn(|| log.next_out_of_reach())
        .map(|block| value(block.address.as_ptr().cast()))
        .collect()
}

/// Writes `n` to `cell`.
fn version_of(
    log: &mut WriteLog<Native>,
    cell: &CellHeader<Native>,
    n: u64,
) -> *mut VersionHeader<Native> {
    let version = version(n);
    assert!(log.write(cell, version, Version::<u64, Native>::KIND).is_none());
    version
}

#[test]
fn finds_what_was_written_at_every_size_and_rolls_back() {
    let kind = Version::<u64, Native>::KIND;
    let cells = cells(300);
    let mut log = WriteLog::<Native>::new();
    for round in 0..3 {
        for (n, cell) in cells[..100].iter().enumerate() {
            assert_eq!(log.find(cell), None, "round {round}");
            log.write(cell, version(n as u64 + 1), kind);
            assert!((0..=n).all(|m| log.find(&cells[m]) == Some(m)));
        }
        for side in 0..50 {
            let mark = log.mark();
            for cell in &cells[50..] {
                lend(version_of(&mut log, cell, 1000 + side));
            }
            log.roll_back(mark);
            let pending = |n: usize| value(log.version(log.find(&cells[n]).unwrap()));
            assert!((0..100).all(|n| pending(n) == n as u64 + 1));
            assert!((100..300).all(|n| log.find(&cells[n]).is_none()));
        }
        let mut handed_out = 0;
        log.clear(true, |_| handed_out += 1);
        assert_eq!(handed_out, 100 + 50 * 250);
        assert!(log.is_untouched());
    }
}

/// Only then is a write pushed without a search, and the log emptied without a look at what is private.
#[test]
fn a_log_is_plain_until_a_part_begins_or_something_is_written_over() {
    let (cells, mut log) = (cells(40), WriteLog::<Native>::new());
    let check = |log: &WriteLog<Native>| {
        let is_plain = log.parts == 0 && log.displaced.is_empty();
        assert!(log.plain_until <= log.entries.capacity().min(SCAN));
        assert!(log.plain_until == 0 || is_plain, "parts {}", log.parts);
        assert!(log.has_private() || is_plain && log.discarded.is_empty());
        log.plain_until
    };
    version_of(&mut log, &cells[0], 1);
    assert!(check(&log) > 0);
    // A part, and what is written in it and after it.
    let mark = log.mark();
    assert_eq!(check(&log), 0);
    version_of(&mut log, &cells[1], 2);
    assert_eq!(check(&log), 0);
    log.keep(mark);
    version_of(&mut log, &cells[2], 3);
    assert_eq!((check(&log), log.has_private()), (0, true));
    log.clear(true, |_| ());
    assert!(check(&log) > 0);
    // Something that is in use is written over.
    lend(version_of(&mut log, &cells[0], 4));
    version_of(&mut log, &cells[0], 5);
    assert_eq!(check(&log), 0);
    version_of(&mut log, &cells[1], 6);
    assert_eq!((check(&log), log.entries.len()), (0, 2));
    let mut private = 0;
    log.clear(true, |_| private += 1);
    assert_eq!(private, 3);
    // Parts that leave nothing: the first write after them is of a plain log.
    let mark = log.mark();
    log.keep(mark);
    let mark = log.mark();
    version_of(&mut log, &cells[3], 7);
    log.roll_back(mark);
    assert_eq!(gone(&mut log), [7]);
    assert!(log.is_untouched());
    version_of(&mut log, &cells[4], 8);
    assert!(check(&log) > 0 && !log.has_private());
    log.clear(true, |_| ());
    // At each size, a cell that is in the log is found, and not pushed again.
    for (n, cell) in cells.iter().enumerate() {
        version_of(&mut log, cell, n as u64);
        check(&log);
        for (m, before) in cells[..=n].iter().enumerate() {
            let again = log.write(before, version(100), Version::<u64, Native>::KIND);
            assert!(again.is_some() && log.find(before) == Some(m), "{m} of {n}");
        }
        assert_eq!(log.entries.len(), n + 1);
    }
}

/// Cells in a row, as a heap gives them out: few slots are looked at, however many there are.
#[test]
fn the_index_spreads_what_lies_in_a_row() {
    let row =
        |keys: usize, distance: usize| (0..keys).map(move |n| 0x7f12_3456_0040 + n * distance);
    let sizes = [20, 60, 100, 300, 1_000, 5_000, 20_000, 200_000];
    let rows = sizes.into_iter().flat_map(|size| [24, 32, 48, 64].map(|it| row(size, it)));
    for keys in rows {
        let keys: Vec<usize> = keys.collect();
        let mut index = Index::new();
        for (entry, key) in keys.iter().enumerate() {
            if entry == 0 || !index.has_room() {
                index.rebuild(keys[..entry].iter().copied());
            }
            index.insert(*key, entry);
        }
        let mut steps = 0;
        for (entry, key) in keys.iter().enumerate() {
            assert_eq!(index.find(*key, |found| keys[found] == *key), Ok(entry));
            let mut at = index.start(*key);
            while index.slots[at].entry as usize != entry {
                at = (at + 1) & index.mask;
                steps += 1;
            }
        }
        assert!(steps * 2 < keys.len(), "{steps} steps for {} keys", keys.len());
    }
}

#[test]
fn a_large_log_finds_what_was_written_and_rolls_back() {
    let cells = cells(30_000);
    let mut log = WriteLog::<Native>::new();
    // Writes some cells, which come after so many others.
    let write = |log: &mut WriteLog<Native>, range: std::ops::Range<usize>, after: usize| {
        assert_eq!(log.entries.len(), after);
        for cell in &cells[range] {
            assert_eq!(log.find(cell), None);
            version_of(log, cell, 1);
        }
    };
    let are_at = |log: &WriteLog<Native>, range: std::ops::Range<usize>, first: usize| {
        let entries = first..first + range.len();
        cells[range].iter().map(|cell| log.find(cell)).eq(entries.map(Some))
    };
    let are_not = |log: &WriteLog<Native>, range: std::ops::Range<usize>| {
        cells[range].iter().all(|cell| log.find(cell).is_none())
    };
    let roll_back = |log: &mut WriteLog<Native>, mark: WriteMark| {
        log.roll_back(mark);
        while log.next_out_of_reach().is_some() {}
    };
    for _ in 0..2 {
        write(&mut log, 0..1_000, 0);
        let small = log.mark();
        write(&mut log, 1_000..4_000, 1_000);
        assert!(!log.index.is_handed_over());
        let middle = log.mark();
        write(&mut log, 4_000..20_000, 4_000);
        assert!(log.index.is_handed_over());
        assert!(are_at(&log, 0..20_000, 0) && are_not(&log, 20_000..30_000));
        roll_back(&mut log, middle);
        assert!(are_at(&log, 0..4_000, 0) && are_not(&log, 4_000..30_000));
        // Other cells have the entries that were taken back, and some the same cells.
        write(&mut log, 15_000..30_000, 4_000);
        assert!(are_at(&log, 0..4_000, 0) && are_at(&log, 15_000..30_000, 4_000));
        assert!(are_not(&log, 4_000..15_000));
        roll_back(&mut log, small);
        assert!(are_at(&log, 0..1_000, 0) && are_not(&log, 1_000..30_000));
        write(&mut log, 20_000..23_000, 1_000);
        assert!(!log.index.is_handed_over(), "it is small again");
        assert!(are_at(&log, 0..1_000, 0) && are_at(&log, 20_000..23_000, 1_000));
        assert!(are_not(&log, 1_000..20_000) && are_not(&log, 23_000..30_000));
        log.clear(true, |_| ());
    }
}

/// Searched one after the other, by the index, and by pages.
#[test]
fn a_cell_that_is_written_again_keeps_its_entry_at_every_size() {
    let kind = Version::<u64, Native>::KIND;
    let cells = cells(5_000);
    let mut log = WriteLog::<Native>::new();
    for (n, cell) in cells.iter().enumerate() {
        version_of(&mut log, cell, 1);
        if n < 40 || n % 100 == 0 {
            for again in [0, n / 2, n] {
                let over = log.write(&cells[again], version(2), kind);
                assert!(over.is_some(), "nothing has seen it: it goes");
                assert_eq!((log.entries.len(), log.find(&cells[again])), (n + 1, Some(again)));
            }
        }
    }
    assert!(log.index.is_handed_over());
    log.clear(true, |_| ());
}

#[test]
fn what_nothing_can_reach_goes_at_once() {
    let kind = Version::<u64, Native>::KIND;
    let cells = cells(3);
    let mut log = WriteLog::<Native>::new();
    let write = |log: &mut WriteLog<Native>, cell: usize, n: u64| {
        let over = log.write(&cells[cell], version(n), kind);
        over.map(|block| value(block.address.as_ptr().cast()))
    };
    let pending = |log: &WriteLog<Native>, cell: usize| {
        log.find(&cells[cell]).map(|entry| value(log.version(entry)))
    };
    // Nothing has seen the first; something has seen the second.
    assert_eq!((write(&mut log, 0, 1), write(&mut log, 0, 2)), (None, Some(1)));
    lend(log.version(0));
    assert_eq!((write(&mut log, 0, 3), write(&mut log, 0, 4)), (None, Some(3)));
    // A part fails: what it has written goes, and what it wrote over comes back.
    let outer = log.mark();
    assert_eq!((write(&mut log, 0, 5), write(&mut log, 0, 6)), (None, Some(5)));
    assert_eq!((write(&mut log, 1, 7), write(&mut log, 1, 8)), (None, Some(7)));
    let inner = log.mark();
    assert_eq!((write(&mut log, 0, 9), write(&mut log, 0, 10)), (None, Some(9)));
    assert_eq!((write(&mut log, 1, 11), write(&mut log, 2, 12)), (None, None));
    lend(log.version(2));
    log.roll_back(inner);
    assert_eq!(gone(&mut log), [10, 11], "a reference to the twelfth is out");
    assert_eq!([0, 1, 2].map(|cell| pending(&log, cell)), [Some(6), Some(8), None]);
    // A part succeeds: what it wrote over goes, unless a part around it may bring that back.
    let inner = log.mark();
    assert_eq!((write(&mut log, 0, 13), write(&mut log, 1, 14)), (None, None));
    assert!(log.keep(inner));
    assert_eq!(gone(&mut log), [8, 6]);
    log.roll_back(outer);
    assert_eq!(gone(&mut log), [14, 13]);
    assert_eq!([0, 1, 2].map(|cell| pending(&log, cell)), [Some(4), None, None]);
    let part = log.mark();
    assert_eq!(write(&mut log, 0, 15), None);
    assert!(log.keep(part));
    assert_eq!((gone(&mut log), write(&mut log, 0, 16)), (vec![4], Some(15)));
    // A closure looks at one while it is written over.
    // SAFETY: such versions live as long as the process.
    let now = unsafe { &(*log.version(0)).prev };
    assert!(Unpublished::begin_use(now) && !Unpublished::begin_use(now));
    assert_eq!(write(&mut log, 0, 17), None);
    Unpublished::end_use(now);
    let mut private = Vec::new();
    log.clear(true, |block| private.push(value(block.address.as_ptr().cast())));
    private.sort_unstable();
    assert_eq!(private, [2, 12, 16, 17]);
}
