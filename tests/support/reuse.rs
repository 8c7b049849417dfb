//! What is freed is used again: by values of other sizes, by others after a death, and not too early.

use super::region::{Place, play};
use contempo::shared::collections::Map;
use contempo::shared::{Cell, NoBlock, Options, Shared, TransactionError, bytemuck};
use std::path::Path;
use std::sync::Barrier;

/// Bytes of a region that is soon full.
const SMALL: u64 = 4 << 20;

pub(crate) fn small() -> (Place, Shared) {
    let place = Place::new();
    let options = Options::new().most_bytes(SMALL).threads(16).first_bytes(0);
    let shared = Shared::create(&place, &options).unwrap();
    (place, shared)
}

fn is_full(why: &TransactionError) -> bool {
    matches!(why, TransactionError::NoBlock(NoBlock::AtItsLimit { .. }))
}

/// Makes values like this until there is no room.
pub(crate) fn fill(shared: &Shared, value: &[u8]) -> Vec<Cell<[u8]>> {
    let mut made = Vec::new();
    loop {
        // Several at a time: there are many.
        let some = shared
            .atomically(|tx| (0..32).map(|_| tx.create(value)).collect::<Result<Vec<_>, _>>());
        match some {
            Ok(some) => made.extend(some),
            Err(why) if is_full(&why) => return made,
            Err(why) => panic!("{why:?}"),
        }
    }
}

pub(crate) fn free(shared: &Shared, cells: &[Cell<[u8]>]) {
    for some in cells.chunks(16) {
        shared.atomically(|tx| some.iter().try_for_each(|cell| tx.free(*cell))).unwrap();
    }
    shared.collect().unwrap();
}

/// The meta word of the cell that a handle names, while it is in use: what data may look like.
fn meta_of(cell: Cell<[u8]>) -> u64 {
    let bits: u64 = bytemuck::pod_read_unaligned(&bytemuck::bytes_of(&cell)[..8]);
    bits & !u64::from(u32::MAX)
}

/// Cells are freed; where they were, there is data that look like them, and then other cells. The handles of old
/// name none of that.
pub(crate) fn stale_handles_stay_stale(rounds: usize, mut each: impl FnMut()) {
    let (_place, shared) = small();
    let mut stale: Vec<Cell<[u8]>> = Vec::new();
    for round in 0..rounds {
        each();
        let cells = fill(&shared, &[round as u8; 8]);
        let gone = |stale: &[Cell<[u8]>], what: &str| {
            for (number, cell) in stale.iter().enumerate() {
                let read = shared.snapshot(|view| view.read(*cell).map(<[u8]>::to_vec));
                let no_cell = matches!(read, Err(TransactionError::NoSuchCell));
                assert!(no_cell, "round {round}, {what}, {number}: {read:?}");
                let read = shared.atomically(|tx| tx.read(*cell).map(<[u8]>::to_vec));
                assert!(matches!(read, Err(TransactionError::NoSuchCell)), "{read:?}");
            }
        };
        gone(&stale, "beside other cells");
        free(&shared, &cells);
        stale.extend(cells.iter().step_by(397));
        let metas = stale.iter().rev().map(|cell| meta_of(*cell)).collect::<Vec<_>>();
        // In units of 8 bytes, so that some lie where a cell's meta word was.
        let data: Vec<u64> = metas.iter().copied().cycle().take(1000).collect();
        let texts = fill(&shared, bytemuck::cast_slice(&data));
        gone(&stale, "under data");
        free(&shared, &texts);
        gone(&stale, "under nothing");
    }
    assert!(shared.verify().is_sound(), "{}", shared.verify());
}

/// A superblock that is emptied beside a transaction keeps its class until that has ended.
pub(crate) fn a_class_outlives_transactions_that_have_seen_it() {
    let (_place, shared) = small();
    let cells = fill(&shared, &[1; 8000]);
    let barrier = Barrier::new(2);
    let stand = || {
        let look = shared.snapshot(|_| {
            barrier.wait();
            barrier.wait();
            Ok(())
        });
        look.unwrap();
    };
    std::thread::scope(|scope| {
        // One stands while all is freed, so that it is not free before the second one stands.
        scope.spawn(|| (0..2).for_each(|_| stand()));
        barrier.wait();
        free(&shared, &cells);
        barrier.wait();
        barrier.wait();
        // All is empty soon, and nothing may have another class yet. (What never had one may.)
        let made = fill(&shared, &[2; 3000]);
        barrier.wait();
        assert!(made.len() < 200, "{} values where a transaction may stand", made.len());
        let look = |cell: Cell<[u8]>| shared.snapshot(|view| view.read(cell).map(<[u8]>::len));
        assert!(made.iter().all(|cell| look(*cell).unwrap() == 3000));
    });
    let made = fill(&shared, &[2; 3000]);
    assert!(made.len() > 600, "{} values", made.len());
}

/// One that dies while it holds much more back than it notes one by one, all over the region.
pub(crate) fn what_the_dead_had_retired_is_found(
    test: &str,
    role: Option<&Path>,
    mut each: impl FnMut(),
) {
    if let Some(place) = role {
        let shared = Shared::open(place).unwrap();
        let cells: Cell<[u8]> = shared.find_root("cells").unwrap().unwrap();
        let cells: Vec<Cell<[u8]>> = shared
            .snapshot(|view| {
                Ok(view.read(cells)?.chunks(16).map(bytemuck::pod_read_unaligned).collect())
            })
            .unwrap();
        // Some are written over, some freed; as many as a reader holds back.
        for (number, cell) in cells.iter().enumerate() {
            let change = shared.atomically(|tx| match number % 3 {
                0 => tx.free(*cell),
                _ => tx.write(*cell, &[3; 700]),
            });
            change.unwrap();
        }
        let dies = shared.atomically(|tx| -> Result<(), _> {
            (0..40).try_for_each(|_| tx.create(&[4; 700][..]).map(drop))?;
            // SAFETY: ends this process.
            unsafe { libc::raise(libc::SIGKILL) };
            unreachable!("dead")
        });
        return dies.unwrap();
    }
    for _ in 0..12 {
        each();
        let place = Place::new();
        let shared = Shared::create(&place, &Options::new()).unwrap();
        let make = |number: usize| {
            // Others in between, so that those are in many superblocks.
            let made = shared.atomically(|tx| {
                (0..30).try_for_each(|_| tx.create(&[1; 700][..]).map(drop))?;
                tx.create(&[2; 700][..])
            });
            made.unwrap_or_else(|why| panic!("{number}: {why}"))
        };
        let cells: Vec<Cell<[u8]>> = (0..600).map(make).collect();
        shared.root_of("cells", bytemuck::cast_slice::<_, u8>(&cells)).unwrap();
        let before = shared.verify();
        let looked = shared.snapshot(|view| {
            let seen = view.read(cells[0])?;
            std::thread::scope(|scope| {
                let dies = || play(test, "dies", place.path()).wait().unwrap();
                scope.spawn(dies).join().unwrap();
            });
            assert_eq!(seen, [2; 700]);
            Ok(())
        });
        looked.unwrap();
        assert_eq!(shared.reap().unwrap().slots, 1);
        shared.collect().unwrap();
        let report = shared.verify();
        assert!(report.is_sound() && report.retired == 0, "{report}");
        assert_eq!(report.cells, before.cells - 200, "{report}");
    }
}

/// Makes values of all sizes until there is room for none, not even the smallest.
fn stuff(shared: &Shared) -> Vec<Cell<[u8]>> {
    let mut cells = Vec::new();
    for size in [2000, 500, 100, 20, 8, 0] {
        while let Ok(cell) = shared.atomically(|tx| tx.create(&vec![7; size][..])) {
            cells.push(cell);
        }
    }
    cells
}

/// Runs `f` while another thread is inside a snapshot.
fn beside_a_snapshot(shared: &Shared, f: impl FnOnce()) {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let view = shared.snapshot(|_| {
                barrier.wait();
                barrier.wait();
                Ok(())
            });
            view.unwrap();
        });
        barrier.wait();
        f();
        barrier.wait();
        reader.join().unwrap();
    });
}

/// A full region is written to for long, by updates that need no more than they give back; and whatever those give
/// back, others take at once. After that everything can be removed and freed as ever.
pub(crate) fn updates_do_not_use_up_the_room_for_removals(mut each: impl FnMut()) {
    let (_place, shared) = small();
    let map = Map::<u64, u64>::root(&shared, "map", 4).unwrap();
    let mut made = 0;
    while made < 4000 {
        shared.atomically(|tx| map.insert(tx, made, made)).unwrap();
        made += 1;
    }
    let make = |size: usize| shared.atomically(|tx| tx.create(&vec![7; size][..]));
    let mut empty: Vec<_> = (0..600).map(|_| make(0).unwrap()).collect();
    let large = fill(&shared, &[7; 3000]);
    let mut cells = large.clone();
    for size in [2000, 500, 100, 20, 8, 0] {
        cells.extend(fill(&shared, &vec![7; size]));
    }
    cells.extend(stuff(&shared));
    let write = |cell: Cell<[u8]>| {
        let write = shared.atomically(|tx| {
            let new = tx.read(cell)?.iter().map(|byte| byte ^ 1).collect::<Vec<_>>();
            tx.write(cell, &new[..])
        });
        write.is_ok()
    };
    let free = |cell| shared.atomically(|tx| tx.free(cell)).unwrap();
    let (mut written, mut refused) = (0, 0);
    let mut count = |done| *(if done { &mut written } else { &mut refused }) += 1;
    for round in 0..1500_usize {
        count(write(cells[round * 7919 % cells.len()]));
        count(shared.atomically(|tx| map.insert(tx, round as u64 % made, 0)).is_ok());
        if round % 60 == 0 {
            // What is given back comes late, all of it at once: while a snapshot runs, none. And no thread is in need
            // then.
            empty.drain(500..).for_each(free);
            shared.collect().unwrap();
            beside_a_snapshot(&shared, || {
                let some = large.iter().cycle().skip(round).step_by(31).take(12);
                some.for_each(|cell| count(write(*cell)));
            });
            empty.drain(400..).for_each(free);
            while let Ok(cell) = make(3000) {
                cells.push(cell);
            }
            empty.extend((0..200).map_while(|_| make(0).ok()));
        }
        // What was given back is wanted by others.
        if round % 3 == 0 {
            each();
            cells.extend(stuff(&shared));
        }
    }
    cells.extend(empty);
    println!("{} values; {written} updates, {refused} refused", cells.len());
    // They go on, too. (A few may meet a reserve that is out on loan.)
    assert!(20 * refused < written, "{refused} of {written} updates were refused");
    for key in (0..made).rev() {
        let removed = shared.atomically(|tx| map.remove(tx, &key));
        assert!(removed.unwrap_or_else(|why| panic!("entry {key}: {why}")).is_some());
    }
    for (number, cell) in cells.into_iter().enumerate() {
        let freed = shared.atomically(|tx| tx.free(cell));
        freed.unwrap_or_else(|why| panic!("value {number}: {why}"));
    }
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0, "{report}");
    let made = fill(&shared, &[1; 1000]).len();
    assert!(made > 800, "{made} values");
}
