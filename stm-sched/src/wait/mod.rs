//! Sleeping until a cell changes.
//!
//! | module | job |
//! | --- | --- |
//! | [`watch`] | which threads and tasks sleep until which cell changes |
//! | [`alarms`] | what keeps time for tasks |
//! | [`spinning`] | spinning before sleeping |

pub mod alarms;
pub mod spinning;
pub mod watch;
