//! Protocol bugs on demand, for the checks that must find them.
//!
//! Under a checker (or `--cfg contempo_fault`) one fault can be switched on per process, by
//! `plant`; each is one wrong step in the protocol. In every other build [`planted`] is the
//! constant `false` and costs nothing.

/// A wrong step. The text says what goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Fault {
    /// No fault.
    None = 0,
    /// The bound is sampled before the announcement.
    BoundBeforeAnnouncement,
    /// The announcement is not followed by a fence.
    AnnouncementWithoutFence,
    /// A reclaimer looks at the announcements without a fence between what it has unlinked and the look.
    LookWithoutFence,
    /// A thread does not order that it is active before its look at its announcement.
    ActiveWithoutFence,
    /// A transaction reads at the stamp that its thread has announced, not at that of its begin.
    StaleBound,
    /// A bound from before the announcement is used under it.
    RecentNotRaised,
    /// A transaction begins at the bound that its thread knows, although nothing is announced.
    BoundUnannounced,
    /// A read that finds a newer version than its bound, which is from before its begin, keeps to it.
    BoundNotRefreshed,
    /// An idle thread's announcement is cleared without looking whether the thread has begun.
    RevokeWithoutLooking,
    /// A bound counts although versions have been judged that belong to it.
    BoundBelowTheJudged,
    /// A thread does not order that its bound is published before its look at what was judged.
    BoundWithoutFence,
    /// A session moves to a bound that it has not published.
    MovedUnpublished,
    /// A thread reads the bounds of others without a barrier before that.
    JudgedWithoutBarrier,
    /// A version is taken out of its chain although it belongs to a bound.
    TakenOutThoughNeeded,
    /// A version is taken out of its chain that belongs to the bound at which it was committed.
    IntervalOffByOne,
    /// A recent bound counts although versions have been judged that belong to it.
    RecentBelowTheJudged,
    /// A thread leans on a bound that is not confirmed.
    LeanedOnTentative,
    /// A thread leans on a bound of a session that has ended.
    LeanedOnEnded,
    /// A thread leans on an announcement that is gone.
    LeanedOnNothing,
    /// A reclaimer that finds an announcement gone does not look at the threads that lean on it.
    LeansForgotten,
    /// A version is taken out although its linker changes its link.
    LockIgnored,
    /// The memory of a version is used again although its linker may follow it.
    UsedAgainUnreleased,
    /// In a region, a slot closes what is empty although what it has closed before waits for a session that stays.
    ClosedOneAfterTheOther,
    /// In a region, a slot that has freed something newer before the oldest goes on with its notes as if it had not.
    MixedUnnoted,
    /// In a region, a version is led past although its link may change meanwhile.
    LinkNotFrozen,
    /// In a region, a version is taken out, or led past another, before its slot has gone on to another transaction: a
    /// recoverer takes what is found there for what the dead one had not retired yet.
    LastLinkChanged,
    /// A walk does not look again whether what it has read is still in the chain.
    WalkedWithoutLookingAgain,
    /// A retired version is freed at once.
    FreeAtOnce,
    /// A retired version is freed one stamp too early.
    FreeOneStampEarly,
    /// What an ended thread has left is freed by a look from before it was retired.
    OrphansByAnOldLook,
    /// A thread that leaves something that a running transaction holds does not look whether that has ended
    /// meanwhile.
    LeftWithoutLookingAgain,
    /// A thread that has looked in vain before leaves what it replaces without looking whether another runs that
    /// will look.
    LookSkippedByTheLast,
    /// A thread that finds nothing left says so after the look, although another may have left something since.
    WaitingClearedAfterTheLook,
    /// A version is retired at the stamp that it bears, not at the one at which it was replaced.
    RetiredAtItsOwnStamp,
    /// What was unlinked by other means than a commit is retired at a clock that was read before that.
    UnlinkedWithoutFence,
    /// A replaced version is retired twice.
    RetiredTwice,
    /// What a failed attempt has written, and no thread has seen, is forgotten.
    DiscardedForgotten,
    /// A reader takes the newest committed version, whatever its stamp.
    BoundIgnored,
    /// A reader takes the older version from a deciding owner without bumping it.
    NoBump,
    /// A bumped owner gives up.
    BumpAborts,
    /// A bumped owner commits at the stamp that it drew before.
    OldStampAfterBump,
    /// Reads are not validated at commit.
    SkipValidation,
    /// A read counts as held by a claim of its cell, whatever that has replaced.
    ClaimedOverAnother,
    /// A read counts as held by a claim, of whatever cell.
    ClaimOfAnotherCell,
    /// Reads are validated before the cells are claimed, and not after that.
    ValidateBeforeClaim,
    /// A writer moves its bound forward without looking whether its reads still hold there.
    ExtendedUnchecked,
    /// Two commits may draw the same stamp, and move the clock back.
    DrawNotAtomic,
    /// A bound is read while its phase is open.
    SnapshotAtOpenStamp,
    /// A stamp is drawn of a phase that is over.
    DrawAtClosedStamp,
    /// A phase is opened by a store.
    OpenedByStore,
    /// A thread that draws by a load does not order that behind its claims.
    DrawUnfenced,
    /// A session at an open stamp takes what others have committed in its phase for its own.
    OthersTakenForOwn,
    /// What was committed in the phase of a transaction's stamp, by another thread, counts as later.
    EqualIsLater,
    /// A session moves to the bound before an open stamp, although others drew in that phase.
    BeforeASharedStamp,
    /// Versions bear their stamps before the transaction has decided.
    PublishedBeforeDecision,
    /// A thread that gets a slot goes on with the serial of the one before it.
    SlotReusedWithItsSerial,
    /// A commit that has failed leaves its serial to the next one.
    SerialKeptAfterFailure,
    /// A thread that ends gives its slot back while it still uses it.
    SlotGivenBackEarly,
    /// A reader takes the state of a claim's owner for that of the claim, although the owner has moved on.
    ReaderIgnoresSerial,
    /// A reader takes the stamp of a committed owner without looking whether the owner has moved on.
    ReaderLooksOnce,
    /// A reader takes the stamp of a deciding owner without looking whether the owner has moved on.
    ReaderLooksOnceAtDeciding,
    /// A claimer takes the state of a claim's owner for that of the claim, although the owner has moved on.
    ClaimerIgnoresSerial,
    /// A claimer finishes a commit, by a stamp that may be that of the owner's next one, although the owner has done so.
    FinishedByStore,
    /// A sleeper takes the state of a claim's owner for that of the claim, although the owner has moved on.
    SleeperIgnoresSerial,
    /// The stamp is drawn before the cells are claimed.
    DrawBeforeClaim,
    /// Claims are not given back when an attempt fails.
    ClaimsKept,
    /// A claim replaces whatever is there, also a live claim.
    ClaimOverClaim,
    /// The committer does not look whether a thread watches the cell.
    WatchersForgotten,
    /// A cell's mark is cleared although threads are enlisted for it.
    UnmarkedWhileWatched,
    /// `retry` does not sleep.
    RetryDoesNotSleep,
    /// The sleeper does not look at the cells again after it has marked them.
    NoSecondLook,
    /// A thread that has looked briefly, in vain, goes to sleep without a look after it has marked its cells.
    BriefLookCounts,
    /// The sleeper does not order its marks before its second look.
    MarkWithoutFence,
    /// A permit is left, and its owner sleeps on.
    UnparkWithoutWaking,
    /// The committer wakes sleepers before its decision, and not after it.
    WakeBeforeDecision,
    /// A thread that is about to sleep does not look whether a cell has changed since it enlisted.
    SleepOnWithoutLooking,
    /// A woken thread that blocks again keeps its token.
    TokenKeptWhenBlocked,
    /// A woken thread that ends, whatever way, keeps its token.
    TokenKeptAtTheEnd,
    /// A task that is polled with another waker than before is still woken by the old one.
    WakerNotReplaced,
    /// A task lies down, and only then says what wakes it.
    WakerStoredTooLate,
    /// A commit wakes tasks while its thread is inside of the transaction.
    WokenInsideTheTransaction,
    /// A task that waits its turn looks at that before it says what wakes it.
    TurnLookedAtBeforeTheWaker,
    /// A task that is dropped while it waits keeps the token that it was woken with.
    TokenKeptByDroppedTask,
    /// A waiting task that is dropped stays on the list: it is woken, and another is not.
    DroppedTaskStays,
    /// A cancelled token says so, and wakes nothing that waits.
    CancelledInSilence,
    /// A woken thread that ends without a commit leaves those after it to the timer.
    LeaverHandsOnNothing,
    /// No thread keeps time for sleepers that are not woken at once.
    NoWakeTimer,
    /// A timer that goes (it is woken, or its time is up) has no successor.
    WakeTimerGoesSilently,
    /// A transaction does not see what it has written itself.
    OwnWriteNotRead,
    /// A transaction forgets that it has given out a reference to a value that it has written.
    LentForgotten,
    /// What a part has written goes with it although a reference is out that lives longer.
    LentBeyondThePart,
    /// What a part of a transaction writes over does not come back when the part fails.
    BroughtBackForgotten,
    /// A failed alternative's writes are kept.
    AlternativeKept,
    /// What a nested part has written is kept, although the part has failed.
    NestedKept,
    /// The commit hooks of a failed part run.
    HooksOfAFailedPartRun,
    /// A hook of a failed part that decides runs, and may refuse.
    DecidersOfAFailedPartRun,
    /// The transaction's own values that a failed part has set stay.
    ValuesOfAFailedPartStay,
    /// The hooks of a failed attempt are left for the next one, and so run twice if that commits.
    HooksLeftForTheNextAttempt,
    /// The rollback hooks of a failed attempt do not run.
    RollbackHooksForgotten,
    /// A waiter that is called out of a queue is not woken.
    CalledNotWoken,
    /// A waiter that becomes the first of a queue is not woken.
    NextNotWoken,
    /// A thread that sleeps on a signal does not say so in it.
    SleeperUnannounced,
    /// A thread that raises a signal, and wakes one of several sleepers, says that none sleeps there any more.
    SleepersForgotten,
    /// It does not look whether another has raised the signal meanwhile, and has found no sleeper.
    RaisedUnheard,
    /// A waiter that was passed over in a ticket queue moves the head on when it leaves.
    LeftByPassedOver,
    /// Two waiters that find that the first in a ticket queue stands still pass two over.
    SkippedTwice,
    /// A release calls a waiter that has given up, although others wait.
    GivenUpCalled,
    /// A transaction ends, and its reservations count on.
    ReservationsKept,
    /// A committer does not look whether an older transaction has reserved the cell.
    ReservationIgnored,
    /// A reserver does not look whether the cell is claimed by a transaction that came before.
    ReservedWithoutLooking,
    /// A transaction that has reserved only what it declares trusts all that it has read.
    TrustedUnreserved,
    /// A transaction that was revoked goes on to trust its reservations.
    RevocationMissed,
    /// An older transaction takes a reservation over without revoking the younger's turn.
    TakenWithoutRevoking,
    /// A waiter that is called out of a queue is taken for the thread that has its slot now.
    TicketIgnored,
    /// A slab counts as listed until everything was taken from it.
    SlabUnlistedLate,
    /// In a region: a retired block's meta word does not say so.
    RetiredUnmarked,
    /// In a region: the recoverer forgets what the dead one's commit replaced.
    BasesForgotten,
    /// In a region: the same, where that commit has been replaced meanwhile.
    BasesOfReplacedForgotten,
    /// In a region: the recoverer takes an undecided transaction for committed.
    UndecidedFinished,
    /// In a region: the recoverer leaves undecided claims in their cells, and frees
    /// them.
    ClaimsLeftByRecovery,
    /// In a region: what a failed part of a transaction has written or made does not say that it goes.
    UndoneUnmarked,
    /// In a region: what a failed part has written over is brought back, and says that it goes.
    RestoredUnmarked,
    /// In a region: what a transaction has written is written over in place although a reference to it is out.
    LentWrittenOver,
    /// In a region: the same, although a part that may fail would want it back.
    WrittenOverInAPart,
    /// In a region: a process that is alive is taken for dead.
    AliveTakenForDead,
    /// In a region: a thread that needs room takes it from a thread without looking whether that is active.
    TakenFromTheActive,
    /// In a region: a thread does not look whether the term for which it has its memory has ended.
    EndOfEpochMissed,
    /// In a region: a slot is taken first and counted then.
    SlotTakenUncounted,
    /// In a region: a block is retired without a note of its place.
    RetiredUntraced,
    /// In a region: the note of a block that still waits is written over, and its superblock not noted.
    TraceOverwritten,
    /// In a region: a superblock that was closed is given another class while a thread may still be there.
    ReopenedAtOnce,
    /// In a region: blocks of a superblock that has changed its class begin at the first generation.
    GenerationsBegunAnew,
    /// In a region: the recoverer does not look at the superblocks that the dead one owned.
    OwnedForgotten,
    /// In a full region: what was given back for values that lie in the reserve may be taken by any transaction.
    ReserveTakenForWhole,
    /// In a region: a thread that gives a superblock up does not look again whether another has left a hint there.
    GivenUpUnlooked,
    /// In a region: a thread that leaves a hint in a superblock without an owner does not say so in its word.
    HintUnnoted,
    /// In a region: a superblock goes to the common pool unless a thread changes its word at that moment.
    FinishedOnce,
    /// In a region: a thread that looks where a block may begin does not look again whether the class is the same.
    ClassSeenOnce,
    /// In a region: a block is filled without a fence behind the look whether it is free.
    FilledWithoutFence,
    /// In a region: a block that a hint leads to is taken without a look whether it is free.
    HintTrusted,
    /// In a region: a block is freed without an order behind the last use of it.
    FreedUnordered,
    /// In a full region: a thread that looks whether the reserve is whole counts the draws on it after that look.
    DrawsCountedLate,
    /// In a full region: a thread goes by what it has found to be owed to the reserve, although another has drawn since.
    DebtsSeenOnce,
    /// In a full region: a superblock that is being emptied is not given up with the others of its epoch.
    EmptiedKept,
}

#[cfg(any(contempo_loom, contempo_shuttle, contempo_fault))]
mod imp {
    use super::Fault;
    use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Switches a fault on, for the whole process.
    pub fn plant(fault: Fault) {
        PLANTED.store(fault as u8, Ordering::SeqCst);
    }

    /// Is this fault on?
    #[inline]
    pub fn planted(fault: Fault) -> bool {
        PLANTED.load(Ordering::Relaxed) == fault as u8
    }

    static SHORTCUTS: AtomicBool = AtomicBool::new(false);

    /// Do threads of this process look once, briefly, before they enlist, and do polls lend their wakers, from now on? That
    /// is for models of just that. (No fault; but no other model need pay for it.)
    pub fn take_shortcuts(yes: bool) {
        SHORTCUTS.store(yes, Ordering::SeqCst);
    }

    /// Do they?
    #[inline]
    pub fn takes_shortcuts() -> bool {
        SHORTCUTS.load(Ordering::Relaxed)
    }

    static TICKETS: AtomicU64 = AtomicU64::new(0);

    /// In models that begin from now on, threads in these slots (a set of bits) take tickets from the clock, and others draw
    /// by loads.
    pub fn take_tickets(slots: u64) {
        TICKETS.store(slots, Ordering::SeqCst);
    }

    /// Does the thread in this slot?
    #[inline]
    pub fn takes_tickets(slot: u32) -> bool {
        TICKETS.load(Ordering::Relaxed).checked_shr(slot).unwrap_or(0) & 1 == 1
    }
}

#[cfg(not(any(contempo_loom, contempo_shuttle, contempo_fault)))]
mod imp {
    /// Is this fault on? Never, in this build.
    #[inline(always)]
    pub const fn planted(_: super::Fault) -> bool {
        false
    }

    /// Do threads take short cuts because this is a model of these? Never, in this build.
    #[inline(always)]
    pub const fn takes_shortcuts() -> bool {
        false
    }
}

pub use imp::*;
