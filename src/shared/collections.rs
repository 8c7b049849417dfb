//! Collections whose parts are cells of a region.
//!
//! They use the public interface of transactions only. A collection is named by one handle, which can be a
//! root.

mod map;
mod ordered;
mod queue;
mod rows;
mod vector;

pub use map::Map;
pub use ordered::{OrderedMap, Range};
pub use queue::Queue;
pub use vector::{Items, Vector};
