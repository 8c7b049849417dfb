//! No synchronisation at all: what the work itself costs. One thread only.

use std::sync::atomic::{AtomicU64, Ordering};

/// Plain loads and stores, in effect: that is what relaxed ones compile to. They lose updates as
/// soon as there is a second thread.
pub(crate) struct Cells(Vec<AtomicU64>);

impl Cells {
    #[inline(always)]
    fn get(&self, at: usize) -> u64 {
        self.0[at].load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn set(&self, at: usize, value: u64) {
        self.0[at].store(value, Ordering::Relaxed);
    }
}

impl super::Cells for Cells {
    fn new(count: usize, value: u64) -> Self {
        Cells((0..count).map(|_| AtomicU64::new(value)).collect())
    }

    #[inline]
    fn update(&self, at: &[usize]) {
        at.iter().for_each(|&at| self.set(at, self.get(at) + 1));
    }

    #[inline]
    fn read(&self, at: &[usize]) -> u64 {
        at.iter().fold(0, |sum: u64, &at| sum.wrapping_add(self.get(at)))
    }

    #[inline]
    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        let Some(rest) = self.get(from).checked_sub(amount) else { return false };
        self.set(from, rest);
        self.set(to, self.get(to) + amount);
        true
    }

    #[inline]
    fn audit(&self) -> u64 {
        (0..self.0.len()).fold(0, |sum: u64, at| sum.wrapping_add(self.get(at)))
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        self.update(at);
        meanwhile();
    }
}
