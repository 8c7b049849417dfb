//! An ordered map, once for every world: a B+ tree.
//!
//! Every node is one cell; entries are in the leaves, in order. Each key of an inner node is a lower bound of
//! what is below it; but that of its first row is not looked at, and at the left edge of the tree it is not
//! one. The top node is always the same cell: when it is full, its rows move into two new nodes below it.
//!
//! # Invariants
//!
//! | | |
//! | --- | --- |
//! | rows | no node has more than its capacity; a leaf other than the top is never empty, and an inner node has two rows at least |
//! | all leaves | are at level 0, and a child is one level below its parent |
//! | order | what is below row `i` is less than the key of row `i + 1`, and at least its own (but for the first row at the left edge) |
//! | first rows | the first key of an inner node is the key by which its parent knows it (but at the left edge): so rows can be moved between neighbours as they are |
//!
//! So the neighbour of a key is in its leaf or in the next one, and a leaf that has become too small has another
//! beside it. A node is too small with less than a quarter of its capacity.
//!
//! Where keys are inserted in ascending order, nodes are left full behind them: a node that is split at the end
//! of the whole tree is not split in the middle.
//!
//! # Code of the user's
//!
//! Comparisons of keys may use the same map in the same transaction: insert into the leaf that was found, split it,
//! remove the key. So no place that was found before a comparison ran is written to after it. A node that was read
//! does not change; so the place is as it was if each cell on the way still holds the very node that was read there
//! ([`find`] looks again until that is so). No key is compared after that.

mod balance;
mod range;

pub(crate) use super::nodes::Keyed;
pub(crate) use range::Walk;

use super::nodes::{Nodes, Read, Rows, Step, Use, below};
use balance::{Inners, Leaves, mend, store};
use std::borrow::Borrow;
use std::cmp::Ordering;

/// The first of the rows from `from` to `to` that `is_it`, where all after it are, too; `to` if none is.
#[inline(always)]
fn partition(from: usize, to: usize, is_it: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (from.min(to), to);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_it(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

/// The first row of a leaf whose key `is_it`.
#[inline(always)]
fn leaf_row<N: Keyed>(leaf: N::Leaf<'_>, is_it: impl Fn(&N::Order) -> bool) -> usize {
    partition(0, leaf.len(), |row| N::leaf_key(leaf, row, &is_it))
}

/// The last child of an inner node whose key is not beyond what is looked for.
#[inline(always)]
fn child_row<N: Keyed>(inner: N::Inner<'_>, is_beyond: impl Fn(&N::Order) -> bool) -> usize {
    partition(1, inner.len(), |row| N::inner_key(inner, row, &is_beyond)) - 1
}

/// Where a key is in a leaf, or would be.
pub(crate) struct Found<'a, N: Nodes> {
    pub(crate) leaf: N::Leaf<'a>,
    pub(crate) row: usize,
    /// Is the key there?
    pub(crate) is_there: bool,
}

/// The same, and the way from the top.
pub(crate) struct Path<'a, N: Nodes> {
    pub(crate) above: Vec<Step<'a, N>>,
    pub(crate) found: Found<'a, N>,
}

impl<N: Nodes> Path<'_, N> {
    /// The cell of the leaf.
    #[allow(dead_code, reason = "for the ordered map of regions, where those are compiled")]
    pub(crate) fn link(&self, top: &N::Link) -> N::Link {
        below::<N>(top, &self.above)
    }
}

#[inline(always)]
fn in_leaf<'a, N: Keyed, Q: Ord + ?Sized>(leaf: N::Leaf<'a>, key: &Q) -> Found<'a, N>
where
    N::Order: Borrow<Q>,
{
    let row = leaf_row::<N>(leaf, |other| other.borrow() >= key);
    let is_there = row < leaf.len() && N::leaf_key(leaf, row, |other| other.borrow() == key);
    Found { leaf, row, is_there }
}

/// The entry of `key`. For callers that have no use for it once they write to the tree.
pub(crate) fn get<'a, N: Keyed, R: Read<'a, N>, Q: Ord + ?Sized>(
    top: &N::Link,
    at: &R,
    key: &Q,
) -> Result<Option<(N::Leaf<'a>, usize)>, R::Error>
where
    N::Order: Borrow<Q>,
{
    if R::REENTERED {
        let Found { leaf, row, is_there } = find(top, at, key)?.found;
        return Ok(is_there.then_some((leaf, row)));
    }
    let leaf = descend(top, at, Use::UntilWritten, |inner| {
        child_row::<N>(inner, |least| least.borrow() > key)
    })?;
    let Found { leaf, row, is_there } = in_leaf::<N, Q>(leaf, key);
    Ok(is_there.then_some((leaf, row)))
}

/// The place of `key`, as it is when this returns. For callers that have no use for what a cell held once they write to
/// it.
pub(crate) fn find<'a, N: Keyed, R: Read<'a, N>, Q: Ord + ?Sized>(
    top: &N::Link,
    at: &R,
    key: &Q,
) -> Result<Path<'a, N>, R::Error>
where
    N::Order: Borrow<Q>,
{
    loop {
        // Down from the top: each inner node, and the row by which it was left.
        let mut above = Vec::new();
        let mut node = at.node(top, Use::UntilWritten)?;
        let mut level = at.level(node)?;
        while level > 0 {
            let inner = at.inner(node, level)?;
            let row = child_row::<N>(inner, |least| least.borrow() > key);
            above.push(Step { mark: N::mark(node), inner, row });
            node = at.child(top, inner, row, Use::UntilWritten)?;
            level -= 1;
        }
        // Comparisons ran until here. If they may have used the map, the way is gone over once more, without any.
        let found = in_leaf::<N, Q>(at.leaf(node)?, key);
        if !R::REENTERED || is_current(top, at, &above, N::mark(node))? {
            return Ok(Path { above, found });
        }
    }
}

/// One of the two ends of a map.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Last,
}

/// The place of the entry at this end, if there is one. Compares no keys.
pub(crate) fn end<'a, N: Nodes, R: Read<'a, N>>(
    top: &N::Link,
    at: &R,
    side: Side,
) -> Result<Option<Path<'a, N>>, R::Error> {
    let outermost = |rows: usize| if side == Side::First { 0 } else { rows.saturating_sub(1) };
    let mut above = Vec::new();
    let mut node = at.node(top, Use::UntilWritten)?;
    for level in (1..=at.level(node)?).rev() {
        let inner = at.inner(node, level)?;
        let row = outermost(inner.len());
        above.push(Step { mark: N::mark(node), inner, row });
        node = at.child(top, inner, row, Use::UntilWritten)?;
    }
    let leaf = at.leaf(node)?;
    let found = Found { leaf, row: outermost(leaf.len()), is_there: leaf.len() > 0 };
    // No leaf but the top is empty.
    Ok(found.is_there.then_some(Path { above, found }))
}

/// Does each cell on the way to this leaf still hold what was read there?
fn is_current<'a, N: Nodes, R: Read<'a, N>>(
    top: &N::Link,
    at: &R,
    above: &[Step<'a, N>],
    leaf: N::Mark<'a>,
) -> Result<bool, R::Error> {
    let mut now = at.node(top, Use::UntilWritten)?;
    for step in above {
        if !N::is_same(N::mark(now), step.mark) {
            return Ok(false);
        }
        now = at.child(top, step.inner, step.row, Use::UntilWritten)?;
    }
    Ok(N::is_same(N::mark(now), leaf))
}

/// Adds an entry, whose key is not there, in its place.
pub(crate) fn add<N: Keyed>(
    top: &N::Link,
    tx: &N::Transaction<'_>,
    path: Path<'_, N>,
    entry: N::Entry,
) -> Result<(), N::Interrupt> {
    // At the very end of the tree a full node is left full (module docs).
    let Path { mut above, found: Found { leaf, row, .. } } = path;
    let mut rows = leaf.to_vec();
    let at_the_end = row == rows.len() && above.iter().all(|step| step.row + 1 == step.inner.len());
    rows.insert(row, entry);
    let mut new = store::<N, Leaves>(top, tx, &above, 0, rows, at_the_end)?;
    // As long as a node was split, the new one is entered above, beside the one that it comes from.
    let mut level = 0;
    while let Some(child) = new {
        // The top never gives a new node beside itself.
        let Some(Step { inner, row, .. }) = above.pop() else { return Err(tx.damaged()) };
        let mut rows = inner.to_vec();
        rows.insert(row + 1, child);
        level += 1;
        new = store::<N, Inners>(top, tx, &above, level, rows, at_the_end)?;
    }
    Ok(())
}

/// Removes the entry that is there.
pub(crate) fn remove<N: Keyed>(
    top: &N::Link,
    tx: &N::Transaction<'_>,
    path: Path<'_, N>,
) -> Result<N::Entry, N::Interrupt> {
    let Path { above, found: Found { leaf, row, .. } } = path;
    let mut rows = leaf.to_vec();
    let entry = rows.remove(row);
    mend(top, tx, above, rows)?;
    Ok(entry)
}

/// Removes all entries.
pub(crate) fn clear<N: Nodes>(top: &N::Link, tx: &N::Transaction<'_>) -> Result<(), N::Interrupt> {
    N::free_below(tx, top)?;
    N::write_leaf(tx, top, Vec::new())
}

/// Where one looks for a neighbour: at a key that the user gives, or that of a row.
pub(crate) enum Edge<'q, 'a, N: Nodes, Q: ?Sized> {
    /// At the end of the map.
    Open,
    Key(&'q Q, Inclusive),
    Child(N::Inner<'a>, usize, Inclusive),
    Entry(N::Leaf<'a>, usize, Inclusive),
}

/// Does what is at the edge belong to what is looked for?
pub(crate) type Inclusive = bool;

impl<N: Keyed, Q: Ord + ?Sized> Edge<'_, '_, N, Q>
where
    N::Order: Borrow<Q>,
{
    /// Where `key` is, seen from the edge; and whether the edge is inclusive. Nothing if there is none.
    #[inline(always)]
    fn compare(&self, key: &N::Order) -> Option<(Ordering, Inclusive)> {
        match *self {
            Edge::Open => None,
            Edge::Key(edge, inclusive) => Some((key.borrow().cmp(edge), inclusive)),
            Edge::Child(inner, row, inclusive) => {
                Some((N::inner_key(inner, row, |edge| key.cmp(edge)), inclusive))
            }
            Edge::Entry(leaf, row, inclusive) => {
                Some((N::leaf_key(leaf, row, |edge| key.cmp(edge)), inclusive))
            }
        }
    }

    /// Is `key` on the upper side of this edge, or on it, if that is inclusive?
    #[inline(always)]
    fn is_reached_by(&self, key: &N::Order) -> bool {
        self.compare(key).is_none_or(|(order, inclusive)| {
            order == Ordering::Greater || (inclusive && order == Ordering::Equal)
        })
    }

    /// Is `key` on the upper side of this edge, and not on it?
    #[inline(always)]
    fn is_passed_by(&self, key: &N::Order) -> bool {
        self.compare(key).is_none_or(|(order, _)| order == Ordering::Greater)
    }

    /// Is `key` above what is up to this edge?
    #[inline(always)]
    fn is_left_by(&self, key: &N::Order) -> bool {
        self.compare(key).is_some_and(|(order, inclusive)| {
            order == Ordering::Greater || (!inclusive && order == Ordering::Equal)
        })
    }
}

/// A leaf, and a row that it has.
pub(crate) type Entry<'a, N> = (<N as Nodes>::Leaf<'a>, usize);

/// So often a neighbour is looked for. It is in the leaf where the edge would be, or in the next one: if not, the tree
/// is damaged. Where it cannot be, comparisons of keys have changed it meanwhile, or contradict themselves.
const fn tries<N: Nodes>() -> usize {
    if N::CAN_BE_DAMAGED { 2 } else { 64 }
}

/// It was looked for often enough.
fn lost<'a, N: Nodes, R: Read<'a, N>, T>(at: &R) -> Result<Option<T>, R::Error> {
    if N::CAN_BE_DAMAGED { Err(at.damaged()) } else { Ok(None) }
}

/// The first entry from `from` on.
pub(crate) fn seek<'a, N: Keyed, R: Read<'a, N>, Q: Ord + ?Sized>(
    top: &N::Link,
    at: &R,
    mut from: Edge<'_, 'a, N, Q>,
) -> Result<Option<Entry<'a, N>>, R::Error>
where
    N::Order: Borrow<Q>,
{
    for _ in 0..tries::<N>() {
        // To the leaf where the edge would be. The row after the one taken, at the lowest level that has such a row, is
        // where the next leaf begins.
        let mut next = None;
        // A loop around an iterator keeps the leaf while the transaction writes.
        let leaf = descend(top, at, Use::Lasting, |inner| {
            let row = match &from {
                Edge::Open => 0,
                from => child_row::<N>(inner, |least| from.is_passed_by(least)),
            };
            if row + 1 < inner.len() {
                next = Some(Edge::Child(inner, row + 1, true));
            }
            row
        })?;
        let row = leaf_row::<N>(leaf, |key| from.is_reached_by(key));
        if row < leaf.len() {
            return Ok(Some((leaf, row)));
        }
        // The leaf has nothing from the edge on: then the next leaf's first entry, if there is a next leaf.
        match next {
            Some(next) => from = next,
            None => return Ok(None),
        }
    }
    lost(at)
}

/// The last entry up to `to`.
pub(crate) fn seek_back<'a, N: Keyed, R: Read<'a, N>, Q: Ord + ?Sized>(
    top: &N::Link,
    at: &R,
    mut to: Edge<'_, 'a, N, Q>,
) -> Result<Option<Entry<'a, N>>, R::Error>
where
    N::Order: Borrow<Q>,
{
    for _ in 0..tries::<N>() {
        // To the leaf where the edge would be. The last row on the way that is not a first one is where that leaf
        // begins: what comes before it is in the leaf before.
        let mut here = None;
        let leaf = descend(top, at, Use::Lasting, |inner| {
            let row = child_row::<N>(inner, |least| to.is_left_by(least));
            if row > 0 {
                here = Some(Edge::Child(inner, row, false));
            }
            row
        })?;
        if let Some(row) = leaf_row::<N>(leaf, |key| to.is_left_by(key)).checked_sub(1) {
            return Ok(Some((leaf, row)));
        }
        match here {
            Some(here) => to = here,
            None => return Ok(None),
        }
    }
    lost(at)
}

/// The leaf that `choose` leads to, which is given what each inner node on the way holds.
#[inline(always)]
fn descend<'a, N: Nodes, R: Read<'a, N>>(
    top: &N::Link,
    at: &R,
    how: Use,
    mut choose: impl FnMut(N::Inner<'a>) -> usize,
) -> Result<N::Leaf<'a>, R::Error> {
    let mut node = at.node(top, how)?;
    for level in (1..=at.level(node)?).rev() {
        let inner = at.inner(node, level)?;
        node = at.child(top, inner, choose(inner), how)?;
    }
    at.leaf(node)
}
