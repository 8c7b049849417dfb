//! What is freed in a region is used again: by values of other sizes, and after a death.

use crate::support::region::{Place, elsewhere, role};
use crate::support::reuse::{fill, free, small};
use contempo::shared::collections::{Map, OrderedMap, Queue};
use contempo::shared::{NoBlock, Options, Shared, TransactionError};

#[test]
fn what_was_emptied_takes_values_of_any_size() {
    let (_place, shared) = small();
    let mut least = [usize::MAX; 4];
    for round in 0..4 {
        for (size, least) in [150, 1000, 20, 30_000].into_iter().zip(&mut least) {
            let made = fill(&shared, &vec![round; size]);
            free(&shared, &made);
            println!("round {round}: {} values of {size} bytes", made.len());
            *least = (*least).min(made.len() * size);
        }
    }
    // The largest have two to a superblock; small ones have a head of 48 bytes, and a cell of 32.
    assert!(least[0] > 1_900_000 && least[1] > 2_300_000, "{least:?}");
    assert!(least[2] > 600_000 && least[3] > 2_700_000, "{least:?}");
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0, "{report}");
}

#[test]
fn a_region_does_not_grow_while_much_of_it_is_empty() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let make = |size: usize| -> Vec<_> {
        let value = vec![1; size];
        let one = |_| shared.atomically(|tx| tx.create(&value[..])).unwrap();
        (0..(30 << 20) / (size + 80)).map(one).collect()
    };
    let mut bytes = Vec::new();
    for size in [150, 1000, 40, 3000, 500, 150] {
        let made = make(size);
        bytes.push(shared.inspect().bytes);
        free(&shared, &made);
    }
    println!("the file's bytes, one size after the other: {bytes:?}");
    // The class of what was filled first has some loss that others have not; and growth is by a quarter.
    assert!(bytes.iter().all(|most| *most < bytes[0] * 2), "{bytes:?}");
    assert!(shared.verify().is_sound());
}

#[test]
fn stale_handles_stay_stale_where_classes_change() {
    crate::support::reuse::stale_handles_stay_stale(4, || ());
}

#[test]
fn a_class_outlives_transactions_that_have_seen_it() {
    crate::support::reuse::a_class_outlives_transactions_that_have_seen_it();
}

#[test]
fn what_the_dead_had_retired_is_found() {
    let place = role().map(|(_, place)| place);
    let name = "what_the_dead_had_retired_is_found";
    crate::support::reuse::what_the_dead_had_retired_is_found(name, place.as_deref(), || ());
}

#[test]
fn removals_work_in_a_full_region() {
    let (_place, shared) = small();
    let map = Map::<u64, u64>::root(&shared, "map", 4).unwrap();
    let tree = OrderedMap::<u64, u64>::root(&shared, "tree").unwrap();
    let queue = Queue::<u64>::root(&shared, "queue").unwrap();
    let mut made = 0;
    let full = loop {
        let done = shared.atomically(|tx| {
            map.insert(tx, made, made)?;
            tree.insert(tx, made, made)?;
            queue.push(tx, made)
        });
        match done {
            Ok(()) => made += 1,
            Err(why) => break why,
        }
    };
    assert!(matches!(full, TransactionError::NoBlock(NoBlock::AtItsLimit { .. })), "{full:?}");
    // And all that is left, down to the smallest value.
    let mut cells = Vec::new();
    for size in [2000, 500, 100, 20, 8, 0] {
        cells.extend(fill(&shared, &vec![7; size]));
        // `fill` makes several at a time.
        while let Ok(cell) = shared.atomically(|tx| tx.create(&vec![7; size][..])) {
            cells.push(cell);
        }
    }
    println!("{made} entries, {} values", cells.len());
    // There is no room; and each may go, one at a time, in any order.
    let more = shared.atomically(|tx| tx.create(&[1; 2000][..]));
    assert!(matches!(more, Err(TransactionError::NoBlock(_))), "{more:?}");
    for key in (0..made).rev() {
        let removed = shared.atomically(|tx| map.remove(tx, &key));
        assert_eq!(removed.unwrap_or_else(|why| panic!("entry {key}: {why}")), Some(key));
        let removed = shared.atomically(|tx| tree.remove(tx, &(made - 1 - key)));
        assert!(removed.unwrap_or_else(|why| panic!("leaf {key}: {why}")).is_some());
        let popped = shared.atomically(|tx| queue.try_pop(tx));
        assert!(popped.unwrap_or_else(|why| panic!("item {key}: {why}")).is_some());
    }
    for cell in cells {
        shared.atomically(|tx| tx.free(cell)).unwrap();
    }
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0, "{report}");
    // The map keeps its buckets.
    let made = fill(&shared, &[1; 1000]).len();
    assert!(made > 800, "{made} values");
}

#[test]
fn updates_do_not_use_up_the_room_for_removals() {
    crate::support::reuse::updates_do_not_use_up_the_room_for_removals(|| ());
}

/// Fills a region of 4 MB with values of all sizes, until none has room. Cells of each size, the largest last.
fn stuffed(shared: &Shared) -> Vec<contempo::shared::Cell<[u8]>> {
    let mut cells = Vec::new();
    for size in [3000, 2000, 500, 100, 20, 8, 0, 3000, 2000, 500, 100, 20, 8, 0] {
        while let Ok(cell) = shared.atomically(|tx| tx.create(&vec![7; size][..])) {
            cells.push(cell);
        }
    }
    cells
}

#[test]
fn a_transaction_that_frees_too_much_at_once_leaves_room_for_others() {
    let (_place, shared) = small();
    let map = Map::<u64, u64>::root(&shared, "map", 4).unwrap();
    for n in 0..4000 {
        shared.atomically(|tx| map.insert(tx, n, n)).unwrap();
    }
    let few: Vec<_> =
        (0..3900).map(|_| shared.atomically(|tx| tx.create(&[][..])).unwrap()).collect();
    let cells = stuffed(&shared);
    let all = shared.atomically(|tx| few.iter().try_for_each(|cell| tx.free(*cell)));
    assert!(matches!(all, Err(TransactionError::NoBlock(_))), "too few to show anything: {all:?}");
    shared.collect().unwrap();
    shared.atomically(|tx| tx.write(cells[0], &[1; 3000][..])).expect("a value of the same size");
    for key in 0..4000 {
        assert_eq!(shared.atomically(|tx| map.remove(tx, &key)).unwrap(), Some(key));
    }
}

#[test]
fn threads_that_free_one_cell_each_leave_room_for_others() {
    let (_place, shared) = small();
    let map = Map::<u64, u64>::root(&shared, "map", 4).unwrap();
    for n in 0..4000 {
        shared.atomically(|tx| map.insert(tx, n, n)).unwrap();
    }
    let mut cells = stuffed(&shared);
    let stay = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for cell in [cells.pop().unwrap(), cells.pop().unwrap()] {
            let (shared, stay) = (&shared, &stay);
            let (freed, is_freed) = std::sync::mpsc::channel();
            scope.spawn(move || {
                freed.send(shared.atomically(|tx| tx.free(cell))).unwrap();
                stay.wait(); // It lives on, and does nothing.
            });
            is_freed.recv().unwrap().unwrap();
        }
        shared
            .atomically(|tx| tx.write(cells[0], &[1; 3000][..]))
            .expect("a value of the same size");
        for key in 0..4000 {
            assert_eq!(shared.atomically(|tx| map.remove(tx, &key)).unwrap(), Some(key));
        }
        stay.wait();
    });
}

#[test]
fn threads_that_stand_in_a_transaction_after_they_freed_a_cell_leave_room_for_others() {
    let (_place, shared) = small();
    let mut cells = stuffed(&shared);
    std::thread::scope(|scope| {
        let mut stand = Vec::new();
        for cell in cells.split_off(cells.len() - 4) {
            let shared = &shared;
            let (freed, is_freed) = std::sync::mpsc::channel();
            // They go on when this is dropped.
            let (goes, go) = std::sync::mpsc::channel::<()>();
            stand.push(goes);
            scope.spawn(move || {
                let done = shared.atomically(|tx| tx.free(cell));
                // It stands in the next one, and keeps what it has.
                let stands = |_: &contempo::shared::Snapshot<'_>| {
                    freed.send(done).unwrap();
                    go.recv().unwrap_err();
                    Ok(())
                };
                shared.snapshot(stands).unwrap();
            });
            is_freed.recv().unwrap().unwrap();
        }
        shared
            .atomically(|tx| tx.write(cells[0], &[1; 3000][..]))
            .expect("a value of the same size");
        for (number, cell) in cells.into_iter().rev().take(300).enumerate() {
            let freed = shared.atomically(|tx| tx.free(cell));
            freed.unwrap_or_else(|why| panic!("cell {number}: {why}"));
        }
        drop(stand);
    });
}

#[test]
fn values_that_were_moved_are_not_missing_while_a_reader_stands() {
    let (_place, shared) = small();
    let few: Vec<_> =
        (0..1000).map(|_| shared.atomically(|tx| tx.create(&[][..])).unwrap()).collect();
    let large: Vec<contempo::shared::Cell<[u8]>> =
        std::iter::from_fn(|| shared.atomically(|tx| tx.create(&[7; 3000][..])).ok()).collect();
    /// Calls `work` while a snapshot of another thread stands.
    fn beside_a_reader(shared: &Shared, work: impl FnOnce()) {
        let turn = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let stands = |_: &contempo::shared::Snapshot<'_>| {
                    turn.wait();
                    turn.wait();
                    Ok(())
                };
                shared.snapshot(stands).unwrap();
            });
            turn.wait();
            work();
            turn.wait();
        });
    }
    few.into_iter().for_each(|cell| shared.atomically(|tx| tx.free(cell)).unwrap());
    let freed = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        // Their blocks stay with a thread that lives.
        let other = scope.spawn(|| {
            freed.wait();
            for n in 0..50 {
                shared.atomically(|tx| tx.free(large[1 + n * 20])).unwrap();
            }
            freed.wait();
            freed.wait();
        });
        // Values on loan: what they replace is held by the reader.
        beside_a_reader(&shared, || {
            for n in 0..12 {
                shared.atomically(|tx| tx.write(large[n * 40], &[8; 3000][..])).unwrap();
            }
        });
        freed.wait();
        freed.wait();
        beside_a_reader(&shared, || {
            let made = elsewhere(|| {
                (0..50)
                    .take_while(|_| shared.atomically(|tx| tx.create(&[7; 3000][..])).is_ok())
                    .count()
            });
            assert!(made > 20, "{made} of 50, although so many were freed");
        });
        freed.wait();
        other.join().unwrap();
    });
}

/// The reserve lends room for large values, for which small cells were freed. No free block can pay that back; and what
/// is too small for any of those values is there for all.
#[test]
fn loans_that_nothing_can_pay_keep_nothing_smaller() {
    // Cells of each size, in superblocks that are full but for a few blocks; and as many of the last as there is room for.
    const CELLS: [(usize, usize); 6] = [
        (1500, 8 * 31 - 9),
        (700, 6 * 84 - 9),
        (300, 8 * 169 - 9),
        (100, 8 * 406 - 9),
        (0, 3 * 1354 - 99),
        (8, usize::MAX),
    ];
    let (_place, shared) = small();
    let make = |size: usize| shared.atomically(|tx| tx.create(&vec![7; size][..]));
    let mut cells =
        CELLS.map(|(size, most)| (0..most).map_while(|_| make(size).ok()).collect::<Vec<_>>());
    let [.., small] = &mut cells;
    for _ in 0..8 {
        let (cell, freed) = (small.pop().unwrap(), small.split_off(small.len() - 40));
        let change = |tx: &contempo::shared::Transaction<'_>| {
            freed.iter().try_for_each(|cell| tx.free(*cell))?;
            tx.write(cell, &[1; 3300][..])
        };
        shared.atomically(change).unwrap();
    }
    // Every other goes: no superblock is empty, nor can it be emptied.
    let emptied = CELLS.into_iter().zip(cells).map(|((size, _), cells)| {
        let gone: Vec<_> = cells.iter().step_by(2).copied().collect();
        free(&shared, &gone);
        (size, gone.len())
    });
    let emptied: Vec<_> = emptied.collect();
    let full = make(3300);
    assert!(matches!(full, Err(TransactionError::NoBlock(_))), "it could be paid: {full:?}");
    // As many as have gone are made again, of each size.
    for (size, count) in emptied {
        let made = (0..count).take_while(|_| make(size).is_ok()).count();
        println!("{made} of {count} values of {size} bytes");
        assert!(made * 10 > count * 9, "{made} of {count} values of {size} bytes");
    }
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0, "{report}");
}

/// Such loans are more than the reserve has; and of the small cells so few are left that their values have room in fewer
/// superblocks.
#[test]
fn loans_are_paid_with_superblocks_that_are_emptied() {
    let (_place, shared) = small();
    let make = |size: usize| shared.atomically(|tx| tx.create(&vec![7; size][..]));
    let mut small: Vec<_> = std::iter::from_fn(|| make(8).ok()).collect();
    let mut large = Vec::new();
    let mut lend = |small: &mut Vec<contempo::shared::Cell<[u8]>>, number: u8| {
        let (cell, freed) = (small.pop().unwrap(), small.split_off(small.len() - 40));
        let change = |tx: &contempo::shared::Transaction<'_>| {
            freed.iter().try_for_each(|cell| tx.free(*cell))?;
            tx.write(cell, &[number; 3300][..])
        };
        shared.atomically(change).unwrap_or_else(|why| panic!("value {number}: {why}"));
        large.push((cell, number));
    };
    (0..8).for_each(|number| lend(&mut small, number));
    // One in fifty stays: some in each superblock.
    let (kept, gone): (Vec<_>, Vec<_>) = (0..small.len()).partition(|index| index % 50 == 0);
    free(&shared, &gone.into_iter().map(|index| small[index]).collect::<Vec<_>>());
    let mut kept: Vec<_> = kept.into_iter().map(|index| small[index]).collect();
    for number in 8..60 {
        // What the transaction frees was made just now, so the reserve is what it needs.
        kept.extend((0..41).map(|_| make(8).unwrap()));
        lend(&mut kept, number);
    }
    assert!(kept.len() > 100 && make(8).is_ok());
    let is = |cell, value: &[u8]| shared.snapshot(|view| Ok(view.read(cell)? == value)).unwrap();
    assert!(kept.into_iter().all(|cell| is(cell, &[7; 8])));
    assert!(large.into_iter().all(|(cell, number)| is(cell, &[number; 3300])));
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0, "{report}");
}
