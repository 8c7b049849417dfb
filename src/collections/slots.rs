//! Rings of one process.

use super::reader::Reader;
use super::ring::{End, Look, Ring, Span, slot};
use contempo_core::{Interrupt, StmResult, TVar, Transaction};
use std::marker::PhantomData;

/// A slot, which holds an item or nothing.
pub(super) type Slot<T> = TVar<Option<T>>;

/// So many empty slots.
pub(super) fn slots<T: Send + Sync + 'static>(number: usize) -> Box<[Slot<T>]> {
    std::iter::repeat_with(|| TVar::new(None)).take(number).collect()
}

/// The indices of both ends.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) front: TVar<i64>,
    pub(super) back: TVar<i64>,
}

impl Ends {
    pub(super) fn new() -> Self {
        Ends { front: TVar::new(0), back: TVar::new(0) }
    }

    /// Names their cells for the contention report.
    pub(super) fn set_name(&self, name: &str) {
        self.front.set_name(format!("{name}: front"));
        self.back.set_name(format!("{name}: back"));
    }

    pub(super) fn of(&self, end: End) -> &TVar<i64> {
        match end {
            End::Front => &self.front,
            End::Back => &self.back,
        }
    }
}

/// A ring as it is at this moment.
pub(super) struct Slots<'q, T: Send + Sync + 'static> {
    pub(super) ends: &'q Ends,
    pub(super) slots: &'q [Slot<T>],
}

impl<T: Send + Sync + 'static> Clone for Slots<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for Slots<'_, T> {}

impl<T: Send + Sync + 'static> Ring for Slots<'_, T> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;
    type Value = T;
    type Item<'a> = &'a T;

    #[inline(always)]
    fn slots(self) -> usize {
        self.slots.len()
    }

    #[inline(always)]
    fn set_end(self, tx: &Transaction<'_>, end: End, index: i64) -> StmResult<()> {
        tx.write(self.ends.of(end), index)
    }

    #[inline(always)]
    fn fill(self, tx: &Transaction<'_>, index: i64, value: T) -> StmResult<()> {
        tx.write(&self.slots[slot(self, index)], Some(value))
    }

    #[inline(always)]
    fn vacate(self, tx: &Transaction<'_>, index: i64) -> StmResult<()> {
        tx.write(&self.slots[slot(self, index)], None)
    }
}

impl<'a, T: Send + Sync + 'static, R: Reader<'a>> Look<'a, Slots<'_, T>> for R {
    type Error = R::Error;

    const WRITES: bool = R::WRITES;

    #[inline(always)]
    fn end(&self, ring: Slots<'_, T>, end: End) -> Result<i64, R::Error> {
        self.cell(ring.ends.of(end)).copied()
    }

    #[inline(always)]
    fn slot(&self, ring: Slots<'_, T>, slot: usize) -> Result<Option<&'a T>, R::Error> {
        Ok(self.cell(&ring.slots[slot])?.as_ref())
    }
}

/// Calls what is given with the ring as it is when that is read.
pub(super) trait Find<'a, T: Send + Sync + 'static> {
    fn with<R: Reader<'a>, O>(
        &self,
        at: &R,
        then: impl FnOnce(Slots<'_, T>) -> Result<O, R::Error>,
    ) -> Result<O, R::Error>;
}

/// The items of a queue in a ring, which is found anew at each step: from both ends.
pub(super) struct Items<'r, 'a, R, F, T> {
    at: &'r R,
    ring: F,
    span: Span,
    _item: PhantomData<fn() -> &'a T>,
}

impl<'r, 'a, R: Reader<'a>, F: Find<'a, T>, T: Send + Sync + 'static> Items<'r, 'a, R, F, T> {
    pub(super) fn new(ring: F, at: &'r R) -> Self {
        Items { at, ring, span: Span::ALL, _item: PhantomData }
    }

    fn step(&mut self, end: End) -> Option<Result<&'a T, R::Error>> {
        let Items { at, ring, span, .. } = self;
        let item = ring.with(*at, |ring| span.step(ring, *at, end));
        if item.is_err() {
            self.span.end();
        }
        item.transpose()
    }
}

impl<'a, R: Reader<'a>, F: Find<'a, T>, T: Send + Sync + 'static> Iterator
    for Items<'_, 'a, R, F, T>
{
    type Item = Result<&'a T, R::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(End::Front)
    }
}

impl<'a, R: Reader<'a>, F: Find<'a, T>, T: Send + Sync + 'static> DoubleEndedIterator
    for Items<'_, 'a, R, F, T>
{
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(End::Back)
    }
}
