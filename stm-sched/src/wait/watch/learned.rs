//! What a queue has learned from its wake-ups.

use crate::primitives::CHECKED;

/// How many are woken at once for one state of a cell, to begin with; and the most that is learned.
const FIRST_EAGER: u32 = if CHECKED { 1 } else { 4 };
pub(super) const MOST_EAGER: u32 = if CHECKED { 2 } else { 1 << 12 };

/// What earlier wake-ups for a cell have taught.
#[derive(Clone, Copy, Debug)]
pub(super) struct Learned {
    /// How many to wake at once, one after the other, for one state of the cell.
    pub(super) eager: u32,
    /// Is it worth while to wake a sleeper at once for what a woken thread has left behind? It is
    /// if positive; down to `PARTNER`, for sleepers that saw the state that it has replaced.
    pub(super) relay: i32,
    /// Which sleepers to wake first: those that saw the replaced state (the group), or the oldest of all?
    /// At index 1 for changes by woken threads, at 0 for changes by other threads.
    pub(super) group_first: [bool; 2],
    /// How often in a row the timer has woken a sleeper in vain.
    pub(super) calm: u32,
    /// How many tasks to wake for one that goes on, beside the two that pass it on.
    pub(super) gate: u32,
}

/// The range of [`Learned::relay`], where it begins, and the limit for sleepers that saw the state that
/// was replaced.
const RELAY: std::ops::RangeInclusive<i32> = -4..=4;
const FIRST_RELAY: i32 = if CHECKED { 0 } else { 2 };
pub(super) const PARTNER: i32 = if CHECKED { 0 } else { -4 };

impl Learned {
    pub(super) const NOTHING: Learned = Learned {
        eager: FIRST_EAGER,
        relay: FIRST_RELAY,
        group_first: [true; 2],
        calm: 0,
        gate: 0,
    };

    pub(super) fn relay_by(&mut self, more: i32) {
        self.relay = (self.relay + more).clamp(*RELAY.start(), *RELAY.end());
    }
}
