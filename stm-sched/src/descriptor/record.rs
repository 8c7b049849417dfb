//! The semi-private record of a thread: what other threads may ask about its transaction.
//!
//! A [`Descriptor`] is made of words only, so that it means the same in every process that maps it. What
//! a thread of one process has beside that is in its [`ThreadDescriptor`].

use crate::descriptor::conflicts::ConflictLog;
use crate::descriptor::statistics::ThreadCounters;
use crate::primitives::parker::Parker;
use crate::primitives::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::words::{AtomicStateWord, AtomicTurnWord, Phase, Rank, StateWord, TurnPhase, TurnWord};

/// One thread's record.
///
/// Access rules:
/// 1. `state`: the owner stores a new serial when it is about to claim; all others only
///    compare-and-swaps (bump, abort). See [`StateWord`] for its transitions.
/// 2. `stamp`: only the owner stores, while Deciding; others read it between two reads of `state`.
///    Stamps of one descriptor only grow, so an old one is a lower bound of the current one.
/// 3. `session`, `moving`, `announced`: only the owner stores, except that a reclaimer may mark or clear an
///    announcement by compare-and-swap (`contempo-alloc`, `announcement`, `needs`).
/// 4. `taken`: compare-and-swapped by the thread that takes or frees the slot.
/// 5. `counters`: only the owner writes.
/// 6. `turn`: see [`TurnWord`] for its transitions. `rank`, `sign_of_life` and `grace`: only the
///    owner stores; `revoked_at`: a thread that is about to end its turn, and the owner. All are written after a failed
///    attempt only.
/// 7. `woken_for`: only the owner reads and writes.
///
/// Padded to two cache lines (adjacent-line prefetch), so that a neighbour's transactions do not
/// slow this thread down; what a reclaimer scans lies apart from what a conflict touches.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Descriptor {
    /// The word that decides this thread's transaction.
    pub state: AtomicStateWord,
    /// The stamp that it drew last.
    pub stamp: AtomicU64,
    /// Wakes this thread out of `retry` and out of queues.
    pub parker: Parker,
    /// Whether this thread's reservations count, and whether it waits.
    pub turn: Padded<AtomicTurnWord>,
    /// Which transaction goes first: see [`Rank`].
    pub rank: AtomicU64,
    /// Counts what this thread does while it escalates.
    pub sign_of_life: AtomicU64,
    /// For how long this thread needs to be respected without a sign of life, in nanoseconds; 0 if nothing is known.
    pub grace: AtomicU64,
    /// When its turn was last ended for want of a sign of life, in this transaction, or 0.
    pub revoked_at: AtomicU64,
    /// The oldest stamp that this thread's transactions may still read at (see `contempo-alloc`).
    pub announced: Padded<AtomicU64>,
    /// At which stamp does this thread's session read: its bound, or the complement of that while it is tentative;
    /// [`NO_SESSION`](Self::NO_SESSION) or [`WORKING`](Self::WORKING).
    pub session: AtomicU64,
    /// The bound that the session is about to move to, or looks at, beside the other, in the same way; or 0.
    pub moving: AtomicU64,
    /// Does a thread own this slot?
    pub taken: AtomicFlag,
    /// The cell whose token this thread's transaction holds (`watch`), or 0.
    pub woken_for: AtomicUsize,
    /// What this thread has done so far.
    pub counters: ThreadCounters,
}

/// The descriptor of a thread in a domain of one process, and its log for the contention report.
#[derive(Debug, Default)]
#[repr(C)]
pub struct ThreadDescriptor {
    descriptor: Descriptor,
    /// Where it has met others, and what it waits for. Only the owner writes.
    pub conflicts: ConflictLog,
}

impl std::ops::Deref for ThreadDescriptor {
    type Target = Descriptor;
    #[inline(always)]
    fn deref(&self) -> &Descriptor {
        &self.descriptor
    }
}

/// A flag in memory that other processes map: any bits mean something. (An `AtomicBool` with other bits than
/// those of `false` and `true` is undefined behaviour, and a damaged region may have them.)
#[derive(Debug)]
#[repr(transparent)]
pub struct AtomicFlag(AtomicU32);

impl AtomicFlag {
    /// A flag.
    pub fn new(value: bool) -> Self {
        AtomicFlag(AtomicU32::new(value.into()))
    }

    /// Is it set? Anything but 0 counts.
    #[inline(always)]
    pub fn load(&self, order: Ordering) -> bool {
        self.0.load(order) != 0
    }

    /// Sets or clears it.
    #[inline(always)]
    pub fn store(&self, value: bool, order: Ordering) {
        self.0.store(value.into(), order);
    }

    /// Sets it if it is not set. True if it was this call.
    #[inline]
    pub fn set_first(&self, success: Ordering) -> bool {
        self.0.compare_exchange(0, 1, success, Ordering::Relaxed).is_ok()
    }
}

/// Gives a word a cache line pair of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Padded<T>(pub T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl Descriptor {
    /// The value of `announced` of a thread that holds nothing back. Above every stamp.
    pub const NOTHING_ANNOUNCED: u64 = 1 << 63;
    /// The value of `session` of a thread outside of any.
    pub const NO_SESSION: u64 = 0;
    /// The value of `session` of a thread that reads at no bound, and whose announcement is not to be revoked all the
    /// same. Below every bound.
    pub const WORKING: u64 = 1;

    /// Is this thread inside of a session?
    #[inline(always)]
    pub fn is_active(&self, order: Ordering) -> bool {
        self.session.load(order) != Self::NO_SESSION
    }

    /// A free slot.
    pub fn new() -> Self {
        Descriptor {
            state: AtomicStateWord::new(StateWord::new(0, Phase::Committed)),
            stamp: AtomicU64::new(0),
            parker: Parker::new(),
            turn: Padded(AtomicTurnWord::new(TurnWord::new(0, TurnPhase::Idle))),
            rank: AtomicU64::new(Rank::NONE),
            sign_of_life: AtomicU64::new(0),
            grace: AtomicU64::new(0),
            revoked_at: AtomicU64::new(0),
            announced: Padded(AtomicU64::new(Self::NOTHING_ANNOUNCED)),
            session: AtomicU64::new(Self::NO_SESSION),
            moving: AtomicU64::new(0),
            taken: AtomicFlag::new(false),
            woken_for: AtomicUsize::new(0),
            counters: ThreadCounters::new(),
        }
    }

    /// Tries to abort transaction `seen` from outside; true if it is aborted now because of us.
    ///
    /// SeqCst, partner: the owner's compare-and-swap to Committed; exactly one of them succeeds.
    pub fn abort_from_outside(&self, seen: StateWord) -> bool {
        debug_assert!(
            seen.may_become(seen.with_phase(Phase::Aborted)),
            "a transaction that is decided is aborted: {seen:?}"
        );
        self.state
            .compare_exchange(
                seen,
                seen.with_phase(Phase::Aborted),
                Ordering::SeqCst,
                Ordering::Relaxed,
            )
            .is_ok()
    }
}

impl Default for Descriptor {
    fn default() -> Self {
        Self::new()
    }
}
