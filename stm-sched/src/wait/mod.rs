//! Sleeping until a cell changes.
//!
//! | module | job |
//! | --- | --- |
//! | [`watch`] | which threads and tasks sleep until which cell changes |
//! | [`alarms`] | what keeps time for tasks |
//! | [`chain`] | between processes: a word that many sleep on, and a change that wakes few of them |
//! | [`few`] | a list that mostly has one item |
//! | [`spinning`] | spinning before sleeping |
//! | [`lag`] | letting the thread that is waited for get ahead |
//! | [`looks`] | a second look before a task waits |

pub mod alarms;
pub mod chain;
pub mod few;
pub mod lag;
pub mod looks;
pub mod spinning;
pub mod watch;
