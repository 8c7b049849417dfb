//! Where a thread's blocks come from, and where they go back to.

/// The blocks of one thread.
///
/// # Contract
/// 1. **A block is its taker's alone** from [`take`](Self::take) until it is given back, by whichever thread: it
///    overlaps none that is in use. What is in it is not known.
/// 2. **It is as long as was asked for,** and aligned.
/// 3. **What was given back is taken again,** by this thread or another: a program that takes and gives back for ever
///    needs no more memory than was in use at most, but for what threads keep at hand.
/// 4. **Cost.** Most often constant time: no lock, no system call, and no write to what other threads write.
/// 5. **Full.** An error changes nothing. Where memory comes to an end only with the process
///    ([`handle_alloc_error`](std::alloc::handle_alloc_error)), there is none.
///
/// When a block may be given back is the reclaimer's matter ([`Reclaim`](crate::reclaim::interface::Reclaim)).
///
/// `stm-alloc/tests/memory.rs` checks this for each world.
pub trait Memory {
    /// What a block is asked for by.
    type Shape: Copy;
    /// A block that was taken, to be filled.
    type Fresh;
    /// A block that was filled and put to use.
    type Used;
    /// Why there is none.
    type Full;

    /// Takes a block.
    ///
    /// # Errors
    /// Why there is none.
    fn take(&self, shape: Self::Shape) -> Result<Self::Fresh, Self::Full>;

    /// Takes a block back. False, and nothing is done, if it was given back before, where that can be told.
    ///
    /// # Safety
    /// The block was taken from memory of this domain, no thread can reach it any more, and it is given back once (or
    /// that can be told).
    #[must_use = "false says that something is damaged"]
    unsafe fn give_back(&self, block: Self::Used) -> bool;
}
