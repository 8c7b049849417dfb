//! A queue with two ends in a ring of slots, once for every world.
//!
//! Each slot is a cell that holds an item or nothing, and so is the index of each end. An index only says which slot:
//! that modulo their number.
//!
//! # Invariants
//!
//! - The index of the front is not above that of the back, and no more than the number of slots below it.
//! - The slots from the front to before the back hold items, and no others do.
//!
//! So a slot says by itself whether the ring is full (the slot for a new item is taken) or empty (the first one is
//! not): what adds and what takes at the two ends read and write different cells, unless the ring is nearly empty or
//! nearly full, where they meet at one slot.
//!
//! No code of the user's runs here.

/// One of the two ends of a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Front,
    Back,
}

/// A ring of one world: how its cells are written.
pub(crate) trait Ring: Copy {
    type Transaction<'tx>: Look<'tx, Self, Error = Self::Interrupt>;
    type Interrupt;
    /// What is added.
    type Value;
    /// What is taken, or read.
    type Item<'a>;

    /// How many slots there are: one at least.
    fn slots(self) -> usize;

    /// Writes the index of an end.
    fn set_end(
        self,
        tx: &Self::Transaction<'_>,
        end: End,
        index: i64,
    ) -> Result<(), Self::Interrupt>;

    /// Puts an item into the empty slot of this index.
    fn fill(
        self,
        tx: &Self::Transaction<'_>,
        index: i64,
        value: Self::Value,
    ) -> Result<(), Self::Interrupt>;

    /// Empties the slot of this index.
    fn vacate(self, tx: &Self::Transaction<'_>, index: i64) -> Result<(), Self::Interrupt>;
}

/// Where a ring can be read: a transaction, or a snapshot.
pub(crate) trait Look<'a, C: Ring> {
    type Error;

    /// May what it reads change while it reads?
    const WRITES: bool;

    /// The index of an end: of the first item, or behind the last.
    fn end(&self, ring: C, end: End) -> Result<i64, Self::Error>;

    /// What is in a slot.
    fn slot(&self, ring: C, slot: usize) -> Result<Option<C::Item<'a>>, Self::Error>;
}

/// The slot of an index.
pub(crate) fn slot<C: Ring>(ring: C, index: i64) -> usize {
    let slots = ring.slots() as i64;
    // The remainder is at least 0 and below the number of slots, which is a `usize`.
    index.rem_euclid(slots) as usize
}

/// Where an item is added at this end, and what the index of the end is then. (In a region that is damaged an index may
/// be anything.)
fn outside(end: End, index: i64) -> (i64, i64) {
    match end {
        End::Front => (index.wrapping_sub(1), index.wrapping_sub(1)),
        End::Back => (index, index.wrapping_add(1)),
    }
}

/// Where the item at this end is, and what the index of the end is without it.
fn inside(end: End, index: i64) -> (i64, i64) {
    match end {
        End::Front => (index, index.wrapping_add(1)),
        End::Back => (index.wrapping_sub(1), index.wrapping_sub(1)),
    }
}

/// Adds an item at this end; gives it back if all slots are taken.
pub(crate) fn push<C: Ring>(
    ring: C,
    tx: &C::Transaction<'_>,
    end: End,
    value: C::Value,
) -> Result<Result<(), C::Value>, C::Interrupt> {
    let (index, after) = outside(end, tx.end(ring, end)?);
    if tx.slot(ring, slot(ring, index))?.is_some() {
        return Ok(Err(value));
    }
    ring.fill(tx, index, value)?;
    ring.set_end(tx, end, after)?;
    Ok(Ok(()))
}

/// Takes the item at this end, if there is one; and the index of the end after that.
pub(crate) fn pop<'tx, C: Ring>(
    ring: C,
    tx: &C::Transaction<'tx>,
    end: End,
) -> Result<Option<(C::Item<'tx>, i64)>, C::Interrupt> {
    let (index, after) = inside(end, tx.end(ring, end)?);
    let Some(item) = tx.slot(ring, slot(ring, index))? else { return Ok(None) };
    ring.vacate(tx, index)?;
    ring.set_end(tx, end, after)?;
    Ok(Some((item, after)))
}

/// The item at this end, if there is one.
pub(crate) fn peek<'a, C: Ring, R: Look<'a, C>>(
    ring: C,
    at: &R,
    end: End,
) -> Result<Option<C::Item<'a>>, R::Error> {
    let (index, _) = inside(end, at.end(ring, end)?);
    at.slot(ring, slot(ring, index))
}

/// The item of this index from the front, if there are so many.
pub(crate) fn get<'a, C: Ring, R: Look<'a, C>>(
    ring: C,
    at: &R,
    index: usize,
) -> Result<Option<C::Item<'a>>, R::Error> {
    if index >= ring.slots() {
        return Ok(None);
    }
    // Below the number of slots: so what is there is the item, or there are not so many.
    at.slot(ring, slot(ring, at.end(ring, End::Front)?.wrapping_add(index as i64)))
}

/// Is there no room for another item at this end?
pub(crate) fn is_full<'a, C: Ring, R: Look<'a, C>>(ring: C, at: &R) -> Result<bool, R::Error> {
    let (index, _) = outside(End::Back, at.end(ring, End::Back)?);
    Ok(at.slot(ring, slot(ring, index))?.is_some())
}

/// How many items there are. Reads both ends.
pub(crate) fn len<'a, C: Ring, R: Look<'a, C>>(ring: C, at: &R) -> Result<usize, R::Error> {
    let len = at.end(ring, End::Back)? - at.end(ring, End::Front)?;
    Ok(usize::try_from(len).unwrap_or(0))
}

/// Takes all items.
pub(crate) fn clear<C: Ring>(ring: C, tx: &C::Transaction<'_>) -> Result<(), C::Interrupt> {
    let (front, back) = (tx.end(ring, End::Front)?, tx.end(ring, End::Back)?);
    for index in front..back {
        ring.vacate(tx, index)?;
    }
    if front < back { ring.set_end(tx, End::Front, back) } else { Ok(()) }
}

/// What is still to come of the items of a ring, from both ends.
pub(crate) struct Span {
    /// Where it has come to from the front, and from the back.
    from: i64,
    to: i64,
    /// Both ends of the ring, where they cannot change.
    ends: Option<(i64, i64)>,
}

impl Span {
    /// All items.
    pub(crate) const ALL: Self = Span { from: i64::MIN, to: i64::MAX, ends: None };

    /// The next item from the front, or from the back. In a transaction the loop may have added and taken items
    /// meanwhile.
    pub(crate) fn step<'a, C: Ring, R: Look<'a, C>>(
        &mut self,
        ring: C,
        at: &R,
        end: End,
    ) -> Result<Option<C::Item<'a>>, R::Error> {
        let ends = match self.ends {
            Some(ends) => ends,
            None => (at.end(ring, End::Front)?, at.end(ring, End::Back)?),
        };
        if !R::WRITES {
            self.ends = Some(ends);
        }
        let (from, to) = (self.from.max(ends.0), self.to.min(ends.1));
        if from >= to {
            return Ok(None);
        }
        let index = match end {
            End::Front => {
                self.from = from + 1;
                from
            }
            End::Back => {
                self.to = to - 1;
                to - 1
            }
        };
        at.slot(ring, slot(ring, index))
    }

    /// There are no more.
    pub(crate) fn end(&mut self) {
        (self.from, self.to) = (i64::MAX, i64::MIN);
    }
}
