//! What one thread knows of its draws from the clock of phases: by loads or by tickets?

#[cfg(not(any(contempo_loom, contempo_shuttle)))]
use crate::primitives::Ordering;
use std::cell::Cell;

/// The low bits of a stamp: which thread has drawn it.
pub(super) const BITS: u32 = 8;
pub(super) const MASK: u64 = (1 << BITS) - 1;

/// A thread takes so many tickets before it draws by loads, and as many as it takes beside no others.
pub(super) const TICKETS: u32 = 32;
/// A ticket that is not the next after the thread's last counts as so many: another core had the cache line.
const BESIDE_OTHERS: u32 = 4;
/// A phase that was closed after fewer draws of a thread than this costs it more than tickets do.
pub(super) const FEW_DRAWS: u32 = 3;
/// It has not opened a phase since it has last taken tickets.
const UNKNOWN: u32 = u32::MAX;
/// The most tickets that it takes instead, until it tries again.
const MOST_TICKETS: u32 = 1 << 13;

/// Do threads that begin to use cells from now on draw by loads at once, and go on with it, whatever that costs?
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
static EAGER: crate::primitives::AtomicBool = crate::primitives::AtomicBool::new(false);

/// Threads that begin to use cells from now on draw by loads as soon as they can, whatever that costs. For tests.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
pub fn share_stamps() {
    // Relaxed: a hint.
    EAGER.store(true, Ordering::Relaxed);
}

/// Under loom all do but those that a model says, under shuttle (of its own models) each second.
#[cfg_attr(not(contempo_loom), expect(unused_variables, reason = "a model says it of slots"))]
fn is_eager(slot: u32) -> bool {
    #[cfg(not(any(contempo_loom, contempo_shuttle)))]
    return EAGER.load(Ordering::Relaxed);
    #[cfg(all(contempo_shuttle, contempo_models))]
    return shuttle::rand::Rng::gen_bool(&mut shuttle::rand::thread_rng(), 0.5);
    #[cfg(contempo_loom)]
    return !crate::primitives::fault::takes_tickets(slot);
    #[cfg(all(contempo_shuttle, not(contempo_models)))]
    true
}

/// What one thread knows of its draws.
#[derive(Debug)]
pub struct Drawer {
    /// In the low bits of the stamps that it shares. 0 if it shares none.
    pub(super) tag: u64,
    /// Does it draw by loads whatever that costs?
    pub(super) eager: bool,
    /// The word of the clock, as it has drawn last.
    pub(super) last: Cell<u64>,
    /// Draws by load since then.
    pub(super) alike: Cell<u32>,
    /// Phases in a row that this thread has ended, and no other.
    pub(super) lonely: Cell<u32>,
    /// Draws by load since the thread found the phase closed, or [`UNKNOWN`].
    pub(super) free: Cell<u32>,
    /// Tickets to be taken before it draws by load again.
    pub(super) tickets: Cell<u32>,
    /// As many as that, when phases were closed too early last.
    pub(super) penalty: Cell<u32>,
}

impl Drawer {
    /// For the thread in this slot. (Of many threads only the first share stamps; the others take tickets.)
    pub fn new(slot: u32) -> Self {
        let tag = u64::from(slot) + 1;
        let eager = is_eager(slot) && tag < MASK;
        Drawer {
            tag: if tag < MASK { tag } else { 0 },
            eager,
            last: Cell::new(0),
            alike: Cell::new(0),
            lonely: Cell::new(0),
            free: Cell::new(UNKNOWN),
            tickets: Cell::new(if eager { 0 } else { TICKETS }),
            penalty: Cell::new(TICKETS),
        }
    }

    /// It has taken a ticket that is not the next after its last, or the phase is open: others draw, too. Its stamp.
    #[cold]
    #[inline(never)]
    pub(super) fn beside_others(&self, word: u64) -> u64 {
        let least = u32::from(self.tag == 0); // It shares none.
        self.tickets.set(self.tickets.get().saturating_sub(BESIDE_OTHERS).max(least));
        self.stamp(word)
    }

    /// The stamp of a ticket.
    pub(super) fn stamp(&self, word: u64) -> u64 {
        if word & MASK == 0 { word | self.tag } else { word }
    }

    /// It has found the phase closed. Is it worth opening another?
    #[cold]
    pub(super) fn is_closed(&self) -> bool {
        let (free, penalty) = (self.free.replace(0), self.penalty.get());
        if free == UNKNOWN || self.eager {
            return true;
        }
        if free >= FEW_DRAWS {
            self.penalty.set((penalty / 4).max(TICKETS));
            return true;
        }
        self.penalty.set((2 * penalty).min(MOST_TICKETS));
        self.tickets.set(self.penalty.get());
        self.free.set(UNKNOWN);
        false
    }
}
