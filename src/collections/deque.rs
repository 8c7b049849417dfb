//! The queue with two equal ends.

use super::handle::{filled, handle};
use super::reader::Reader;
use super::ring::{self, End, slot};
use super::slots::{Ends, Find, Items, Slot, Slots, slots};
use contempo_core::{StmResult, TVar, Transaction, atomically};

/// A transactional double-ended queue. It grows and shrinks with what is in it.
///
/// A handle, like [`TVar`]: cloning it gives another handle on the *same* deque. Items need not be `Clone`, and are
/// neither cloned nor moved once they are in.
///
/// ```
/// use contempo::{atomically, collections::TDeque};
/// let tasks = TDeque::from(["old", "older"]);
/// atomically(|tx| tasks.push_front(tx, "urgent"));
/// // The owner works at the front; a thief takes what would come last.
/// let (own, stolen) = atomically(|tx| Ok((*tasks.pop_front(tx)?, *tasks.pop_back(tx)?)));
/// assert_eq!((own, stolen), ("urgent", "older"));
/// ```
///
/// # Cost
///
/// | operation | time | cells read + written |
/// | --- | --- | --- |
/// | push and pop at both ends | O(1), on average over those before | 3 + 2 |
/// | [`front`](Self::front), [`back`](Self::back), [`get`](Self::get), [`is_empty`](Self::is_empty), [`len`](Self::len) | O(1) | 3 + 0 |
/// | [`iter`](Self::iter), [`clear`](Self::clear) | O(items) | 3 and one per item |
///
/// A slot takes about 80 bytes, and there are 8 at least. When all are taken, their number doubles; when a deque has
/// gone around them once and hardly any is taken, most go.
///
/// # Conflicts
///
/// Transactions that work at one end conflict with each other. One that works at the front and one at the back
/// conflict only while there is hardly any item, and once for each time around the slots, when their number may change.
pub struct TDeque<T: Send + Sync + 'static> {
    ends: Ends,
    /// As many as a power of two.
    slots: TVar<Box<[Slot<T>]>>,
}

/// The least number of slots.
const FEW: usize = 8;

impl<T: Send + Sync + 'static> TDeque<T> {
    /// An empty deque.
    ///
    /// ```
    /// use contempo::{collections::TDeque, snapshot};
    /// let deque = TDeque::<String>::new();
    /// assert!(snapshot(|view| deque.is_empty(view)));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new() -> Self {
        let deque = TDeque { ends: Ends::new(), slots: TVar::new(slots(FEW)) };
        if let Some(name) = contempo_core::place_name("TDeque") {
            deque.set_name(&name);
        }
        deque
    }

    /// As [`new`](Self::new), with names for the cells of both ends in the [contention
    /// report](crate::contention_report): `tasks: front` and `tasks: back`.
    #[cfg_attr(feature = "places", track_caller)]
    pub fn named(name: impl AsRef<str>) -> Self {
        let deque = Self::new();
        deque.set_name(name.as_ref());
        deque
    }

    fn set_name(&self, name: &str) {
        self.ends.set_name(name);
        self.slots.set_name(format!("{name}: slots"));
    }

    /// Do both handles refer to the same deque?
    ///
    /// ```
    /// use contempo::collections::TDeque;
    /// let (one, other) = (TDeque::<u8>::new(), TDeque::new());
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.slots.ptr_eq(&other.slots)
    }

    fn ring<'q, 'a: 'q, R: Reader<'a>>(&'q self, at: &R) -> Result<Slots<'q, T>, R::Error> {
        Ok(Slots { ends: &self.ends, slots: at.cell(&self.slots)? })
    }

    /// Adds an item at the front. O(1) on average.
    ///
    /// # Errors
    /// [`Interrupt`](crate::Interrupt) if the attempt must be repeated: pass it on with `?`.
    pub fn push_front(&self, tx: &Transaction<'_>, value: T) -> StmResult<()> {
        self.push(tx, End::Front, value)
    }

    /// Adds an item at the back. O(1) on average.
    ///
    /// # Errors
    /// As [`push_front`](Self::push_front).
    ///
    /// ```
    /// use contempo::{atomically, collections::TDeque, snapshot};
    /// let deque = TDeque::new();
    /// atomically(|tx| {
    ///     deque.push_back(tx, 2)?;
    ///     deque.push_front(tx, 1)
    /// });
    /// assert!(snapshot(|view| deque.iter(view).eq(&[1, 2])));
    /// ```
    pub fn push_back(&self, tx: &Transaction<'_>, value: T) -> StmResult<()> {
        self.push(tx, End::Back, value)
    }

    fn push(&self, tx: &Transaction<'_>, end: End, value: T) -> StmResult<()> {
        let ring = self.ring(tx)?;
        let Err(value) = ring::push(ring, tx, end, value)? else { return Ok(()) };
        self.resize(tx, 2 * ring.slots.len())?;
        match ring::push(self.ring(tx)?, tx, end, value)? {
            Ok(()) => Ok(()),
            Err(_) => unreachable!("half of the slots are empty"),
        }
    }

    fn pop<'tx>(&self, tx: &Transaction<'tx>, end: End) -> StmResult<Option<&'tx T>> {
        let ring = self.ring(tx)?;
        let Some((item, index)) = ring::pop(ring, tx, end)? else { return Ok(None) };
        // Are most slots empty? Asked once around only, since it reads the other end, and so conflicts with it.
        let slots = ring.slots.len();
        if slot(ring, index) == 0 && slots > FEW {
            let len = ring::len(ring, tx)?;
            if len < slots / 8 {
                self.resize(tx, (2 * len).next_power_of_two().max(FEW))?;
            }
        }
        Ok(Some(item))
    }

    /// Makes it so many slots: those that hold items stay the same cells.
    #[cold]
    fn resize(&self, tx: &Transaction<'_>, number: usize) -> StmResult<()> {
        let ring = self.ring(tx)?;
        let (front, back) = (*tx.read(&self.ends.front)?, *tx.read(&self.ends.back)?);
        let mut new = slots(number);
        for index in front..back {
            let at = slot(Slots { ends: &self.ends, slots: &new }, index);
            new[at] = ring.slots[slot(ring, index)].clone();
        }
        tx.write(&self.slots, new)
    }

    /// Takes the first item; sleeps until there is one. O(1) on average. What it gives lives as long as the attempt:
    /// clone it to keep it longer.
    ///
    /// # Errors
    /// As [`push_front`](Self::push_front).
    pub fn pop_front<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<&'tx T> {
        match self.pop(tx, End::Front)? {
            Some(item) => Ok(item),
            None => tx.retry(),
        }
    }

    /// Takes the last item; sleeps until there is one. O(1) on average.
    ///
    /// # Errors
    /// As [`push_front`](Self::push_front).
    ///
    /// ```
    /// use contempo::{atomically, collections::TDeque};
    /// let deque = TDeque::from([1, 2, 3]);
    /// let both = atomically(|tx| Ok((*deque.pop_back(tx)?, *deque.pop_front(tx)?)));
    /// assert_eq!(both, (3, 1));
    /// ```
    pub fn pop_back<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<&'tx T> {
        match self.pop(tx, End::Back)? {
            Some(item) => Ok(item),
            None => tx.retry(),
        }
    }

    /// Takes the first item, or nothing if there is none. O(1) on average.
    ///
    /// # Errors
    /// As [`push_front`](Self::push_front).
    pub fn try_pop_front<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>> {
        self.pop(tx, End::Front)
    }

    /// Takes the last item, or nothing if there is none. O(1) on average.
    ///
    /// # Errors
    /// As [`push_front`](Self::push_front).
    ///
    /// ```
    /// use contempo::{atomically, collections::TDeque};
    /// let deque = TDeque::from([1]);
    /// let both = atomically(|tx| {
    ///     Ok((deque.try_pop_back(tx)?.copied(), deque.try_pop_front(tx)?.copied()))
    /// });
    /// assert_eq!(both, (Some(1), None));
    /// ```
    pub fn try_pop_back<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>> {
        self.pop(tx, End::Back)
    }

    /// The first item, which stays. O(1).
    ///
    /// # Errors
    /// In a transaction as [`push_front`](Self::push_front).
    pub fn front<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<&'a T>> {
        R::output(self.first(at))
    }

    /// What [`front`](Self::front) gives, for callers that look at the errors themselves.
    pub(super) fn first<'a, R: Reader<'a>>(&self, at: &R) -> Result<Option<&'a T>, R::Error> {
        self.with(at, |ring| ring::peek(ring, at, End::Front))
    }

    /// The last item, which stays. O(1).
    ///
    /// # Errors
    /// In a transaction as [`push_front`](Self::push_front).
    ///
    /// ```
    /// use contempo::{collections::TDeque, snapshot};
    /// let deque = TDeque::from([1, 2]);
    /// snapshot(|view| assert_eq!((deque.front(view), deque.back(view)), (Some(&1), Some(&2))));
    /// ```
    pub fn back<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<Option<&'a T>> {
        R::output(self.with(at, |ring| ring::peek(ring, at, End::Back)))
    }

    /// The item of this index, from the front; none if there are not so many. O(1).
    ///
    /// # Errors
    /// In a transaction as [`push_front`](Self::push_front).
    ///
    /// ```
    /// use contempo::{collections::TDeque, snapshot};
    /// let deque = TDeque::from(['a', 'b']);
    /// snapshot(|view| assert_eq!((deque.get(view, 1), deque.get(view, 2)), (Some(&'b'), None)));
    /// ```
    pub fn get<'a, R: Reader<'a>>(&self, at: &R, index: usize) -> R::Output<Option<&'a T>> {
        R::output(self.with(at, |ring| ring::get(ring, at, index)))
    }

    /// Is there no item? O(1). Conflicts with what works at the front, and with what adds the first item.
    ///
    /// # Errors
    /// In a transaction as [`push_front`](Self::push_front).
    pub fn is_empty<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<bool> {
        R::output(self.first(at).map(|first| first.is_none()))
    }

    /// How many items there are. O(1). In a transaction that also writes it conflicts with what works at either end;
    /// in a snapshot with nothing.
    ///
    /// # Errors
    /// In a transaction as [`push_front`](Self::push_front).
    ///
    /// ```
    /// use contempo::{collections::TDeque, snapshot};
    /// let deque: TDeque<u32> = (0..100).collect();
    /// assert_eq!(snapshot(|view| deque.len(view)), 100);
    /// ```
    pub fn len<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(self.with(at, |ring| ring::len(ring, at)))
    }

    /// Removes all items, and all slots but a few. Linear in their number.
    ///
    /// # Errors
    /// As [`push_front`](Self::push_front).
    pub fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        ring::clear(self.ring(tx)?, tx)?;
        if self.ring(tx)?.slots.len() > FEW { self.resize(tx, FEW) } else { Ok(()) }
    }

    /// All items, from the first on, and from the last back. In a snapshot they are `&T`; in a transaction
    /// `StmResult<&T>`, and none follows an error. There the loop may change the deque: what it takes before its turn
    /// is passed, and what it adds at the end that the loop goes to comes in the end.
    ///
    /// ```
    /// use contempo::{collections::TDeque, snapshot};
    /// let deque = TDeque::from([1, 2, 3]);
    /// assert!(snapshot(|view| deque.iter(view).rev().eq(&[3, 2, 1])));
    /// ```
    pub fn iter<'r, 'a, R: Reader<'a>>(
        &self,
        at: &'r R,
    ) -> impl DoubleEndedIterator<Item = R::Output<&'a T>> + use<'r, 'a, R, T> {
        self.items(at).map(R::output)
    }

    /// What [`iter`](Self::iter) gives, for callers that look at the errors themselves.
    pub(super) fn items<'r, 'a, R: Reader<'a>>(&self, at: &'r R) -> Items<'r, 'a, R, Self, T> {
        Items::new(self.clone(), at)
    }

    /// How many slots there are: for tests and measurements.
    #[doc(hidden)]
    pub fn capacity<'a, R: Reader<'a>>(&self, at: &R) -> R::Output<usize> {
        R::output(self.with(at, |ring| Ok(ring.slots.len())))
    }
}

/// In transactions of their own. Each panics inside a transaction of the same thread.
impl<T: Clone + Send + Sync + 'static> TDeque<T> {
    /// Adds an item at the front.
    pub fn push_front_now(&self, value: T) {
        atomically(|tx| self.push_front(tx, value.clone()));
    }

    /// Adds an item at the back.
    ///
    /// ```
    /// use contempo::collections::TDeque;
    /// let deque = TDeque::new();
    /// deque.push_back_now(1);
    /// assert_eq!(deque.blocking_pop_front(), 1);
    /// ```
    pub fn push_back_now(&self, value: T) {
        atomically(|tx| self.push_back(tx, value.clone()));
    }

    /// Takes the first item; sleeps until there is one.
    pub fn blocking_pop_front(&self) -> T {
        atomically(|tx| self.pop_front(tx).cloned())
    }

    /// Takes the last item; sleeps until there is one.
    pub fn blocking_pop_back(&self) -> T {
        atomically(|tx| self.pop_back(tx).cloned())
    }
}

impl<'a, T: Send + Sync + 'static> Find<'a, T> for TDeque<T> {
    fn with<R: Reader<'a>, O>(
        &self,
        at: &R,
        then: impl FnOnce(Slots<'_, T>) -> Result<O, R::Error>,
    ) -> Result<O, R::Error> {
        then(self.ring(at)?)
    }
}

handle!({T: Send + Sync + 'static} TDeque<T>, "TDeque", ends, slots);
filled!({T: Clone + Send + Sync + 'static} TDeque<T>, T, TDeque::new(), TDeque::push_back_now);

impl<T: Send + Sync + 'static> Default for TDeque<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TDeque::new()
    }
}

impl<T: Clone + Send + Sync + 'static, const N: usize> From<[T; N]> for TDeque<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn from(items: [T; N]) -> Self {
        TDeque::from_iter(items)
    }
}
