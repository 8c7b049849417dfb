//! References to a transaction and to a turn: a slot, and a number that has moved on when the reference is stale.

/// Bits of a slot number: about a million threads alive at a time.
pub const SLOT_BITS: u32 = 20;
/// Bits of a serial.
pub const SERIAL_BITS: u32 = 43;
/// The bits of a serial.
pub(super) const SERIAL_MASK: u64 = (1 << SERIAL_BITS) - 1;
/// Bits of a ticket.
pub const TICKET_BITS: u32 = 41;
/// The bits of a ticket.
pub(super) const TICKET_MASK: u64 = (1 << TICKET_BITS) - 1;

/// Refers to one transaction of one thread: its descriptor's slot and its serial there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Index into the descriptor table.
    pub slot: u32,
    /// Number of the transaction on that slot (43 bits, wraps).
    pub serial: u64,
}

/// Refers to one turn of one thread: its descriptor's slot, and the number of the turn there. It is
/// in force while the turn word of that descriptor says so ([`TurnWord`](super::TurnWord)); so one word takes back
/// every reservation of a turn at once, however many cells name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// Index into the descriptor table.
    pub slot: u32,
    /// Number of the turn on that slot (41 bits, never 0).
    pub ticket: u64,
}
