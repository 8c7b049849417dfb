//! What lies in the nodes of the ordered map of one process, and the going through it.

use super::local::Local;
use super::reader::Reader;
use super::tree::{Keyed, Walk};
use contempo_core::TVar;
use std::borrow::Borrow;
use std::ops::RangeBounds;
use std::sync::Arc;

/// A key with the cell of its value. That has none any more once the entry was removed: a parent may keep the entry for
/// its key.
pub(crate) struct Entry<K, V: Send + Sync + 'static> {
    pub(super) key: K,
    pub(super) value: TVar<Option<V>>,
}

pub(crate) type Slot<K, V> = Arc<Entry<K, V>>;

/// The nodes of such a map.
pub(super) type In<K, V> = Local<Slot<K, V>, Slot<K, V>>;

impl<K, V: Send + Sync + 'static> Entry<K, V> {
    /// An entry in no leaf yet.
    pub(super) fn slot(key: K, value: V) -> Slot<K, V> {
        Arc::new(Entry { key, value: TVar::new(Some(value)) })
    }

    /// The key and the value, unless the entry was removed.
    #[inline(always)]
    pub(super) fn read<'e, 'a: 'e, R: Reader<'a>>(
        &'e self,
        at: &R,
    ) -> Result<Option<(&'e K, &'a V)>, R::Error> {
        Ok(at.cell(&self.value)?.as_ref().map(|value| (&self.key, value)))
    }
}

impl<K: Ord + Send + Sync + 'static, V: Send + Sync + 'static> Keyed for In<K, V> {
    type Order = K;

    const LEAF: usize = 16;
    const INNER: usize = 16;

    fn key(entry: &Slot<K, V>) -> Slot<K, V> {
        Arc::clone(entry)
    }

    #[inline(always)]
    fn leaf_key<T>(leaf: Self::Leaf<'_>, row: usize, look: impl FnOnce(&K) -> T) -> T {
        look(&leaf[row].key)
    }

    #[inline(always)]
    fn inner_key<T>(inner: Self::Inner<'_>, row: usize, look: impl FnOnce(&K) -> T) -> T {
        look(&inner[row].0.key)
    }
}

/// Some entries, in order, from both ends.
pub(super) struct Entries<
    'r,
    'a,
    R,
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
    B,
    Q: ?Sized,
> {
    walk: Walk<'r, 'a, R, In<K, V>, B, Q>,
    at: &'r R,
}

impl<'r, 'a, R, K: Send + Sync + 'static, V: Send + Sync + 'static, B, Q: ?Sized>
    Entries<'r, 'a, R, K, V, B, Q>
{
    pub(super) fn new(walk: Walk<'r, 'a, R, In<K, V>, B, Q>, at: &'r R) -> Self {
        Entries { walk, at }
    }
}

impl<'a, R, K, V, B, Q> Entries<'_, 'a, R, K, V, B, Q>
where
    R: Reader<'a>,
    K: Ord + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    B: RangeBounds<Q>,
    Q: Ord + ?Sized,
{
    /// The first that `step` comes to which still has a value: the loop may have removed what is in a leaf that was
    /// read before.
    fn present(
        &mut self,
        mut step: impl FnMut(
            &mut Walk<'_, 'a, R, In<K, V>, B, Q>,
        ) -> Option<Result<(&'a [Slot<K, V>], usize), R::Error>>,
    ) -> Option<Result<(&'a K, &'a V), R::Error>> {
        loop {
            let (leaf, row) = match step(&mut self.walk)? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            match leaf[row].read(self.at).transpose() {
                Some(Err(error)) => {
                    self.walk.end();
                    return Some(Err(error));
                }
                Some(entry) => return Some(entry),
                None => {}
            }
        }
    }
}

impl<'a, R, K, V, B, Q> Iterator for Entries<'_, 'a, R, K, V, B, Q>
where
    R: Reader<'a>,
    K: Ord + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    B: RangeBounds<Q>,
    Q: Ord + ?Sized,
{
    type Item = Result<(&'a K, &'a V), R::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.present(|walk| walk.next())
    }
}

impl<'a, R, K, V, B, Q> DoubleEndedIterator for Entries<'_, 'a, R, K, V, B, Q>
where
    R: Reader<'a>,
    K: Ord + Borrow<Q> + Send + Sync + 'static,
    V: Send + Sync + 'static,
    B: RangeBounds<Q>,
    Q: Ord + ?Sized,
{
    fn next_back(&mut self) -> Option<Self::Item> {
        self.present(|walk| walk.next_back())
    }
}
