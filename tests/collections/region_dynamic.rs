//! Dictionaries, lists and blobs of regions against those of std: sequentially, then by threads, then by processes that
//! are killed.

use crate::support::collections::{config, sound};
use crate::support::region::{Place, play, role};
use contempo::shared::dynamic::{Blob, Dictionary, List};
use contempo::shared::{
    Cell, Interrupt, NoBlock, Options, Reader, Shared, Transaction, TransactionError,
};
use proptest::prelude::*;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug)]
enum Step {
    Insert(Vec<u8>, u16),
    Remove(Vec<u8>),
    RemoveNth(usize),
    Clear,
    Push(u16),
    Set(usize, u16),
    Pop,
}

/// Mostly few keys, so that they meet; some long ones.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => prop::collection::vec(0..40_u8, 0..2),
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 900..3_000_usize).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn bodies() -> impl Strategy<Value = Vec<(Vec<Step>, bool)>> {
    // Lengths on both sides of each place where a value is laid elsewhere.
    let length =
        || prop_oneof![6 => 0..20_u16, 2 => 0..2_000_u16, 1 => 0..40_000_u16, 1 => any::<u16>()];
    let step = prop_oneof![
        16 => (key(), length()).prop_map(|(key, length)| Step::Insert(key, length)),
        6 => key().prop_map(Step::Remove),
        6 => any::<usize>().prop_map(Step::RemoveNth),
        1 => Just(Step::Clear),
        6 => length().prop_map(Step::Push),
        4 => (0..20_usize, length()).prop_map(|(index, length)| Step::Set(index, length)),
        3 => Just(Step::Pop),
    ];
    let steps = prop::collection::vec(step, 1..40);
    prop::collection::vec((steps, prop::bool::weighted(0.2)), 1..8)
}

fn bytes(length: u16) -> Vec<u8> {
    (0..length).map(|n| (n ^ length) as u8).collect()
}

/// As many references as fit to a length: none, one, or some.
fn references(length: u16, cell: Cell<[u8]>) -> Vec<Cell<[u8]>> {
    vec![cell; [0, 1, 3][usize::from(length % 3)]]
}

/// What both should be: entries as they were inserted, items as they were pushed; each by its length.
#[derive(Clone, Default)]
struct Model {
    entries: Vec<(Vec<u8>, u16)>,
    items: Vec<u16>,
}

fn agree<'a>(
    at: &impl Reader<'a>,
    (dictionary, list): (Dictionary, List),
    model: &Model,
) -> Result<(), Interrupt> {
    let in_order = dictionary.in_order(at)?;
    let mut seen = Vec::new();
    for (key, content) in &in_order {
        let value = content.bytes(at)?;
        seen.push((key.to_vec(), value.len() as u16));
        assert_eq!(*value, bytes(value.len() as u16));
        let named = content.references().collect::<Vec<_>>();
        assert_eq!(named, references(value.len() as u16, list.cell()));
    }
    assert_eq!(seen, model.entries);
    assert_eq!(dictionary.len(at)?, model.entries.len());
    assert_eq!(dictionary.is_empty(at)?, model.entries.is_empty());
    let mut all: Vec<Vec<u8>> = Vec::new();
    for entry in dictionary.iter(at) {
        all.push(entry?.0.to_vec());
    }
    all.sort();
    let mut keys: Vec<_> = model.entries.iter().map(|(key, _)| key.clone()).collect();
    keys.sort();
    assert_eq!(all, keys);
    assert_eq!(list.len(at)?, model.items.len());
    for (item, length) in list.iter(at).zip(&model.items) {
        let item = item?;
        assert_eq!(*item.bytes(at)?, bytes(*length));
        let named = item.references().collect::<Vec<_>>();
        assert_eq!(named, references(*length, dictionary.cell()));
    }
    assert!(list.get(at, model.items.len())?.is_none());
    Ok(())
}

fn run(
    tx: &Transaction<'_>,
    (dictionary, list): (Dictionary, List),
    steps: &[Step],
    model: &mut Model,
) -> Result<(), Interrupt> {
    for step in steps {
        let remove = |key: &[u8], model: &mut Model| {
            let place = model.entries.iter().position(|entry| entry.0 == key);
            assert_eq!(dictionary.remove(tx, key)?, place.is_some());
            place.map(|place| model.entries.remove(place));
            Ok(())
        };
        match step {
            Step::Insert(key, length) => {
                let (value, names) = (bytes(*length), references(*length, list.cell()));
                let was_there = dictionary.insert(tx, key, &value, &names)?;
                match model.entries.iter_mut().find(|entry| entry.0 == *key) {
                    Some(entry) => entry.1 = *length,
                    None => model.entries.push((key.clone(), *length)),
                }
                let is_there = dictionary.get(tx, key)?.expect("it was inserted");
                assert_eq!(*is_there.bytes(tx)?, value);
                let before = model.entries.len() - usize::from(!was_there);
                assert!(before <= model.entries.len());
            }
            Step::Remove(key) => remove(key, model)?,
            Step::RemoveNth(n) if !model.entries.is_empty() => {
                let key = model.entries[n % model.entries.len()].0.clone();
                remove(&key, model)?;
            }
            Step::RemoveNth(_) => {}
            Step::Clear => {
                dictionary.clear(tx)?;
                list.clear(tx)?;
                *model = Model::default();
            }
            Step::Push(length) => {
                let names = references(*length, dictionary.cell());
                assert_eq!(list.push(tx, &bytes(*length), &names)?, model.items.len());
                model.items.push(*length);
            }
            Step::Set(index, length) => {
                let names = references(*length, dictionary.cell());
                let is_there = list.set(tx, *index, &bytes(*length), &names)?;
                assert_eq!(is_there, *index < model.items.len());
                if is_there {
                    model.items[*index] = *length;
                }
            }
            Step::Pop => assert_eq!(list.pop(tx)?, model.items.pop().is_some()),
        }
    }
    agree(tx, (dictionary, list), model)
}

proptest! {
    #![proptest_config(config())]
    /// Whatever a program does, and whichever of its transactions fail: both hold what those of std would, and nothing
    /// is left when they have gone.
    #[test]
    fn they_behave_like_those_of_std(bodies in bodies()) {
        let place = Place::new();
        let shared = Shared::create(&place, &Options::new().most_bytes(256 << 20)).unwrap();
        let cells = shared.verify().cells;
        let both = shared
            .atomically(|tx| Ok((Dictionary::create(tx)?, List::create(tx)?)))
            .unwrap();
        let mut model = Model::default();
        for (steps, fails) in &bodies {
            let mut after = model.clone();
            let outcome = shared.atomically(|tx| {
                after = model.clone();
                run(tx, both, steps, &mut after)?;
                if *fails { tx.cancel() } else { Ok(()) }
            });
            prop_assert_eq!(outcome.is_err(), *fails);
            if !fails {
                model = after;
            }
            shared.snapshot(|view| agree(view, both, &model)).unwrap();
        }
        shared.atomically(|tx| { both.0.free(tx)?; both.1.free(tx) }).unwrap();
        sound(&shared);
        prop_assert_eq!(shared.verify().cells, cells);
    }
}

#[test]
fn blobs_of_every_length_come_back() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new().most_bytes(512 << 20)).unwrap();
    let cells = shared.verify().cells;
    for length in [0, 1, 32_455, 32_456, 32_457, 64_912, 64_913, 1_000_000, 70_000_000] {
        let bytes: Vec<u8> = (0..length).map(|n: u32| (n >> 3) as u8 ^ n as u8).collect();
        let blob = shared.atomically(|tx| Blob::create(tx, &bytes)).unwrap();
        let (read, said) =
            shared.snapshot(|view| Ok((blob.read(view)?.into_owned(), blob.len(view)?))).unwrap();
        assert!(read == bytes && said == bytes.len(), "{length}");
        assert_eq!(shared.snapshot(|view| blob.is_empty(view)).unwrap(), length == 0);
        shared.atomically(|tx| blob.free(tx)).unwrap();
        shared.collect().unwrap();
        assert_eq!(shared.verify().cells, cells, "{length}");
    }
    sound(&shared);
}

/// Errors that end the transaction, and nothing else.
#[test]
fn what_does_not_fit_is_an_error() {
    let (place, other_place) = (Place::new(), Place::new());
    let shared = Shared::create(&place, &Options::new().most_bytes(16 << 20)).unwrap();
    let other = Shared::create(&other_place, &Options::new()).unwrap();
    let (dictionary, list) =
        (Dictionary::root(&shared, "map").unwrap(), List::root(&shared, "list").unwrap());
    let foreign = Dictionary::root(&other, "map").unwrap().cell();
    let own = vec![dictionary.cell(); 5_000];
    let too_large =
        |outcome| matches!(outcome, Err(TransactionError::NoBlock(NoBlock::TooLarge { .. })));
    let insert = |key: &[u8], names: &[Cell<[u8]>]| {
        shared.atomically(|tx| dictionary.insert(tx, key, b"", names).map(drop))
    };
    assert!(too_large(insert(&[0; 16_385], &[])) && too_large(insert(b"", &own)));
    assert!(too_large(shared.atomically(|tx| list.push(tx, b"", &own).map(drop))));
    assert!(matches!(insert(b"", &[foreign]), Err(TransactionError::OtherRegion)));
    let whole = shared.atomically(|tx| Blob::create(tx, &vec![0; 17 << 20]));
    assert!(matches!(whole, Err(TransactionError::NoBlock(NoBlock::BeyondLimit { .. }))));
    // The longest of all that fit, in one bucket.
    for n in 0..3 {
        insert(&[n; 16_384], &own[..1_024]).unwrap();
    }
    shared
        .snapshot(|view| {
            assert_eq!((dictionary.len(view)?, list.len(view)?), (3, 0));
            for n in 0..3 {
                let found = dictionary.get(view, &[n; 16_384])?.expect("it fits");
                assert_eq!(found.references().count(), 1_024);
            }
            Ok(())
        })
        .unwrap();
    for (name, cells) in [("map", 2), ("list", 1)] {
        assert!(shared.remove_root(name).unwrap(), "{name}");
        shared.collect().unwrap();
        assert!(shared.verify().cells >= cells);
    }
    sound(&shared);
    assert_eq!((shared.roots().unwrap().len(), shared.verify().cells), (0, 1));
}

/// Inserts, one after the other, of which each has seen the one before: in this order, whichever thread it was.
#[test]
fn entries_are_in_the_order_of_their_transactions() {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    let all = Dictionary::root(&shared, "all").unwrap();
    let next = shared.root("next", 0_u32).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..300 {
                    shared
                        .atomically(|tx| {
                            let n = tx.read(next)?;
                            tx.write(next, &(n + 2))?;
                            all.insert(tx, &n.to_ne_bytes(), b"", &[])?;
                            all.insert(tx, &(n + 1).to_ne_bytes(), b"", &[])
                        })
                        .unwrap();
                }
            });
        }
    });
    let keys: Vec<Vec<u8>> = shared
        .snapshot(|view| Ok(all.in_order(view)?.iter().map(|(key, _)| key.to_vec()).collect()))
        .unwrap();
    assert!(keys.into_iter().eq((0..1_800_u32).map(|n| n.to_ne_bytes().to_vec())));
}

/// Moves tokens among keys for ever: a value has as many bytes as the key has tokens.
fn move_tokens(shared: &Shared, seed: u64, stop: &AtomicBool) {
    let tokens = Dictionary::root(shared, "tokens").unwrap();
    let mut random = seed;
    while !stop.load(Ordering::Relaxed) {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (from, to) = ((random >> 40) as u8 % 64, (random >> 50) as u8 % 64);
        let step = 1 + (random >> 60) as usize * 700;
        let outcome = shared.atomically(|tx| {
            let held = |key: u8| -> Result<usize, Interrupt> {
                let found = tokens.get(tx, &[key])?;
                found.map_or(Ok(0), |found| Ok(found.bytes(tx)?.len()))
            };
            let here = held(from)?;
            if from == to || here == 0 {
                return Ok(());
            }
            let moved = step.min(here);
            let there = held(to)? + moved;
            match here - moved {
                0 => assert!(tokens.remove(tx, &[from])?),
                left => assert!(tokens.insert(tx, &[from], &vec![0; left], &[])?),
            }
            tokens.insert(tx, &[to], &vec![0; there], &[])?;
            Ok(())
        });
        outcome.unwrap();
    }
}

fn tokens(shared: &Shared) -> usize {
    let tokens = Dictionary::root(shared, "tokens").unwrap();
    shared
        .snapshot(|view| {
            let mut sum = 0;
            for entry in tokens.iter(view) {
                sum += entry?.1.bytes(view)?.len();
            }
            Ok(sum)
        })
        .unwrap()
}

/// Two threads, and children that are killed while they are at it: no token is lost, no block either.
#[test]
fn the_killed_lose_nothing() {
    if let Some((_, place)) = role() {
        let shared = Shared::open(place).unwrap();
        println!("at work");
        move_tokens(&shared, std::process::id().into(), &AtomicBool::new(false));
        return;
    }
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new().most_bytes(64 << 20)).unwrap();
    let all = Dictionary::root(&shared, "tokens").unwrap();
    let many = vec![0; 20_000];
    shared
        .atomically(|tx| (0..10).try_for_each(|key| all.insert(tx, &[key], &many, &[]).map(drop)))
        .unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (shared, stop) = (&shared, &stop);
        (1..3).for_each(|seed| drop(scope.spawn(move || move_tokens(shared, seed, stop))));
        for _ in 0..8 {
            let mut child = play("the_killed_lose_nothing", "mover", place.path());
            let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            while !line.contains("at work") {
                line.clear();
                assert!(
                    std::io::BufRead::read_line(&mut said, &mut line).unwrap() > 0,
                    "it has died"
                );
            }
            // Some commits of anyone: it is in the middle of something by then.
            for _ in 0..20 {
                assert_eq!(tokens(shared), 200_000);
            }
            child.kill().unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(9));
            shared.reap().unwrap();
            assert_eq!(tokens(shared), 200_000);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(tokens(&shared), 200_000);
    sound(&shared);
    shared.remove_root("tokens").unwrap();
    sound(&shared);
    assert_eq!(shared.verify().cells, 1);
}
