//! Sleeping until a cell changes.
//!
//! | module | job |
//! | --- | --- |
//! | [`watch`] | which threads and tasks sleep until which cell changes |
//! | [`alarms`] | what keeps time for tasks |
//! | [`chain`] | between processes: a word that many sleep on, and a change that wakes few of them |
//! | [`spinning`] | spinning before sleeping |
//! | [`looks`] | a second look before a task waits |

pub mod alarms;
pub mod chain;
pub mod looks;
pub mod spinning;
pub mod watch;
