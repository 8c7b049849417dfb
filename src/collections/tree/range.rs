//! Going through an ordered map.
//!
//! Nothing is kept but a leaf of each end, as it was read: the next one is looked for from the top. So the
//! transaction may change the map meanwhile.

use super::{Edge, Entry, Keyed, seek, seek_back};
use crate::collections::nodes::{Nodes, Read, Rows};
use std::borrow::Borrow;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

/// Some entries of an ordered map, in order, from both ends.
pub(crate) struct Walk<'r, 'a, R, N: Nodes, B, Q: ?Sized> {
    top: N::Link,
    at: &'r R,
    bounds: B,
    /// The entry that came last from the front.
    front: Option<Entry<'a, N>>,
    /// The entry that came last from the back.
    back: Option<Entry<'a, N>>,
    ended: bool,
    _key: PhantomData<fn(&Q)>,
}

impl<'r, R, N: Nodes, B, Q: ?Sized> Walk<'r, '_, R, N, B, Q> {
    pub(crate) fn new(top: N::Link, at: &'r R, bounds: B) -> Self {
        Walk { top, at, bounds, front: None, back: None, ended: false, _key: PhantomData }
    }

    /// There are no more.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }
}

fn edge<'q, 'a, N: Nodes, Q: ?Sized>(bound: Bound<&'q Q>) -> Edge<'q, 'a, N, Q> {
    match bound {
        Bound::Unbounded => Edge::Open,
        Bound::Included(key) => Edge::Key(key, true),
        Bound::Excluded(key) => Edge::Key(key, false),
    }
}

impl<'a, R, N, B, Q> Walk<'_, 'a, R, N, B, Q>
where
    R: Read<'a, N>,
    N: Keyed,
    N::Order: Borrow<Q>,
    B: RangeBounds<Q>,
    Q: Ord + ?Sized,
{
    /// What is still to come begins here.
    fn from(&self) -> Edge<'_, 'a, N, Q> {
        match self.front {
            Some((leaf, row)) => Edge::Entry(leaf, row, false),
            None => edge(self.bounds.start_bound()),
        }
    }

    /// What is still to come ends here.
    fn to(&self) -> Edge<'_, 'a, N, Q> {
        match self.back {
            Some((leaf, row)) => Edge::Entry(leaf, row, false),
            None => edge(self.bounds.end_bound()),
        }
    }

    /// This entry, if its key is still to come. The keys of a leaf that makes sense are.
    fn entry(&self, (leaf, row): Entry<'a, N>) -> Option<Entry<'a, N>> {
        let is_in = |key: &N::Order| self.from().is_reached_by(key) && !self.to().is_left_by(key);
        N::leaf_key(leaf, row, is_in).then_some((leaf, row))
    }

    fn step(&mut self) -> Result<Option<Entry<'a, N>>, R::Error> {
        let next = match self.front {
            Some((leaf, row)) if row + 1 < leaf.len() => Some((leaf, row + 1)),
            _ => seek(&self.top, self.at, self.from())?,
        };
        let entry = next.and_then(|next| self.entry(next));
        self.front = entry.or(self.front);
        Ok(entry)
    }

    fn step_back(&mut self) -> Result<Option<Entry<'a, N>>, R::Error> {
        let next = match self.back {
            Some((leaf, row)) if row > 0 => Some((leaf, row - 1)),
            _ => seek_back(&self.top, self.at, self.to())?,
        };
        let entry = next.and_then(|next| self.entry(next));
        self.back = entry.or(self.back);
        Ok(entry)
    }

    fn or_end<T>(&mut self, step: Result<Option<T>, R::Error>) -> Option<Result<T, R::Error>> {
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

impl<'a, R, N, B, Q> Iterator for Walk<'_, 'a, R, N, B, Q>
where
    R: Read<'a, N>,
    N: Keyed,
    N::Order: Borrow<Q>,
    B: RangeBounds<Q>,
    Q: Ord + ?Sized,
{
    type Item = Result<Entry<'a, N>, R::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.or_end(step)
    }
}

impl<'a, R, N, B, Q> DoubleEndedIterator for Walk<'_, 'a, R, N, B, Q>
where
    R: Read<'a, N>,
    N: Keyed,
    N::Order: Borrow<Q>,
    B: RangeBounds<Q>,
    Q: Ord + ?Sized,
{
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step_back();
        self.or_end(step)
    }
}
