//! What a session asks of its thread's reclaimer, whichever that is.

/// One thread's side of reclamation, as its sessions see it.
///
/// # Contract
/// A *session* is what lies between [`enter`](Self::enter) and [`exit`](Self::exit); its *bound* is what `enter` has
/// returned.
///
/// 1. **What a session can reach stays.** No thread frees a block that was retired above the bound of a session while
///    that runs. So a session that keeps to the rules for reading (`docs/protocol.md`) never meets a block that was
///    freed. No version is taken out of its chain that belongs to that bound. What was taken out may become another
///    version meanwhile, and nothing else: so a session that has its address looks at the header alone, and looks again.
/// 2. **What was retired goes, once.** A block is freed by a collection of some thread, after all sessions have ended
///    that could reach it. A thread that is idle does not hold it back for ever.
/// 3. **Where destructors run.** In [`tidy`](Self::tidy), [`collect`](Self::collect),
///    [`collect_thoroughly`](Self::collect_thoroughly), [`hand_over`](Self::hand_over) and
///    [`destroy`](Self::destroy), which are called outside of sessions; in none but the last while a panic is under
///    way. They may have sessions of their own, retire, and call any of these again.
/// 4. **Cost.** `enter`, `exit`, `is_due` and to retire a block take constant time: no lock, no system call, and no clock of the
///    machine. (What is rare is paid by the thread that collects.)
///
/// What makes 1 true is Lemma C in `docs/proofs.md`, where blocks wait for their contemporaries; with `epochs`, that a
/// session pins an epoch.
pub trait Reclaim {
    /// What a block is named by when it is retired.
    type Block;
    /// What retires the blocks that one commit has replaced.
    type Retiring<'r>: Retiring<Block = Self::Block>
    where
        Self: 'r;

    /// Begins a session: returns the newest stamp that it may read. Until [`exit`](Self::exit), nothing that was
    /// replaced above that stamp is freed (contract, 1).
    fn enter(&self) -> u64;

    /// Begins a session without looking at the clock, if that can be: its bound is the stamp that this thread has
    /// drawn last, or a newer one. Until [`exit`](Self::exit), nothing that was replaced above that stamp is freed.
    fn enter_recent(&self) -> u64;

    /// This thread has drawn `stamp`.
    fn has_drawn(&self, stamp: u64);

    /// Ends the session.
    fn exit(&self);

    /// Can other threads impose a barrier on this one? Else it executes full fences.
    fn is_asymmetric(&self) -> bool;

    /// The session is about to move to the newest bound, which is returned: until [`end_move`](Self::end_move) or
    /// [`stay`](Self::stay) it may look at what belongs to that, beside what belongs to the bound that it has.
    fn begin_move(&self) -> u64;

    /// May the session look at what belongs to `bound`, too, which is above the one that it has? False if some of that may
    /// have been taken out. Ends as [`begin_move`](Self::begin_move), in either case.
    fn holds(&self, bound: u64) -> bool;

    /// The session has moved to `bound`: all that it has read belongs to that, and to the one that it had.
    fn end_move(&self, bound: u64);

    /// The session stays at the bound that it has.
    fn stay(&self);

    /// A commit is about to retire what it has replaced, which is at most so many blocks.
    ///
    /// # Safety
    /// Nothing else is asked of the reclaimer before that [has ended](Retiring::end).
    unsafe fn retiring(&self, most: usize) -> Self::Retiring<'_>;

    /// As [`Retiring::retire`], for a commit that has replaced one version.
    ///
    /// # Safety
    /// As for that.
    unsafe fn retire(&self, stamp: u64, block: Self::Block, by: *mut u8);

    /// Retires a block that has just been made unreachable by other means than a commit (a claim that was given back, a
    /// cell that was dropped), and counts it.
    ///
    /// # Safety
    /// No session that begins from now on can reach the block, and it is retired once.
    unsafe fn retire_now(&self, block: Self::Block);

    /// Destroys a block at once and takes its memory back. A panic in a destructor ends here: it has been reported by
    /// the panic hook, and belongs to no session that happens to be the one after which memory is reclaimed. What is in
    /// the block then leaks.
    ///
    /// # Safety
    /// Only the caller can reach the block.
    unsafe fn destroy(&self, block: Self::Block);

    /// Destroys a version that was private to this thread to its end. As [`destroy`](Self::destroy); its block may be one
    /// that sessions still look at, since it was another version before.
    ///
    /// # Safety
    /// The block has a version with a claim, which was never in a cell; only the caller can reach what is in it.
    unsafe fn discard(&self, block: Self::Block);

    /// Is there something to [`tidy`](Self::tidy)? Checked after every session.
    fn is_due(&self) -> bool;

    /// After a session, if [`is_due`](Self::is_due): frees what can be freed, as far as that pays now. Returns whether
    /// about a batch of blocks has come together since that was last the case.
    fn tidy(&self) -> bool;

    /// In place of [`tidy`](Self::tidy), where no destructor may run: other threads see to what is due.
    fn set_aside(&self);

    /// Frees what can be freed.
    fn collect(&self);

    /// Frees all that this thread has retired, or others have left, and that no *running* session holds.
    fn collect_thoroughly(&self);

    /// Holds nothing back until the next session.
    fn withdraw(&self);

    /// The thread ends, or sleeps for long: frees what it can, leaves the rest to the others, and holds nothing back.
    fn hand_over(&self);
}

/// What retires the blocks that one commit has replaced.
#[must_use = "it has to end, or blocks are lost"]
pub trait Retiring {
    /// What a block is named by when it is retired.
    type Block;

    /// Retires a block that was replaced by the commit at `stamp`, which has put the version `by` in its place. (The
    /// caller counts these, once per commit.)
    ///
    /// # Safety
    /// No session whose bound is `stamp` or more can reach the block, and it is retired once. This thread has committed
    /// `by`, at this stamp, or it is null. No more blocks are retired than was said.
    unsafe fn retire(&mut self, stamp: u64, block: Self::Block, by: *mut u8);

    /// All of them are retired.
    fn end(self);
}
