//! A version with its value, of a type that is known; and the headers that the rest of the protocol works on.

use crate::domain::{Domain, Link};
use contempo_alloc::heap::Shape;
use contempo_alloc::reclaim::retired::{Block, BlockKind, weight};
use contempo_sched::primitives::DataCell;
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
use contempo_sched::primitives::Ordering;
use contempo_sched::words::{AtomicVersionTag, VersionTag};
use std::ptr::NonNull;

pub use crate::layout::{CellHeader, VersionHeader};

/// One immutable value of a cell.
#[repr(C)]
pub struct Version<T, D: Domain> {
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
    pub(crate) const WEIGHT: usize = weight(size_of::<Self>(), std::mem::needs_drop::<T>());

    /// A version that is made at compile time.
    #[cfg(not(any(contempo_loom, contempo_shuttle)))]
    pub(crate) const fn new(version_tag: VersionTag, prev: D::Link, value: T) -> Self {
        let header = VersionHeader { version_tag: AtomicVersionTag::new(version_tag), prev };
        Version { header, data: DataCell::new(value) }
    }

    /// Makes a block of [`KIND`](Self::KIND)'s layout a version whose value is still to be written, and returns
    /// the place for it. So a large value is moved once, to where it stays.
    ///
    /// # Safety
    /// The block is ours alone.
    #[inline(always)]
    pub unsafe fn prepare(block: NonNull<u8>, version_tag: VersionTag) -> *mut T {
        let version = block.cast::<Self>().as_ptr();
        // A walk may look at the header of a block that is used again: so it is changed by atomic stores alone. Relaxed:
        // behind the release fence in `BlockCache::keep`, if it is; and what is stored is published by a claim.
        #[cfg(not(any(contempo_loom, contempo_shuttle)))]
        {
            // SAFETY: the field lies in the block, which has this layout; any bits are an atomic word.
            unsafe { &(*version).header.version_tag }.store(version_tag, Ordering::Relaxed);
            // SAFETY: the field lies in the block, which has this layout; any bits are a link.
            unsafe { &(*version).header.prev }.clear();
        }
        #[cfg(any(contempo_loom, contempo_shuttle))]
        let header = VersionHeader {
            version_tag: AtomicVersionTag::new(version_tag),
            prev: D::Link::null(),
            destroyed: std::sync::atomic::AtomicBool::new(false),
        };
        // SAFETY: the block has this layout and is ours alone. (Under the checkers no block is used again.)
        #[cfg(any(contempo_loom, contempo_shuttle))]
        unsafe {
            (&raw mut (*version).header).write(header);
        }
        // SAFETY: the field lies in the block, which has this layout and is ours alone.
        unsafe { DataCell::prepare(&raw mut (*version).data) }
    }

    /// Puts a version into a block of [`KIND`](Self::KIND)'s layout.
    ///
    /// # Safety
    /// The block is ours alone.
    #[inline(always)]
    pub unsafe fn init(
        block: NonNull<u8>,
        version_tag: VersionTag,
        data: T,
    ) -> *mut VersionHeader<D> {
        // SAFETY: the caller promises that the block is ours alone; `prepare` returns a place for a `T` in it.
        unsafe { Self::prepare(block, version_tag).write(data) };
        block.cast().as_ptr()
    }

    /// The value of a version.
    ///
    /// # Safety
    /// `header` is that of a `Version<T, D>`, and the caller's transaction keeps it from being
    /// freed for `'a` (Lemma C: the caller is a contemporary).
    #[inline(always)]
    pub unsafe fn value<'a>(header: *const VersionHeader<D>) -> &'a T {
        // SAFETY: the caller promises that this is the header of a `Version<T, D>`, which its transaction keeps from
        // being freed; `repr(C)` puts the header first, so the two begin at one address.
        let version = unsafe { &*header.cast::<Self>() };
        let data = version.data.get();
        #[cfg(any(contempo_loom, contempo_shuttle))]
        assert!(
            !version.header.destroyed.load(std::sync::atomic::Ordering::Relaxed),
            "use after free: a version was read that the reclaimer had destroyed"
        );
        // SAFETY: values are never changed while reachable; only the reclaimer takes them back, after every contemporary
        // has finished, or when the version belongs to the bound of none.
        unsafe { &*data }
    }

    /// Where the value of a version lies that did not commit.
    ///
    /// # Safety
    /// `header` is that of a `Version<T, D>` whose value no other thread reads: it is private, or its claim
    /// was aborted.
    pub unsafe fn place(header: *mut VersionHeader<D>) -> *mut T {
        // SAFETY: the caller promises that this is the header of a `Version<T, D>`, private or an aborted claim, whose
        // value no other thread reads; `repr(C)` puts the header first, so the two begin at one address.
        let version = unsafe { &*header.cast::<Self>() };
        version.data.get_exclusive()
    }

    /// # Safety
    /// The block holds a `Version<T, D>` that no thread can reach any more.
    unsafe fn destroy(block: NonNull<u8>) -> Option<Block> {
        // SAFETY: the caller promises that the block holds a version of this type, which only the caller still reaches.
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
