//! Going through an ordered map.
//!
//! Nothing is kept but a leaf of each end, as it was read: the next one is looked for from the top. So the
//! transaction may change the map meanwhile.

use super::OrderedMap;
use crate::shared::collections::rows::Rows;
use crate::shared::{Interrupt, Reader};
use bytemuck::Pod;
use std::ops::{Bound, RangeBounds};

/// Some entries of an [`OrderedMap`], in order: see [`OrderedMap::range`].
///
/// ```
/// use contempo::shared::{Options, Shared, collections::OrderedMap};
/// # let path = std::env::temp_dir().join(format!("contempo-doc-orange-{}", std::process::id()));
/// # let _ = std::fs::remove_file(&path);
/// # let shared = Shared::create(&path, &Options::new())?;
/// let map: OrderedMap<u64, u64> = OrderedMap::root(&shared, "map")?;
/// shared.atomically(|tx| (0..9).try_for_each(|n| map.insert(tx, n, n).map(|_| ())))?;
/// shared.snapshot(|view| {
///     let mut range = map.range(view, 3..=5);
///     assert_eq!(range.next().transpose()?, Some((3, 3)));
///     assert_eq!(range.next_back().transpose()?, Some((5, 5)));
///     assert_eq!(range.next().transpose()?, Some((4, 4)));
///     assert!(range.next().is_none());
///     Ok(())
/// })?;
/// # std::fs::remove_file(&path)?;
/// # std::fs::remove_file(contempo::shared::lease_path(&path))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Range<'r, 'a, R, K, V> {
    map: OrderedMap<K, V>,
    at: &'r R,
    from: Bound<K>,
    to: Bound<K>,
    /// A leaf, and the row in it that comes next.
    front: Option<(Rows<'a, K, V>, usize)>,
    /// A leaf, and the row in it that came last.
    back: Option<(Rows<'a, K, V>, usize)>,
    ended: bool,
}

impl<'r, 'a, R: Reader<'a>, K: Pod + Ord, V: Pod> Range<'r, 'a, R, K, V> {
    pub(super) fn new(map: OrderedMap<K, V>, at: &'r R, from: Bound<K>, to: Bound<K>) -> Self {
        Range { map, at, from, to, front: None, back: None, ended: false }
    }

    /// The entry in this row, if its key is in the range. The keys of a leaf that makes sense are.
    fn entry(&self, leaf: Rows<'a, K, V>, row: usize) -> Option<(K, V)> {
        let key = leaf.key(row);
        (self.from, self.to).contains(&key).then(|| (key, leaf.value(row)))
    }

    fn step(&mut self) -> Result<Option<(K, V)>, Interrupt> {
        let (leaf, row) = match self.front.take().filter(|(leaf, row)| *row < leaf.len()) {
            Some(found) => found,
            None => match self.map.seek(self.at, self.from)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        let Some(entry) = self.entry(leaf, row) else { return Ok(None) };
        self.from = Bound::Excluded(entry.0);
        self.front = Some((leaf, row + 1));
        Ok(Some(entry))
    }

    fn step_back(&mut self) -> Result<Option<(K, V)>, Interrupt> {
        let (leaf, row) = match self.back.take().filter(|(_, row)| *row > 0) {
            Some((leaf, row)) => (leaf, row - 1),
            None => match self.map.seek_back(self.at, self.to)? {
                Some(found) => found,
                None => return Ok(None),
            },
        };
        let Some(entry) = self.entry(leaf, row) else { return Ok(None) };
        self.to = Bound::Excluded(entry.0);
        self.back = Some((leaf, row));
        Ok(Some(entry))
    }

    fn or_end<T>(&mut self, step: Result<Option<T>, Interrupt>) -> Option<Result<T, Interrupt>> {
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}

impl<'a, R: Reader<'a>, K: Pod + Ord, V: Pod> Iterator for Range<'_, 'a, R, K, V> {
    type Item = Result<(K, V), Interrupt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.or_end(step)
    }
}

impl<'a, R: Reader<'a>, K: Pod + Ord, V: Pod> DoubleEndedIterator for Range<'_, 'a, R, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step_back();
        self.or_end(step)
    }
}

impl<'a, R: Reader<'a>, K: Pod + Ord, V: Pod> std::iter::FusedIterator for Range<'_, 'a, R, K, V> {}

impl<R, K, V> std::fmt::Debug for Range<'_, '_, R, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("map", &self.map).finish_non_exhaustive()
    }
}
