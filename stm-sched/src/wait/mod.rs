//! Sleeping until a cell changes.
//!
//! | module | job |
//! | --- | --- |
//! | [`watch`] | which threads sleep until which cell changes |
//! | [`patience`] | spinning before sleeping |

pub mod patience;
pub mod watch;
