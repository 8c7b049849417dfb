//! Many make, open and remove regions at one place, and makers die: none ever sees half of one.

use crate::support::region::{Place, play, role};
use contempo::shared::{OpenError, Options, Shared, Unusable, liveness_path};
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

fn options() -> Options {
    Options::new().most_bytes(2 << 20).first_bytes(0).processes(16).threads(32)
}

fn is(error: &OpenError, kind: ErrorKind) -> bool {
    matches!(error, OpenError::System { error, .. } if error.kind() == kind)
}

/// What one has done.
#[derive(Default, Debug)]
struct Done {
    made: u64,
    removed: u64,
    opened: u64,
    lost: u64,
}

/// Makes, opens and removes the region at `path` for so long.
fn make_and_remove(path: &Path, time: Duration) -> Done {
    let (mut done, begin) = (Done::default(), Instant::now());
    while begin.elapsed() < time {
        match Shared::create(path, &options()) {
            Ok(shared) => {
                done.made += 1;
                let cell = shared.root("cell", 7_u64).unwrap();
                assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 7);
            }
            Err(why) if is(&why, ErrorKind::AlreadyExists) => done.lost += 1,
            Err(why) => panic!("create: {why:?}"),
        }
        match Shared::open(path) {
            Ok(shared) => {
                done.opened += 1;
                let cell = shared.root("other", 8_u64).unwrap();
                assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 8);
            }
            Err(why) if is(&why, ErrorKind::NotFound) => {}
            Err(why) => panic!("open: {why:?}"),
        }
        match Shared::remove(path) {
            Ok(()) => done.removed += 1,
            Err(why) if is(&why, ErrorKind::NotFound) => {}
            Err(why) => panic!("remove: {why:?}"),
        }
    }
    done
}

/// Files beside the region whose names begin with its name.
fn beside(path: &Path) -> Vec<String> {
    let name = path.file_name().unwrap().to_str().unwrap();
    let all = std::fs::read_dir(path.parent().unwrap()).unwrap().flatten();
    let names = all.map(|entry| entry.file_name().into_string().unwrap());
    // The place's number is followed by an ending, or by nothing.
    names.filter(|it| it.strip_prefix(name).is_some_and(|end| end.starts_with('.'))).collect()
}

#[test]
fn of_many_makers_one_wins_and_none_sees_half_of_a_region() {
    let time = Duration::from_secs(3);
    if let Some((_, place)) = role() {
        let done = make_and_remove(&place, time);
        println!("did {} {} {} {}", done.made, done.removed, done.opened, done.lost);
        return;
    }
    let (name, place) = ("of_many_makers_one_wins_and_none_sees_half_of_a_region", Place::new());
    let processes: Vec<_> = (0..3).map(|_| play(name, "maker", place.path())).collect();
    let mut sum = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..3).map(|_| scope.spawn(|| make_and_remove(place.path(), time))).collect();
        threads.into_iter().map(|it| it.join().unwrap()).fold(Done::default(), add)
    });
    for mut process in processes {
        let mut said = String::new();
        process.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(process.wait().unwrap().success(), "{said}");
        let line = said.lines().find_map(|line| line.split_once("did ")).unwrap().1;
        let numbers: Vec<u64> = line.split(' ').map(|it| it.parse().unwrap()).collect();
        let &[made, removed, opened, lost] = &numbers[..] else { panic!("{line}") };
        sum = add(sum, Done { made, removed, opened, lost });
    }
    let left = u64::from(place.path().exists());
    println!("{sum:?}");
    assert_eq!(sum.made, sum.removed + left, "each region is removed once: {sum:?}");
    assert!(sum.made > 0 && sum.lost > 0 && sum.opened > 0, "this shows nothing: {sum:?}");
    let drafts: Vec<_> =
        beside(place.path()).into_iter().filter(|it| it.contains(".making-")).collect();
    assert!(drafts.is_empty(), "{drafts:?}");
}

fn add(sum: Done, more: Done) -> Done {
    Done {
        made: sum.made + more.made,
        removed: sum.removed + more.removed,
        opened: sum.opened + more.opened,
        lost: sum.lost + more.lost,
    }
}

#[test]
fn a_region_comes_to_its_place_with_all_that_belongs_to_it() {
    for _ in 0..100 {
        let (place, barrier) = (Place::new(), Barrier::new(4));
        let wins = std::thread::scope(|scope| {
            let make = || {
                barrier.wait();
                match Shared::create(&place, &options()) {
                    Ok(shared) => Some(shared),
                    Err(why) if is(&why, ErrorKind::AlreadyExists) => None,
                    Err(why) => panic!("{why:?}"),
                }
            };
            let makers: Vec<_> = (0..3).map(|_| scope.spawn(make)).collect();
            barrier.wait();
            let opened = loop {
                match Shared::open(&place) {
                    Ok(shared) => break shared,
                    Err(why) => assert!(is(&why, ErrorKind::NotFound), "{why:?}"),
                }
            };
            opened.root("cell", 1_u64).unwrap();
            let made: Vec<_> = makers.into_iter().filter_map(|it| it.join().unwrap()).collect();
            made.iter().for_each(|it| assert_eq!(it.inspect().instance, opened.inspect().instance));
            made.len()
        });
        assert_eq!(wins, 1);
        assert_eq!(beside(place.path()).len(), 1, "the liveness file: {:?}", beside(place.path()));
    }
}

#[test]
fn a_maker_that_dies_leaves_nothing_that_is_in_the_way() {
    if let Some((_, place)) = role() {
        make_and_remove(&place, Duration::from_secs(60));
        return;
    }
    let (name, place) = ("a_maker_that_dies_leaves_nothing_that_is_in_the_way", Place::new());
    let mut drafts = 0;
    for round in 0..60 {
        let mut makers: Vec<_> = (0..2).map(|_| play(name, "maker", place.path())).collect();
        std::thread::sleep(Duration::from_micros(30_000 + 977 * round));
        makers.iter_mut().for_each(|it| it.kill().unwrap());
        makers.iter_mut().for_each(|it| assert!(!it.wait().unwrap().success()));
        drafts += beside(place.path()).iter().filter(|it| it.contains(".making-")).count();
        // What is there is whole, or nothing is.
        match Shared::open(&place) {
            Ok(shared) => assert!(shared.verify().is_sound(), "{}", shared.verify()),
            Err(why) => assert!(is(&why, ErrorKind::NotFound), "round {round}: {why:?}"),
        }
        let _ = Shared::remove(&place);
        drop(Shared::create(&place, &options()).unwrap());
        let left = beside(place.path());
        assert_eq!(left.len(), 1, "the liveness file alone: {left:?}");
        Shared::remove(&place).unwrap();
        assert!(beside(place.path()).is_empty());
    }
    println!("{drafts} drafts were left by the dead");
}

#[test]
fn a_process_that_fails_leaves_the_files_of_others_alone() {
    let place = Place::new();
    // Not a region: neither replaced nor removed.
    std::fs::write(place.path(), "a letter to a friend").unwrap();
    let refused = Shared::create(&place, &options()).unwrap_err();
    assert!(is(&refused, ErrorKind::AlreadyExists), "{refused:?}");
    let refused = Shared::remove(&place).unwrap_err();
    assert!(matches!(refused, OpenError::Unusable(Unusable::NotARegion)), "{refused:?}");
    assert_eq!(std::fs::read(place.path()).unwrap(), b"a letter to a friend");
    std::fs::remove_file(place.path()).unwrap();
    // Zeros may be one that was left half-made by an older version, or anything: they are told, and left.
    std::fs::write(place.path(), vec![0; 100_000]).unwrap();
    let half = Shared::open(&place).unwrap_err();
    assert!(matches!(half, OpenError::Unusable(Unusable::HalfCreated)), "{half:?}");
    assert!(is(&Shared::create(&place, &options()).unwrap_err(), ErrorKind::AlreadyExists));
    let refused = Shared::remove(&place).unwrap_err();
    assert!(matches!(refused, OpenError::Unusable(Unusable::NotARegion)), "{refused:?}");
    std::fs::remove_file(place.path()).unwrap();
    // The liveness file of a region that is gone, but in use still, serves the next one too.
    let old = Shared::create(&place, &options()).unwrap();
    old.root("cell", 1_u64).unwrap();
    std::fs::remove_file(place.path()).unwrap();
    let new = Shared::create(&place, &options()).unwrap();
    assert_ne!(old.inspect().instance, new.inspect().instance);
    let cells = (old.root("cell", 2_u64).unwrap(), new.root("cell", 2_u64).unwrap());
    assert_eq!(old.snapshot(|view| view.read(cells.0)).unwrap(), 1);
    assert_eq!(new.snapshot(|view| view.read(cells.1)).unwrap(), 2);
    drop(old);
    assert!(new.inspect().attached.iter().all(|slot| slot.alive));
    // A failure after the liveness file was made takes it away again.
    Shared::remove(&place).unwrap();
    let failed = Shared::create(&place, &Options::new().most_bytes(1 << 50));
    assert!(failed.is_err() && beside(place.path()).is_empty());
    assert!(!liveness_path(&place).exists());
}
