//! What is done about conflicts.
//!
//! | module | job |
//! | --- | --- |
//! | [`policy`] | what to do about a conflict: a small value in, a verdict out |
//! | [`settings`] | the knobs of a domain's scheduling |
//! | [`turn`] | whose reservations count, and which transaction is older |
//! | [`queue`] | which threads wait for which lock |
//! | [`line`](mod@line) | the same between processes |
//! | [`admission`] | whether a transaction that declares its cells reserves them at once |
//! | [`quantum`] | giving the processor away before the system takes it |
//! | [`report`] | which cells cause conflicts, and which threads wait: the contention report |

pub mod admission;
pub mod line;
pub mod policy;
pub mod quantum;
pub mod queue;
pub mod report;
pub mod settings;
pub mod turn;
