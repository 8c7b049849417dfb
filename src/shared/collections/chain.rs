//! A first-in, first-out queue as a chain of items, and a cell for each end: how it is done, whatever its cells hold.
//! (One process has rings instead: `docs/decisions/collections.md`.)
//!
//! # Invariants
//!
//! - Both ends name no item (the queue is empty), or the head names the first and the tail the last.
//! - Each item names the next one; the last one names none.
//!
//! A push writes the tail and what was the last item; a pop writes the head alone, unless it takes the
//! only item. So the two conflict only where there is one item at most.
//!
//! No code of the user's runs here.

/// One of the two cells by which a chain is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    Head,
    Tail,
}

/// A queue of one world: how its cells are written.
pub(crate) trait Chain: Sized {
    type Transaction<'tx>: Follow<'tx, Self, Error = Self::Interrupt>;
    type Interrupt;
    /// Names an item.
    type Link: Clone;
    /// The name of an item, as it was read.
    type Seen<'a>: Copy;
    /// What is pushed.
    type Value;
    /// What is popped, or read.
    type Item<'a>;
    /// What is kept on the way along a chain, to see that it is no cycle.
    type Steps: Default;

    /// Must items be given back one by one? If not, whatever no end leads to goes by itself.
    const FREES: bool;

    /// What can be written.
    fn link(seen: Self::Seen<'_>) -> Self::Link;

    /// Makes an item that names no next one.
    fn make(
        &self,
        tx: &Self::Transaction<'_>,
        value: Self::Value,
    ) -> Result<Self::Link, Self::Interrupt>;

    /// Makes an end name this item, or none.
    fn set_end(
        &self,
        tx: &Self::Transaction<'_>,
        end: End,
        link: Option<Self::Link>,
    ) -> Result<(), Self::Interrupt>;

    /// Makes an item that has named none name `next`.
    fn set_next(
        &self,
        tx: &Self::Transaction<'_>,
        item: Self::Seen<'_>,
        next: Self::Link,
    ) -> Result<(), Self::Interrupt>;

    /// Gives back an item that no end leads to any more.
    fn unlink(
        &self,
        tx: &Self::Transaction<'_>,
        item: Self::Seen<'_>,
    ) -> Result<(), Self::Interrupt>;

    /// Comes to this item. Is the chain known to be a cycle by that?
    fn closes_at(steps: &mut Self::Steps, item: Self::Seen<'_>) -> bool;

    /// Sleeps until the queue changes.
    fn retry<T>(tx: &Self::Transaction<'_>) -> Result<T, Self::Interrupt>;
}

/// An item, and which one is next.
pub(crate) type Linked<'a, C> = (<C as Chain>::Item<'a>, Option<<C as Chain>::Seen<'a>>);

/// Where a chain can be read: a transaction, or a snapshot.
pub(crate) trait Follow<'a, C: Chain> {
    type Error;

    /// The item that an end names.
    fn end(&self, chain: &C, end: End) -> Result<Option<C::Seen<'a>>, Self::Error>;

    /// An item, and the next one.
    fn item(&self, item: C::Seen<'a>) -> Result<Linked<'a, C>, Self::Error>;

    /// The chain is a cycle.
    fn cyclic(&self) -> Self::Error;
}

pub(crate) fn push<C: Chain>(
    chain: &C,
    tx: &C::Transaction<'_>,
    value: C::Value,
) -> Result<(), C::Interrupt> {
    let new = chain.make(tx, value)?;
    add(chain, tx, new)
}

/// Adds what was made by [`Chain::make`], or alike.
pub(crate) fn add<C: Chain>(
    chain: &C,
    tx: &C::Transaction<'_>,
    new: C::Link,
) -> Result<(), C::Interrupt> {
    match tx.end(chain, End::Tail)? {
        Some(last) => chain.set_next(tx, last, new.clone())?,
        None => chain.set_end(tx, End::Head, Some(new.clone()))?,
    }
    chain.set_end(tx, End::Tail, Some(new))
}

pub(crate) fn try_pop<'tx, C: Chain>(
    chain: &C,
    tx: &C::Transaction<'tx>,
) -> Result<Option<C::Item<'tx>>, C::Interrupt> {
    let Some(first) = tx.end(chain, End::Head)? else { return Ok(None) };
    let (item, next) = tx.item(first)?;
    // With its last item a queue loses its tail, too.
    chain.set_end(tx, End::Head, next.map(C::link))?;
    if next.is_none() {
        chain.set_end(tx, End::Tail, None)?;
    }
    chain.unlink(tx, first)?;
    Ok(Some(item))
}

pub(crate) fn pop<'tx, C: Chain>(
    chain: &C,
    tx: &C::Transaction<'tx>,
) -> Result<C::Item<'tx>, C::Interrupt> {
    match try_pop(chain, tx)? {
        Some(item) => Ok(item),
        None => C::retry(tx),
    }
}

pub(crate) fn is_empty<'a, C: Chain, R: Follow<'a, C>>(
    chain: &C,
    at: &R,
) -> Result<bool, R::Error> {
    Ok(at.end(chain, End::Head)?.is_none())
}

pub(crate) fn clear<C: Chain>(chain: &C, tx: &C::Transaction<'_>) -> Result<(), C::Interrupt> {
    let mut first = tx.end(chain, End::Head)?;
    if first.is_none() {
        return Ok(());
    }
    chain.set_end(tx, End::Head, None)?;
    chain.set_end(tx, End::Tail, None)?;
    if C::FREES {
        while let Some(item) = first {
            (_, first) = tx.item(item)?;
            // In a cycle this comes to an item that was given back, which is an error.
            chain.unlink(tx, item)?;
        }
    }
    Ok(())
}

/// The items of a queue, from the first on. After an error there are no more.
pub(crate) struct Items<'r, 'a, R, C: Chain> {
    at: &'r R,
    next: Next<'a, C>,
    steps: C::Steps,
}

enum Next<'a, C: Chain> {
    /// That which the head names when it is asked for.
    First(C),
    Link(C::Seen<'a>),
    None,
}

impl<'r, R, C: Chain> Items<'r, '_, R, C> {
    pub(crate) fn new(chain: C, at: &'r R) -> Self {
        Items { at, next: Next::First(chain), steps: C::Steps::default() }
    }
}

impl<'a, C: Chain, R: Follow<'a, C>> Items<'_, 'a, R, C> {
    fn step(&mut self) -> Result<Option<C::Item<'a>>, R::Error> {
        let link = match std::mem::replace(&mut self.next, Next::None) {
            Next::First(chain) => self.at.end(&chain, End::Head)?,
            Next::Link(link) => Some(link),
            Next::None => None,
        };
        let Some(link) = link else { return Ok(None) };
        if C::closes_at(&mut self.steps, link) {
            return Err(self.at.cyclic());
        }
        let (item, next) = self.at.item(link)?;
        self.next = next.map_or(Next::None, Next::Link);
        Ok(Some(item))
    }
}

impl<'a, C: Chain, R: Follow<'a, C>> Iterator for Items<'_, 'a, R, C> {
    type Item = Result<C::Item<'a>, R::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
