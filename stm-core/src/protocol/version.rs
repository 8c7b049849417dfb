//! Versions and cells as they lie in memory.
//!
//! | block | words | bytes for a `u64` |
//! | --- | --- | --- |
//! | cell | value, lock, handles | 24 |
//! | version | who/when, prev, data | 24 |
//!
//! A `TVar` is a pointer to the cell (8 bytes), so a `TVar<u64>` with its value takes 56 bytes.

use crate::domain::{Domain, Link, Native};
use contempo_alloc::heap::Shape;
use contempo_alloc::reclaim::retired::{Block, BlockKind, weight};
use contempo_sched::clock::CommitClock;
use contempo_sched::primitives::{AtomicPtr, AtomicUsize, DataCell, Ordering};
use contempo_sched::words::{AtomicLockWord, AtomicWhoWhen, LockWord, WhoWhen};
use std::ptr::NonNull;

/// The part of a version that the protocol works on, whatever the type of the value.
#[repr(C)]
pub struct VersionHeader<D: Domain> {
    /// Who wrote this version, and when.
    pub who_when: AtomicWhoWhen,
    /// The version that this one replaced. Written before the version is reachable, by the claim
    /// that published it; good as long as somebody may need it.
    pub prev: D::Link,
    /// Under the checkers: has the reclaimer destroyed this version?
    #[cfg(any(contempo_loom, contempo_shuttle))]
    pub destroyed: std::sync::atomic::AtomicBool,
}

/// One immutable value of a cell.
#[repr(C)]
pub struct Version<T, D: Domain = Native> {
    header: VersionHeader<D>,
    data: DataCell<T>,
}

impl<T, D: Domain> Version<T, D> {
    /// How versions of this type are freed.
    pub const KIND: &'static BlockKind = &BlockKind {
        shape: Shape::of::<Self>(),
        destroy: if std::mem::needs_drop::<T>() || contempo_sched::primitives::CHECKED {
            Some(Self::destroy)
        } else {
            None
        },
        in_static: Some(&BlockKind {
            shape: Shape::NOT_OURS,
            destroy: if std::mem::needs_drop::<T>() { Some(Self::destroy) } else { None },
            in_static: None,
            weight: weight(0, std::mem::needs_drop::<T>()),
            has_destructor: std::mem::needs_drop::<T>(),
        }),
        weight: Self::WEIGHT,
        has_destructor: std::mem::needs_drop::<T>(),
    };

    /// How much it matters that such a version goes soon.
    const WEIGHT: usize = weight(size_of::<Self>(), std::mem::needs_drop::<T>());

    /// Makes a block of [`KIND`](Self::KIND)'s layout a version whose value is still to be written: to
    /// where? So a large value is moved once, to where it stays.
    ///
    /// # Safety
    /// The block is ours alone.
    #[inline(always)]
    pub unsafe fn prepare(block: NonNull<u8>, who_when: WhoWhen) -> *mut T {
        let version = block.cast::<Self>().as_ptr();
        let header = VersionHeader {
            who_when: AtomicWhoWhen::new(who_when),
            prev: D::Link::null(),
            #[cfg(any(contempo_loom, contempo_shuttle))]
            destroyed: std::sync::atomic::AtomicBool::new(false),
        };
        // SAFETY: the block has this layout and is ours alone.
        unsafe { (&raw mut (*version).header).write(header) };
        // SAFETY: as above: a field of it.
        unsafe { DataCell::prepare(&raw mut (*version).data) }
    }

    /// Puts a version into a block of [`KIND`](Self::KIND)'s layout.
    ///
    /// # Safety
    /// The block is ours alone.
    #[inline(always)]
    pub unsafe fn init(block: NonNull<u8>, who_when: WhoWhen, data: T) -> *mut VersionHeader<D> {
        // SAFETY: our caller's promise; prepared for a `T`.
        unsafe { Self::prepare(block, who_when).write(data) };
        block.cast().as_ptr()
    }

    /// The value of a version.
    ///
    /// # Safety
    /// `header` is that of a `Version<T, D>`, and the caller's transaction keeps it from being
    /// freed for `'a` (Lemma C: the caller is a contemporary).
    #[inline(always)]
    pub unsafe fn value<'a>(header: *const VersionHeader<D>) -> &'a T {
        // SAFETY: our caller's promise; `repr(C)` puts the header first.
        let version = unsafe { &*header.cast::<Self>() };
        let data = version.data.get();
        #[cfg(any(contempo_loom, contempo_shuttle))]
        assert!(
            !version.header.destroyed.load(std::sync::atomic::Ordering::Relaxed),
            "use after free: a version was read that the reclaimer had destroyed"
        );
        // SAFETY: values are never changed while reachable; only the reclaimer, and only after
        // every contemporary has finished, takes them back.
        unsafe { &*data }
    }

    /// Where the value of a version lies that did not commit.
    ///
    /// # Safety
    /// `header` is that of a `Version<T, D>` whose value nobody reads: it is private, or its claim
    /// was aborted.
    pub unsafe fn place(header: *mut VersionHeader<D>) -> *mut T {
        // SAFETY: our caller's promise; `repr(C)` puts the header first.
        let version = unsafe { &*header.cast::<Self>() };
        version.data.get_exclusive()
    }

    /// # Safety
    /// The block holds a `Version<T, D>` that nobody can reach any more.
    unsafe fn destroy(block: NonNull<u8>) -> Option<Block> {
        // SAFETY: our caller's promise.
        let version = unsafe { block.cast::<Self>().as_ref() };
        #[cfg(any(contempo_loom, contempo_shuttle))]
        assert!(
            !version.header.destroyed.swap(true, std::sync::atomic::Ordering::Relaxed),
            "a version was destroyed twice"
        );
        // SAFETY: the last reference to the value.
        unsafe { version.data.get_exclusive().drop_in_place() };
        None
    }
}

/// The part of a cell that the protocol works on.
#[repr(C)]
pub struct CellHeader<D: Domain> {
    /// The newest version, which may be a claim.
    pub value: D::Link,
    /// Who has the next right to the cell, and whether somebody sleeps until it changes.
    pub lock: AtomicLockWord,
}

impl<D: Domain> CellHeader<D> {
    /// Identifies the cell among those that are alive.
    #[inline(always)]
    pub fn key(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Changes the lock pointer, whatever else changes in it meanwhile.
    pub fn change_lock(&self, change: impl Fn(LockWord) -> LockWord) {
        let mut word = self.lock.load(Ordering::Relaxed);
        loop {
            // SeqCst, partners: the loads of this word in `Commit`: after a claim (reservations),
            // and after the decision (watchers).
            match self.lock.compare_exchange(
                word,
                change(word),
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(current) => word = current,
            }
        }
    }

    /// Sets or clears the "has watchers" flag.
    pub fn mark_watched(&self, watched: bool) {
        self.change_lock(|word| word.with_watchers(watched));
    }

    /// Sets or clears the "has a queue" flag.
    pub fn mark_queued(&self, queued: bool) {
        self.change_lock(|word| word.with_queue(queued));
    }
}

/// A cell: one block, shared by all handles (`TVar`s) that refer to it.
#[repr(C)]
pub struct Cell<T, D: Domain = Native> {
    /// What the protocol works on.
    pub header: CellHeader<D>,
    /// How many handles refer to this cell. Counted when handles are cloned and dropped, never
    /// when the cell is accessed.
    pub handles: AtomicUsize,
    _value: std::marker::PhantomData<T>,
}

impl<T> Cell<T> {
    /// How cells of this type are freed.
    pub const KIND: &'static BlockKind = &BlockKind {
        shape: Shape::of::<Self>(),
        destroy: Some(Self::destroy),
        in_static: None,
        weight: Version::<T, Native>::WEIGHT, // Its newest version goes with it.
        has_destructor: std::mem::needs_drop::<T>(),
    };

    /// Puts a cell with one handle into a block of [`KIND`](Self::KIND)'s layout.
    ///
    /// # Safety
    /// The block is ours alone.
    pub unsafe fn init(block: NonNull<u8>, version: *mut VersionHeader<Native>) -> NonNull<Self> {
        let cell = block.cast::<Self>();
        let value = Cell {
            header: CellHeader {
                value: AtomicPtr::new(version),
                lock: AtomicLockWord::new(LockWord::FREE),
            },
            handles: AtomicUsize::new(1),
            _value: std::marker::PhantomData,
        };
        // SAFETY: the block has this layout and is ours alone.
        unsafe { cell.write(value) };
        cell
    }

    /// The cell goes, and its newest version with it: whoever could read or replace that was a
    /// contemporary of the cell.
    ///
    /// # Safety
    /// The block holds a `Cell<T>` that nobody can reach any more.
    unsafe fn destroy(block: NonNull<u8>) -> Option<Block> {
        // SAFETY: our caller's promise.
        let cell = unsafe { block.cast::<Self>().as_ref() };
        if cell.header.lock.load(Ordering::Relaxed).has_name() {
            Native::forget_name(cell.header.key());
        }
        let newest = cell.header.value.load(Ordering::Acquire);
        // SAFETY: a cell always has a version.
        let newest = unsafe { NonNull::new_unchecked(newest) };
        // SAFETY: as above; no claim is left on a cell whose contemporaries have finished.
        let stamp = unsafe { newest.as_ref() }.who_when.load(Ordering::Relaxed).stamp();
        debug_assert!(stamp.is_some(), "a claim outlived its transaction");
        debug_assert_ne!(stamp, Some(CommitClock::STATIC), "a cell in a static never goes");
        Some(Block { address: newest.cast(), kind: Version::<T, Native>::KIND })
    }
}

/// The initial version of a cell in a static, made at compile time.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
#[doc(hidden)]
#[repr(transparent)]
pub struct StaticVersion<T>(Version<T>);

/// A cell in a static, made at compile time.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
#[doc(hidden)]
#[repr(transparent)]
pub struct StaticCell<T>(pub(crate) Cell<T>);

#[cfg(not(any(contempo_loom, contempo_shuttle)))]
mod statics {
    use super::*;

    // SAFETY: a static version is shared like any version: read by many threads, dropped by one.
    unsafe impl<T: Send + Sync> Sync for StaticVersion<T> {}
    // SAFETY: the header is made of atomics.
    unsafe impl<T: Send + Sync> Sync for StaticCell<T> {}

    impl<T> StaticVersion<T> {
        pub const fn new(value: T) -> Self {
            StaticVersion(Version {
                header: VersionHeader {
                    who_when: AtomicWhoWhen::new(WhoWhen::committed(CommitClock::STATIC)),
                    prev: AtomicPtr::new(std::ptr::null_mut()),
                },
                data: DataCell::new(value),
            })
        }
    }

    impl<T> StaticCell<T> {
        /// # Safety
        /// No other cell has this version.
        pub const unsafe fn new(version: &'static StaticVersion<T>) -> Self {
            StaticCell(Cell {
                header: CellHeader {
                    // The whole version is interior-mutable memory: atomics and an `UnsafeCell`.
                    value: AtomicPtr::new(
                        std::ptr::from_ref(version).cast_mut().cast::<VersionHeader<Native>>(),
                    ),
                    lock: AtomicLockWord::new(LockWord::FREE),
                },
                handles: AtomicUsize::new(1),
                _value: std::marker::PhantomData,
            })
        }
    }
}
