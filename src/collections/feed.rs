//! The broadcast, once for every world: a ring of the last items, with their numbers, and places of those that receive.
//!
//! # Invariants
//!
//! - Items are numbered from 0 on, as they are sent; item `n` is in slot `n` modulo their number, until it is written over.
//! - A slot says which item is in it. So what receives reads its slot alone, and conflicts with what sends only if that
//!   slot is written: where it has nothing to receive, or lags.
//!
//! No code of the user's runs here.

use super::pipe::Close;
use std::sync::mpsc::SendError;

/// Why a subscriber has received nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BroadcastError {
    /// The broadcast is closed, and all was received.
    Closed,
    /// So many items were missed: they are no longer kept. The next call goes on with the oldest that is.
    Lagged(u64),
}

impl std::fmt::Display for BroadcastError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BroadcastError::Closed => f.write_str("the broadcast is closed"),
            BroadcastError::Lagged(missed) => write!(f, "missed {missed} items of a broadcast"),
        }
    }
}

impl std::error::Error for BroadcastError {}

/// What a broadcast is made of.
pub(crate) trait Feed: Close {
    /// What is sent.
    type Value;
    /// What is received.
    type Item<'a>;

    /// How many slots there are: one at least.
    fn slots(&self, tx: &Self::Transaction<'_>) -> Result<u64, Self::Interrupt>;

    /// How many items were sent.
    fn sent(&self, tx: &Self::Transaction<'_>) -> Result<u64, Self::Interrupt>;

    fn set_sent(&self, tx: &Self::Transaction<'_>, sent: u64) -> Result<(), Self::Interrupt>;

    /// The item in the slot of this number, with its own number, once one was sent there.
    fn slot<'tx>(
        &self,
        tx: &Self::Transaction<'tx>,
        number: u64,
    ) -> Result<Option<(u64, Self::Item<'tx>)>, Self::Interrupt>;

    /// Puts the item of this number into its slot, over what is there.
    fn fill(
        &self,
        tx: &Self::Transaction<'_>,
        number: u64,
        value: Self::Value,
    ) -> Result<(), Self::Interrupt>;
}

/// The place of one that receives: the number of the item that comes next.
pub(crate) trait Follower<F: Feed> {
    fn next(&self, tx: &F::Transaction<'_>) -> Result<u64, F::Interrupt>;

    fn set_next(&self, tx: &F::Transaction<'_>, next: u64) -> Result<(), F::Interrupt>;
}

/// Sends an item; gives it back if the broadcast is closed.
pub(crate) fn send<F: Feed>(
    feed: &F,
    tx: &F::Transaction<'_>,
    value: F::Value,
) -> Result<Result<(), SendError<F::Value>>, F::Interrupt> {
    if feed.is_closed(tx)? {
        return Ok(Err(SendError(value)));
    }
    let number = feed.sent(tx)?;
    feed.fill(tx, number, value)?;
    feed.set_sent(tx, number.wrapping_add(1))?; // In a region that is damaged it may be anything.
    Ok(Ok(()))
}

/// Receives the next item, or nothing if all was received.
pub(crate) fn try_recv<'tx, F: Feed>(
    feed: &F,
    tx: &F::Transaction<'tx>,
    place: &impl Follower<F>,
) -> Result<Result<Option<F::Item<'tx>>, BroadcastError>, F::Interrupt> {
    let next = place.next(tx)?;
    match feed.slot(tx, next)? {
        Some((number, item)) if number == next => {
            place.set_next(tx, next.wrapping_add(1))?;
            Ok(Ok(Some(item)))
        }
        // Written over: on with the oldest that is kept.
        Some((number, _)) if number > next => {
            let oldest = feed.sent(tx)?.wrapping_sub(feed.slots(tx)?);
            place.set_next(tx, oldest)?;
            Ok(Err(BroadcastError::Lagged(oldest.wrapping_sub(next))))
        }
        _ if feed.is_closed(tx)? => Ok(Err(BroadcastError::Closed)),
        _ => Ok(Ok(None)),
    }
}

/// The numbers of the items that are kept, if so many were sent.
pub(crate) fn kept(sent: u64, slots: u64) -> std::ops::Range<u64> {
    sent.saturating_sub(slots)..sent
}
