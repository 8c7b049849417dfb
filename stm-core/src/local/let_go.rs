//! Freeing, in the middle of an attempt, what of its own nothing can reach any more.

use crate::local::context::{Context, apart};
use contempo_alloc::reclaim::interface::Reclaim;
use contempo_alloc::reclaim::retired::Block;
use contempo_sched::primitives::CHECKED;

impl Context {
    /// Frees a private version that nothing can reach, in the middle of the attempt: as an assignment drops
    /// what was there. Its destructor runs as if this thread were in no transaction: one of its own is
    /// another thread's to us.
    ///
    /// It might conflict with us, again and again. So from the second attempt on such values stay until
    /// the end, if there has been a transaction in a destructor.
    #[cold]
    #[inline(never)]
    pub(crate) fn let_go(&self, block: Block) {
        // SAFETY: callers pass only private versions that nothing can reach: no reference to them is out.
        let destroy = || unsafe { self.reclaimer.discard(block) };
        if !block.kind.has_destructor {
            destroy();
        } else if CHECKED
            || std::thread::panicking()
            || (self.turns.failures() > 0 && self.has_been_apart.get())
        {
            self.discard(block);
        } else if apart(destroy) {
            self.has_been_apart.set(true);
        }
    }

    /// After a part of a transaction.
    #[inline]
    pub(crate) fn free_out_of_reach(&self) {
        // One at a time, none borrowed: a destructor may do anything.
        while let Some(block) = { self.writes().next_out_of_reach() } {
            self.let_go(block);
        }
    }
}
