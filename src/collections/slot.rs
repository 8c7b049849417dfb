//! What a bucket holds of an entry, in two kinds.
//!
//! | kind | for | the value |
//! | --- | --- | --- |
//! | [`Small`] | keys and values that are `Copy`, and small together | lies in the bucket, beside the key: to replace it is to write the bucket |
//! | [`Shared`] | all others | has a cell of its own, behind a pointer: to replace it leaves the bucket as it is |
//!
//! A map decides for one kind when it is made ([`is_small`], `TMap::compact`), by what its keys and values are. What is small needs no
//! allocation but the bucket's, and a look-up reads one cell; neither keys nor values of the other kind are ever cloned.

use super::reader::Reader;
use contempo_core::{StmResult, TVar, Transaction};
use std::any::TypeId;
use std::mem::ManuallyDrop;
use std::num::NonZeroU64;
use std::sync::Arc;

/// The hash of a key, with its highest bit set: so a place in a bucket that is empty takes no room to say so.
pub(super) type HashCode = NonZeroU64;

/// That of what a hasher says.
#[inline(always)]
pub(super) fn code(hash: u64) -> HashCode {
    const HIGHEST: HashCode = NonZeroU64::new(1 << 63).unwrap();
    HIGHEST | hash
}

/// An entry as a bucket holds it. The hash lies there, so that a look at a wrong entry, and the splitting of a bucket,
/// follow no pointer. A clone is the same entry.
pub(super) trait Slot: Clone + Send + Sync + 'static {
    type Key: Send + Sync + 'static;
    type Value: Send + Sync + 'static;

    /// Is the value replaced with the bucket, by one write?
    const LIES_IN_BUCKET: bool;

    fn new(hash: HashCode, key: Self::Key, value: Self::Value) -> Self;

    fn hash(&self) -> HashCode;

    fn key(&self) -> &Self::Key;

    /// The value, if this slot was read at `at`.
    fn value<'a, R: Reader<'a>>(&'a self, at: &R) -> Result<&'a Self::Value, R::Error>;

    /// Gives the entry another value; what it was. If it lies in the bucket, that is for the caller to write: with the
    /// slot that is returned in place of this one.
    fn replaced<'tx>(
        &'tx self,
        tx: &Transaction<'tx>,
        value: Self::Value,
    ) -> StmResult<(&'tx Self::Value, Option<Self>)>;
}

/// A key and a value without destructors, bit by bit.
pub(super) struct Small<K, V> {
    hash: HashCode,
    /// `Copy`, both: so without destructor, which the types say here.
    key: ManuallyDrop<K>,
    value: ManuallyDrop<V>,
}

/// The most bytes of a small slot: a bucket is copied whenever an entry of it changes.
const LARGEST: usize = 32;

/// Are entries of these types kept in the buckets? Which types are `Copy` cannot be asked here: so those are that this
/// crate knows.
#[inline(always)]
pub(super) fn is_small<K: 'static, V: 'static>() -> bool {
    fits::<K, V>() && is_known::<K>() && is_known::<V>()
}

/// Is an entry small enough, if its key and value are `Copy`?
#[inline(always)]
pub(super) const fn fits<K, V>() -> bool {
    size_of::<Small<K, V>>() <= LARGEST
        && !std::mem::needs_drop::<K>()
        && !std::mem::needs_drop::<V>()
}

/// Is it one of the types of the standard library that are `Copy` and often are keys or values?
#[inline(always)]
fn is_known<T: 'static>() -> bool {
    use std::num::{NonZeroI32, NonZeroI64, NonZeroU32, NonZeroU64, NonZeroUsize};
    use std::time::{Duration, Instant};

    fn is<T: 'static, Known: Copy + 'static>() -> bool {
        TypeId::of::<T>() == TypeId::of::<Known>()
    }
    macro_rules! is_one_of {
        ($($known:ty),* $(,)?) => { $(is::<T, $known>())||* };
    }
    is_one_of!(
        (),
        bool,
        char,
        u8,
        u16,
        u32,
        u64,
        u128,
        usize,
        i8,
        i16,
        i32,
        i64,
        i128,
        isize,
        f32,
        f64,
        NonZeroU32,
        NonZeroU64,
        NonZeroUsize,
        NonZeroI32,
        NonZeroI64,
        &'static str,
        Duration,
        Instant,
        (u32, u32),
        (u64, u64),
        (i32, i32),
        (i64, i64),
        (usize, usize),
        [u8; 4],
        [u8; 8],
        [u8; 16],
        Option<u32>,
        Option<u64>,
        Option<usize>,
        std::net::Ipv4Addr,
        std::thread::ThreadId,
    )
}

impl<K, V> Clone for Small<K, V> {
    #[inline(always)]
    fn clone(&self) -> Self {
        // SAFETY: a map has slots of this kind only if its keys and values are `Copy` (`Kind::Small`, which is made for types
        // that are known to be, or that a bound says to be): so a copy of the bits is another value.
        unsafe { std::ptr::read(self) }
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Slot for Small<K, V> {
    type Key = K;
    type Value = V;

    const LIES_IN_BUCKET: bool = true;

    #[inline(always)]
    fn new(hash: HashCode, key: K, value: V) -> Self {
        debug_assert!(fits::<K, V>(), "an entry that is not small lies in a bucket");
        Small { hash, key: ManuallyDrop::new(key), value: ManuallyDrop::new(value) }
    }

    #[inline(always)]
    fn hash(&self) -> HashCode {
        self.hash
    }

    #[inline(always)]
    fn key(&self) -> &K {
        &self.key
    }

    #[inline(always)]
    fn value<'a, R: Reader<'a>>(&'a self, _: &R) -> Result<&'a V, R::Error> {
        Ok(&self.value)
    }

    #[inline(always)]
    fn replaced<'tx>(
        &'tx self,
        _: &Transaction<'tx>,
        value: V,
    ) -> StmResult<(&'tx V, Option<Self>)> {
        let mut replaced = self.clone();
        replaced.value = ManuallyDrop::new(value);
        Ok((&self.value, Some(replaced)))
    }
}

/// A pointer to a key and the cell of its value.
pub(super) struct Shared<K, V: Send + Sync + 'static> {
    hash: HashCode,
    entry: Arc<(K, TVar<V>)>,
}

impl<K, V: Send + Sync + 'static> Clone for Shared<K, V> {
    fn clone(&self) -> Self {
        Shared { hash: self.hash, entry: Arc::clone(&self.entry) }
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Slot for Shared<K, V> {
    type Key = K;
    type Value = V;

    const LIES_IN_BUCKET: bool = false;

    fn new(hash: HashCode, key: K, value: V) -> Self {
        Shared { hash, entry: Arc::new((key, TVar::new(value))) }
    }

    #[inline(always)]
    fn hash(&self) -> HashCode {
        self.hash
    }

    #[inline(always)]
    fn key(&self) -> &K {
        &self.entry.0
    }

    #[inline(always)]
    fn value<'a, R: Reader<'a>>(&'a self, at: &R) -> Result<&'a V, R::Error> {
        at.cell(&self.entry.1)
    }

    #[inline(always)]
    fn replaced<'tx>(
        &'tx self,
        tx: &Transaction<'tx>,
        value: V,
    ) -> StmResult<(&'tx V, Option<Self>)> {
        Ok((tx.replace(&self.entry.1, value)?, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_and_small_lies_in_buckets() {
        assert!(is_small::<u64, u64>() && is_small::<&'static str, u64>() && is_small::<u8, ()>());
        assert!(is_small::<char, Option<u32>>());
        assert!(!is_small::<u64, String>() && !is_small::<String, u64>());
        // Not `Copy`, though without destructor.
        assert!(!is_small::<u64, std::sync::atomic::AtomicU64>());
        assert!(!is_small::<(u64, u64), (u64, u64)>() && !fits::<u64, [u64; 3]>(), "too large");
        assert!(!std::mem::needs_drop::<Option<Small<u64, u64>>>());
        assert_eq!(size_of::<Option<Small<u64, u64>>>(), 24);
    }

    #[test]
    fn a_clone_of_a_small_slot_is_another() {
        let slot = Small::new(code(7), 'x', Some(5_u32));
        let clone = slot.clone();
        assert_eq!((clone.hash(), *clone.key(), *clone.value), (code(7), 'x', Some(5)));
    }
}
