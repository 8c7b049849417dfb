//! Nodes that have become too large or too small.

use super::{OrderedMap, Step};
use crate::shared::collections::rows::{self, MOST_LEVELS, Node, Rows, child, make, node};
use crate::shared::reader::sealed::Sealed as _;
use crate::shared::{Interrupt, Transaction};
use bytemuck::Pod;

impl<K: Pod + Ord, V: Pod> OrderedMap<K, V> {
    /// Writes these rows to a node; if they are too many, the upper half of them (or, at the end of the tree,
    /// two of them) to a new one, which is to be entered above.
    pub(super) fn store<W: Pod>(
        &self,
        tx: &Transaction<'_>,
        at: Node,
        level: u32,
        mut rows: Vec<(K, W)>,
        at_the_end: bool,
    ) -> Result<Option<(K, u64)>, Interrupt> {
        let most = if level == 0 { Self::LEAF } else { Self::INNER };
        if rows.len() <= most {
            tx.write(at, &node(level, &rows)[..])?;
            return Ok(None);
        }
        let upper = rows.split_off(if at_the_end { rows.len() - 2 } else { rows.len() / 2 });
        let new = (upper[0].0, make(tx, level, &upper)?);
        if at != self.top {
            tx.write(at, &node(level, &rows)[..])?;
            return Ok(Some(new));
        }
        if level == MOST_LEVELS {
            return Err(tx.damaged());
        }
        let lower = (rows[0].0, make(tx, level, &rows)?);
        tx.write(at, &node(level + 1, &[lower, new])[..])?;
        Ok(None)
    }

    /// Writes what is left of a leaf, and mends what that leaves too small.
    pub(super) fn settle(
        &self,
        tx: &Transaction<'_>,
        mut above: Vec<Step<'_, K>>,
        leaf: Node,
        rows: Vec<(K, V)>,
    ) -> Result<(), Interrupt> {
        let few = rows.len() < (Self::LEAF / 4).max(1);
        let Some(parent) = above.pop().filter(|parent| few && parent.rows.len() > 1) else {
            return tx.write(leaf, &node(0, &rows)[..]);
        };
        let (mut inner, mut level) = (parent.node, 1);
        let mut rows = self.even_out(tx, &parent, 0, rows)?;
        loop {
            if inner == self.top {
                return self.lower(tx, level, rows);
            }
            let few = rows.len() < (Self::INNER / 4).max(2);
            let Some(parent) = above.pop().filter(|parent| few && parent.rows.len() > 1) else {
                return tx.write(inner, &node(level, &rows)[..]);
            };
            rows = self.even_out(tx, &parent, level, rows)?;
            (inner, level) = (parent.node, level + 1);
        }
    }

    /// Writes the rows of the top. If there is only one child, it takes that one's place.
    fn lower(
        &self,
        tx: &Transaction<'_>,
        level: u32,
        rows: Vec<(K, u64)>,
    ) -> Result<(), Interrupt> {
        let [(_, only)] = rows[..] else {
            return tx.write(self.top, &node(level, &rows)[..]);
        };
        let only = child(self.top, only);
        let bytes = tx.read(only)?;
        if rows::level(tx, bytes)? != level - 1 {
            return Err(tx.damaged());
        }
        tx.write(self.top, bytes)?;
        tx.free(only)
    }

    /// The child of `parent` on our way is left with `rows`, which are too few: it is made one with a neighbour, or
    /// takes some of that one's. What the parent holds after that, which is not written yet.
    fn even_out<W: Pod>(
        &self,
        tx: &Transaction<'_>,
        parent: &Step<'_, K>,
        level: u32,
        rows: Vec<(K, W)>,
    ) -> Result<Vec<(K, u64)>, Interrupt> {
        let row = parent.row;
        let right = row.max(1); // Of the two neighbours; the other is one less.
        let mut siblings = parent.rows.to_vec();
        let nodes = [child(self.top, siblings[right - 1].1), child(self.top, siblings[right].1)];
        let other = nodes[usize::from(row < right)];
        let others = Rows::<K, W>::of(tx, tx.read(other)?, level)?.to_vec();
        let (mut both, more) = if row < right { (rows, others) } else { (others, rows) };
        both.extend(more);
        let most = if level == 0 { Self::LEAF } else { Self::INNER };
        if both.len() <= most - most / 4 {
            tx.write(nodes[0], &node(level, &both)[..])?;
            tx.free(nodes[1])?;
            siblings.remove(right);
        } else {
            let upper = both.split_off(both.len() / 2);
            siblings[right].0 = upper[0].0;
            tx.write(nodes[0], &node(level, &both)[..])?;
            tx.write(nodes[1], &node(level, &upper)[..])?;
        }
        Ok(siblings)
    }
}
