//! What threads do to collections, recorded attempt by attempt, and judged by the checker of histories: opaque, and
//! strictly serializable.
//!
//! Each key is always in one of two maps, a hashed and an ordered one, with a value that no other write has: so that a
//! look-up tells which write it has seen, also where it finds nothing. The deque has two items at least; each is its
//! own name, so the front and the back say which push and which pop came last.

use crate::world::next;
use contempo::collections::{TDeque, TMap, TOrderedMap};
use contempo::{StmResult, Transaction, atomically, snapshot};
use contempo_verify::checker::{Attempt, History, check};
use std::sync::atomic::{AtomicU64, Ordering};

const KEYS: usize = 12;
/// What the checker calls cells: one for each key, and these.
const FRONT: usize = KEYS;
const BACK: usize = KEYS + 1;

struct Shared {
    hashed: TMap<usize, u64>,
    ordered: TOrderedMap<usize, u64>,
    deque: TDeque<u64>,
    events: AtomicU64,
    names: AtomicU64,
}

impl Shared {
    fn new() -> Self {
        Shared {
            hashed: (0..KEYS).map(|key| (key, key as u64)).collect(),
            ordered: TOrderedMap::new(),
            deque: TDeque::from([100, 101]),
            events: AtomicU64::new(1),
            names: AtomicU64::new(1000),
        }
    }

    fn event(&self) -> u64 {
        self.events.fetch_add(1, Ordering::SeqCst)
    }

    fn name(&self) -> u64 {
        self.names.fetch_add(1, Ordering::Relaxed)
    }

    fn attempt(&self, thread: usize) -> Attempt {
        Attempt { thread, kind: "collections", begin: self.event(), ..Attempt::default() }
    }

    /// Reads a key, replaces its value, or moves it to the other map.
    fn on_key(
        &self,
        tx: &Transaction<'_>,
        attempt: &mut Attempt,
        key: usize,
        what: u64,
    ) -> StmResult<()> {
        let there = self.hashed.get(tx, &key)?.copied();
        let version = match there {
            Some(version) => version,
            None => *self.ordered.get(tx, &key)?.expect("it is in one of both"),
        };
        attempt.reads.push((key, version));
        let new = self.name();
        match (what % 4, there.is_some()) {
            (0, _) => return Ok(()),
            (1, true) => _ = self.hashed.insert(tx, key, new)?,
            (1, false) => _ = self.ordered.insert(tx, key, new)?,
            (_, true) => {
                self.hashed.remove(tx, &key)?;
                assert_eq!(self.ordered.insert(tx, key, new)?, None);
            }
            (_, false) => {
                self.ordered.remove(tx, &key)?;
                assert_eq!(self.hashed.insert(tx, key, new)?, None);
            }
        }
        attempt.writes.push((key, version, new));
        Ok(())
    }

    /// Adds an item, or takes one if two are left then.
    fn on_deque(&self, tx: &Transaction<'_>, attempt: &mut Attempt, what: u64) -> StmResult<()> {
        if what.is_multiple_of(2) {
            let (back, new) = (*self.deque.back(tx)?.expect("two items"), self.name());
            attempt.reads.push((BACK, back));
            self.deque.push_back(tx, new)?;
            attempt.writes.push((BACK, back, new));
        } else if self.deque.get(tx, 2)?.is_some() {
            let front = *self.deque.pop_front(tx)?;
            attempt.reads.push((FRONT, front));
            let next = *self.deque.front(tx)?.expect("two items");
            attempt.writes.push((FRONT, front, next));
        }
        Ok(())
    }

    /// All that there is, at one moment.
    fn look(&self) -> Vec<(usize, u64)> {
        snapshot(|view| {
            let entries = self.hashed.iter(view).chain(self.ordered.iter(view));
            let mut all: Vec<_> = entries.map(|(key, version)| (*key, *version)).collect();
            all.sort_unstable();
            assert!(all.iter().map(|(key, _)| *key).eq(0..KEYS), "{all:?}");
            let mut items = self.deque.iter(view).copied();
            let ends = [(FRONT, items.next()), (BACK, items.next_back())];
            all.extend(ends.map(|(end, item)| (end, item.expect("two items"))));
            all
        })
    }
}

/// Random transactions and snapshots of one thread; all attempts.
fn work(shared: &Shared, thread: usize, transactions: u32) -> Vec<Attempt> {
    let mut state = 0x9E37_79B9_7F4A_7C15 ^ (thread as u64) << 40;
    let mut done = Vec::new();
    for _ in 0..transactions {
        let plan = next(&mut state);
        if plan.is_multiple_of(8) {
            let mut attempt = shared.attempt(thread);
            attempt.reads = shared.look();
            (attempt.end, attempt.committed) = (shared.event(), true);
            done.push(attempt);
            continue;
        }
        let mut present: Option<Attempt> = None;
        atomically(|tx| {
            if let Some(mut failed) = present.take() {
                failed.end = shared.event();
                failed.writes.clear();
                done.push(failed);
            }
            let attempt = present.insert(shared.attempt(thread));
            let (mut key, mut plan) = (plan as usize % KEYS, plan >> 8);
            for _ in 0..plan % 4 {
                shared.on_key(tx, attempt, key, plan >> 4)?;
                key = (key + 1) % KEYS;
                plan >>= 6;
            }
            if plan.is_multiple_of(3) { shared.on_deque(tx, attempt, plan >> 8) } else { Ok(()) }
        });
        let mut attempt = present.expect("it has run");
        (attempt.end, attempt.committed) = (shared.event(), true);
        done.push(attempt);
    }
    done
}

#[test]
fn histories_of_collections_are_strictly_serializable() {
    for _ in 0..3 {
        let shared = Shared::new();
        let attempts = std::thread::scope(|scope| {
            let threads = [0, 1, 2].map(|thread| {
                let shared = &shared;
                scope.spawn(move || work(shared, thread, 400))
            });
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let first = (0..KEYS as u64).chain([100, 101]).collect();
        let last = shared.look().into_iter().map(|(_, version)| version).collect();
        let mut history = History { first, last, attempts };
        let order = check(&history, |_| String::new()).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert_eq!(order.len(), history.attempts.len());
        // It would be seen if one had read what was before: here, what was there in the beginning.
        let late = history.attempts.iter().rposition(|attempt| {
            attempt.committed
                && attempt.reads.iter().any(|(key, version)| *key < KEYS && *version > 999)
        });
        let read = late.and_then(|late| {
            history.attempts[late]
                .reads
                .iter_mut()
                .find(|(key, version)| *key < KEYS && *version > 999)
        });
        let (key, version) = read.expect("there is one");
        *version = *key as u64;
        check(&history, |_| String::new()).expect_err("a stale read was missed");
    }
}
