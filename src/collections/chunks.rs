//! A vector, once for every world: chunks of items under a tree of chunks.
//!
//! Every chunk is one cell, and so is every inner node; the top is always the same cell. All nodes are full but
//! those at the right edge, and none but the top is empty: so where an item is follows from its index, and how
//! many there are from the right edge. There is no count that everything that grows would have to write.
//!
//! No code of the user's runs here, but for the loop around an iterator.

use super::nodes::{Nodes, Read, Rows, Step, Use, below};

/// Nodes without keys.
pub(crate) trait Chunked: Nodes<Key = ()> {
    /// The items of a full chunk.
    const CHUNK: usize;
    /// The children of a full inner node.
    const FAN: usize;
}

/// Items below a node of this level that is full; more than there can be, if that is no number.
fn full<N: Chunked>(level: u32) -> usize {
    let nodes = N::FAN.checked_pow(level);
    nodes.and_then(|nodes| nodes.checked_mul(N::CHUNK)).unwrap_or(usize::MAX)
}

/// Where an item is, or would be.
pub(crate) struct Place<'a, N: Nodes> {
    /// The node above its chunk, and the row of that; none if the chunk is the top.
    pub(crate) above: Option<(N::Inner<'a>, usize)>,
    pub(crate) chunk: N::Leaf<'a>,
    /// In the chunk.
    pub(crate) row: usize,
}

impl<N: Nodes> Place<'_, N> {
    /// The cell of the chunk.
    pub(crate) fn link(&self, top: &N::Link) -> N::Link {
        self.above.map_or_else(|| top.clone(), |(inner, row)| N::child(top, inner, row))
    }
}

/// The item of this index, if there are so many.
#[inline]
pub(crate) fn get<'a, N: Chunked, R: Read<'a, N>>(
    top: &N::Link,
    at: &R,
    mut index: usize,
    how: Use,
) -> Result<Option<Place<'a, N>>, R::Error> {
    // All nodes left of the right edge are full: at each level the index says which child, and what is left of it.
    let mut above = None;
    let mut node = at.node(top, how)?;
    for level in (1..=at.level(node)?).rev() {
        let inner = inner(at, node, level)?;
        let each = full::<N>(level - 1);
        let row = index / each;
        if row >= inner.len() {
            return Ok(None);
        }
        above = Some((inner, row));
        node = at.child(top, inner, row, how)?;
        index %= each;
    }
    let chunk = at.leaf(node)?;
    Ok((index < chunk.len()).then_some(Place { above, chunk, row: index }))
}

/// What an inner node holds, which is not more than it may.
fn inner<'a, N: Chunked, R: Read<'a, N>>(
    at: &R,
    node: N::Node<'a>,
    level: u32,
) -> Result<N::Inner<'a>, R::Error> {
    let inner = at.inner(node, level)?;
    if inner.len() > N::FAN { Err(at.damaged()) } else { Ok(inner) }
}

/// The right edge: inner nodes from the top on, and the last chunk. For callers that have no use for what a cell
/// held once they write to it.
struct Edge<'a, N: Nodes> {
    above: Vec<Step<'a, N>>,
    chunk: N::Leaf<'a>,
}

/// Goes down the last child of each node.
fn edge<'a, N: Chunked, R: Read<'a, N>>(top: &N::Link, at: &R) -> Result<Edge<'a, N>, R::Error> {
    let mut above = Vec::new();
    let mut node = at.node(top, Use::UntilWritten)?;
    for level in (1..=at.level(node)?).rev() {
        let inner = inner(at, node, level)?;
        let row = inner.len() - 1;
        above.push(Step { mark: N::mark(node), inner, row });
        node = at.child(top, inner, row, Use::UntilWritten)?;
    }
    let chunk = at.leaf(node)?;
    if chunk.len() > N::CHUNK { Err(at.damaged()) } else { Ok(Edge { above, chunk }) }
}

impl<N: Chunked> Edge<'_, N> {
    /// How many items there are.
    fn count(&self) -> usize {
        // Left of the edge, at each level, are as many full nodes as the row says.
        let levels = (0..self.above.len() as u32).rev();
        let full =
            levels.zip(&self.above).map(|(level, step)| step.row.saturating_mul(full::<N>(level)));
        full.fold(self.chunk.len(), usize::saturating_add)
    }
}

pub(crate) fn len<'a, N: Chunked, R: Read<'a, N>>(
    top: &N::Link,
    at: &R,
) -> Result<usize, R::Error> {
    Ok(edge(top, at)?.count())
}

/// Adds an item at the end; its index.
pub(crate) fn push<N: Chunked>(
    top: &N::Link,
    tx: &N::Transaction<'_>,
    item: N::Entry,
) -> Result<usize, N::Interrupt> {
    let edge = edge::<N, _>(top, tx)?;
    let index = edge.count();
    let Edge { mut above, chunk } = edge;
    // Most often there is room in the last chunk.
    if chunk.len() < N::CHUNK {
        let mut rows = chunk.to_vec();
        rows.push(item);
        N::write_leaf(tx, &below::<N>(top, &above), rows)?;
        return Ok(index);
    }
    // A chunk of its own, below new nodes up to the first that has room.
    let (mut new, mut level) = (N::make_leaf(tx, vec![item])?, 0);
    while let Some(Step { inner, .. }) = above.pop() {
        level += 1;
        if inner.len() < N::FAN {
            let mut rows = inner.to_vec();
            rows.push(((), new));
            N::write_inner(tx, &below::<N>(top, &above), level, rows)?;
            return Ok(index);
        }
        new = N::make_inner(tx, level, vec![((), new)])?;
    }
    if level == N::MOST_LEVELS {
        return Err(tx.damaged());
    }
    // The top is full, too: what it has moves one level down.
    let old = N::copy(tx, top)?;
    N::write_inner(tx, top, level + 1, vec![((), old), ((), new)])?;
    Ok(index)
}

/// Takes the last item.
pub(crate) fn pop<N: Chunked>(
    top: &N::Link,
    tx: &N::Transaction<'_>,
) -> Result<Option<N::Entry>, N::Interrupt> {
    let Edge { mut above, chunk } = edge::<N, _>(top, tx)?;
    let mut rows = chunk.to_vec();
    let Some(item) = rows.pop() else { return Ok(None) };
    // Most often the chunk has more. The top may be empty, and stays.
    if !rows.is_empty() || above.is_empty() {
        N::write_leaf(tx, &below::<N>(top, &above), rows)?;
        return Ok(Some(item));
    }
    // The chunk is empty and goes, and so does each node above it that had no other child. If the top is left with one
    // child, that one's content takes its place: the tree is a level lower.
    N::free(tx, &below::<N>(top, &above))?;
    let mut level = 0;
    while let Some(Step { inner, .. }) = above.pop() {
        level += 1;
        let mut rows = inner.to_vec();
        rows.pop();
        match &rows[..] {
            // The top has two children at least: one more is to come.
            [] if above.is_empty() => return Err(tx.damaged()),
            [] => N::free(tx, &below::<N>(top, &above))?,
            [((), only)] if above.is_empty() => {
                N::move_up(tx, &N::link(top, only.clone()), level - 1, top)?;
                break;
            }
            _ => {
                N::write_inner(tx, &below::<N>(top, &above), level, rows)?;
                break;
            }
        }
    }
    Ok(Some(item))
}

/// The items of a vector, from the first on. After an error there are no more.
pub(crate) struct Items<'r, 'a, R, N: Nodes> {
    top: N::Link,
    at: &'r R,
    /// The index of the next item.
    next: usize,
    /// Where the item that came last is.
    last: Option<Place<'a, N>>,
    passed: N::Passed,
    ended: bool,
}

impl<'r, R, N: Nodes> Items<'r, '_, R, N> {
    pub(crate) fn new(top: N::Link, at: &'r R) -> Self {
        Items { top, at, next: 0, last: None, passed: N::Passed::default(), ended: false }
    }

    #[allow(dead_code, reason = "for the vector of regions, where those are compiled")]
    pub(crate) fn index(&self) -> usize {
        self.next
    }
}

/// An item as it was read: its chunk, and its row.
pub(crate) type Item<'a, N> = (<N as Nodes>::Leaf<'a>, usize);

impl<'a, N: Chunked, R: Read<'a, N>> Items<'_, 'a, R, N> {
    fn step(&mut self) -> Result<Option<Item<'a, N>>, R::Error> {
        // The loop may have changed the chunk, or the way to it.
        let last = self.last.take().filter(|_| !R::REENTERED);
        // The next row of the same chunk needs no way down.
        let known = last
            .filter(|last| last.row + 1 < last.chunk.len())
            .map(|last| Place { row: last.row + 1, ..last });
        let place = match known {
            Some(place) => place,
            // Else down from the top. Each chunk is to be come to once: a damaged region may lead in a cycle.
            None => match get::<N, R>(&self.top, self.at, self.next, Use::Lasting)? {
                Some(place)
                    if place.row == 0 && !N::pass(&mut self.passed, place.link(&self.top)) =>
                {
                    return Err(self.at.damaged());
                }
                Some(place) => place,
                None => return Ok(None),
            },
        };
        let item = (place.chunk, place.row);
        self.next += 1;
        self.last = Some(place);
        Ok(Some(item))
    }
}

impl<'a, N: Chunked, R: Read<'a, N>> Iterator for Items<'_, 'a, R, N> {
    type Item = Result<Item<'a, N>, R::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
