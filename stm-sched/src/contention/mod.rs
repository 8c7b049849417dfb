//! What is done about conflicts.
//!
//! | module | job |
//! | --- | --- |
//! | [`policy`] | what to do about a conflict: a small value in, a verdict out |
//! | [`bids`], [`rules`] | the values and verdicts; functions of the user's |
//! | [`settings`] | the knobs of a domain's scheduling |
//! | [`turns`] | which reservations count, and which transaction is older |
//! | [`lock_queue`], [`task_turn`] | which threads and tasks wait for which lock |
//! | [`ticket_queue`] | the same between processes |
//! | [`admission`] | whether a transaction that declares its cells reserves them at once |
//! | [`yielding`] | giving the processor away before the system takes it |
//! | [`report`] | which cells cause conflicts, and which threads wait: the contention report |
//! | [`activity`] | what the threads of a world do |

pub mod activity;
pub mod admission;
pub mod bids;
pub mod lock_queue;
pub mod policy;
pub mod report;
pub mod rules;
pub mod settings;
pub mod task_turn;
pub mod ticket_queue;
pub mod turns;
pub mod yielding;
