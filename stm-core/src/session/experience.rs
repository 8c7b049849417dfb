//! What a thread has learned from conflicts, in every world. It lasts longer than the thread's transactions, and is
//! touched after a failure only.

use contempo_sched::contention::admission::Admission;
use contempo_sched::contention::policy::{Grace, HEAT_PER_FAILURE};
use contempo_sched::contention::turns::revoke_silent;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::{CHECKED, Ordering};
use contempo_sched::words::Reservation;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cell::{Cell, RefCell};

/// How many turns a thread remembers to which it has given way. With more that are stopped at once it forgets the
/// oldest, and the grace of that one begins anew.
pub(crate) const RESPECTED: usize = 32;

/// What a thread has learned from conflicts.
pub(crate) struct Experience {
    /// How often it has failed lately, against how often it has committed.
    heat: Cell<u32>,
    /// Its commits at its last failure.
    commits_before: Cell<u64>,
    /// The turns that it has given way to lately: transactions that give up early must not each begin to wait anew.
    respected: RefCell<Vec<Respected>>,
    /// What it knows about its declared transactions.
    pub(crate) admission: Admission,
    /// Jitter.
    random: RefCell<SmallRng>,
}

/// A turn that this thread has given way to: the sign of life that it gave then, and when.
#[derive(Clone, Copy)]
struct Respected {
    turn: Reservation,
    sign: u64,
    since: u64,
}

/// Does the owner of a turn deserve to be waited for?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Respect {
    /// It does.
    Due,
    /// It has given no sign of life for as long as its grace: its turn was ended, perhaps by this thread.
    Over {
        /// Was it this thread?
        revoked: bool,
    },
}

impl Experience {
    pub(crate) fn new(seed: u32) -> Self {
        Experience {
            heat: Cell::new(0),
            commits_before: Cell::new(0),
            respected: RefCell::new(Vec::new()),
            admission: Admission::new(),
            random: RefCell::new(SmallRng::seed_from_u64(u64::from(seed))),
        }
    }

    /// How often it has failed lately, against how often it has committed.
    #[cfg(test)]
    pub(crate) fn heat(&self) -> u32 {
        self.heat.get()
    }

    /// A random number from 1 to `most`.
    pub(crate) fn jitter(&self, most: u32) -> u32 {
        self.random.borrow_mut().random_range(1..=most.max(1))
    }

    /// One failure more, after so many commits of this thread: each failure adds to its heat, each commit since the last
    /// failure takes away.
    pub(crate) fn warm_up(&self, commits: u64) -> u32 {
        let since_last = commits.wrapping_sub(self.commits_before.replace(commits));
        let cooled = self.heat.get().saturating_sub(since_last.try_into().unwrap_or(u32::MAX));
        let heat = (cooled + HEAT_PER_FAILURE).min(8 * HEAT_PER_FAILURE);
        self.heat.set(heat);
        heat
    }

    /// Does the owner of this turn deserve to be waited for? If it has given no sign of life for as long as its grace,
    /// or is known to be gone after the least grace, its turn is ended.
    pub(crate) fn respect(
        &self,
        table: &impl Descriptors,
        turn: Reservation,
        grace: Grace,
        now: u64,
        is_gone: impl FnOnce() -> bool,
    ) -> Respect {
        // A turn that was not known, or has moved since, is respected, and its grace begins anew.
        let owner = table.descriptor(turn.slot);
        let sign = owner.sign_of_life.load(Ordering::Relaxed);
        let mut respected = self.respected.borrow_mut();
        let Some(at) = respected.iter().position(|known| known.turn.slot == turn.slot) else {
            if respected.len() == RESPECTED {
                respected.remove(0);
            }
            respected.push(Respected { turn, sign, since: now });
            return Respect::Due;
        };
        let known = &mut respected[at];
        if (known.turn, known.sign) != (turn, sign) {
            *known = Respected { turn, sign, since: now };
            return Respect::Due;
        }
        // It has not moved. For the least grace it is respected all the same: to learn whether it is gone may take a
        // system call. (Under a checker no time passes, and no thread stops for ever.)
        let waited = now.saturating_sub(known.since);
        if waited < grace.least() || CHECKED || waited < owner.current_grace(grace) && !is_gone() {
            return Respect::Due;
        }
        respected.remove(at);
        Respect::Over { revoked: revoke_silent(table, turn, now) }
    }
}
