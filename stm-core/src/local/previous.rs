//! What the link of a committed version says: where it leads, and what is done with its version.
//!
//! | bit of a link | meaning |
//! | --- | --- |
//! | [`FROZEN`] | its version is taken out, or about to be: no thread changes the link any more |
//! | [`LOCKED`] | its linker changes it: its version is not taken out meanwhile |
//! | [`RELEASED`] | its linker follows its version no more |
//!
//! (The link of a version that is private says something else: `unpublished`.)

use contempo_sched::primitives::{AtomicPtr, Ordering};

/// The version of the link is taken out, or about to be.
pub(crate) const FROZEN: usize = 1;
/// Its linker changes the link.
pub(crate) const LOCKED: usize = 2;
/// Its linker follows the version no more.
pub(crate) const RELEASED: usize = 4;
/// All of them.
pub(crate) const BITS: usize = FROZEN | LOCKED | RELEASED;

/// What the link of a version says.
pub(crate) struct Previous<V>(pub(super) *mut V);

impl<V> std::fmt::Debug for Previous<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {:#b}", self.version(), self.0.addr() & BITS)
    }
}

impl<V> Clone for Previous<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Previous<V> {}

impl<V> PartialEq for Previous<V> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl<V> Previous<V> {
    #[inline(always)]
    pub(crate) fn of(link: &AtomicPtr<V>, order: Ordering) -> Self {
        Previous(link.load(order))
    }

    /// The version that it leads to.
    #[inline(always)]
    pub(crate) fn version(self) -> *mut V {
        self.0.map_addr(|word| word & !BITS)
    }

    /// Is the version that it is the link of taken out, or about to be?
    #[inline(always)]
    pub(crate) fn is_frozen(self) -> bool {
        self.0.addr() & FROZEN != 0
    }

    pub(crate) fn is_locked(self) -> bool {
        self.0.addr() & LOCKED != 0
    }

    pub(crate) fn is_released(self) -> bool {
        self.0.addr() & RELEASED != 0
    }

    pub(crate) fn with(self, bits: usize) -> Self {
        Previous(self.0.map_addr(|word| word | bits))
    }

    /// Changes the link from what it said. AcqRel, partner: itself, of another thread: what a linker and a thread that
    /// takes its version out do to a link comes one after the other. Release, partner: the acquire loads of walks.
    pub(crate) fn change(self, link: &AtomicPtr<V>, to: Self) -> bool {
        link.compare_exchange(self.0, to.0, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}
