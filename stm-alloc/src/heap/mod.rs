//! Blocks of memory by size class.
//!
//! | module | job |
//! | --- | --- |
//! | `cache` | shapes of blocks; per-thread caches |
//! | [`slab`] | where blocks are carved from, and where those come together that a thread passes on |

mod cache;
pub mod slab;

pub use cache::*;
