//! The packed words of the protocol: each has a type, a table of its states and methods; the
//! protocol itself never shifts bits.
//!
//! | module | job |
//! | --- | --- |
//! | `reference` | [`Owner`] and [`Reservation`]: which transaction, and which turn, of which slot |
//! | `version_tag` | [`VersionTag`]: by which transaction, or at which stamp, a version was written |
//! | `state` | [`StateWord`]: decides a transaction |
//! | `lock` | [`LockWord`]: whether threads wait for a cell, and for which turn it is reserved |
//! | `turn` | [`TurnWord`]: whether the reservations of a thread count; [`Rank`]: which of two goes first |
//!
//! A *reference* to a transaction is a pair (slot, serial): the slot of its thread's descriptor
//! and the number of the transaction on that slot. It means the same in every process, and a
//! stale one is recognised because the serial has moved on (`docs/protocol.md`, "Words").

/// A word of this type is one `u64`, and every value of it will do. (By hand: the derive would bring five more
/// crates, among them `syn`, to a user of `TVar`.)
macro_rules! packed {
    ($word:ident) => {
        const _: () = assert!(size_of::<$word>() == size_of::<u64>());
        // SAFETY: a struct with one field, a `u64`, for which zero will do.
        unsafe impl bytemuck::Zeroable for $word {}
        // SAFETY: `repr(C)` with one field, a `u64`, of which any bits will do, and no padding (asserted above).
        unsafe impl bytemuck::Pod for $word {}
    };
}

mod lock;
mod reference;
mod state;
mod turn;
mod version_tag;

pub use lock::{AtomicLockWord, LockWord};
pub use reference::{Owner, Reservation, SERIAL_BITS, SLOT_BITS, TICKET_BITS};
pub use state::{AtomicStateWord, Phase, StateWord};
pub use turn::{AtomicTurnWord, Rank, TurnPhase, TurnWord};
pub use version_tag::{AtomicVersionTag, VersionTag};
