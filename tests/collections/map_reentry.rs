//! Code of the user's that uses a `TMap` while an operation of the same map, in the same transaction,
//! runs it: closures, comparisons of keys, and the loop around an iterator.

use contempo::collections::TMap;
use contempo::{StmResult, Transaction, atomically, snapshot};
use proptest::prelude::*;
use std::borrow::Borrow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

/// What one step does, and what the code does that it runs.
#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u32),
    Remove(u16),
    Fill(u16),
    Clear,
    Upsert(u16, u32, Vec<Step>),
    GetOrInsert(u16, u32, Vec<Step>),
    Update(u16, u32, Vec<Step>),
    /// A removal that compares keys: the first comparison does the steps.
    RemoveComparing(u16, Vec<Step>),
    UpdateComparing(u16, u32, Vec<Step>),
    /// A loop over the entries: the first rounds do the steps, one each.
    Iterate(Vec<Step>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || prop_oneof![0..8_u16, 0..100_u16];
    let leaf = prop_oneof![
        12 => (key(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        8 => key().prop_map(Step::Remove),
        2 => (0..8_u16).prop_map(Step::Fill),
        1 => Just(Step::Clear),
    ];
    let step = leaf.prop_recursive(3, 48, 6, move |inner| {
        let part = || prop::collection::vec(inner.clone(), 0..6);
        prop_oneof![
            (key(), any::<u32>(), part()).prop_map(|(k, v, inner)| Step::Upsert(k, v, inner)),
            (key(), any::<u32>(), part()).prop_map(|(k, v, inner)| Step::GetOrInsert(k, v, inner)),
            (key(), any::<u32>(), part()).prop_map(|(k, v, inner)| Step::Update(k, v, inner)),
            (key(), part()).prop_map(|(k, inner)| Step::RemoveComparing(k, inner)),
            (key(), any::<u32>(), part())
                .prop_map(|(k, v, inner)| Step::UpdateComparing(k, v, inner)),
            part().prop_map(Step::Iterate),
        ]
    });
    prop::collection::vec(step, 1..30)
}

/// What keys are looked up by: it may do something when it is compared.
trait Look {
    fn key(&self) -> u16;
    fn compared(&self) {}
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Key(u16);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Look for Key {
    fn key(&self) -> u16 {
        self.0
    }
}

impl<'a> Borrow<dyn Look + 'a> for Key {
    fn borrow(&self) -> &(dyn Look + 'a) {
        self
    }
}

impl PartialEq for dyn Look + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.compared();
        other.compared();
        self.key() == other.key()
    }
}

impl Eq for dyn Look + '_ {}

impl Hash for dyn Look + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

/// Does something when it is first compared.
struct Meddler<'a> {
    key: u16,
    meddle: RefCell<Option<Box<dyn FnOnce() + 'a>>>,
}

impl Look for Meddler<'_> {
    fn key(&self) -> u16 {
        self.key
    }

    fn compared(&self) {
        let meddle = self.meddle.borrow_mut().take();
        if let Some(meddle) = meddle {
            meddle();
        }
    }
}

type Model = HashMap<u16, u32>;

/// The map and its model, in one transaction of one thread (which nothing interrupts).
struct Both<'r, 'tx, S> {
    tx: &'r Transaction<'tx>,
    map: &'r TMap<Key, u32, S>,
    model: RefCell<Model>,
    /// Keys that were touched since a loop began.
    touched: RefCell<HashSet<u16>>,
}

fn mixed(before: Option<u32>, value: u32) -> u32 {
    before.unwrap_or(7).wrapping_mul(31) ^ value
}

impl<S: BuildHasher> Both<'_, '_, S> {
    fn run(&self, steps: &[Step]) -> StmResult<()> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn inner(&self, steps: &[Step]) {
        self.run(steps).expect("one thread");
    }

    fn insert(&self, key: u16, value: u32) -> StmResult<()> {
        self.touched.borrow_mut().insert(key);
        let before = self.map.insert(self.tx, Key(key), value)?.copied();
        assert_eq!(before, self.model.borrow_mut().insert(key, value));
        Ok(())
    }

    fn get(&self, key: u16) -> Option<u32> {
        self.model.borrow().get(&key).copied()
    }

    /// A key that does the steps when it is compared.
    fn meddler<'a>(&'a self, key: u16, steps: &'a [Step]) -> Meddler<'a> {
        Meddler { key, meddle: RefCell::new(Some(Box::new(|| self.inner(steps)))) }
    }

    fn step(&self, step: &Step) -> StmResult<()> {
        let (tx, map) = (self.tx, self.map);
        match step {
            Step::Insert(key, value) => self.insert(*key, *value)?,
            Step::Remove(key) => {
                self.touched.borrow_mut().insert(*key);
                let before = map.remove(tx, &Key(*key))?.copied();
                assert_eq!(before, self.model.borrow_mut().remove(key));
            }
            // Enough of them to make every bucket split.
            Step::Fill(from) => {
                (0..60).try_for_each(|n| self.insert(100 + from * 30 + n, n.into()))?;
            }
            Step::Clear => {
                map.clear(tx)?;
                self.touched.borrow_mut().extend(self.model.borrow_mut().drain().map(|it| it.0));
            }
            Step::Upsert(key, value, inner) => {
                let make = |before: Option<&u32>| {
                    assert_eq!(before.copied(), self.get(*key));
                    self.inner(inner);
                    mixed(before.copied(), *value)
                };
                let made = Cell::new(0);
                let before = map.upsert(tx, Key(*key), |before| {
                    made.set(make(before));
                    made.get()
                })?;
                self.touched.borrow_mut().insert(*key);
                assert_eq!(before.copied(), self.model.borrow_mut().insert(*key, made.get()));
            }
            Step::GetOrInsert(key, value, inner) => {
                let now = *map.get_or_insert_with(tx, Key(*key), || {
                    assert_eq!(self.get(*key), None);
                    self.inner(inner);
                    *value
                })?;
                self.touched.borrow_mut().insert(*key);
                assert_eq!(now, *self.model.borrow_mut().entry(*key).or_insert(*value));
            }
            Step::Update(key, value, inner) => self.update(&Key(*key), *value, inner)?,
            Step::UpdateComparing(key, value, inner) => {
                self.update(&self.meddler(*key, inner), *value, &[])?;
            }
            Step::RemoveComparing(key, inner) => {
                let before = map.remove::<dyn Look>(tx, &self.meddler(*key, inner))?.copied();
                self.touched.borrow_mut().insert(*key);
                assert_eq!(before, self.model.borrow_mut().remove(key));
            }
            Step::Iterate(inner) => self.iterate(inner)?,
        }
        self.agrees()
    }

    fn update(&self, key: &dyn Look, value: u32, inner: &[Step]) -> StmResult<()> {
        let (made, there) = (Cell::new(0), self.get(key.key()).is_some());
        let before = self.map.update(self.tx, key, |before| {
            self.inner(inner);
            made.set(mixed(Some(*before), value));
            made.get()
        })?;
        if before.is_none() && !there {
            return Ok(()); // It may have been inserted by the comparison that has not found it.
        }
        self.touched.borrow_mut().insert(key.key());
        assert_eq!(before.copied(), self.get(key.key()));
        self.model.borrow_mut().entry(key.key()).and_modify(|now| *now = made.get());
        Ok(())
    }

    /// Each entry that stays is visited once, and none that is not there.
    fn iterate(&self, inner: &[Step]) -> StmResult<()> {
        let outer = self.touched.take();
        let begun: BTreeSet<u16> = self.model.borrow().keys().copied().collect();
        let (mut inner, mut visited) = (inner.iter(), Vec::new());
        for entry in self.map.iter(self.tx) {
            let (key, value) = entry?;
            assert_eq!(self.get(key.0), Some(*value), "no such entry");
            visited.push(key.0);
            if let Some(step) = inner.next() {
                self.step(step)?;
            }
        }
        let touched = self.touched.borrow();
        let stayed = |key: &&u16| !touched.contains(key);
        let mut seen: Vec<u16> = visited.iter().filter(stayed).copied().collect();
        seen.sort_unstable();
        assert!(seen.iter().eq(begun.iter().filter(stayed)), "{seen:?} of {begun:?}");
        drop(touched);
        self.touched.borrow_mut().extend(outer);
        Ok(())
    }

    fn agrees(&self) -> StmResult<()> {
        let model = self.model.borrow();
        assert_eq!(self.map.len(self.tx)?, model.len());
        let entries: StmResult<Vec<_>> = self.map.iter(self.tx).collect();
        let entries: Vec<_> = entries?.into_iter().map(|(key, value)| (key.0, *value)).collect();
        assert_eq!(entries.len(), model.len(), "an entry was lost or doubled");
        assert_eq!(entries.into_iter().collect::<Model>(), *model);
        for (key, value) in &*model {
            assert_eq!(self.map.get(self.tx, &Key(*key))?, Some(value));
        }
        Ok(())
    }
}

/// With entries behind pointers, and with such that lie in the buckets.
fn agrees_with_the_model<S: BuildHasher + Default>(steps: &[Step]) {
    map_agrees::<S>(&TMap::default(), steps);
    map_agrees(&TMap::compact_with_hasher(S::default()), steps);
}

fn map_agrees<S: BuildHasher>(map: &TMap<Key, u32, S>, steps: &[Step]) {
    let half = steps.len() / 2;
    let mut model = Model::new();
    // Two transactions: what the second meets is committed, not its own.
    for steps in [&steps[..half], &steps[half..]] {
        model = atomically(|tx| {
            let both =
                Both { tx, map, model: RefCell::new(model.clone()), touched: RefCell::default() };
            both.run(steps)?;
            Ok(both.model.into_inner())
        });
        let entries = snapshot(|view| map.iter(view).map(|(k, v)| (k.0, *v)).collect::<Vec<_>>());
        assert_eq!((entries.len(), map.count()), (model.len(), model.len()));
        assert_eq!(entries.into_iter().collect::<Model>(), model);
    }
}

/// Few hashes: that of a key is its lowest bits.
#[derive(Default)]
struct Few<const MASK: u64>(u64);

impl<const MASK: u64> Hasher for Few<MASK> {
    fn finish(&self) -> u64 {
        self.0 & MASK
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 =
            bytes.iter().fold(self.0, |sum, byte| sum << 8 | u64::from(*byte)).swap_bytes() >> 48;
    }
}

/// As many cases as `PROPTEST_CASES` says, or few.
fn config() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let few = ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 100 });
    if asked { ProptestConfig::default() } else { few }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn reentrant(steps in steps()) {
        agrees_with_the_model::<RandomState>(&steps);
    }

    #[test]
    fn reentrant_with_equal_hashes(steps in steps()) {
        agrees_with_the_model::<BuildHasherDefault<Few<0>>>(&steps);
    }

    #[test]
    fn reentrant_with_few_hashes(steps in steps()) {
        agrees_with_the_model::<BuildHasherDefault<Few<0xF0>>>(&steps);
    }

    /// Keys that are their hashes: one split after the other.
    #[test]
    fn reentrant_in_order(steps in steps()) {
        agrees_with_the_model::<BuildHasherDefault<Few<0xFFFF>>>(&steps);
    }
}

/// Results that are made of each other.
#[test]
fn a_table_is_filled_by_recursion() {
    fn fibonacci(tx: &Transaction<'_>, table: &TMap<u64, u64>, n: u64) -> StmResult<u64> {
        if n < 2 {
            return Ok(n);
        }
        let mut failed = Ok(());
        let value = *table.get_or_insert_with(tx, n, || {
            let sum = fibonacci(tx, table, n - 1)
                .and_then(|one| fibonacci(tx, table, n - 2).map(|other| one + other));
            sum.unwrap_or_else(|error| {
                failed = Err(error);
                0
            })
        })?;
        failed.map(|()| value)
    }
    let table = TMap::new();
    assert_eq!(atomically(|tx| fibonacci(tx, &table, 60)), 1_548_008_755_920);
    let keys: BTreeSet<u64> = snapshot(|view| table.keys(view).copied().collect());
    assert!(keys.into_iter().eq(2..=60));
    assert_eq!(table.count(), 59);
}

/// The closure inserts into the bucket, or splits it.
#[test]
fn what_a_closure_inserts_stays() {
    let map: TMap<u16, u64, BuildHasherDefault<Few<0xFFFF>>> = TMap::default();
    atomically(|tx| {
        map.get_or_insert_with(tx, 1, || {
            map.insert(tx, 17, 170).unwrap(); // The same bucket.
            10
        })?;
        map.upsert(tx, 60_000, |_| {
            (300..3000).for_each(|key| assert_eq!(map.insert(tx, key, 0).unwrap(), None));
            0
        })
        .map(drop)
    });
    assert_eq!((map.load(&1), map.load(&17), map.count()), (Some(10), Some(170), 2703));
    let keys: Vec<u16> = snapshot(|view| map.keys(view).copied().collect());
    assert_eq!(keys.len(), 2703);
    assert!(keys.iter().all(|key| map.discard(key)));
    assert_eq!((map.count(), snapshot(|view| map.keys(view).count())), (0, 0));
}

/// What the operations mean whose closure changes the key itself.
#[test]
fn what_a_closure_does_comes_first() {
    let map: TMap<u8, u32> = TMap::new();
    atomically(|tx| {
        let inner = |value| map.insert(tx, 1, value).map(|_| ()).unwrap();
        // The value that is there is never replaced.
        assert_eq!(
            map.get_or_insert_with(tx, 1, || {
                inner(5);
                6
            })?,
            &5
        );
        // What was replaced is what the closure has left.
        assert_eq!(
            map.upsert(tx, 1, |before| {
                inner(7);
                before.unwrap() + 3
            })?,
            Some(&7)
        );
        assert_eq!(map.get(tx, &1)?, Some(&8));
        assert_eq!(
            map.update(tx, &1, |before| {
                inner(9);
                before + 2
            })?,
            Some(&9)
        );
        assert_eq!(map.get(tx, &1)?, Some(&10));
        let remove = || map.remove(tx, &1).map(drop).unwrap();
        // Nothing is there to be replaced.
        assert_eq!(
            map.update(tx, &1, |_| {
                remove();
                11
            })?,
            None
        );
        assert!(!map.contains_key(tx, &1)?);
        map.insert(tx, 1, 12)?;
        assert_eq!(
            map.upsert(tx, 1, |_| {
                remove();
                13
            })?,
            None
        );
        assert_eq!((map.get(tx, &1)?, map.len(tx)?), (Some(&13), 1));
        Ok(())
    });
}
