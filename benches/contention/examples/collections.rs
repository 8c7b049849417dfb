//! Single operations on collections, each in a transaction of its own, beside what people use instead: two threads at
//! a time, both sides in turns, so that what else the machine does meets both. Prints medians of ratios.
//!
//! ```text
//! cargo run --release -p contention --example collections -- [--quick] [NAME]
//! ```
//!
//! With `--count N NAME PEER` it does N operations of that row, and nothing else, on one thread: for a tool that counts
//! instructions, once with N and once with 2N. `ours` is no peer.

use contempo::collections::{
    TBoundedQueue, TBroadcast, TChannel, TCounter, TDeque, TMap, TOrderedMap, TPriorityQueue,
    TQueue, TSemaphore, TSet,
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

/// Operations per second of these threads, in so much time.
fn rate(operation: &Operation, counted: std::ops::Range<usize>, time: Duration) -> f64 {
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
        let rates: Vec<f64> =
            threads.into_iter().map(|thread| thread.join().unwrap_or(0.0)).collect();
        rates[counted].iter().sum()
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
    let ours: TMap<u64, u64> = fill().collect();
    let (dash, paper): (dashmap::DashMap<u64, u64>, papaya::HashMap<u64, u64>) =
        (fill().collect(), fill().collect());
    let store = Row {
        name: "map store",
        ours: operation(move |_, n| ours.store(n % KEYS, n)),
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
    vec![get, store, update, set]
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
    vec![get, change, range, long_ranges()]
}

/// One thread sums all of 10,000 keys, the other replaces: only ours sees them all at one moment without a lock.
fn long_ranges() -> Row {
    let fill = || (0..KEYS).map(|key| (key, key));
    let ours: TOrderedMap<u64, u64> = fill().collect();
    let locked = Mutex::new(fill().collect::<BTreeMap<_, _>>());
    let skip: crossbeam_skiplist::SkipMap<u64, u64> = fill().collect();
    Row {
        name: "ordered map range of 10,000 beside a writer",
        ours: operation(move |thread, n| match thread {
            0 => ours.store(n % KEYS, n),
            _ => {
                black_box(snapshot(|view| {
                    ours.range(view, ..).map(|(_, n)| *n).fold(0, u64::wrapping_add)
                }));
            }
        }),
        peers: vec![
            (
                "Mutex<BTreeMap>",
                operation(move |thread, n| {
                    let mut map = locked.lock();
                    if thread == 0 {
                        map.insert(n % KEYS, n);
                    } else {
                        black_box(map.values().copied().fold(0, u64::wrapping_add));
                    }
                }),
            ),
            (
                "skiplist",
                operation(move |thread, n| {
                    if thread == 0 {
                        skip.insert(n % KEYS, n);
                    } else {
                        let all = skip.iter().map(|entry| *entry.value());
                        black_box(all.fold(0, u64::wrapping_add));
                    }
                }),
            ),
        ],
    }
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

/// What goes from thread to thread, and what they wait for. Each operation does both halves.
fn handing_over() -> Vec<Row> {
    let channel = TChannel::bounded(256);
    let (send, receive) = tokio::sync::mpsc::channel(256);
    let receive = Mutex::new(receive);
    let (to, from) = crossbeam_channel::bounded(256);
    for n in 0..100_u64 {
        let _ = (channel.try_send_now(n), send.try_send(n), to.send(n));
    }
    let channel = Row {
        name: "channel send, receive",
        ours: operation(move |_, n| {
            let _ = channel.try_send_now(n);
            black_box(channel.try_recv_now().ok());
        }),
        peers: vec![
            (
                "tokio mpsc (its receiver in a Mutex)",
                operation(move |_, n| {
                    let _ = send.try_send(n);
                    black_box(receive.lock().try_recv().ok());
                }),
            ),
            (
                "crossbeam-channel",
                operation(move |_, n| {
                    let _ = to.try_send(n);
                    black_box(from.try_recv().ok());
                }),
            ),
        ],
    };
    // Each thread sends, and takes what is next in a subscription of its own; items that it was too slow for are passed.
    let ours = TBroadcast::new(256);
    let subscribers = [ours.subscribe_now(), ours.subscribe_now()];
    let (send, receive) = tokio::sync::broadcast::channel(256);
    let receivers = [Mutex::new(receive), Mutex::new(send.subscribe())];
    let broadcast = Row {
        name: "broadcast send, receive",
        ours: operation(move |thread, n| {
            let _ = ours.send_now(n);
            black_box(
                atomically(|tx| Ok(subscribers[thread].try_recv(tx)?.map(|n| n.copied()))).ok(),
            );
        }),
        peers: vec![(
            "tokio broadcast",
            operation(move |thread, n| {
                let _ = send.send(n);
                black_box(receivers[thread].lock().try_recv().ok());
            }),
        )],
    };
    let (ours, theirs) = (TSemaphore::new(2), tokio::sync::Semaphore::new(2));
    let semaphore = Row {
        name: "semaphore acquire, release",
        ours: operation(move |_, _| drop(ours.blocking_acquire(1))),
        peers: vec![("tokio Semaphore", operation(move |_, _| drop(theirs.try_acquire())))],
    };
    vec![channel, broadcast, semaphore]
}

/// The cache of the example of that name, which keeps half of the keys.
fn cache() -> Vec<Row> {
    let cache = cache::Cache::new(KEYS / 2, Duration::from_secs(3600));
    let moka = moka::sync::Cache::builder().max_capacity(KEYS / 2);
    let moka = moka.time_to_live(Duration::from_secs(3600)).build();
    let start = Instant::now();
    vec![Row {
        name: "cache get or load",
        ours: operation(move |_, n| {
            // Keys that come often, and some that do not.
            let key = (n % KEYS).min(n / KEYS % KEYS);
            black_box(cache.get_or_load(&key, start, || (n, 1)));
        }),
        peers: vec![(
            "moka",
            operation(move |_, n| {
                let key = (n % KEYS).min(n / KEYS % KEYS);
                black_box(moka.get_with(key, || n));
            }),
        )],
    }]
}

/// That of the example, which is a program of its own.
#[allow(dead_code, unreachable_pub, reason = "the example has more")]
#[path = "../../../examples/cache.rs"]
mod cache;

fn rows() -> impl Iterator<Item = Row> {
    [maps, ordered, queues, others, handing_over, cache].into_iter().flat_map(|rows| rows())
}

/// Does nothing but that.
fn repeat(times: u64, name: &str, peer: &str) {
    let Some(row) = rows().find(|row| row.name == name) else { return };
    let theirs = row.peers.iter().find(|(name, _)| *name == peer).map(|(_, theirs)| theirs);
    let operation = theirs.unwrap_or(&row.ours);
    let mut state = 0x9E37_79B9_7F4A_7C15;
    (0..times).for_each(|_| operation(0, random(&mut state)));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    if let [count, times, name, peer] = &arguments[..]
        && count == "--count"
    {
        return repeat(times.parse().unwrap_or(0), name, peer);
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with('-'));
    let (rounds, time) = if quick { (5, 20) } else { (15, 60) };
    let time = Duration::from_millis(time);
    println!(
        "| operation | ns | beside | their ns | ratio of rates |\n| --- | --- | --- | --- | --- |"
    );
    for row in rows() {
        if wanted.is_some_and(|wanted| !row.name.contains(wanted.as_str())) {
            continue;
        }
        for (peer, theirs) in &row.peers {
            // Beside a writer only the other thread counts.
            let counted = usize::from(row.name.ends_with("beside a writer"))..THREADS;
            let rate = |operation| rate(operation, counted.clone(), time);
            let pairs: Vec<(f64, f64)> =
                (0..rounds).map(|_| (rate(&row.ours), rate(theirs))).collect();
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
