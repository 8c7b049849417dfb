//! Shared regions between processes: blocking, fork, SIGSTOP, stale records, damage. (Kills at every
//! instruction: `tests/kills`.)

use crate::support::region::{Place, play, role};
use contempo::shared::collections::{Map, OrderedMap, Queue, Vector};
use contempo::shared::{Cell, Options, Shared, TransactionError, liveness_path};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// Waits for a line with this word.
fn hear(child: &mut Child, word: &str) {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(word)), "it said no {word}");
}

fn send(child: &Child, signal: i32) {
    // SAFETY: sends a signal to our own child.
    assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
}

#[test]
fn a_queue_hands_over_between_processes() {
    const ITEMS: u64 = 2000;
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let (to, back) =
            (Queue::root(&shared, "to").unwrap(), Queue::root(&shared, "back").unwrap());
        for _ in 0..ITEMS {
            let item: u64 = shared.atomically(|tx| to.pop(tx)).unwrap();
            shared.atomically(|tx| back.push(tx, item * 2)).unwrap();
        }
        return;
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let (to, back): (Queue<u64>, Queue<u64>) =
        (Queue::root(&shared, "to").unwrap(), Queue::root(&shared, "back").unwrap());
    let mut echo = play("a_queue_hands_over_between_processes", "echo", place.path());
    let begin = Instant::now();
    for item in 0..ITEMS {
        shared.atomically(|tx| to.push(tx, item)).unwrap();
        assert_eq!(shared.atomically(|tx| back.pop(tx)).unwrap(), item * 2);
    }
    let each = begin.elapsed() / ITEMS as u32;
    println!("a round trip takes {each:?}");
    // A nap is 20 ms: hand-overs that came by time-outs would take that long.
    assert!(each < Duration::from_millis(10), "{each:?}: no sleeper was woken");
    assert!(echo.wait().unwrap().success());
    shared.reap().unwrap();
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0, "{report}");
}

#[test]
fn a_forked_child_is_not_its_parent() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 1_u64).unwrap();
    let fork = |child: &dyn Fn() -> bool| {
        // SAFETY: the child runs code of ours and ends without returning.
        match unsafe { libc::fork() } {
            0 => {
                let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!matches!(well, Ok(true)))) }
            }
            child => {
                let mut status = 0;
                // SAFETY: waits for our own child.
                unsafe { libc::waitpid(child, &raw mut status, 0) };
                status
            }
        }
    };
    let refused = fork(&|| {
        let read = shared.snapshot(|view| view.read(cell));
        let write = shared.atomically(|tx| tx.write(cell, &9));
        matches!(read, Err(TransactionError::Forked))
            && matches!(write, Err(TransactionError::Forked))
    });
    assert_eq!(refused, 0);
    let anew = fork(&|| {
        let own = Shared::open(&place).unwrap();
        let others = own.inspect().attached.len();
        own.atomically(|tx| tx.modify(cell, |value| value + 1)).is_ok() && others == 2
    });
    assert_eq!(anew, 0);
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 2);
    // In the middle of a transaction: the child cannot go on with it, the parent does.
    let mut status = -1;
    shared
        .atomically(|tx| {
            tx.write(cell, &10)?;
            let child = || {
                tx.write(cell, &11).is_err() && tx.create(&1_u64).is_err() && tx.free(cell).is_err()
            };
            status = fork(&child);
            tx.write(cell, &12)
        })
        .unwrap();
    assert_eq!(status, 0);
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 12);
    shared.reap().unwrap();
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0 && report.cells == 2, "{report}");
}

#[test]
fn a_child_opens_regions_whatever_its_parents_threads_were_at() {
    let (place, other) = (Place::new(), Place::new());
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 0_u64).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut bad = None;
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    // Each of them locks the lists for a while.
                    drop(Shared::open(&place).unwrap());
                    drop(Shared::create(&other, &Options::new()));
                    let _ = Shared::remove(&other);
                }
            });
        }
        for round in 0..60 {
            // SAFETY: the child runs code of ours and ends without returning.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: ends a child that hangs.
                unsafe { libc::alarm(20) };
                let add = |own: Shared| own.atomically(|tx| tx.modify(cell, |value| value + 1));
                let added = Shared::open(&place).is_ok_and(|own| add(own).is_ok());
                // SAFETY: ends the child.
                unsafe { libc::_exit(i32::from(!added)) };
            }
            let mut status = 0;
            // SAFETY: waits for our own child.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            if status != 0 {
                bad = Some((round, status));
                break;
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(bad.is_none(), "in this round, the child ended with this status: {bad:?}");
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 60);
}

#[test]
fn a_commit_of_a_forked_child_does_not_count() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cell = shared.root("cell", 1_u64).unwrap();
    let mut child = -1;
    let outcome = shared.atomically(|tx| {
        tx.write(cell, &2)?;
        // SAFETY: the child returns from the closure, tries to commit, and ends below.
        child = unsafe { libc::fork() };
        Ok(())
    });
    if child == 0 {
        let refused = matches!(outcome, Err(TransactionError::Forked));
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(!refused)) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    outcome.unwrap();
    assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 2);
    assert!(shared.verify().is_sound());
}

#[test]
fn a_stopped_process_stops_no_other_and_keeps_what_it_has() {
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let cells: Vec<Cell<u64>> =
            (0..4).map(|n| shared.root(&format!("{n}"), 0).unwrap()).collect();
        println!("ready");
        loop {
            shared
                .atomically(|tx| {
                    cells.iter().try_for_each(|cell| tx.modify(*cell, |value| value + 1))
                })
                .unwrap();
        }
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let cells: Vec<Cell<u64>> = (0..4).map(|n| shared.root(&format!("{n}"), 0).unwrap()).collect();
    let mut other =
        play("a_stopped_process_stops_no_other_and_keeps_what_it_has", "busy", place.path());
    hear(&mut other, "ready");
    let (mut longest, mut aborted_zombies) = (Duration::ZERO, 0);
    for round in 0..100 {
        std::thread::sleep(Duration::from_micros(round * 37 % 2000));
        send(&other, libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(1)); // Until it stands.
        let begin = Instant::now();
        let values = shared
            .atomically(|tx| {
                let mut values = Vec::new();
                for cell in &cells {
                    values.push(tx.read(*cell)?);
                    tx.modify(*cell, |value| value + 1)?;
                }
                Ok(values)
            })
            .unwrap();
        longest = longest.max(begin.elapsed());
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        assert_eq!(shared.reap().unwrap().slots, 0, "it is stopped, and not dead");
        aborted_zombies +=
            usize::from(shared.inspect().attached.iter().any(|slot| slot.claims && slot.alive));
        send(&other, libc::SIGCONT);
    }
    println!("longest {longest:?}; stopped {aborted_zombies} times in the middle of a commit");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(shared.reap().unwrap().slots, 1);
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && report.retired == 0 && report.cells == 5, "{report}");
}

#[test]
fn room_that_only_the_dead_have_is_found() {
    if let Some((role, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let cell = shared.root("cell", 0_u64).unwrap();
        shared.atomically(|tx| tx.modify(cell, |value| value + 1)).unwrap();
        println!("ready");
        if role == "waits" {
            std::thread::sleep(Duration::from_secs(60));
        }
        return;
    }
    let name = "room_that_only_the_dead_have_is_found";
    let place = Place::new();
    let path = place.path().to_owned();
    let options = Options::new().processes(3).threads(3);
    std::thread::spawn(move || drop(Shared::create(path, &options).unwrap())).join().unwrap();
    for round in 1..=4 {
        // All records and slots belong to living processes, which die at the same time.
        let mut all: Vec<Child> = (0..3).map(|_| play(name, "waits", place.path())).collect();
        all.iter_mut().for_each(|child| hear(child, "ready"));
        assert!(matches!(Shared::open(&place), Err(contempo::shared::OpenError::TooManyProcesses)));
        all.iter_mut().for_each(|child| child.kill().unwrap());
        all.iter_mut().for_each(|child| assert_eq!(child.wait().unwrap().signal(), Some(9)));
        let path = place.path().to_owned();
        std::thread::spawn(move || {
            let shared = Shared::open(path).unwrap();
            let cell: Cell<u64> = shared.find_root("cell").unwrap().unwrap();
            assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 3 * round);
            shared.reap().unwrap();
            shared.collect().unwrap();
            let report = shared.verify();
            assert!(report.is_sound() && report.retired == 0, "{report}");
            assert_eq!(shared.inspect().attached.len(), 1);
        })
        .join()
        .unwrap();
    }
}

/// Runs `f` with a folder on a file system of 1 MiB; false if none can be mounted here.
fn on_a_small_file_system(name: &str, f: impl FnOnce(&Path) + Send) -> bool {
    let folder = std::env::temp_dir().join(format!("contempo-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(&folder)
        .status()
        .is_ok_and(|status| status.success());
    if !mounted {
        println!("skipped: no file system can be mounted here");
        std::fs::remove_dir(&folder).unwrap();
        return false;
    }
    let outcome = std::thread::scope(|scope| scope.spawn(|| f(&folder)).join());
    assert!(Command::new("umount").arg("-l").arg(&folder).status().unwrap().success());
    std::fs::remove_dir(&folder).unwrap();
    outcome.unwrap();
    true
}

/// Makes values until there is no room.
fn fill(shared: &Shared) -> (u64, TransactionError) {
    for made in 0.. {
        if let Err(why) = shared.atomically(|tx| tx.create(&[1_u8; 4000][..])) {
            return (made, why);
        }
    }
    unreachable!("no region is so large")
}

#[test]
fn a_full_file_system_is_an_error() {
    on_a_small_file_system("full", |folder| {
        let path = folder.join("region");
        let shared =
            Shared::create(&path, &Options::new().most_bytes(16 << 20).threads(64).first_bytes(0))
                .unwrap();
        let (made, full) = fill(&shared);
        assert!(matches!(full, TransactionError::NoBlock(_)), "{full}");
        assert!(made > 20, "{made}");
        let cell = shared.root("small", 1_u64);
        println!("after {made} values: {full}; a small one: {cell:?}");
        let report = shared.verify();
        assert!(report.is_sound(), "{report}");
        // One that does not even have room for its header leaves no file.
        let other = path.with_extension("other");
        assert!(Shared::create(&other, &Options::new()).is_err());
        assert!(!other.exists() && !liveness_path(&other).exists());
        assert_eq!(folder.read_dir().unwrap().count(), 2, "the region and its liveness file");
    });
}

#[test]
fn what_others_append_to_a_region_is_not_taken_for_room() {
    let name = "what_others_append_to_a_region_is_not_taken_for_room";
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        let (made, full) = fill(&shared);
        assert!(matches!(full, TransactionError::NoBlock(_)), "{full}");
        println!("filled with {made}");
        return;
    }
    on_a_small_file_system("appended", |folder| {
        let path = folder.join("region");
        let shared =
            Shared::create(&path, &Options::new().most_bytes(16 << 20).threads(64).first_bytes(0))
                .unwrap();
        // Longer, without any space for it.
        std::fs::File::options().write(true).open(&path).unwrap().set_len(8 << 20).unwrap();
        let mut other = play(name, "fills", &path);
        let status = other.wait().unwrap();
        assert!(status.success(), "{status}: it touched what is not there");
        let (_, full) = fill(&shared);
        assert!(matches!(full, TransactionError::NoBlock(_)), "{full}");
    });
}

/// Uses a region in every way, whatever comes of it. Returns whether it could be opened.
fn use_somehow(place: &Path, seed: u64) -> bool {
    let mut random = SmallRng::seed_from_u64(seed);
    let Ok(shared) = Shared::open(place) else { return false };
    let _ = shared.inspect().to_string();
    let (map, queue) = (Map::<u64, u64>::root(&shared, "map", 8), Queue::root(&shared, "queue"));
    let text = shared.root_of("text", "");
    let ordered = OrderedMap::<u64, u64>::root(&shared, "ordered");
    let vector = Vector::<u64>::root(&shared, "vector");
    for _ in 0..200 {
        let key = random.random_range(0..40);
        if let (Ok(ordered), Ok(vector), Ok(map)) = (&ordered, &vector, &map) {
            let _ = shared.atomically(|tx| {
                ordered.insert(tx, random.random_range(0..400), key)?;
                ordered.remove(tx, &random.random_range(0..400))?;
                for _ in 0..10 {
                    vector.push(tx, key)?;
                }
                vector.set(tx, key as usize, key)?;
                tx.or_else(|tx| vector.pop(tx).and_then(|_| tx.retry()), |tx| vector.pop(tx))
            });
            let _ = shared.snapshot(|view| Ok(ordered.range(view, key..).count()));
            let _ = shared.snapshot(|view| Ok(ordered.range(view, ..key).rev().count()));
            let _ = shared.snapshot(|view| Ok(vector.iter(view).count()));
            let _ = shared.snapshot(|view| Ok(map.iter(view).count()));
        }
        if let (Ok(map), Ok(queue), Ok(text)) = (&map, &queue, &text) {
            let _ = shared.atomically(|tx| {
                map.insert(tx, key, key)?;
                queue.push(tx, key)?;
                tx.write(*text, "some text")
            });
            let _ = shared.atomically(|tx| {
                map.remove(tx, &(key / 2))?;
                queue.try_pop(tx)
            });
            let _ = shared.snapshot(|view| view.read(*text).map(str::len));
        }
        // Handles that are made up.
        let cell: Cell<[u64; 2]> = bytemuck::cast([random.random::<u64>(), random.random()]);
        let _ = shared.atomically(|tx| tx.write(cell, &[1, 2]));
    }
    let _ = shared.roots();
    let _ = shared.reap();
    let _ = shared.collect();
    let _ = shared.verify().to_string();
    true
}

#[test]
fn random_bytes_crash_no_process() {
    if let Some((seed, place)) = role() {
        let opened = use_somehow(&place, seed.parse().unwrap());
        println!("{}", if opened { "used" } else { "refused" });
        return;
    }
    let place = Place::new();
    let path = place.path().to_owned();
    std::thread::spawn(move || {
        drop(Shared::create(&path, &Options::new().threads(8)).unwrap());
        assert!(use_somehow(&path, 0));
    })
    .join()
    .unwrap();
    let whole = std::fs::read(place.path()).unwrap();
    let used: Vec<usize> = (0..whole.len() / 8)
        .filter(|word| whole[word * 8..word * 8 + 8].iter().any(|byte| *byte != 0))
        .collect();
    let seed = std::env::var("CONTEMPO_SEED")
        .map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("CONTEMPO_SEED={seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut opened = 0;
    for round in 0..60 {
        let mut damaged = whole.clone();
        // Not the identity, in most rounds: its checksum would end each of them at once.
        let from = if round % 10 == 0 { 0 } else { 128 };
        for _ in 0..random.random_range(1..200) {
            let word = match random.random_range(0..4) {
                0 => random.random_range(from / 8..whole.len() / 8),
                _ => used[random.random_range(used.len() / 8 * usize::from(from > 0)..used.len())],
            };
            if word * 8 < from || word == 128 {
                continue;
            }
            let bits: u64 = match random.random_range(0..4) {
                0 => random.random(),
                1 => u64::MAX,
                // One bit: what looks good most.
                2 => {
                    let before: [u8; 8] = whole[word * 8..word * 8 + 8].try_into().unwrap();
                    u64::from_ne_bytes(before) ^ 1 << random.random_range(0..64)
                }
                // Another word of the region.
                _ => {
                    let other = used[random.random_range(0..used.len())] * 8;
                    u64::from_ne_bytes(whole[other..other + 8].try_into().unwrap())
                }
            };
            damaged[word * 8..word * 8 + 8].copy_from_slice(&bits.to_ne_bytes());
        }
        // In place: the liveness file belongs to this file.
        let file = std::fs::File::options().write(true).open(place.path()).unwrap();
        file.set_len(whole.len() as u64).unwrap();
        file.write_all_at(&damaged, 0).unwrap();
        let mut user =
            play("random_bytes_crash_no_process", &(seed ^ round).to_string(), place.path());
        let end = Instant::now() + Duration::from_secs(30);
        let status = loop {
            match user.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() > end => {
                    user.kill().unwrap();
                    panic!("round {round}: it hangs");
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        assert!(status.success(), "round {round}: {status}");
        let mut said = String::new();
        user.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        opened += usize::from(said.contains("used"));
    }
    println!("{opened} of 60 were opened and used");
    assert!(opened >= 30, "too few to mean something: {opened}");
}
