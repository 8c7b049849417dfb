//! Shared regions, as one process sees them: values, errors, memory, identity. (Several processes:
//! `tests/forks`.)

use crate::support::region::{Place, elsewhere, fresh};
use contempo::shared::collections::{Map, Queue};
use contempo::shared::{Cell, OpenError, Options, RootError, Shared, TransactionError, Unusable};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::{FileExt, PermissionsExt};

#[test]
fn values_of_all_kinds_are_written_and_found_again() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let pair = shared.root("pair", [1_u32, 2]).unwrap();
    let name = shared.root_of("name", "Ada").unwrap();
    let bytes = shared.root_of("bytes", &[7_u8; 1000][..]).unwrap();
    let long = "x".repeat(20_000);
    shared
        .atomically(|tx| {
            assert_eq!(
                (tx.read(pair)?, tx.read(name)?, tx.read(bytes)?.len()),
                ([1, 2], "Ada", 1000)
            );
            tx.write(pair, &[3, 4])?;
            tx.write(name, &long)?;
            assert_eq!((tx.read(pair)?, tx.read(name)?), ([3, 4], &long[..]), "its own writes");
            tx.write(pair, &[5, 6])
        })
        .unwrap();
    let seen = shared.snapshot(|view| Ok((view.read(pair)?, view.read(name)?.len()))).unwrap();
    assert_eq!(seen, ([5, 6], 20_000));
    let found: Cell<[u32; 2]> = shared.find_root("pair").unwrap().unwrap();
    assert_eq!(found, pair);
    assert!(matches!(shared.root("pair", 1_u64), Err(RootError::OtherType)));
    assert!(shared.find_root::<u64>("nothing").unwrap().is_none());
    assert_eq!(shared.roots().unwrap(), ["pair", "name", "bytes"]);
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.unreachable == 0, "{report}");
    assert_eq!((report.cells, report.versions, report.retired), (4, 4, 0), "{report}");
}

#[test]
fn a_handle_that_is_tried_does_not_end_the_transaction() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let other = Shared::create(&elsewhere, &Options::new()).unwrap();
    let [log, freed, foreign] =
        [shared.root("log", 0_u64), shared.root("freed", 7), other.root("foreign", 1)]
            .map(Result::unwrap);
    let narrow: Cell<u64> = shared.atomically(|tx| tx.create(&5_u64)).unwrap();
    let bytes = shared.atomically(|tx| tx.create(&[0xff_u8; 8][..])).unwrap();
    shared.atomically(|tx| tx.free(narrow)).unwrap();
    let seen = shared.atomically(|tx| {
        tx.write(log, &1)?;
        let mut seen = Vec::new();
        seen.push(tx.try_read(freed)?.map_err(|why| why.to_string()));
        seen.push(tx.try_read(narrow)?.map_err(|why| why.to_string()));
        seen.push(tx.try_read(foreign)?.map_err(|why| why.to_string()));
        tx.free(freed)?;
        seen.push(tx.try_read(freed)?.map_err(|why| why.to_string()));
        assert!(matches!(
            tx.try_read(Cell::<str>::from_bits(bytes.to_bits()))?,
            Err(TransactionError::NotText)
        ));
        assert!(matches!(
            tx.try_read(Cell::<[u64; 2]>::from_bits(bytes.to_bits()))?,
            Err(TransactionError::OtherSize { expected: 16, found: 8 })
        ));
        tx.modify(log, |n| n + 1)?;
        Ok(seen)
    });
    let gone = || Err("there is no such cell, or it was freed".to_owned());
    let other_region = Err("the cell belongs to another region".to_owned());
    assert_eq!(seen.unwrap(), [Ok(7), gone(), other_region, gone()]);
    assert_eq!(shared.snapshot(|view| view.read(log)).unwrap(), 2);
    // After an interrupt nothing is tried.
    let result: Result<(), _> = shared.atomically(|tx| {
        assert!(tx.read(narrow).is_err() && tx.try_read(log).is_err());
        tx.cancel()
    });
    assert!(matches!(result, Err(TransactionError::NoSuchCell)));
}

#[test]
fn what_does_not_commit_leaves_nothing() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 1_u64).unwrap();
    let before = shared.verify();
    let cancelled: Result<(), _> = shared.atomically(|tx| {
        tx.write(cell, &2)?;
        let new = tx.create(&3_u64)?;
        tx.write(new, &4)?;
        tx.write(new, &5)?;
        tx.cancel()
    });
    assert!(matches!(cancelled, Err(TransactionError::Cancelled)));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = shared.atomically(|tx| -> Result<(), _> {
            tx.write(cell, &2)?;
            tx.create(&3_u64)?;
            panic!("on purpose");
        });
    }));
    assert!(panicked.is_err());
    shared.collect().unwrap();
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 1);
    let after = shared.verify();
    assert_eq!((after.cells, after.versions, after.retired), (before.cells, before.versions, 0));
    assert!(after.is_sound(), "{after}");
}

#[test]
fn a_freed_cell_and_a_foreign_one_are_errors() {
    let (place, other_place) = (Place::new(), Place::new());
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let other = Shared::create(&other_place, &Options::new()).unwrap();
    let cell = shared.atomically(|tx| tx.create(&1_u64)).unwrap();
    let read = |cell| shared.atomically(|tx| tx.read(cell));
    assert_eq!(read(cell).unwrap(), 1);
    let foreign = other.atomically(|tx| tx.read(cell));
    assert!(matches!(foreign, Err(TransactionError::OtherRegion)));
    assert!(matches!(other.snapshot(|view| view.read(cell)), Err(TransactionError::OtherRegion)));
    // Another transaction may free it while this one runs: it goes on with what it has read.
    shared
        .atomically(|tx| {
            let before = tx.read(cell)?;
            std::thread::scope(|scope| {
                let freed = scope.spawn(|| shared.atomically(|tx| tx.free(cell)));
                freed.join().unwrap().unwrap();
            });
            assert_eq!((before, tx.read(cell)?), (1, 1));
            Ok(())
        })
        .unwrap();
    assert!(matches!(read(cell), Err(TransactionError::NoSuchCell)));
    let written = shared.atomically(|tx| tx.write(cell, &2));
    assert!(matches!(written, Err(TransactionError::NoSuchCell)));
    assert!(matches!(read(Cell::null()), Err(TransactionError::NoSuchCell)));
    let twice = shared.atomically(|tx| {
        let cell = tx.create(&1_u64)?;
        tx.free(cell)?;
        tx.write(cell, &2)
    });
    assert!(matches!(twice, Err(TransactionError::NoSuchCell)), "freed by the same transaction");
    let made_up: Cell<u64> = bytemuck::cast([!bytemuck::cast::<_, [u64; 2]>(cell)[0], {
        bytemuck::cast::<_, [u64; 2]>(cell)[1]
    }]);
    assert!(matches!(read(made_up), Err(TransactionError::NoSuchCell)));
    let wrong_type: Cell<[u64; 4]> = bytemuck::cast(shared.root("one word", 1_u64).unwrap());
    assert!(matches!(
        shared.atomically(|tx| tx.read(wrong_type)),
        Err(TransactionError::OtherSize { expected: 32, found: 8 })
    ));
    shared.collect().unwrap();
    assert!(shared.verify().is_sound());
}

#[test]
fn a_snapshot_inside_a_snapshot_joins_it() {
    let (_place, shared) = fresh();
    let [a, b] = ["a", "b"].map(|name| shared.root(name, 1_u64).unwrap());
    let gone = shared.atomically(|tx| tx.create(&1_u64)).unwrap();
    shared.atomically(|tx| tx.free(gone)).unwrap();
    let theirs = |cell| shared.snapshot(|view| view.read(cell));
    let seen = shared.snapshot(|view| {
        let before = view.read(a)?;
        elsewhere(|| [a, b].map(|cell| shared.atomically(|tx| tx.write(cell, &2)).unwrap()));
        assert_eq!((before, theirs(a).unwrap(), theirs(b).unwrap()), (1, 1, 1), "one moment");
        // Whatever happens in the inner one, the outer one goes on.
        assert!(matches!(theirs(gone), Err(TransactionError::NoSuchCell)));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            shared.snapshot(|_| -> Result<(), _> { std::panic::resume_unwind(Box::new("mine")) })
        }));
        assert!(panic.is_err());
        assert_eq!(theirs(b).unwrap(), 1);
        Ok((before, view.read(a)?, view.read(b)?))
    });
    assert_eq!(seen.unwrap(), (1, 1, 1));
    // What the outer one has met is told, whatever the inner one says.
    let told = shared.snapshot(|view| {
        let _ = view.read(gone);
        assert_eq!(theirs(a).unwrap(), 2);
        view.read(gone)
    });
    assert!(matches!(told, Err(TransactionError::NoSuchCell)));
    assert_eq!((theirs(a).unwrap(), theirs(b).unwrap()), (2, 2));
}

#[test]
fn threads_count_and_memory_comes_back() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cells: Vec<Cell<u64>> = (0..4).map(|n| shared.root(&format!("{n}"), 0).unwrap()).collect();
    const TIMES: u64 = 20_000;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (shared, cells) = (&shared, &cells);
            scope.spawn(move || {
                for n in 0..TIMES {
                    shared
                        .atomically(|tx| {
                            tx.modify(cells[0], |count| count + 1)?;
                            tx.modify(cells[1 + (thread + n as usize) % 3], |count| count + 1)
                        })
                        .unwrap();
                }
            });
        }
        for _ in 0..1000 {
            let sum: [u64; 4] = shared
                .snapshot(|view| {
                    Ok([view.read(cells[0])?, view.read(cells[1])?, view.read(cells[2])?, {
                        view.read(cells[3])?
                    }])
                })
                .unwrap();
            assert_eq!(sum[0], sum[1] + sum[2] + sum[3]);
        }
    });
    assert_eq!(shared.snapshot(|view| view.read(cells[0])).unwrap(), 4 * TIMES);
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound(), "{report}");
    assert_eq!((report.cells, report.versions), (5, 5), "{report}");
    assert!(report.retired < 8192 && report.unreachable == 0, "{report}");
}

#[test]
fn a_long_transaction_among_short_ones_goes_first() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cells: Vec<Cell<u64>> = (0..64).map(|n| shared.root(&format!("{n}"), 0).unwrap()).collect();
    let done = std::sync::atomic::AtomicBool::new(false);
    let (mut longest, mut most) = (std::time::Duration::ZERO, 0);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (shared, cells, done) = (&shared, &cells, &done);
            scope.spawn(move || {
                for n in thread.. {
                    shared
                        .atomically(|tx| tx.modify(cells[n * 7 % 64], |count| count + 1))
                        .unwrap();
                    if done.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        // As often as it takes for one to lose that often: mostly the first few.
        for round in 0..2000 {
            if round >= 20 && shared.inspect().statistics.escalated > 0 {
                break;
            }
            let (begin, mut attempts) = (std::time::Instant::now(), 0);
            shared
                .atomically(|tx| {
                    attempts += 1;
                    cells.iter().try_for_each(|cell| tx.modify(*cell, |count| count + 1))?;
                    // Long enough for others to commit to one of them, unless that is reserved.
                    std::thread::sleep(std::time::Duration::from_micros(200));
                    Ok(())
                })
                .unwrap();
            longest = longest.max(begin.elapsed());
            most = most.max(attempts);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    println!("at most {most} attempts, {longest:?}");
    assert!(most < 100, "{most} attempts, and it should have escalated after 8");
    assert!(shared.inspect().statistics.escalated > 0, "none escalated: this shows nothing");
}

#[test]
fn a_retry_sleeps_until_there_is_something() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let queue: Queue<u64> = Queue::root(&shared, "queue").unwrap();
    std::thread::scope(|scope| {
        let taker = scope.spawn(|| {
            (0..1000).map(|_| shared.atomically(|tx| queue.pop(tx)).unwrap()).collect::<Vec<_>>()
        });
        for n in 0..1000 {
            if n % 100 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            shared.atomically(|tx| queue.push(tx, n)).unwrap();
        }
        assert_eq!(taker.join().unwrap(), (0..1000).collect::<Vec<_>>());
    });
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.unreachable == 0, "{report}");
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u64),
    Remove(u64),
    Get(u64),
    Push(u64),
    Pop,
    Cancelled(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..40_u64;
    prop_oneof![
        (key.clone(), any::<u64>()).prop_map(|(key, value)| Step::Insert(key, value)),
        key.clone().prop_map(Step::Remove),
        key.clone().prop_map(Step::Get),
        any::<u64>().prop_map(Step::Push),
        Just(Step::Pop),
        key.prop_map(Step::Cancelled),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn map_and_queue_do_what_those_of_std_do(steps in proptest::collection::vec(step(), 1..200)) {
        let place = Place::new();
        let shared = Shared::create(&place, &Options::new()).unwrap();
        let map: Map<u64, u64> = Map::root(&shared, "map", 8).unwrap();
        let queue: Queue<u64> = Queue::root(&shared, "queue").unwrap();
        let (mut model, mut line) = (BTreeMap::new(), VecDeque::new());
        for step in steps {
            match step {
                Step::Insert(key, value) => {
                    let before = shared.atomically(|tx| map.insert(tx, key, value)).unwrap();
                    prop_assert_eq!(before, model.insert(key, value));
                }
                Step::Remove(key) => {
                    let before = shared.atomically(|tx| map.remove(tx, &key)).unwrap();
                    prop_assert_eq!(before, model.remove(&key));
                }
                Step::Get(key) => {
                    let value = shared.atomically(|tx| map.get(tx, &key)).unwrap();
                    prop_assert_eq!(value, model.get(&key).copied());
                }
                Step::Push(value) => {
                    shared.atomically(|tx| queue.push(tx, value)).unwrap();
                    line.push_back(value);
                }
                Step::Pop => {
                    let first = shared.atomically(|tx| queue.try_pop(tx)).unwrap();
                    prop_assert_eq!(first, line.pop_front());
                }
                Step::Cancelled(key) => {
                    let cancelled: Result<(), _> = shared.atomically(|tx| {
                        map.insert(tx, key, 0)?;
                        map.remove(tx, &key)?;
                        queue.push(tx, 0)?;
                        tx.cancel()
                    });
                    prop_assert!(cancelled.is_err());
                }
            }
        }
        let mut all = BTreeMap::new();
        shared.atomically(|tx| {
            all.clear();
            map.for_each(tx, |key, value| assert!(all.insert(key, value).is_none()))
        }).unwrap();
        prop_assert_eq!(&all, &model);
        shared.collect().unwrap();
        let report = shared.verify();
        prop_assert!(report.is_sound() && report.unreachable == 0, "{}", report);
        let buckets = shared.snapshot(|view| map.buckets(view)).unwrap();
        let top = usize::from(buckets > 1);
        // The directory, two ends of the queue, the map's top and buckets, and items.
        prop_assert_eq!(report.cells, 1 + 2 + top + buckets + line.len());
    }
}

fn unusable(place: &Place) -> Unusable {
    match Shared::open(place) {
        Err(OpenError::Unusable(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_are_no_regions_are_told_apart_and_left_alone() {
    let place = Place::new();
    assert!(matches!(Shared::open(&place), Err(OpenError::System { .. })));
    std::fs::write(place.path(), "not a region, but some text\n".repeat(1000)).unwrap();
    let before = std::fs::read(place.path()).unwrap();
    assert!(matches!(unusable(&place), Unusable::NotARegion));
    assert!(matches!(Shared::create(&place, &Options::new()), Err(OpenError::System { .. })));
    assert_eq!(std::fs::read(place.path()).unwrap(), before);
    for (length, text) in [(0, ""), (3, "abc")] {
        std::fs::write(place.path(), text).unwrap();
        let why = unusable(&place);
        assert!(matches!(why, Unusable::HalfCreated | Unusable::NotARegion), "{length}: {why}");
    }
    std::fs::remove_file(place.path()).unwrap();

    // Dropped at once, by a thread of its own: none is attached when the file is changed.
    let path = place.path().to_owned();
    let maker = std::thread::spawn(|| drop(Shared::create(path, &Options::new()).unwrap()));
    maker.join().unwrap();
    let mode = std::fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let whole = std::fs::read(place.path()).unwrap();
    let change = |at: u64, bytes: &[u8]| {
        std::fs::write(place.path(), &whole).unwrap();
        let file = std::fs::File::options().write(true).open(place.path()).unwrap();
        file.write_all_at(bytes, at).unwrap();
    };
    change(8, &99_u32.to_ne_bytes());
    assert!(matches!(unusable(&place), Unusable::OtherVersion { found: 99, .. }));
    change(12, &[4, 3, 2, 1].map(|byte: u8| byte.rotate_left(4)));
    assert!(matches!(unusable(&place), Unusable::OtherMachine));
    change(0, b"OPMETNOC");
    assert!(matches!(unusable(&place), Unusable::OtherMachine));
    change(16, &1_u32.to_ne_bytes());
    assert!(matches!(unusable(&place), Unusable::OtherMachine), "another page size");
    change(40, &[0xff]);
    assert!(matches!(unusable(&place), Unusable::Damaged));
    change(1024, &[0; 8]);
    assert!(matches!(unusable(&place), Unusable::HalfCreated));
    for length in [100, 4096, 8192, 100_000] {
        std::fs::write(place.path(), &whole[..length]).unwrap();
        let why = unusable(&place);
        assert!(matches!(why, Unusable::Truncated { .. }), "{length}: {why}");
    }
    std::fs::write(place.path(), &whole).unwrap();
    let lock_file = contempo::shared::liveness_path(place.path());
    std::fs::rename(&lock_file, lock_file.with_extension("kept")).unwrap();
    assert!(matches!(unusable(&place), Unusable::LivenessFileReplaced));
    std::fs::write(&lock_file, "").unwrap();
    assert!(matches!(unusable(&place), Unusable::LivenessFileReplaced));
    std::fs::rename(lock_file.with_extension("kept"), &lock_file).unwrap();
    assert_eq!(std::fs::read(place.path()).unwrap(), whole, "nothing was touched");
    Shared::open(&place).unwrap();
}

#[test]
fn a_region_that_may_not_grow_says_so_and_goes_on() {
    let place = Place::new();
    let options = Options::new().most_bytes(1 << 20).first_bytes(0);
    let shared = Shared::create(&place, &options).unwrap();
    let mut made = Vec::new();
    let full = loop {
        match shared.atomically(|tx| tx.create(&[1_u8; 8000][..])) {
            Ok(cell) => made.push(cell),
            Err(why) => break why,
        }
    };
    assert!(matches!(full, TransactionError::NoBlock(_)), "{full}");
    assert!(made.len() > 20, "{}", made.len());
    assert!(std::fs::metadata(place.path()).unwrap().len() <= 1 << 20);
    shared.atomically(|tx| made.drain(..10).try_for_each(|cell| tx.free(cell))).unwrap();
    shared.collect().unwrap();
    shared.atomically(|tx| tx.create(&[2_u8; 8000][..])).unwrap();
    let too_large = shared.atomically(|tx| tx.create(&[0_u8; 40_000][..]));
    assert!(matches!(too_large, Err(TransactionError::NoBlock(_))));
    shared.collect().unwrap();
    assert!(shared.verify().is_sound());
}

#[test]
fn damage_that_looks_like_our_own_mark_is_no_base_of_a_commit() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 1_u64).unwrap();
    let file = std::fs::File::options().write(true).open(place.path()).unwrap();
    let link = u64::from(cell.to_bits()[0] as u32) * 16 + 8;
    let damaged = shared.atomically(|tx| {
        tx.read(cell)?;
        file.write_all_at(&[0xff; 8], link).unwrap();
        tx.write(cell, &2)
    });
    assert!(matches!(damaged, Err(TransactionError::Corrupt)), "{damaged:?}");
}

#[test]
fn a_bad_link_is_damage_and_no_value_of_another_size() {
    let links = [u64::MAX, 0, 1 << 32 | 5, 0xdead_beef_0000_1234];
    for (number, bits) in links.into_iter().enumerate() {
        for snapshot in [true, false] {
            let place = Place::new();
            let shared = Shared::create(&place, &Options::new()).unwrap();
            let cell = shared.root("cell", 1_u64).unwrap();
            let text = shared.root_of("text", "text").unwrap();
            let file = std::fs::File::options().write(true).open(place.path()).unwrap();
            for handle in [cell.to_bits()[0], text.to_bits()[0]] {
                let link = u64::from(handle as u32) * 16 + 8;
                file.write_all_at(&bits.to_ne_bytes(), link).unwrap();
            }
            let first = if snapshot {
                shared.snapshot(|view| view.read(cell).map(drop))
            } else {
                shared.atomically(|tx| tx.read(cell).map(drop))
            };
            assert!(matches!(first, Err(TransactionError::Corrupt)), "{number}: {first:?}");
            let second = shared.snapshot(|view| view.read(text).map(drop));
            assert!(matches!(second, Err(TransactionError::Corrupt)), "{number}: {second:?}");
        }
    }
}

#[test]
fn both_files_have_the_mode_that_was_asked_for() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new().mode(0o666)).unwrap();
    for file in [place.path(), &contempo::shared::liveness_path(&place)] {
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o666, "{}", file.display());
    }
    drop(shared);
}

#[test]
fn the_same_region_opened_twice_is_one() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let again = Shared::open(&place).unwrap();
    let cell = shared.root("cell", 1_u64).unwrap();
    again.atomically(|tx| tx.write(cell, &2)).unwrap();
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 2);
    assert_eq!(shared.inspect().attached.len(), 1);
}

/// What looks like a cell, in the data of a version, and a handle to it.
#[test]
fn a_handle_cannot_be_made_up_to_reach_data() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let bytes = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|w| w.to_ne_bytes()).collect() };
    let name = place.path().file_name().unwrap().to_str().unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.ends_with(name)).unwrap();
    let base = usize::from_str_radix(line.split('-').next().unwrap(), 16).unwrap();
    let place_of = |cell: Cell<[u8]>| {
        shared.snapshot(|view| Ok(view.read(cell)?.as_ptr().addr() - base)).unwrap() as u64 / 16
    };
    let make = |words: &[u64]| shared.atomically(|tx| tx.create(&bytes(words)[..])).unwrap();
    // Generation 0: a version with 8 bytes, committed at stamp 1; and a cell whose value that is.
    let version = make(&[1 << 32, 2, 0, 0, 0, 8, 0x1234, 0]);
    let cell = make(&[2 << 32, 1 << 32 | place_of(version), 0, 0, 7, 7]);
    let forged = Cell::<u64>::from_bits([2 << 32 | place_of(cell), version.to_bits()[1]]);
    let read = shared.snapshot(|view| view.read(forged));
    assert!(matches!(read, Err(TransactionError::NoSuchCell)), "{read:x?}");
    let written = shared.atomically(|tx| tx.write(forged, &99));
    assert!(matches!(written, Err(TransactionError::NoSuchCell)), "{written:?}");
    assert!(shared.verify().is_sound());
}

/// The header of a superblock of cells that no slot owns looks, word by word, as a cell could look.
#[test]
fn a_handle_of_no_cell_is_none_wherever_it_points() {
    let place = Place::new();
    let path = place.path().to_owned();
    let made = std::thread::spawn(move || {
        let shared = Shared::create(&path, &Options::new()).unwrap();
        shared
            .atomically(|tx| (0..180).map(|_| tx.create(&7_u64)).collect::<Result<Vec<_>, _>>())
            .unwrap()
    });
    let cells = made.join().unwrap();
    let shared = Shared::open(&place).unwrap();
    let known = |words: [u64; 2]| cells.iter().any(|cell| cell.to_bits() == words);
    let region = cells[0].to_bits()[1];
    let mut directories = Vec::new();
    // Every place of the first 16 superblocks, as a cell's handle of generation 0, and as other kinds.
    for kind in 0..4_u64 {
        for at in 0..16 * 65536 / 16_u64 {
            let words = [kind << 32 | at, region];
            let cell = Cell::<[u8]>::from_bits(words);
            let read = shared.snapshot(|view| Ok(view.read(cell)?.len()));
            match read {
                Err(TransactionError::NoSuchCell) => {}
                Ok(8) if known(words) => {}
                // The directory of roots is a cell as well.
                Ok(0) if directories.is_empty() => directories.push(words),
                other => panic!("kind {kind}, place {at}: {other:?}"),
            }
        }
    }
    assert_eq!(shared.atomically(|tx| tx.read(cells[0])).unwrap(), 7, "the process is content");
}
