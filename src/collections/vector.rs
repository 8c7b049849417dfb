//! The vector of one process.

use super::chunks::{self, Chunked, Items};
use super::local::{Local, Node};
use super::nodes::Use;
use super::reader::Reader;
use super::tree;
use contempo_core::{StmResult, TVar, Transaction, atomically};

/// A transactional vector: a growing list of items, found by index.
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* vector. Items need not be
/// `Clone`, and are neither cloned nor moved once they are in.
///
/// ```
/// use contempo::{atomically, collections::TVector, snapshot};
/// let scores = TVector::from([10, 20, 30]);
/// atomically(|tx| {
///     if let (Some(first), Some(last)) = (scores.get(tx, 0)?, scores.get(tx, 2)?) {
///         scores.set(tx, 0, *last)?;
///         scores.set(tx, 2, *first)?;
///     }
///     scores.push(tx, 40)
/// });
/// assert_eq!(snapshot(|view| scores.iter(view).copied().collect::<Vec<_>>()), [30, 20, 10, 40]);
/// ```
///
/// # Cost
///
/// A chunk has 32 items, each with a cell of its own; an inner node has 32 chunks or nodes.
///
/// | operation | time | cells read + written |
/// | --- | --- | --- |
/// | [`get`](Self::get) | O(log n) to base 32 | one per level, and that of the item + 0 |
/// | [`set`](Self::set) | O(log n) to base 32 | the same + 1 |
/// | [`len`](Self::len), [`is_empty`](Self::is_empty) | O(log n) to base 32 | one per level + 0 |
/// | [`push`](Self::push), [`pop`](Self::pop) | O(log n) to base 32 | one per level + 1; once in a chunk 2 |
/// | [`iter`](Self::iter) | O(items) | one per level and chunk, and one per item + 0 |
/// | [`clear`](Self::clear) | O(1), and O(items) later to drop them | 0 + 1 |
///
/// # Conflicts
///
/// Two transactions that both write conflict through a vector if one replaces an item that the other has read or
/// replaced, or if one pushes or pops and the other has used the last *chunk*, or [`len`](Self::len). When a chunk
/// comes or goes, the node above it changes, too, which everything has read that was at one of that node's chunks.
pub struct TVector<T: Send + Sync + 'static> {
    top: TVar<Node<TVar<T>, ()>>,
}

/// The nodes of such a vector.
type In<T> = Local<TVar<T>, ()>;

impl<T: Send + Sync + 'static> Chunked for Local<TVar<T>, ()> {
    const CHUNK: usize = 32;
    const FAN: usize = 32;
}

impl<T: Send + Sync + 'static> TVector<T> {
    /// An empty vector.
    ///
    /// ```
    /// use contempo::{collections::TVector, snapshot};
    /// let vector = TVector::<String>::new();
    /// assert!(snapshot(|view| vector.is_empty(view)));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        TVector { top: TVar::new(Node::EMPTY) }
    }

    /// Do both handles refer to the same vector?
    ///
    /// ```
    /// use contempo::collections::TVector;
    /// let (one, other) = (TVector::<u8>::new(), TVector::new());
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.top.ptr_eq(&other.top)
    }

    /// The item of this index; none if there are not so many. O(log n).
    ///
    /// # Errors
    /// In a transaction, [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{collections::TVector, snapshot};
    /// let vector = TVector::from([7]);
    /// snapshot(|view| assert_eq!((vector.get(view, 0), vector.get(view, 1)), (Some(&7), None)));
    /// ```
    pub fn get<'a, R: Reader<'a>>(&self, at: &R, index: usize) -> R::Output<Option<&'a T>> {
        let place = chunks::get::<In<T>, R>(&self.top, at, index, Use::Lasting);
        R::output(
            place.and_then(|place| place.map(|place| at.cell(&place.chunk[place.row])).transpose()),
        )
    }

    /// Replaces the item of this index; what it was before. If there are not so many, nothing is done, and
    /// nothing returned. O(log n).
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// use contempo::{atomically, collections::TVector};
    /// let vector = TVector::from([7]);
    /// assert_eq!(atomically(|tx| Ok(vector.set(tx, 0, 8)?.copied())), Some(7));
    /// assert_eq!(atomically(|tx| Ok(vector.set(tx, 1, 9)?.copied())), None);
    /// ```
    pub fn set<'tx>(
        &self,
        tx: &Transaction<'tx>,
        index: usize,
        value: T,
    ) -> StmResult<Option<&'tx T>> {
        match chunks::get::<In<T>, _>(&self.top, tx, index, Use::Lasting)? {
            Some(place) => tx.replace(&place.chunk[place.row], value).map(Some),
            None => Ok(None),
        }
    }

    /// How many items there are. O(log n). In a transaction that also writes it conflicts with every
    /// [`push`](Self::push) and [`pop`](Self::pop); in a snapshot with nothing.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// use contempo::{collections::TVector, snapshot};
    /// let vector: TVector<u32> = (0..1000).collect();
    /// assert_eq!(snapshot(|view| vector.len(view)), 1000);
    /// ```
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(chunks::len::<In<T>, R>(&self.top, at))
    }

    /// Is there no item? Costs and conflicts as [`len`](Self::len).
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// ```
    /// use contempo::{collections::TVector, snapshot};
    /// let vector = TVector::from([7]);
    /// assert!(!snapshot(|view| vector.is_empty(view)));
    /// ```
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        R::output(chunks::len::<In<T>, R>(&self.top, at).map(|len| len == 0))
    }

    /// Adds an item at the end; its index. O(log n).
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// ```
    /// use contempo::{atomically, collections::TVector};
    /// let vector = TVector::new();
    /// assert_eq!(atomically(|tx| Ok((vector.push(tx, "a")?, vector.push(tx, "b")?))), (0, 1));
    /// ```
    pub fn push(&self, tx: &Transaction<'_>, value: T) -> StmResult<usize> {
        chunks::push::<In<T>>(&self.top, tx, TVar::new(value))
    }

    /// Takes the last item, or nothing if there is none. O(log n). What it gives lives as long as the attempt: clone
    /// it to keep it longer.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// ```
    /// use contempo::{atomically, collections::TVector};
    /// let vector = TVector::from([7, 8]);
    /// assert_eq!(atomically(|tx| Ok(vector.pop(tx)?.copied())), Some(8));
    /// // To sleep until there is one:
    /// let last = atomically(|tx| match vector.pop(tx)? {
    ///     Some(item) => Ok(*item),
    ///     None => tx.retry(),
    /// });
    /// assert_eq!(last, 7);
    /// ```
    pub fn pop<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>> {
        chunks::pop::<In<T>>(&self.top, tx)?.map(|item| tx.read(&item)).transpose()
    }

    /// Removes all items. O(1); they are dropped later, when no transaction can see them.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    ///
    /// ```
    /// use contempo::{atomically, collections::TVector, snapshot};
    /// let vector = TVector::from([7, 8]);
    /// atomically(|tx| vector.clear(tx));
    /// assert!(snapshot(|view| vector.is_empty(view)));
    /// ```
    pub fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        tree::clear::<In<T>>(&self.top, tx)
    }

    /// All items, from the first on. In a snapshot they are `&T`; in a transaction `StmResult<&T>`, and none
    /// follows an error. There the loop may change the vector: each step gives the item that then has the next
    /// index.
    ///
    /// ```
    /// use contempo::{atomically, collections::TVector, snapshot};
    /// let vector = TVector::from([1, 2, 3]);
    /// assert_eq!(snapshot(|view| vector.iter(view).sum::<i32>()), 6);
    /// let sum: i32 = atomically(|tx| vector.iter(tx).map(|item| item.copied()).sum());
    /// assert_eq!(sum, 6);
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl Iterator<Item = R::Output<&'a T>> + use<'r, 'a, R, T> {
        Items::<'r, 'a, R, In<T>>::new(self.top.clone(), at)
            .map(|item| R::output(item.and_then(|(chunk, row)| at.cell(&chunk[row]))))
    }
}

impl<T: Send + Sync + 'static> Clone for TVector<T> {
    /// Another handle on the same vector.
    fn clone(&self) -> Self {
        TVector { top: self.top.clone() }
    }
}

impl<T: Send + Sync + 'static> Default for TVector<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TVector::new()
    }
}

/// A handle is enough to add items: `extend` through `&vector`. Each item is a transaction.
impl<T: Send + Sync + 'static> Extend<T> for &TVector<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        for value in items {
            // It is made once; attempts that are repeated share it. So nothing need be cloned.
            let item = TVar::new(value);
            atomically(|tx| chunks::push::<In<T>>(&self.top, tx, item.clone()).map(drop));
        }
    }
}

impl<T: Send + Sync + 'static> FromIterator<T> for TVector<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let vector = TVector::new();
        (&vector).extend(items);
        vector
    }
}

impl<T: Send + Sync + 'static, const N: usize> From<[T; N]> for TVector<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn from(items: [T; N]) -> Self {
        TVector::from_iter(items)
    }
}

/// Shows only that it is a vector: whether this thread is inside a transaction, and so which version of the vector it
/// should show, is not known here. Collect a snapshot to see the items.
impl<T: Send + Sync + 'static> std::fmt::Debug for TVector<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TVector(..)")
    }
}
