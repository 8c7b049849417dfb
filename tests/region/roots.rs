//! Roots of regions: many of them, of all kinds, listed and removed; regions that are opened or made.

use crate::support::region::{Place, play, role, sound};
use contempo::shared::collections::{BoundedQueue, Deque, Map, OrderedMap, Queue, Vector};
use contempo::shared::{
    Cell, OpenError, Options, RootError, RootKind, Shared, Transaction, TransactionError, Unusable,
    liveness_path,
};
use std::collections::BTreeSet;

#[test]
fn there_may_be_as_many_roots_as_there_is_room_for() {
    const ROOTS: u64 = 5_000;
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let name = |n: u64| format!("the root of number {n}");
    let cells: Vec<Cell<u64>> = (0..ROOTS).map(|n| shared.root(&name(n), n).unwrap()).collect();
    let shared = Shared::open(&place).unwrap();
    for (n, cell) in (0..).zip(&cells) {
        assert_eq!(shared.find_root::<u64>(&name(n)).unwrap(), Some(*cell));
        assert_eq!(shared.root(&name(n), 77_u64).unwrap(), *cell);
        assert_eq!(shared.snapshot(|view| view.read(*cell)).unwrap(), n);
    }
    assert!(shared.find_root::<u64>(&name(ROOTS)).unwrap().is_none());
    let names: Vec<String> = shared.roots().unwrap().into_iter().map(|root| root.name).collect();
    assert!(names.into_iter().eq((0..ROOTS).map(name)), "in the order in which they were made");
    for n in (0..ROOTS).filter(|n| n % 100 != 0) {
        assert!(shared.remove_root(&name(n)).unwrap());
    }
    let left = shared.roots().unwrap();
    assert!(
        left.iter()
            .map(|root| &root.name)
            .eq(&(0..ROOTS / 100).map(|n| name(n * 100)).collect::<Vec<_>>())
    );
    for n in 0..ROOTS / 100 {
        assert!(shared.remove_root(&name(n * 100)).unwrap());
    }
    sound(&shared, 1); // The directory.
}

#[test]
fn roots_are_listed_with_what_they_are() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    shared.root_of("text", "some").unwrap();
    Map::<u64, u32>::root(&shared, "map", 3).unwrap();
    OrderedMap::<u64, u64>::root(&shared, "ordered").unwrap();
    Vector::<u8>::root(&shared, "vector").unwrap();
    Queue::<u64>::root(&shared, "queue").unwrap();
    BoundedQueue::<u64>::root(&shared, "bounded", 2).unwrap();
    Deque::<u64>::root(&shared, "deque").unwrap();
    let long = "long ".repeat(1_000);
    shared.root(&long, 1_u8).unwrap();
    shared.root("", 2_u8).unwrap();
    let roots = shared.roots().unwrap();
    assert_eq!(roots, ["text", "map", "ordered", "vector", "queue", "bounded", "deque", &long, ""]);
    let kinds: Vec<RootKind> = roots.iter().map(|root| root.kind).collect();
    let [cell, map, ordered, vector, queue] =
        [RootKind::Cell, RootKind::Map, RootKind::OrderedMap, RootKind::Vector, RootKind::Queue];
    let rings = [RootKind::BoundedQueue, RootKind::Deque];
    assert_eq!(kinds, [cell, map, ordered, vector, queue, rings[0], rings[1], cell, cell]);
    assert_eq!(roots[0].type_name, "str");
    assert!(roots[1].type_name.ends_with("Map<u64, u32>"), "{}", roots[1].type_name);
    assert_eq!(roots[7].type_name, "u8");
    // A name has one root, of one kind and type.
    assert!(matches!(Queue::<u64>::root(&shared, "map"), Err(RootError::OtherType)));
    assert!(matches!(Queue::<[u64; 2]>::root(&shared, "queue"), Err(RootError::OtherType)));
    assert!(matches!(shared.find_root::<u16>(""), Err(RootError::OtherType)));
    let too_long = shared.root(&"x".repeat(40_000), 1_u64);
    assert!(matches!(too_long, Err(RootError::TooLong)), "{too_long:?}");
    assert_eq!(shared.roots().unwrap().len(), roots.len());
}

#[test]
fn a_root_is_removed_with_all_that_it_has() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    for round in 0..3 {
        let text = shared.root_of("text", "some").unwrap();
        let long = "long ".repeat(1_000);
        shared.root(&long, round).unwrap();
        let map: Map<u64, [u64; 3]> = Map::root(&shared, "map", 1).unwrap();
        let ordered: OrderedMap<[u8; 3], u64> = OrderedMap::root(&shared, "ordered").unwrap();
        let vector: Vector<u16> = Vector::root(&shared, "vector").unwrap();
        let queue: Queue<[u64; 2]> = Queue::root(&shared, "queue").unwrap();
        let empty: Queue<u64> = Queue::root(&shared, "empty").unwrap();
        let fill = |tx: &Transaction<'_>| {
            for n in 0..3_000_u16 {
                map.insert(tx, n.into(), [n.into(); 3])?;
                ordered.insert(tx, [n.to_be_bytes()[0], n.to_be_bytes()[1], 7], 1)?;
                vector.push(tx, n)?;
                queue.push(tx, [n.into(); 2])?;
            }
            Ok(())
        };
        shared.atomically(fill).unwrap();
        assert!(shared.verify().cells > 3_500);
        for root in shared.roots().unwrap() {
            assert!(shared.remove_root(&root.name).unwrap(), "{root:?}");
            assert!(!shared.remove_root(&root.name).unwrap(), "{root:?}");
        }
        // A thread that still has a handle is told.
        let gone = |result: Result<(), TransactionError>| {
            assert!(matches!(result, Err(TransactionError::NoSuchCell)), "{result:?}");
        };
        gone(shared.atomically(|tx| tx.read(text).map(drop)));
        gone(shared.atomically(|tx| map.insert(tx, 1, [1; 3]).map(drop)));
        gone(shared.atomically(|tx| ordered.get(tx, &[0; 3]).map(drop)));
        gone(shared.atomically(|tx| vector.push(tx, 1).map(drop)));
        gone(shared.atomically(|tx| queue.push(tx, [1; 2])));
        gone(shared.atomically(|tx| empty.pop(tx).map(drop)));
        sound(&shared, 1); // The directory.
        assert!(shared.roots().unwrap().is_empty());
    }
}

/// Of a root whose content is gone already, the name goes.
#[test]
fn a_root_that_was_freed_otherwise_can_be_removed() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 1_u64).unwrap();
    let map: Map<u64, u64> = Map::root(&shared, "map", 8).unwrap();
    shared.atomically(|tx| tx.free(cell)).unwrap();
    shared.atomically(|tx| map.free(tx)).unwrap();
    assert!(shared.remove_root("cell").unwrap() && shared.remove_root("map").unwrap());
    assert!(shared.roots().unwrap().is_empty());
    sound(&shared, 1);
    let again = shared.root("cell", 2_u64).unwrap();
    assert_eq!(shared.snapshot(|view| view.read(again)).unwrap(), 2);
}

/// Threads that make, find and remove the same roots agree on them.
#[test]
fn threads_make_and_remove_roots() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3_u64 {
            let shared = &shared;
            scope.spawn(move || {
                for n in 0..400_u64 {
                    let common = shared.root(&format!("common {}", n % 50), 0_u64).unwrap();
                    shared.atomically(|tx| tx.modify(common, |count| count + 1)).unwrap();
                    let own = format!("{thread} {n}");
                    shared.root(&own, n).unwrap();
                    assert!(n % 3 == 0 || shared.remove_root(&own).unwrap());
                }
            });
        }
    });
    let (mut sum, mut others) = (0, 0);
    for root in shared.roots().unwrap() {
        let cell = shared.find_root::<u64>(&root.name).unwrap().unwrap();
        match root.name.starts_with("common") {
            true => sum += shared.snapshot(|view| view.read(cell)).unwrap(),
            false => others += 1,
        }
    }
    assert_eq!((sum, others), (3 * 400, 3 * 134));
    let report = shared.verify();
    sound(&shared, report.cells);
    assert_eq!(report.unreachable, 0, "{report}");
}

/// One call, whether there is a region or not: of several processes and threads one makes it, and all have the same.
#[test]
fn a_region_is_opened_or_made_by_one_call() {
    let name = "a_region_is_opened_or_made_by_one_call";
    let options = Options::new().most_bytes(8 << 20).first_bytes(0).processes(8);
    let join = |place: &std::path::Path| {
        let shared = Shared::open_or_create(place, &options).unwrap();
        let count = shared.root("count", 0_u64).unwrap();
        shared.atomically(|tx| tx.modify(count, |count| count + 1)).unwrap();
        shared.inspect().instance
    };
    if let Some((_, place)) = role() {
        join(place.as_ref());
        return;
    }
    for _ in 0..5 {
        let place = Place::new();
        let children: Vec<_> = (0..3).map(|n| play(name, &n.to_string(), place.path())).collect();
        let instances: BTreeSet<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| join(place.path()))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(instances.len(), 1);
        let shared = Shared::open_or_create(&place, &options).unwrap();
        let count = shared.find_root::<u64>("count").unwrap().unwrap();
        assert_eq!(shared.snapshot(|view| view.read(count)).unwrap(), 6);
    }
    // What is no region is left as it is.
    let place = Place::new();
    std::fs::write(&place, [7; 20_000]).unwrap();
    let not = Shared::open_or_create(&place, &options);
    assert!(matches!(not, Err(OpenError::Unusable(Unusable::NotARegion))), "{not:?}");
    assert_eq!(std::fs::read(&place).unwrap(), [7; 20_000]);
}

/// Sizes that no region can have are an error that says which, before anything is made.
#[test]
fn sizes_out_of_range_are_named() {
    let place = Place::new();
    let wrong = [
        (Options::new().processes(0), "0 processes: 1 to 1024"),
        (Options::new().processes(u32::MAX), "4294967295 processes: 1 to 1024"),
        (Options::new().threads(0), "0 threads: 1 to "),
        (Options::new().threads(u32::MAX), "4294967295 threads: 1 to "),
        (Options::new().most_bytes(u64::MAX), "18446744073709551615 bytes: "),
        (Options::new().most_bytes(0), "0 bytes: "),
        (
            Options::new().first_bytes(u64::MAX),
            "18446744073709551615 bytes from the beginning: 0 to ",
        ),
    ];
    for (options, text) in wrong {
        let error = Shared::create(&place, &options).unwrap_err();
        assert!(matches!(error, OpenError::OutOfRange { .. }), "{error:?}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(!place.path().exists() && !liveness_path(&place).exists());
    }
}
