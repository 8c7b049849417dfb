//! Every word of a small region is damaged, one at a time, in several ways, and the region is used: each operation comes
//! to an end by itself, with a result or an error. (Bytes at random, many at once: `random_bytes_crash_no_process`.)

use crate::support::region::{Place, command, play, role};
use contempo::collections::BroadcastError;
use contempo::shared::collections::{
    Broadcast, Counter, Map, Multimap, OrderedMap, PriorityQueue, Queue, Subscriber, Vector,
};
use contempo::shared::{Cell, Options, Shared, TransactionError};
use contempo_alloc::region::layout::{PROCESSES_AT, SHARED_AT, Shared as Words, slots_at};
use std::io::{BufRead, BufReader};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

/// Processor time that one case may take. Most take a millisecond or two; a walk that counts how often it begins anew
/// takes some more.
const SECONDS: i64 = 20;
/// Ways to damage a word.
const WAYS: u64 = 10;
/// How many of them are tried with each word, and [`UNDRAWN`], unless `CONTEMPO_DAMAGE=all`.
const SOME: u64 = 2;
/// The way that makes it a stamp that no commit has drawn.
const UNDRAWN: u64 = 4;
/// Processes that do it side by side, each with a region of its own.
const WORKERS: usize = 4;
const PROCESSES: u32 = 2;
const THREADS: u32 = 4;

fn options() -> Options {
    let small = Options::new().first_bytes(0).most_bytes(4 << 20);
    small.processes(PROCESSES).threads(THREADS)
}

/// What the region has: cells, and one collection of each kind.
struct Content {
    cells: [Cell<u64>; 3],
    text: Cell<str>,
    map: Map<u64, u64>,
    ordered: OrderedMap<u64, u64>,
    queue: Queue<u64>,
    vector: Vector<u64>,
    multimap: Multimap<u64, u64>,
    ranked: PriorityQueue<u64>,
    counter: Counter,
    broadcast: Broadcast<u64>,
    subscriber: Subscriber<u64>,
}

impl Content {
    fn find(shared: &Shared) -> Result<Self, Box<dyn std::error::Error>> {
        let broadcast = Broadcast::root(shared, "broadcast", 2)?;
        Ok(Content {
            cells: [shared.root("a", 0)?, shared.root("b", 0)?, shared.root("c", 0)?],
            text: shared.root_of("text", "some text")?,
            map: Map::root(shared, "map", 2)?,
            ordered: OrderedMap::root(shared, "ordered")?,
            queue: Queue::root(shared, "queue")?,
            vector: Vector::root(shared, "vector")?,
            multimap: Multimap::root(shared, "multimap", 2)?,
            ranked: PriorityQueue::root(shared, "ranked")?,
            counter: Counter::root(shared, "counter")?,
            broadcast,
            subscriber: Subscriber::root(shared, "subscriber", &broadcast)?,
        })
    }
}

/// Uses the region in every way, whatever comes of it; it is damaged before it is opened, or in use.
fn use_it(place: &Path, in_use: bool, damage: impl Fn()) -> bool {
    if !in_use {
        damage();
    }
    let Ok(shared) = Shared::open(place) else { return false };
    let _ = shared.verify().to_string();
    let _ = shared.inspect().to_string();
    let _ = shared.roots();
    let Ok(content) = Content::find(&shared) else { return true };
    for round in 0..2 {
        if in_use && round == 1 {
            damage();
        }
        use_cells(&shared, &content, round);
        use_collections(&shared, &content, round);
        use_more_collections(&shared, &content, round);
        let _ = shared.collect();
    }
    // Another thread, with another slot. Until it has left, not only done: the file is changed after that.
    std::thread::scope(|scope| drop(scope.spawn(|| use_cells(&shared, &content, 2)).join()));
    let _ = shared.reap();
    let _ = shared.verify().to_string();
    true
}

fn use_cells(shared: &Shared, content: &Content, n: u64) {
    for one in content.cells {
        let _ = shared.snapshot(|view| view.read(one));
        for other in content.cells {
            // Writes one and reads the other; writes what it has read; reads only.
            let _ = shared.atomically(|tx| tx.write(one, &n).and_then(|()| tx.read(other)));
            let _ = shared.atomically(|tx| tx.modify(one, |value: u64| value.wrapping_add(n)));
            let _ = shared.atomically(|tx| Ok((tx.read(one)?, tx.read(other)?)));
        }
    }
    let _ = shared.atomically(|tx| tx.write(content.text, "another text"));
    let _ = shared.snapshot(|view| view.read(content.text).map(str::len));
    let made = shared.atomically(|tx| tx.create(&[n; 4]));
    let _ = shared.atomically(|tx| tx.create(&[7_u8; 5000][..]));
    let _: Result<(), TransactionError> = shared.atomically(|tx| {
        let [a, b, c] = content.cells;
        tx.write(a, &n)?;
        tx.or_else(|tx| tx.write(b, &n).and_then(|()| tx.retry()), |tx| tx.write(c, &n))?;
        tx.create(&n)?;
        if n == 0 { tx.cancel() } else { Ok(()) }
    });
    if let Ok(cell) = made {
        let _ = shared.atomically(|tx| tx.free(cell));
        let _ = shared.atomically(|tx| tx.read(cell));
    }
}

fn use_collections(shared: &Shared, content: &Content, n: u64) {
    let Content { map, ordered, queue, vector, .. } = content;
    let _ = shared.atomically(|tx| {
        map.insert(tx, n, n)?;
        map.remove(tx, &5)
    });
    let _ = shared.atomically(|tx| {
        ordered.insert(tx, 100 + n, n)?;
        ordered.remove(tx, &7)
    });
    let _ = shared.atomically(|tx| queue.push(tx, n).and_then(|()| queue.try_pop(tx)));
    let _ = shared.atomically(|tx| {
        vector.push(tx, n)?;
        vector.set(tx, 3, n)?;
        vector.pop(tx)
    });
    let _ = shared.snapshot(|view| Ok(map.iter(view).count()));
    let _ = shared.snapshot(|view| Ok(ordered.range(view, ..).count()));
    let _ = shared.snapshot(|view| Ok(ordered.range(view, 3..9).rev().count()));
    let _ = shared.snapshot(|view| queue.for_each(view, |_| ()));
    let _ = shared.snapshot(|view| Ok(vector.iter(view).count()));
    let _ = shared.snapshot(|view| Ok((ordered.first(view)?, ordered.last(view)?)));
}

fn use_more_collections(shared: &Shared, content: &Content, n: u64) {
    let Content { multimap, ranked, counter, broadcast, subscriber, .. } = content;
    let _ = shared.atomically(|tx| {
        multimap.insert(tx, n % 3, n)?;
        multimap.remove(tx, &1, &1)
    });
    let _ = shared.snapshot(|view| Ok(multimap.iter(view).count()));
    let _ = shared.snapshot(|view| Ok(multimap.get(view, &2).rev().count()));
    let _ = shared.atomically(|tx| multimap.remove_key(tx, &1));
    let _ = shared.atomically(|tx| multimap.clear(tx));
    let _ = shared.atomically(|tx| ranked.push(tx, 7).and_then(|()| ranked.try_pop(tx)));
    let _ = shared.snapshot(|view| ranked.len(view));
    let _ = shared.atomically(|tx| counter.add(tx, 1).and_then(|()| counter.get(tx)));
    let _ = shared.atomically(|tx| counter.clear(tx));
    let _ = shared.atomically(|tx| (0..3).try_for_each(|_| broadcast.send(tx, n).map(drop)));
    let _ = shared.snapshot(|view| Ok(broadcast.iter(view).count()));
    // Comes to an end: it is told how many it has missed, and then receives what is kept.
    while let Ok(Err(BroadcastError::Lagged(_)) | Ok(Some(_))) =
        shared.atomically(|tx| subscriber.try_recv(tx))
    {}
    let _ = shared.snapshot(|view| subscriber.len(view));
    if n == 1 {
        for root in ["multimap", "ranked", "counter", "broadcast", "subscriber"] {
            let _ = shared.remove_root(root);
        }
    }
}

/// A region with some content, as processes have left it that have died, one of them in a transaction.
fn image(test: &str, place: &Place) -> Vec<u8> {
    for role in ["makes", "dies"] {
        let mut child = play(test, role, place.path());
        let status = child.wait().unwrap();
        assert_eq!(status.success(), role == "makes", "{role}: {status}");
    }
    std::fs::read(place.path()).unwrap()
}

fn make(place: &Path) {
    let shared = Shared::create(place, &options()).unwrap();
    let content = Content::find(&shared).unwrap();
    let Content { cells, map, ordered, queue, vector, .. } = content;
    let Content { multimap, ranked, counter, broadcast, .. } = content;
    for n in 0..20_u64 {
        let fill = shared.atomically(|tx| {
            cells.iter().try_for_each(|cell| tx.write(*cell, &n))?;
            map.insert(tx, n, n)?;
            ordered.insert(tx, n, n)?;
            queue.push(tx, n)?;
            vector.push(tx, n)?;
            multimap.insert(tx, n % 3, n)?;
            ranked.push(tx, n % 2)?;
            counter.add(tx, 1)?;
            broadcast.send(tx, n).map(drop)
        });
        fill.unwrap();
    }
    shared.collect().unwrap();
}

fn die(place: &Path) -> ! {
    let shared = Shared::open(place).unwrap();
    let Content { cells, .. } = Content::find(&shared).unwrap();
    // What it has replaced is still there, retired.
    (0..5_u64).for_each(|n| shared.atomically(|tx| tx.write(cells[0], &n)).unwrap());
    let _ = shared.atomically(|tx| -> Result<(), _> {
        tx.write(cells[1], &1)?;
        tx.create(&2_u64)?;
        // SAFETY: ends this process.
        unsafe { libc::_exit(1) }
    });
    unreachable!("dead")
}

fn word(image: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(image[at * 8..at * 8 + 8].try_into().unwrap())
}

/// Which words to damage: those of the header and of the tables, and of blocks all that are not zero, with their
/// neighbours. Not the identity, whose checksum ends it all at once.
fn words(image: &[u8]) -> Vec<usize> {
    let from = SHARED_AT / 8;
    let records = slots_at(PROCESSES) / 8 + 512;
    let in_use = |at: usize| {
        let around = at.saturating_sub(2)..(at + 3).min(image.len() / 8);
        around.into_iter().any(|at| word(image, at) != 0)
    };
    let always = |at: usize| (PROCESSES_AT / 8..records).contains(&at);
    (from..image.len() / 8).filter(|at| always(*at) || in_use(*at)).collect()
}

/// What a word is to be, by the way of damage.
fn damaged(image: &[u8], words: &[usize], at: usize, way: u64) -> u64 {
    let (before, clock) = (word(image, at), offset_of!(Words, clock));
    let now = word(image, (SHARED_AT + clock) / 8);
    match way {
        0 => 0,
        1 => u64::MAX,
        // One bit: what looks good most.
        2 => before ^ 1 << (at % 64),
        3 => before ^ 1 << (at * 7 % 32),
        UNDRAWN => now + 1000,
        // Another word.
        5 => word(image, words[at * 31 % words.len()]),
        // A claim of the first slot's next transaction; and of one that there has never been.
        6 => 1 << 63 | 1,
        7 => 1 << 63 | 2 << 43 | 99,
        8 => before.wrapping_add(1),
        _ => 1 << 62,
    }
}

/// The cases: each word, with some of the ways.
fn cases(words: &[usize]) -> Vec<(usize, u64)> {
    let all = std::env::var("CONTEMPO_DAMAGE").is_ok_and(|it| it == "all");
    let ways = |at: usize| {
        let some = (0..if all { WAYS } else { SOME }).map(move |n| (n * 3 + at as u64) % WAYS);
        some.filter(|way| *way != UNDRAWN).chain([UNDRAWN])
    };
    words.iter().flat_map(|at| ways(*at).map(|way| (*at, way))).collect()
}

/// Ends this process by a signal after so much processor time, from now on.
fn limit_time() {
    let value = libc::timeval { tv_sec: SECONDS, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: value, it_value: value };
    // SAFETY: the timer is alive for the length of the call; nothing is asked back.
    let set = unsafe { libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut()) };
    assert_eq!(set, 0);
}

fn damage_and_use(place: &Path, image: &[u8], numbers: std::ops::Range<usize>) {
    let words = words(image);
    let cases = cases(&words);
    let file = std::fs::File::options().write(true).open(place).unwrap();
    for number in numbers {
        let (at, way) = cases[number];
        println!("case {number}: word {:#x}, way {way}", at * 8);
        file.set_len(image.len() as u64).unwrap();
        file.write_all_at(image, 0).unwrap();
        let bits = damaged(image, &words, at, way);
        let damage = || file.write_all_at(&bits.to_ne_bytes(), at as u64 * 8).unwrap();
        let in_use = (at as u64 + way) % 2 == 1;
        limit_time();
        // On a thread of its own, after which no thread is attached.
        let used = std::thread::scope(|scope| {
            scope.spawn(|| use_it(place, in_use, damage)).join().expect("it panics")
        });
        println!("{}", if used { "used" } else { "refused" });
    }
}

#[test]
fn damaged_words_end_no_process_and_keep_none_busy() {
    let name = "damaged_words_end_no_process_and_keep_none_busy";
    if let Some((role, place)) = role() {
        match &role[..] {
            "makes" => make(&place),
            "dies" => die(&place),
            numbers => {
                let (from, to) = numbers.split_once("..").unwrap();
                let image = std::fs::read(place.with_extension("image")).unwrap();
                damage_and_use(&place, &image, from.parse().unwrap()..to.parse().unwrap());
            }
        }
        return;
    }
    let workers: Vec<Outcome> = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..WORKERS).map(|part| scope.spawn(move || work(name, part))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let wrong: Vec<String> = workers.iter().flat_map(|it| it.wrong.clone()).collect();
    let used: usize = workers.iter().map(|it| it.used).sum();
    let refused: usize = workers.iter().map(|it| it.refused).sum();
    println!("{used} used, {refused} refused");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(used > 9 * refused, "too few to mean something: {used}, and {refused} refused");
}

#[derive(Default)]
struct Outcome {
    used: usize,
    refused: usize,
    wrong: Vec<String>,
}

/// Goes through one of the parts of all cases.
fn work(name: &str, part: usize) -> Outcome {
    let place = Place::new();
    let image = image(name, &place);
    let kept = place.path().with_extension("image");
    std::fs::write(&kept, &image).unwrap();
    let (count, mut done) = (cases(&words(&image)).len(), Outcome::default());
    let mut next = count * part / WORKERS;
    let end = count * (part + 1) / WORKERS;
    println!("cases {next} to {end}, {} bytes", image.len());
    while next < end {
        let mut child = command(name, &format!("{next}..{end}"), place.path()).spawn().unwrap();
        let mut last = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            done.used += usize::from(line == "used");
            done.refused += usize::from(line == "refused");
            // (The harness puts its own words before the first.)
            if let Some(at) = line.find("case ") {
                line[at..].clone_into(&mut last);
                next += 1;
            }
        }
        let status = child.wait().unwrap();
        if !status.success() {
            let how = status.signal().map_or("a panic".to_owned(), |signal| match signal {
                libc::SIGPROF => format!("no end in {SECONDS} s"),
                other => format!("signal {other}"),
            });
            println!("{last}: {how}");
            done.wrong.push(format!("{last}: {how}"));
        }
    }
    std::fs::remove_file(kept).unwrap();
    done
}
