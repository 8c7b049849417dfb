//! A ring whose slots know their turn: so one cell says all that a push, or a pop, must know.
//!
//! Positions are counted from 0 on and never used again; the slot of a position is that modulo the number of slots. A
//! slot holds the position that it serves: empty, until the item of that position is pushed; then that item; and once
//! that is popped, it is empty for the position one round later.
//!
//! # Invariants
//!
//! - The position of the front is not above that of the back, and no more than the number of slots below it.
//! - *Filled* are the positions below that of the back, *taken* those below that of the front. Once true, both stay true.
//!
//! # One cell
//!
//! That all positions below `p` are filled, and that the slot of `p` is empty for `p`, is all that a push at `p` must
//! know. The first is a fact that stays true; so a thread that has learnt it changes the one cell of the slot, and no
//! other ([`Lane::push_alone`]). Facts are kept in plain atomics, which only what has committed is written to. Likewise a
//! pop.
//!
//! A transaction cannot learn from facts alone, since it may read a moment before them. It has a cell for each end, in
//! which transactions note how far they have come, and looks from there ([`Look::end`]): facts tell it where.

use super::reader::Reader;
use super::ring::{End, Look, Ring, Span, slot};
use super::slots::Ends;
use contempo_core::{Interrupt, StmResult, TVar, Transaction};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, Ordering};

/// What is in a slot.
pub(super) enum State<T> {
    Empty,
    Full(T),
    /// Empty, and nothing will be pushed here, nor at any later position.
    Closed,
}

/// A slot.
pub(super) struct Numbered<T> {
    /// The position that it serves.
    turn: i64,
    pub(super) state: State<T>,
}

impl<T> Numbered<T> {
    fn item(&self) -> Option<&T> {
        match &self.state {
            State::Full(item) => Some(item),
            State::Empty | State::Closed => None,
        }
    }

    /// Is this position behind the end, as far as this slot tells, which is that of the position?
    fn is_passed(&self, end: End, position: i64) -> bool {
        self.turn > position || (end == End::Back && self.turn == position && self.item().is_some())
    }
}

/// A position that an end has reached for sure: on cache lines of its own.
#[repr(align(128))]
struct Fact(AtomicI64);

pub(super) struct Lane<T: Send + Sync + 'static> {
    pub(super) ends: Ends,
    front: Fact,
    back: Fact,
    slots: Box<[TVar<Numbered<T>>]>,
}

/// What a thread found at an end, alone.
pub(super) enum Found<R> {
    /// It has done it.
    Done(R),
    /// Nothing can be done: it is full, or empty.
    Nothing,
    /// The lane is closed.
    Closed,
}

/// What a slot was like for a thread that had come to its position.
#[derive(Clone, Copy)]
enum Seen {
    Passed,
    NotYet,
    Closed,
}

impl<T: Send + Sync + 'static> Lane<T> {
    pub(super) fn new(slots: usize) -> Self {
        let slot = |turn| TVar::new(Numbered { turn, state: State::Empty });
        Lane {
            ends: Ends::new(),
            front: Fact(AtomicI64::new(0)),
            back: Fact(AtomicI64::new(0)),
            slots: (0..slots as i64).map(slot).collect(),
        }
    }

    /// Names its cells for the contention report.
    pub(super) fn set_name(&self, name: &str) {
        self.ends.set_name(name);
        for (number, slot) in self.slots.iter().enumerate() {
            slot.set_name(format!("{name}: slot {number}"));
        }
    }

    pub(super) fn cell(&self, position: i64) -> &TVar<Numbered<T>> {
        &self.slots[slot(self, position)]
    }

    fn fact(&self, end: End) -> &AtomicI64 {
        match end {
            End::Front => &self.front.0,
            End::Back => &self.back.0,
        }
    }

    /// A position that this end has reached, or passed.
    pub(super) fn reached(&self, end: End) -> i64 {
        // Acquire, partner: the store in `learn`. What made it true was committed before what this thread begins next.
        self.fact(end).load(Ordering::Acquire)
    }

    /// It is true now that this end has come to `position`.
    fn learn(&self, end: End, position: i64) {
        // Release, partner: the load in `reached`: the commit that made it true happens before. A later fact may be written
        // over by an earlier one, which is true, too.
        self.fact(end).store(position, Ordering::Release);
    }

    /// The slot of `position` was found to be passed: learns how far others have come.
    #[cold]
    fn catch_up(&self, end: End, position: i64) {
        self.learn(end, (position + 1).max(self.ends.of(end).load()));
    }

    /// What was seen of a slot by a thread that is at `position` with what it wants there.
    fn seen(slot: &Numbered<T>, end: End, position: i64) -> Seen {
        match slot.state {
            _ if slot.is_passed(end, position) => Seen::Passed,
            State::Closed => Seen::Closed,
            State::Empty | State::Full(_) => Seen::NotYet,
        }
    }

    /// Adds an item at the back by a change of one cell, where it may; gives it back if that cannot be done now.
    #[track_caller]
    pub(super) fn push_alone(
        &self,
        value: T,
        mut may: impl FnMut(i64) -> bool,
    ) -> (Found<()>, Option<T>) {
        let mut value = Some(value);
        loop {
            let position = self.reached(End::Back);
            if !may(position) {
                return (Found::Nothing, value);
            }
            let Some(item) = value.take() else { unreachable!("given back below") };
            let mut seen = Seen::NotYet;
            let new = Numbered { turn: position, state: State::Full(item) };
            let stored = self.cell(position).store_if(new, |slot| {
                seen = Self::seen(slot, End::Back, position);
                slot.turn == position && matches!(slot.state, State::Empty)
            });
            match stored {
                Ok(()) => {
                    self.learn(End::Back, position + 1);
                    return (Found::Done(()), None);
                }
                Err(Numbered { state: State::Full(item), .. }) => value = Some(item),
                Err(_) => unreachable!("what comes back is what was given"),
            }
            match seen {
                Seen::Passed => self.catch_up(End::Back, position),
                Seen::NotYet => return (Found::Nothing, value),
                Seen::Closed => return (Found::Closed, value),
            }
        }
    }

    /// Takes the item at the front by a change of one cell.
    #[track_caller]
    pub(super) fn pop_alone(&self) -> Found<T>
    where
        T: Clone,
    {
        loop {
            let position = self.reached(End::Front);
            let result = self.cell(position).try_update_with(|slot| match &slot.state {
                State::Full(item) if slot.turn == position => {
                    (Some(self.emptied(position)), Ok(item.clone()))
                }
                _ => (None, Err(Self::seen(slot, End::Front, position))),
            });
            match result {
                Ok(item) => {
                    self.learn(End::Front, position + 1);
                    return Found::Done(item);
                }
                Err(Seen::Passed) => self.catch_up(End::Front, position),
                Err(Seen::NotYet) => return Found::Nothing,
                Err(Seen::Closed) => return Found::Closed,
            }
        }
    }

    /// Is the slot behind this one, which is that of the back, known to hold no item? That stays so as long as nothing is
    /// pushed here.
    pub(super) fn has_more_room(&self, position: i64) -> bool {
        position + 1 - (self.slots.len() as i64) < self.reached(End::Front)
    }

    /// The slot of a position that is taken: it waits for the next round.
    fn emptied(&self, position: i64) -> Numbered<T> {
        Numbered { turn: position.wrapping_add(self.slots.len() as i64), state: State::Empty }
    }

    /// Closes this empty slot, which is that of the back: nothing is pushed any more.
    pub(super) fn close_at(&self, tx: &Transaction<'_>, position: i64) -> StmResult<()> {
        tx.write(self.cell(position), Numbered { turn: position, state: State::Closed })
    }

    /// The end, which is at `from` or above it: by halving what is left between what the slots say.
    #[cold]
    fn search<'a, R: Reader<'a>>(&self, at: &R, end: End, from: i64) -> Result<i64, R::Error> {
        let (slots, first) = (self.slots.len() as i64, at.cell(self.cell(from))?);
        // The first slot says in which round the end is. Not above the end, and not below it:
        let is_full = end == End::Back && first.item().is_some();
        let mut above = first.turn + if is_full { slots } else { 0 };
        let mut below = (above - slots + 1).max(from);
        while below < above {
            let middle = below + (above - below) / 2;
            if at.cell(self.cell(middle))?.is_passed(end, middle) {
                below = middle + 1;
            } else {
                above = middle;
            }
        }
        Ok(below)
    }
}

impl<T: Send + Sync + 'static> Ring for &Lane<T> {
    type Transaction<'tx> = Transaction<'tx>;
    type Interrupt = Interrupt;
    type Value = T;
    type Item<'a> = &'a T;

    fn slots(self) -> usize {
        self.slots.len()
    }

    fn set_end(self, tx: &Transaction<'_>, end: End, position: i64) -> StmResult<()> {
        tx.write(self.ends.of(end), position)
    }

    fn fill(self, tx: &Transaction<'_>, position: i64, value: T) -> StmResult<()> {
        tx.write(self.cell(position), Numbered { turn: position, state: State::Full(value) })
    }

    fn vacate(self, tx: &Transaction<'_>, position: i64) -> StmResult<()> {
        tx.write(self.cell(position), self.emptied(position))
    }
}

impl<'a, T: Send + Sync + 'static, R: Reader<'a>> Look<'a, &Lane<T>> for R {
    type Error = R::Error;

    const WRITES: bool = R::WRITES;

    fn end(&self, lane: &Lane<T>, end: End) -> Result<i64, R::Error> {
        // What transactions have noted is true here. What is a fact now may not have been true at this moment: unless the
        // slot before says so.
        let mut position = *self.cell(lane.ends.of(end))?;
        let fact = lane.reached(end);
        if fact > position && self.cell(lane.cell(fact - 1))?.is_passed(end, fact - 1) {
            position = fact;
        }
        if !self.cell(lane.cell(position))?.is_passed(end, position) {
            return Ok(position);
        }
        lane.search(self, end, position)
    }

    fn slot(&self, lane: &Lane<T>, slot: usize) -> Result<Option<&'a T>, R::Error> {
        Ok(self.cell(&lane.slots[slot])?.item())
    }
}

/// The items of a lane, from both ends. It is found anew at each step.
pub(super) struct Items<'r, 'a, R, L, T> {
    at: &'r R,
    lane: L,
    span: Span,
    _item: PhantomData<fn() -> &'a T>,
}

impl<'r, 'a, R, L, T> Items<'r, 'a, R, L, T>
where
    R: Reader<'a>,
    L: std::ops::Deref<Target = Lane<T>>,
    T: Send + Sync + 'static,
{
    pub(super) fn new(lane: L, at: &'r R) -> Self {
        Items { at, lane, span: Span::ALL, _item: PhantomData }
    }

    fn step(&mut self, end: End) -> Option<Result<&'a T, R::Error>> {
        let item = self.span.step(&*self.lane, self.at, end);
        if item.is_err() {
            self.span.end();
        }
        item.transpose()
    }
}

impl<'a, R, L, T> Iterator for Items<'_, 'a, R, L, T>
where
    R: Reader<'a>,
    L: std::ops::Deref<Target = Lane<T>>,
    T: Send + Sync + 'static,
{
    type Item = Result<&'a T, R::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(End::Front)
    }
}

impl<'a, R, L, T> DoubleEndedIterator for Items<'_, 'a, R, L, T>
where
    R: Reader<'a>,
    L: std::ops::Deref<Target = Lane<T>>,
    T: Send + Sync + 'static,
{
    fn next_back(&mut self) -> Option<Self::Item> {
        self.step(End::Back)
    }
}
