//! Code of the user's that runs inside operations of an ordered map: comparisons of keys, the body of a loop.

use crate::world::next;
use contempo::collections::TOrderedMap;
use contempo::{StmResult, Transaction, atomically, snapshot};
use std::borrow::Borrow;
use std::cell::Cell;
use std::cmp::Ordering as Order;
use std::collections::BTreeMap;

/// What keys are looked up by: it may do something when it is compared.
trait Look {
    fn key(&self) -> u32;
    fn compared(&self) {}
}

impl Look for u32 {
    fn key(&self) -> u32 {
        *self
    }
}

impl<'a> Borrow<dyn Look + 'a> for u32 {
    fn borrow(&self) -> &(dyn Look + 'a) {
        self
    }
}

impl PartialEq for dyn Look + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}

impl Eq for dyn Look + '_ {}

impl PartialOrd for dyn Look + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for dyn Look + '_ {
    fn cmp(&self, other: &Self) -> Order {
        self.compared();
        other.compared();
        self.key().cmp(&other.key())
    }
}

/// Does something at the n-th comparison.
struct Meddling<'x> {
    key: u32,
    left: Cell<u32>,
    meddle: &'x dyn Fn(),
}

impl Look for Meddling<'_> {
    fn key(&self) -> u32 {
        self.key
    }

    fn compared(&self) {
        match self.left.get() {
            0 => {}
            1 => {
                self.left.set(0);
                (self.meddle)();
            }
            left => self.left.set(left - 1),
        }
    }
}

type Meddle = fn(&Transaction<'_>, &TOrderedMap<u32, u32>) -> StmResult<()>;

/// Comparisons that use the map while it is used: what they do comes first, and nothing of it is lost.
#[test]
fn comparisons_may_use_the_map() {
    let meddles: [(&str, Meddle); 5] = [
        ("inserts the key", |tx, map| map.insert(tx, 500, 1).map(drop)),
        ("inserts neighbours", |tx, map| {
            (480..520).try_for_each(|n| map.insert(tx, n * 2 + 1, 1).map(drop))
        }),
        ("removes the key", |tx, map| map.remove(tx, &500_u32).map(drop)),
        ("removes most", |tx, map| (3..990).try_for_each(|n| map.remove(tx, &n).map(drop))),
        ("clears", |tx, map| map.clear(tx)),
    ];
    for (what, meddle) in meddles {
        for at in 1..30 {
            for is_there in [false, true] {
                let new = || {
                    let map: TOrderedMap<u32, u32> = (0..400).map(|n| (n * 5 / 2, n)).collect();
                    atomically(|tx| match is_there {
                        true => map.insert(tx, 500, 0).map(drop),
                        false => map.remove(tx, &500_u32).map(drop),
                    });
                    map
                };
                let contents = |map: &TOrderedMap<u32, u32>| -> BTreeMap<u32, u32> {
                    snapshot(|view| {
                        let all: BTreeMap<u32, u32> =
                            map.iter(view).map(|(key, value)| (*key, *value)).collect();
                        assert_eq!((map.len(view), map.iter(view).count()), (all.len(), all.len()));
                        all
                    })
                };
                // As if it had been done before.
                let plain = new();
                let map = new();
                let mut meddled = false;
                let removed = atomically(|tx| {
                    let done = Cell::new(false);
                    let meddling = Meddling {
                        key: 500,
                        left: Cell::new(at),
                        meddle: &|| {
                            meddle(tx, &map).unwrap();
                            done.set(true);
                        },
                    };
                    let removed = map.remove::<dyn Look>(tx, &meddling)?.copied();
                    meddled = done.get();
                    Ok(removed)
                });
                let expected = atomically(|tx| {
                    if meddled {
                        meddle(tx, &plain)?;
                    }
                    Ok(plain.remove(tx, &500_u32)?.copied())
                });
                assert_eq!(removed, expected, "{what} at {at}");
                assert_eq!(contents(&map), contents(&plain), "{what} at {at}");
            }
        }
    }
}

/// An order that contradicts itself loses entries at most.
#[test]
fn an_order_that_makes_no_sense_does_no_harm() {
    struct Odd(u64);
    impl PartialEq for Odd {
        fn eq(&self, other: &Self) -> bool {
            self.cmp(other) == Order::Equal
        }
    }
    impl Eq for Odd {}
    impl PartialOrd for Odd {
        fn partial_cmp(&self, other: &Self) -> Option<Order> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Odd {
        fn cmp(&self, other: &Self) -> Order {
            match ((self.0 * 31) ^ (other.0 * 17)) % 3 {
                0 => Order::Less,
                1 => Order::Greater,
                _ => Order::Equal,
            }
        }
    }
    let map = TOrderedMap::new();
    let mut random = 7;
    for _ in 0..3000 {
        let (key, remove) = (next(&mut random) % 500, next(&mut random).is_multiple_of(3));
        atomically(|tx| match remove {
            true => map.remove(tx, &Odd(key)).map(drop),
            false => map.insert(tx, Odd(key), 0).map(drop),
        });
        snapshot(|view| map.range(view, Odd(key)..).take(1000).count());
        atomically(|tx| Ok(map.range(tx, ..Odd(key)).rev().take(1000).count()));
    }
    atomically(|tx| map.clear(tx));
    assert!(snapshot(|view| map.is_empty(view)));
}

/// Each entry that stays is visited once, with the value that it has then; one that was removed is not.
#[test]
fn a_loop_may_change_what_it_goes_through() {
    let map: TOrderedMap<u32, u32> = (0..300).map(|n| (n, 0)).collect();
    for back in [false, true] {
        let visited = atomically(|tx| {
            (0..300).try_for_each(|n| map.insert(tx, n, 0).map(drop))?;
            let mut visited = Vec::new();
            let mut range = map.range::<_, u32, _>(tx, 50..250);
            while let Some(entry) = if back { range.next_back() } else { range.next() } {
                let (key, value) = entry?;
                visited.push((*key, *value));
                if key % 4 == 0 {
                    // What comes next goes, what comes after that changes, and there is more.
                    let after = |n: u32| if back { key - n } else { key + n };
                    map.remove(tx, &after(1))?;
                    map.insert(tx, after(2), 7)?;
                    (1000..1020).try_for_each(|n| map.insert(tx, key * 1000 + n, 1).map(drop))?;
                }
            }
            let more: Vec<u32> = map
                .range::<_, u32, _>(tx, 300..)
                .map(|entry| entry.map(|(key, _)| *key))
                .collect::<Result<_, _>>()?;
            more.iter().try_for_each(|key| map.remove(tx, key).map(drop))?;
            Ok(visited)
        });
        let gone = |n: &u32| if back { n % 4 == 3 } else { n % 4 == 1 };
        let expected = (50..250).filter(|n| !gone(n)).map(|n| (n, if n % 4 == 2 { 7 } else { 0 }));
        let mut expected: Vec<(u32, u32)> = expected.collect();
        // The ends of the range have no entry before them that could change them.
        if back {
            expected.reverse();
        }
        for (found, expected) in visited.iter().zip(&expected).skip(2) {
            assert_eq!(found, expected);
        }
        assert!(visited.len().abs_diff(expected.len()) <= 1, "{visited:?}");
    }
}
