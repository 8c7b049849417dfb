//! Blocks of memory by size class.
//!
//! | module | job |
//! | --- | --- |
//! | [`memory`] | what every world's memory is asked for, with the contract |
//! | `cache` | shapes of blocks; per-thread caches |
//! | [`slab`] | where blocks are carved from, and where those come together that a thread passes on |

mod cache;
pub mod memory;
pub mod slab;

pub use cache::*;
