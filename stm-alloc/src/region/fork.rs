//! What a forked child is to leave alone.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// A value of which each process has its own. A forked child begins with a new one, and leaves its parent's
/// alone: a thread that the child does not have may have been at it, or have it locked.
#[derive(Debug)]
pub struct PerProcess<T> {
    current: AtomicPtr<Own<T>>,
}

#[derive(Debug)]
struct Own<T> {
    value: T,
    fork: ForkMark,
}

impl<T: Default + Sync> PerProcess<T> {
    /// No value yet.
    pub const fn new() -> Self {
        PerProcess { current: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// This process's value: a default one at first. It is never dropped.
    ///
    /// # Errors
    /// If the system does not tell children from parents.
    pub fn get(&self) -> io::Result<&T> {
        // Acquire, partner: the release below: the value is whole.
        let seen = self.current.load(Ordering::Acquire);
        // SAFETY: null, or a value that was published below, whole (Acquire), and is never freed. Only shared
        // references to it are given out.
        if let Some(own) = unsafe { seen.as_ref() }
            && !own.fork.is_child()
        {
            return Ok(&own.value);
        }
        let own = Own { value: T::default(), fork: ForkMark::new()? };
        let fresh = Box::into_raw(Box::new(own));
        // Release, partner: the load above. Acquire: another thread of this process may have been faster.
        let current =
            self.current.compare_exchange(seen, fresh, Ordering::AcqRel, Ordering::Acquire);
        let own = match current {
            Ok(_) => fresh,
            Err(other) => {
                // SAFETY: boxed above, and not published: the exchange has failed, so only this thread has it.
                drop(unsafe { Box::from_raw(fresh) });
                other
            }
        };
        // SAFETY: published by a thread of this process, whole (Acquire, or our own), and never freed. Only shared
        // references to it are given out.
        Ok(unsafe { &(*own).value })
    }
}

impl<T: Default + Sync> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Tells a process from its forked children: a word in a page that the kernel clears in a child.
#[derive(Debug)]
pub struct ForkMark {
    page: NonNull<AtomicU32>,
}

// SAFETY: the page belongs to the process and not to a thread, so any thread may use it, and unmap it in `drop`.
unsafe impl Send for ForkMark {}
// SAFETY: the page is only accessed as an atomic word, through shared references.
unsafe impl Sync for ForkMark {}

const PAGE: usize = 4096;

/// What the word of a [`ForkMark`] can be.
const CLEARED: u32 = 0;
const GOOD: u32 = 1;
const SPOILED: u32 = 2;

impl ForkMark {
    /// Marks this process.
    ///
    /// # Errors
    /// What the system says; Linux before 4.14 does not know such pages.
    pub fn new() -> io::Result<Self> {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping, at an address that the kernel chooses.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(word) = NonNull::new(page.cast::<AtomicU32>()) else {
            return Err(io::Error::other("the kernel mapped a page at address zero"));
        };
        let mark = ForkMark { page: word };
        // SAFETY: the page was mapped above with this length, at no address that is in use otherwise.
        if unsafe { libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // Relaxed: a child is made by a system call of this process, after this.
        mark.word().store(GOOD, Ordering::Relaxed);
        Ok(mark)
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: mapped until drop, aligned, and never accessed otherwise.
        unsafe { self.page.as_ref() }
    }

    /// Is this a forked child of the process that made the mark?
    #[inline(always)]
    pub fn is_child(&self) -> bool {
        // Relaxed: see `new`.
        self.word().load(Ordering::Relaxed) == CLEARED
    }

    /// Says, once and for all, that what the mark belongs to is not to be used any more.
    pub fn spoil(&self) {
        // Relaxed: nothing is passed on with it. A swap: the mark of a child stays that.
        let _ = self.word().compare_exchange(GOOD, SPOILED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Has that been said, by this process?
    #[inline(always)]
    pub fn is_spoiled(&self) -> bool {
        self.word().load(Ordering::Relaxed) == SPOILED
    }

    /// Is this the process that made the mark, and has it not spoiled it? One load.
    #[inline(always)]
    pub fn is_good(&self) -> bool {
        self.word().load(Ordering::Relaxed) == GOOD
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; references to the word do not outlive the mark.
        unsafe { libc::munmap(self.page.as_ptr().cast(), PAGE) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_told_from_its_parent() {
        let mark = ForkMark::new().unwrap();
        assert!(!mark.is_child());
        // SAFETY: the child asks the mark, which takes no lock and allocates nothing, and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!mark.is_child())) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((status, mark.is_child()), (0, false));
    }
}
