//! What the feature `serde` promises: a snapshot goes out, and a new cell or collection comes in. A binary of its own,
//! since it needs that feature.

use contempo::collections::{TMap, TOrderedMap, TQueue, TVector};
use contempo::{ContentionReport, Statistics, TVar, atomically, snapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[derive(Serialize, Deserialize)]
struct Shop {
    name: TVar<String>,
    stock: TMap<String, TVar<u32>>,
    prices: TOrderedMap<u32, String>,
    shelf: TVector<u32>,
    queue: TQueue<(u32, String)>,
}

fn shop() -> Shop {
    Shop {
        name: TVar::new("corner".to_owned()),
        stock: (0..100).map(|n| (format!("article {n}"), TVar::new(n))).collect(),
        prices: (0..100).map(|n| (n, format!("{n} cents"))).collect(),
        shelf: (0..100).collect(),
        queue: (0..100).map(|n| (n, "customer".to_owned())).collect(),
    }
}

#[test]
fn what_goes_out_comes_in_again() {
    let text = serde_json::to_string(&shop()).unwrap();
    let copy: Shop = serde_json::from_str(&text).unwrap();
    // Of a hash map the order is open; all else is as it was.
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&serde_json::to_string(&copy).unwrap()), value(&text));
    assert_eq!(copy.stock.load("article 7").map(|cell| cell.load()), Some(7));
    snapshot(|view| {
        assert_eq!(copy.prices.get(view, &7).map(String::as_str), Some("7 cents"));
        assert!(copy.shelf.iter(view).copied().eq(0..100));
        assert!(copy.queue.iter(view).map(|(n, _)| *n).eq(0..100));
    });
    // New cells: a change of the one is none of the other.
    copy.name.store("copy".to_owned());
    assert_eq!(shop().name.load(), "corner");
    // An ordered map is written in the order of its keys.
    let keys: BTreeMap<u32, String> =
        serde_json::from_str(&serde_json::to_string(&copy.prices).unwrap()).unwrap();
    assert!(keys.into_keys().eq(0..100));
}

#[test]
fn of_equal_keys_the_last_one_counts_and_what_does_not_fit_is_an_error() {
    let map: TMap<String, u32> = serde_json::from_str(r#"{"a":1,"b":2,"a":3}"#).unwrap();
    assert_eq!((map.load("a"), snapshot(|view| map.len(view))), (Some(3), 2));
    let wrong = [r#"{"a":"x"}"#, "[1]", r#"{"a":1"#];
    for text in wrong {
        assert!(serde_json::from_str::<TMap<String, u32>>(text).is_err(), "{text}");
        assert!(serde_json::from_str::<TOrderedMap<String, u32>>(text).is_err(), "{text}");
    }
    assert!(serde_json::from_str::<TVar<u32>>("-1").is_err());
    assert!(serde_json::from_str::<TVector<u32>>("[1,-1]").is_err());
}

/// A total that transfers keep: in a value, in a collection, and over two cells that are serialized in one snapshot.
#[test]
fn what_goes_out_is_of_one_moment() {
    let map: TMap<u32, TVar<i64>> = (0..16).map(|n| (n, TVar::new(0))).collect();
    let nested = TVar::new(map.clone());
    let cells: Vec<TVar<i64>> = (0..16).map(|n| map.load(&n).unwrap()).collect();
    let over = AtomicBool::new(false);
    let total = |text: &str| -> i64 {
        serde_json::from_str::<BTreeMap<u32, i64>>(text).unwrap().into_values().sum()
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                atomically(|tx| {
                    tx.modify(&cells[n % 16], |value| value - 1)?;
                    tx.modify(&cells[(n * 7 + 1) % 16], |value| value + 1)
                });
            }
        });
        for _ in 0..200 {
            assert_eq!(total(&serde_json::to_string(&map).unwrap()), 0);
            assert_eq!(total(&serde_json::to_string(&nested).unwrap()), 0);
            let both = snapshot(|_| serde_json::to_string(&(&cells[..8], &cells[8..])).unwrap());
            let (left, right): (Vec<i64>, Vec<i64>) = serde_json::from_str(&both).unwrap();
            assert_eq!(left.iter().chain(&right).sum::<i64>(), 0, "{both}");
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn inside_of_a_transaction_it_is_an_error_and_no_panic() {
    let (cell, map) = (TVar::new(1), TMap::from([("a", 1)]));
    let errors = atomically(|tx| {
        tx.write(&cell, 2)?;
        Ok((serde_json::to_string(&cell).unwrap_err(), serde_json::to_string(&map).unwrap_err()))
    });
    for error in [errors.0, errors.1] {
        assert!(error.to_string().contains("inside of a transaction"), "{error}");
    }
    assert_eq!(serde_json::to_string(&cell).unwrap(), "2");
}

#[test]
fn statistics_and_reports_go_out_and_come_in() {
    let cell = TVar::named("till", 0);
    cell.store(1);
    let statistics = contempo::statistics();
    let text = serde_json::to_string(&statistics).unwrap();
    assert_eq!(serde_json::from_str::<Statistics>(&text).unwrap(), statistics);
    let entries: BTreeMap<String, u64> = serde_json::from_str(&text).unwrap();
    for (name, value, help) in statistics.entries() {
        assert_eq!(entries.get(name), Some(&value), "{name}");
        assert!(help.ends_with('.'), "{name}: {help}");
    }
    // What an older version has written lacks counts.
    assert_eq!(serde_json::from_str::<Statistics>("{}").unwrap(), Statistics::default());
    let report = contempo::contention_report(10);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<ContentionReport>(&text).unwrap(), report);
}
