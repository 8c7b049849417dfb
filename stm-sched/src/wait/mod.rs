//! Sleeping until a cell changes.
//!
//! | module | job |
//! | --- | --- |
//! | [`watch`] | which threads sleep until which cell changes |
//! | [`spinning`] | spinning before sleeping |

pub mod spinning;
pub mod watch;
