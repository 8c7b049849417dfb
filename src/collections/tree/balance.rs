//! Nodes that have become too large or too small.

use crate::collections::nodes::{Child, Keyed, Read, Rows, Step, Use, below};

/// Leaves, or inner nodes: what is done alike with both.
pub(super) trait Kind<N: Keyed> {
    type Row: Clone;

    const MOST: usize;
    /// A node with less is too small.
    const FEW: usize;

    fn key(row: &Self::Row) -> N::Key;

    fn rows<'a, R: Read<'a, N>>(
        at: &R,
        node: N::Node<'a>,
        level: u32,
    ) -> Result<Vec<Self::Row>, R::Error>;

    fn make(
        tx: &N::Transaction<'_>,
        level: u32,
        rows: Vec<Self::Row>,
    ) -> Result<N::Handle, N::Interrupt>;

    fn write(
        tx: &N::Transaction<'_>,
        node: &N::Link,
        level: u32,
        rows: Vec<Self::Row>,
    ) -> Result<(), N::Interrupt>;
}

pub(super) struct Leaves;

impl<N: Keyed> Kind<N> for Leaves {
    type Row = N::Entry;

    const MOST: usize = N::LEAF;
    const FEW: usize = if N::LEAF / 4 > 1 { N::LEAF / 4 } else { 1 };

    fn key(row: &N::Entry) -> N::Key {
        N::key(row)
    }

    fn rows<'a, R: Read<'a, N>>(
        at: &R,
        node: N::Node<'a>,
        _: u32,
    ) -> Result<Vec<N::Entry>, R::Error> {
        Ok(at.leaf(node)?.to_vec())
    }

    fn make(
        tx: &N::Transaction<'_>,
        _: u32,
        rows: Vec<N::Entry>,
    ) -> Result<N::Handle, N::Interrupt> {
        N::make_leaf(tx, rows)
    }

    fn write(
        tx: &N::Transaction<'_>,
        node: &N::Link,
        _: u32,
        rows: Vec<N::Entry>,
    ) -> Result<(), N::Interrupt> {
        N::write_leaf(tx, node, rows)
    }
}

pub(super) struct Inners;

impl<N: Keyed> Kind<N> for Inners {
    type Row = Child<N>;

    const MOST: usize = N::INNER;
    const FEW: usize = if N::INNER / 4 > 2 { N::INNER / 4 } else { 2 };

    fn key(row: &Child<N>) -> N::Key {
        row.0.clone()
    }

    fn rows<'a, R: Read<'a, N>>(
        at: &R,
        node: N::Node<'a>,
        level: u32,
    ) -> Result<Vec<Child<N>>, R::Error> {
        Ok(at.inner(node, level)?.to_vec())
    }

    fn make(
        tx: &N::Transaction<'_>,
        level: u32,
        rows: Vec<Child<N>>,
    ) -> Result<N::Handle, N::Interrupt> {
        N::make_inner(tx, level, rows)
    }

    fn write(
        tx: &N::Transaction<'_>,
        node: &N::Link,
        level: u32,
        rows: Vec<Child<N>>,
    ) -> Result<(), N::Interrupt> {
        N::write_inner(tx, node, level, rows)
    }
}

/// Writes these rows to the node below `above`; if they are too many, the upper half of them (or, at the end of the
/// tree, two of them) to a new one, which is to be entered above.
pub(super) fn store<N: Keyed, C: Kind<N>>(
    top: &N::Link,
    tx: &N::Transaction<'_>,
    above: &[Step<'_, N>],
    level: u32,
    mut rows: Vec<C::Row>,
    at_the_end: bool,
) -> Result<Option<Child<N>>, N::Interrupt> {
    if rows.len() <= C::MOST {
        C::write(tx, &below::<N>(top, above), level, rows)?;
        return Ok(None);
    }
    // Too many: the upper part becomes a new node, which the caller enters above.
    let upper = rows.split_off(if at_the_end { rows.len() - 2 } else { rows.len() / 2 });
    let new = (C::key(&upper[0]), C::make(tx, level, upper)?);
    if !above.is_empty() {
        C::write(tx, &below::<N>(top, above), level, rows)?;
        return Ok(Some(new));
    }
    // The top has nothing above it: it stays the same cell, and gets both parts as its children, one level higher.
    if level == N::MOST_LEVELS {
        return Err(tx.damaged());
    }
    let lower = (C::key(&rows[0]), C::make(tx, level, rows)?);
    N::write_inner(tx, top, level + 1, vec![lower, new])?;
    Ok(None)
}

/// Writes what is left of a leaf, and mends what that leaves too small.
pub(super) fn mend<N: Keyed>(
    top: &N::Link,
    tx: &N::Transaction<'_>,
    mut above: Vec<Step<'_, N>>,
    rows: Vec<N::Entry>,
) -> Result<(), N::Interrupt> {
    // The leaf has enough, or no neighbour that it could share with: that is all.
    let few = rows.len() < <Leaves as Kind<N>>::FEW;
    if !few || above.last().is_none_or(|parent| parent.inner.len() < 2) {
        return N::write_leaf(tx, &below::<N>(top, &above), rows);
    }
    let Some(parent) = above.pop() else { return Ok(()) };
    // Else its parent may have one child less, and may be too small itself: up, until a node has enough. Each is
    // written once, with what it has in the end.
    let mut rows = even_out::<N, Leaves>(top, tx, &parent, 0, rows)?;
    for level in 1.. {
        if above.is_empty() {
            return lower::<N>(top, tx, level, rows);
        }
        let few = rows.len() < <Inners as Kind<N>>::FEW;
        if !few || above.last().is_none_or(|parent| parent.inner.len() < 2) {
            return N::write_inner(tx, &below::<N>(top, &above), level, rows);
        }
        let Some(parent) = above.pop() else { break };
        rows = even_out::<N, Inners>(top, tx, &parent, level, rows)?;
    }
    Ok(())
}

/// Writes the rows of the top. If there is only one child, it takes that one's place.
fn lower<N: Keyed>(
    top: &N::Link,
    tx: &N::Transaction<'_>,
    level: u32,
    rows: Vec<Child<N>>,
) -> Result<(), N::Interrupt> {
    match &rows[..] {
        [(_, only)] => N::move_up(tx, &N::link(top, only.clone()), level - 1, top),
        _ => N::write_inner(tx, top, level, rows),
    }
}

/// The child of `parent` on our way is left with `rows`, which are too few: it is made one with a neighbour, or
/// takes some of that one's. What the parent holds after that, which is not written yet.
fn even_out<N: Keyed, C: Kind<N>>(
    top: &N::Link,
    tx: &N::Transaction<'_>,
    parent: &Step<'_, N>,
    level: u32,
    rows: Vec<C::Row>,
) -> Result<Vec<Child<N>>, N::Interrupt> {
    // With the neighbour on the right if this is the first child, else with that on the left.
    let row = parent.row;
    let right = row.max(1); // Of the two neighbours; the other is one less.
    let mut siblings = parent.inner.to_vec();
    let other = if row < right { right } else { right - 1 };
    let link = |sibling: usize, of: &[Child<N>]| N::link(top, of[sibling].1.clone());
    let others = tx.node(&link(other, &siblings), Use::UntilWritten)?;
    let others = C::rows(tx, others, level)?;
    let (mut both, more) = if row < right { (rows, others) } else { (others, rows) };
    both.extend(more);
    // One node if there is room to spare, so that it is not split again at once: the left one stays. Else each gets
    // half, and the parent knows the right one by its new first key.
    if both.len() <= C::MOST - C::MOST / 4 {
        C::write(tx, &link(right - 1, &siblings), level, both)?;
        let (_, gone) = siblings.remove(right);
        N::free(tx, &N::link(top, gone))?;
    } else {
        let upper = both.split_off(both.len() / 2);
        siblings[right].0 = C::key(&upper[0]);
        C::write(tx, &link(right - 1, &siblings), level, both)?;
        C::write(tx, &link(right, &siblings), level, upper)?;
    }
    Ok(siblings)
}
