//! The channel, once for every world: a queue that can be closed.

use std::sync::mpsc::{TryRecvError, TrySendError};

/// What can be closed.
pub(crate) trait Close {
    type Transaction<'tx>;
    type Interrupt;

    fn is_closed(&self, tx: &Self::Transaction<'_>) -> Result<bool, Self::Interrupt>;

    fn set_closed(&self, tx: &Self::Transaction<'_>) -> Result<(), Self::Interrupt>;
}

/// What a channel is made of.
pub(crate) trait Pipe: Close {
    /// What is sent.
    type Value;
    /// What is received.
    type Item<'a>;

    /// Adds an item; gives it back if there is no room.
    fn add(
        &self,
        tx: &Self::Transaction<'_>,
        value: Self::Value,
    ) -> Result<Result<(), Self::Value>, Self::Interrupt>;

    /// Takes the first item, if there is one.
    fn take<'tx>(
        &self,
        tx: &Self::Transaction<'tx>,
    ) -> Result<Option<Self::Item<'tx>>, Self::Interrupt>;
}

/// Sends, unless the channel is closed or full.
pub(crate) fn try_send<P: Pipe>(
    pipe: &P,
    tx: &P::Transaction<'_>,
    value: P::Value,
) -> Result<Result<(), TrySendError<P::Value>>, P::Interrupt> {
    if pipe.is_closed(tx)? {
        return Ok(Err(TrySendError::Disconnected(value)));
    }
    Ok(pipe.add(tx, value)?.map_err(TrySendError::Full))
}

/// Receives, unless the channel is empty. That it is closed is asked only then: what was sent can still be received.
pub(crate) fn try_recv<'tx, P: Pipe>(
    pipe: &P,
    tx: &P::Transaction<'tx>,
) -> Result<Result<P::Item<'tx>, TryRecvError>, P::Interrupt> {
    Ok(match pipe.take(tx)? {
        Some(item) => Ok(item),
        None if pipe.is_closed(tx)? => Err(TryRecvError::Disconnected),
        None => Err(TryRecvError::Empty),
    })
}

/// Receives all that is there.
pub(crate) fn drain<'tx, P: Pipe>(
    pipe: &P,
    tx: &P::Transaction<'tx>,
) -> Result<Vec<P::Item<'tx>>, P::Interrupt> {
    let mut all = Vec::new();
    while let Some(item) = pipe.take(tx)? {
        all.push(item);
    }
    Ok(all)
}

/// Closes it; was it open?
pub(crate) fn close<C: Close>(it: &C, tx: &C::Transaction<'_>) -> Result<bool, C::Interrupt> {
    let was_open = !it.is_closed(tx)?;
    if was_open {
        it.set_closed(tx)?;
    }
    Ok(was_open)
}
