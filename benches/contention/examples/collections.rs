//! Single operations on collections, each in a transaction of its own, beside what people use instead: two threads at
//! a time, both sides in turns, so that what else the machine does meets both. Prints medians of ratios.
//!
//! ```text
//! cargo run --release -p contention --example collections -- [--quick] [NAME]
//! ```

use contempo::collections::{
    TBoundedQueue, TCounter, TDeque, TMap, TOrderedMap, TPriorityQueue, TQueue, TSet,
};
use contempo::{atomically, snapshot};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

const THREADS: usize = 2;
const KEYS: u64 = 10_000;

/// One operation of a thread: which, and a random number.
type Operation = Box<dyn Fn(usize, u64) + Send + Sync>;

struct Row {
    name: &'static str,
    ours: Operation,
    peers: Vec<(&'static str, Operation)>,
}

fn operation(run: impl Fn(usize, u64) + Send + Sync + 'static) -> Operation {
    Box::new(run)
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Operations per second of all threads, in so much time.
fn rate(operation: &Operation, time: Duration) -> f64 {
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let start = &start;
                scope.spawn(move || {
                    let mut state = 0x9E37_79B9_7F4A_7C15 + thread as u64;
                    start.wait();
                    let (begin, mut operations) = (Instant::now(), 0_u64);
                    while begin.elapsed() < time {
                        for _ in 0..64 {
                            operation(thread, random(&mut state));
                        }
                        operations += 64;
                    }
                    operations as f64 / begin.elapsed().as_secs_f64()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0.0)).sum()
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn maps() -> Vec<Row> {
    let fill = || (0..KEYS).map(|key| (key, key));
    let ours: TMap<u64, u64> = fill().collect();
    let (dash, paper): (dashmap::DashMap<u64, u64>, papaya::HashMap<u64, u64>) =
        (fill().collect(), fill().collect());
    let get = Row {
        name: "map get",
        ours: operation(move |_, n| {
            black_box(ours.load(&(n % KEYS)));
        }),
        peers: vec![
            (
                "dashmap",
                operation(move |_, n| {
                    black_box(dash.get(&(n % KEYS)).map(|value| *value));
                }),
            ),
            (
                "papaya",
                operation(move |_, n| {
                    black_box(paper.pin().get(&(n % KEYS)).copied());
                }),
            ),
        ],
    };
    let ours: TMap<u64, u64> = fill().collect();
    let (dash, paper): (dashmap::DashMap<u64, u64>, papaya::HashMap<u64, u64>) =
        (fill().collect(), fill().collect());
    let update = Row {
        name: "map update",
        ours: operation(move |_, n| {
            atomically(|tx| ours.insert(tx, n % KEYS, n).map(drop));
        }),
        peers: vec![
            ("dashmap", operation(move |_, n| _ = dash.insert(n % KEYS, n))),
            (
                "papaya",
                operation(move |_, n| {
                    paper.pin().insert(n % KEYS, n);
                }),
            ),
        ],
    };
    let ours: TSet<u64> = (0..KEYS).step_by(2).collect();
    let dash: dashmap::DashSet<u64> = (0..KEYS).step_by(2).collect();
    let paper: papaya::HashSet<u64> = (0..KEYS).step_by(2).collect();
    let set = Row {
        name: "set insert or remove",
        ours: operation(move |_, n| {
            let item = n / 2 % KEYS;
            let _ = if n % 2 == 0 { ours.store(item) } else { ours.discard(&item) };
        }),
        peers: vec![
            (
                "dashmap",
                operation(move |_, n| {
                    let item = n / 2 % KEYS;
                    let _ =
                        if n % 2 == 0 { dash.insert(item) } else { dash.remove(&item).is_some() };
                }),
            ),
            (
                "papaya",
                operation(move |_, n| {
                    let (item, set) = (n / 2 % KEYS, paper.pin());
                    let _ = if n % 2 == 0 { set.insert(item) } else { set.remove(&item) };
                }),
            ),
        ],
    };
    vec![get, update, set]
}

fn ordered() -> Vec<Row> {
    let fill = || (0..KEYS).map(|key| (key, key));
    let ours: TOrderedMap<u64, u64> = fill().collect();
    let locked = Mutex::new(fill().collect::<BTreeMap<_, _>>());
    let skip: crossbeam_skiplist::SkipMap<u64, u64> = fill().collect();
    let get = Row {
        name: "ordered map get",
        ours: operation(move |_, n| {
            black_box(ours.load(&(n % KEYS)));
        }),
        peers: vec![
            (
                "Mutex<BTreeMap>",
                operation(move |_, n| {
                    black_box(locked.lock().get(&(n % KEYS)).copied());
                }),
            ),
            (
                "skiplist",
                operation(move |_, n| {
                    black_box(skip.get(&(n % KEYS)).map(|entry| *entry.value()));
                }),
            ),
        ],
    };
    let ours: TOrderedMap<u64, u64> = fill().collect();
    let locked = Mutex::new(fill().collect::<BTreeMap<_, _>>());
    let skip: crossbeam_skiplist::SkipMap<u64, u64> = fill().collect();
    let change = Row {
        name: "ordered map insert or remove",
        ours: operation(move |_, n| {
            let key = n / 2 % KEYS;
            if n % 2 == 0 { ours.store(key, n) } else { _ = ours.discard(&key) }
        }),
        peers: vec![
            (
                "Mutex<BTreeMap>",
                operation(move |_, n| {
                    let key = n / 2 % KEYS;
                    let mut map = locked.lock();
                    let _ = if n % 2 == 0 { map.insert(key, n) } else { map.remove(&key) };
                }),
            ),
            (
                "skiplist",
                operation(move |_, n| {
                    let key = n / 2 % KEYS;
                    if n % 2 == 0 { drop(skip.insert(key, n)) } else { drop(skip.remove(&key)) }
                }),
            ),
        ],
    };
    let ours: TOrderedMap<u64, u64> = fill().collect();
    let locked = Mutex::new(fill().collect::<BTreeMap<_, _>>());
    let skip: crossbeam_skiplist::SkipMap<u64, u64> = fill().collect();
    // One thread sums ranges of 100, the other replaces.
    let range = Row {
        name: "ordered map range beside a writer",
        ours: operation(move |thread, n| {
            let key = n % KEYS;
            if thread == 0 {
                ours.store(key, n);
            } else {
                black_box(snapshot(|view| {
                    ours.range(view, key..key + 100).map(|(_, n)| *n).fold(0, u64::wrapping_add)
                }));
            }
        }),
        peers: vec![
            (
                "Mutex<BTreeMap>",
                operation(move |thread, n| {
                    let (key, mut map) = (n % KEYS, locked.lock());
                    if thread == 0 {
                        map.insert(key, n);
                    } else {
                        black_box(
                            map.range(key..key + 100).map(|(_, n)| *n).fold(0, u64::wrapping_add),
                        );
                    }
                }),
            ),
            (
                "skiplist",
                operation(move |thread, n| {
                    let key = n % KEYS;
                    if thread == 0 {
                        skip.insert(key, n);
                    } else {
                        let range = skip.range(key..key + 100);
                        black_box(range.map(|entry| *entry.value()).fold(0, u64::wrapping_add));
                    }
                }),
            ),
        ],
    };
    vec![get, change, range]
}

/// Each operation adds an item and takes one.
fn queues() -> Vec<Row> {
    let peers = || {
        let (send, receive) = crossbeam_channel::unbounded();
        let locked = Mutex::new(VecDeque::new());
        (0..100).for_each(|n| {
            send.send(n).unwrap_or(());
            locked.lock().push_back(n);
        });
        vec![
            (
                "crossbeam-channel",
                operation(move |_, n| {
                    send.send(n).unwrap_or(());
                    black_box(receive.try_recv().ok());
                }),
            ),
            (
                "Mutex<VecDeque>",
                operation(move |_, n| {
                    locked.lock().push_back(n);
                    black_box(locked.lock().pop_front());
                }),
            ),
        ]
    };
    let queue: TQueue<u64> = (0..100).collect();
    let queue = Row {
        name: "queue push, pop",
        ours: operation(move |_, n| {
            queue.push_now(n);
            black_box(queue.blocking_pop());
        }),
        peers: peers(),
    };
    let deque: TDeque<u64> = (0..100).collect();
    let deque = Row {
        name: "deque push, pop",
        ours: operation(move |_, n| {
            deque.push_back_now(n);
            black_box(deque.blocking_pop_front());
        }),
        peers: peers(),
    };
    let bounded = TBoundedQueue::new(256);
    (0..100).for_each(|n| bounded.blocking_push(n));
    let (send, receive) = crossbeam_channel::bounded(256);
    (0..100).for_each(|n| send.send(n).unwrap_or(()));
    let bounded = Row {
        name: "bounded queue push, pop",
        ours: operation(move |_, n| {
            bounded.blocking_push(n);
            black_box(bounded.blocking_pop());
        }),
        peers: vec![(
            "crossbeam-channel",
            operation(move |_, n| {
                send.send(n).unwrap_or(());
                black_box(receive.recv().ok());
            }),
        )],
    };
    vec![queue, deque, bounded]
}

fn others() -> Vec<Row> {
    let queue: TPriorityQueue<u64> = (0..1000).collect();
    let heap = Mutex::new((0..1000).collect::<BinaryHeap<u64>>());
    let priority = Row {
        name: "priority queue push, pop",
        ours: operation(move |_, n| {
            queue.push_now(n);
            black_box(queue.blocking_pop());
        }),
        peers: vec![(
            "Mutex<BinaryHeap>",
            operation(move |_, n| {
                heap.lock().push(n);
                black_box(heap.lock().pop());
            }),
        )],
    };
    let (counter, atomic, locked) = (TCounter::new(), AtomicI64::new(0), Mutex::new(0_i64));
    let counter = Row {
        name: "counter add",
        ours: operation(move |_, _| counter.add_now(1)),
        peers: vec![
            (
                "atomic",
                operation(move |_, _| {
                    atomic.fetch_add(1, Ordering::Relaxed);
                }),
            ),
            ("Mutex", operation(move |_, _| *locked.lock() += 1)),
        ],
    };
    vec![priority, counter]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let (rounds, time) = if quick { (5, 20) } else { (15, 60) };
    let time = Duration::from_millis(time);
    println!(
        "| operation | ns, both threads | beside | their ns | ratio of rates |\n| --- | --- | --- | --- | --- |"
    );
    for row in [maps(), ordered(), queues(), others()].into_iter().flatten() {
        if wanted.is_some_and(|wanted| !row.name.contains(wanted.as_str())) {
            continue;
        }
        for (peer, theirs) in &row.peers {
            let pairs: Vec<(f64, f64)> =
                (0..rounds).map(|_| (rate(&row.ours, time), rate(theirs, time))).collect();
            let nanoseconds = |rates: Vec<f64>| 1e9 / median(rates);
            println!(
                "| {} | {:.0} | {peer} | {:.0} | {:.2} |",
                row.name,
                nanoseconds(pairs.iter().map(|pair| pair.0).collect()),
                nanoseconds(pairs.iter().map(|pair| pair.1).collect()),
                median(pairs.iter().map(|pair| pair.0 / pair.1).collect()),
            );
        }
    }
}
