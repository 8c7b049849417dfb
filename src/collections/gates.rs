//! What is waited for, once for every world: latch, barrier and permits, each in one cell of plain data.

/// One cell of a world.
pub(crate) trait Place<V: Copy> {
    type Transaction<'tx>;
    type Interrupt;

    fn get(&self, tx: &Self::Transaction<'_>) -> Result<V, Self::Interrupt>;

    fn set(&self, tx: &Self::Transaction<'_>, value: V) -> Result<(), Self::Interrupt>;

    /// Goes on if that holds, else waits for a change.
    fn check(tx: &Self::Transaction<'_>, holds: bool) -> Result<(), Self::Interrupt>;
}

/// One arrival less to wait for. At 0 it stays.
pub(crate) fn count_down<P: Place<usize>>(
    count: &P,
    tx: &P::Transaction<'_>,
) -> Result<(), P::Interrupt> {
    match count.get(tx)? {
        0 => Ok(()),
        left => count.set(tx, left - 1),
    }
}

/// Waits until all have counted down.
pub(crate) fn wait_for_none<P: Place<usize>>(
    count: &P,
    tx: &P::Transaction<'_>,
) -> Result<(), P::Interrupt> {
    let left = count.get(tx)?;
    P::check(tx, left == 0)
}

/// How often all of a barrier have come, and how many have come since. Both are plain words.
pub(crate) type Round = [u64; 2];

/// Comes to a barrier of so many: in which round, and as the last of it?
pub(crate) fn arrive<P: Place<Round>>(
    round: &P,
    tx: &P::Transaction<'_>,
    parties: u64,
) -> Result<(u64, bool), P::Interrupt> {
    let [generation, arrived] = round.get(tx)?;
    let is_last = arrived + 1 >= parties;
    round.set(tx, if is_last { [generation + 1, 0] } else { [generation, arrived + 1] })?;
    Ok((generation, is_last))
}

/// Waits until all of this round have come.
pub(crate) fn wait_for_round<P: Place<Round>>(
    round: &P,
    tx: &P::Transaction<'_>,
    generation: u64,
) -> Result<(), P::Interrupt> {
    let [now, _] = round.get(tx)?;
    P::check(tx, now > generation)
}

/// Takes so many permits, if they are free; did it?
pub(crate) fn seize<P: Place<usize>>(
    free: &P,
    tx: &P::Transaction<'_>,
    permits: usize,
) -> Result<bool, P::Interrupt> {
    let left = free.get(tx)?.checked_sub(permits);
    if let Some(left) = left {
        free.set(tx, left)?;
    }
    Ok(left.is_some())
}

/// How many are free if so many are given back. Panics if that is more than can be counted.
#[track_caller]
pub(crate) fn given_back(free: usize, permits: usize) -> usize {
    let free = free.checked_add(permits);
    free.expect("contempo: a semaphore has no more permits than a `usize` counts")
}
