//! Cells as they are written by hand for one purpose: a mutex per cell, one atomic, and so on.

use super::cells::{Cells, Variables};
use crate::contenders::attempts;
use crate::contenders::contempo::Contempo;
use crate::contenders::monitors::Monitor;
use ::contempo::{TVar, Transaction, atomically_on};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// A mutex per cell, taken in ascending order: what a careful user writes without an STM.
pub(crate) struct Ordered<M>(Vec<M>);

impl<M: Monitor<u64>> Ordered<M> {
    /// Locks these cells in ascending order.
    fn lock(&self, at: &[usize]) -> Vec<M::Locked<'_>> {
        if at.is_sorted() {
            return at.iter().map(|&at| self.0[at].enter()).collect();
        }
        let mut sorted = at.to_vec();
        sorted.sort_unstable();
        sorted.into_iter().map(|at| self.0[at].enter()).collect()
    }
}

impl<M: Monitor<u64>> Cells for Ordered<M> {
    fn new(count: usize, value: u64) -> Self {
        Ordered((0..count).map(|_| M::monitor(value)).collect())
    }

    #[inline]
    fn update(&self, at: &[usize]) {
        match at {
            [at] => *self.0[*at].enter() += 1,
            _ => self.lock(at).iter_mut().for_each(|cell| **cell += 1),
        }
    }

    #[inline]
    fn read(&self, at: &[usize]) -> u64 {
        match at {
            [at] => *self.0[*at].enter(),
            _ => self.lock(at).iter().fold(0, |sum: u64, cell| sum.wrapping_add(**cell)),
        }
    }

    #[inline]
    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        let mut first = self.0[from.min(to)].enter();
        let mut second = self.0[from.max(to)].enter();
        let (from, to) =
            if from < to { (&mut *first, &mut *second) } else { (&mut *second, &mut *first) };
        let Some(rest) = from.checked_sub(amount) else { return false };
        *from = rest;
        *to += amount;
        true
    }

    #[inline]
    fn audit(&self) -> u64 {
        let locked: Vec<_> = self.0.iter().map(M::enter).collect();
        locked.iter().fold(0, |sum: u64, cell| sum.wrapping_add(**cell))
    }

    fn try_audit(&self) -> Option<u64> {
        let locked: Option<Vec<_>> = self.0.iter().map(M::try_enter).collect();
        Some(locked?.iter().fold(0, |sum: u64, cell| sum.wrapping_add(**cell)))
    }

    fn read_and_hold(&self, meanwhile: &dyn Fn()) {
        let _locked: Vec<_> = self.0.iter().map(M::enter).collect();
        meanwhile();
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        let mut locked = self.lock(at);
        locked.iter_mut().for_each(|cell| **cell += 1);
        meanwhile();
    }
}

/// contempo's variables, with the operations for one cell alone.
pub(crate) struct SingleCells(Variables<Contempo>);

impl Cells for SingleCells {
    fn new(count: usize, value: u64) -> Self {
        SingleCells(Variables::new(count, value))
    }

    #[inline]
    fn update(&self, at: &[usize]) {
        let [at] = at else { return self.0.update(at) };
        self.0.0[*at].update(|value| {
            attempts::count();
            value + 1
        });
    }

    #[inline]
    fn read(&self, at: &[usize]) -> u64 {
        let [at] = at else { return self.0.read(at) };
        attempts::count();
        self.0.0[*at].load()
    }

    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        self.0.transfer(from, to, amount)
    }

    fn audit(&self) -> u64 {
        self.0.audit()
    }

    const READS_WITHOUT_LOCK: bool = true;

    fn read_and_hold(&self, meanwhile: &dyn Fn()) {
        self.0.read_and_hold(meanwhile);
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        self.0.hold(at, meanwhile);
    }
}

/// contempo's variables; updates say beforehand which of them they need.
pub(crate) struct Declared(Variables<Contempo>);

impl Cells for Declared {
    fn new(count: usize, value: u64) -> Self {
        Declared(Variables::new(count, value))
    }

    #[inline]
    fn update(&self, at: &[usize]) {
        let cells = &self.0.0;
        let increment = |tx: &Transaction<'_>, cell| tx.modify(cell, |value| value + 1);
        match at {
            [at] => atomically_on(&cells[*at], |tx| {
                attempts::count();
                increment(tx, &cells[*at])
            }),
            // All of them, so no list need be made.
            _ if at.len() == cells.len() => atomically_on(&cells[..], |tx| {
                attempts::count();
                cells.iter().try_for_each(|cell| increment(tx, cell))
            }),
            _ => {
                let needed: Vec<&TVar<u64>> = at.iter().map(|&at| &cells[at]).collect();
                atomically_on(&needed[..], |tx| {
                    attempts::count();
                    needed.iter().try_for_each(|cell| increment(tx, cell))
                });
            }
        }
    }

    #[inline]
    fn update_undeclared(&self, at: usize) {
        self.0.update(&[at]);
    }

    #[inline]
    fn read(&self, at: &[usize]) -> u64 {
        self.0.read(at)
    }

    #[inline]
    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        let (from, to) = (&self.0.0[from], &self.0.0[to]);
        atomically_on((from, to), |tx| {
            attempts::count();
            let Some(rest) = tx.read(from)?.checked_sub(amount) else { return Ok(false) };
            tx.write(from, rest)?;
            tx.modify(to, |balance| balance + amount)?;
            Ok(true)
        })
    }

    #[inline]
    fn audit(&self) -> u64 {
        self.0.audit()
    }

    fn try_audit(&self) -> Option<u64> {
        self.0.try_audit()
    }

    const READS_WITHOUT_LOCK: bool = true;

    fn read_and_hold(&self, meanwhile: &dyn Fn()) {
        self.0.read_and_hold(meanwhile);
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        let cells = &self.0.0;
        let needed: Vec<&TVar<u64>> = at.iter().map(|&at| &cells[at]).collect();
        atomically_on(&needed[..], |tx| {
            needed.iter().try_for_each(|cell| tx.modify(cell, |value| value + 1))?;
            meanwhile();
            Ok(())
        });
    }
}

/// An atomic integer per cell. Operations on several are several operations: for workloads that
/// never touch more than one.
pub(crate) struct Atomics(Vec<AtomicU64>);

impl Cells for Atomics {
    fn new(count: usize, value: u64) -> Self {
        Atomics((0..count).map(|_| AtomicU64::new(value)).collect())
    }

    #[inline]
    fn update(&self, at: &[usize]) {
        at.iter().for_each(|&at| {
            self.0[at].fetch_add(1, Ordering::AcqRel);
        });
    }

    #[inline]
    fn read(&self, at: &[usize]) -> u64 {
        at.iter().fold(0, |sum: u64, &at| sum.wrapping_add(self.0[at].load(Ordering::Acquire)))
    }

    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        let enough = |balance: u64| balance.checked_sub(amount);
        let taken = self.0[from].fetch_update(Ordering::AcqRel, Ordering::Acquire, enough).is_ok();
        if taken {
            self.0[to].fetch_add(amount, Ordering::AcqRel);
        }
        taken
    }

    fn audit(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, cell| sum.wrapping_add(cell.load(Ordering::Acquire)))
    }

    fn read_and_hold(&self, meanwhile: &dyn Fn()) {
        meanwhile();
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        self.update(at);
        meanwhile();
    }
}

/// Mutexes that no two threads share: what the machine gives, and how fairly its scheduler deals
/// it out. Not a way to count, but a limit to compare with.
pub(crate) struct Unshared(Vec<Alone>);

#[repr(align(128))]
struct Alone(parking_lot::Mutex<u64>);

/// More than threads in a trial; two that meet nevertheless share one.
const SLOTS: usize = 1024;

thread_local! {
    static SLOT: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS
    };
}

impl Cells for Unshared {
    fn new(_count: usize, value: u64) -> Self {
        Unshared((0..SLOTS).map(|at| Alone(if at == 0 { value } else { 0 }.into())).collect())
    }

    #[inline]
    fn update(&self, _at: &[usize]) {
        *self.0[SLOT.with(|slot| *slot)].0.lock() += 1;
    }

    fn read(&self, _at: &[usize]) -> u64 {
        self.audit()
    }

    fn transfer(&self, _from: usize, _to: usize, _amount: u64) -> bool {
        self.update(&[]);
        true
    }

    fn audit(&self) -> u64 {
        self.0.iter().map(|alone| *alone.0.lock()).sum()
    }

    /// Each mutex is nearly always held, by a thread that may be waiting for its core.
    fn try_audit(&self) -> Option<u64> {
        None
    }

    fn read_and_hold(&self, meanwhile: &dyn Fn()) {
        meanwhile();
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        self.update(at);
        meanwhile();
    }
}
