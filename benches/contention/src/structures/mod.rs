//! What threads share: one trait per kind of structure, implemented by each family of contenders
//! that has one.
//!
//! | trait | what it is | workloads |
//! | --- | --- | --- |
//! | [`cells::Cells`] | numbered cells, several of which change at once | `counter`, `transfers`, … |
//! | [`states::States`] | cells of which one state can be looked at while others write | `lag-behind-400k`, `lag-held-1`, … |
//! | [`baton::Baton`] | a turn or a token that threads wait for | `ping-pong`, `token`, `herd`, … |
//! | [`queue::Queue`] | a bounded queue that blocks | `pipeline`, `channel` |
//! | [`table::Table`] | a philosophers' table | `philosophers` |
//! | [`map::Map`] | a hash map or a sorted map | `hash-a`, `sorted-f`, … |
//! | [`map::Batched`] | a hash map into which many entries go at once | `batch-10`, … |
//! | [`pairs::Pairs`] | an ordered map of which ranges are read | `ranges` |
//! | [`agency::Agency`] | tables of things and of reservations | `vacation-low`, `vacation-high` |
//! | [`detector::Detector`] | stages through which packets go | `intruder` |
//! | [`grid::Grid`] | points that paths claim | `labyrinth` |
//! | [`sums::Sums`] | sums of the points of a cluster | `kmeans-high`, `kmeans-low` |
//!
//! Workloads are generic over these traits: a contender's code is inlined into the loop that is
//! measured, as it would be in a user's program.

pub(crate) mod agency;
pub(crate) mod baton;
pub(crate) mod by_hand;
pub(crate) mod cells;
mod concurrent_map;
pub(crate) mod detector;
pub(crate) mod grid;
pub(crate) mod map;
pub(crate) mod pairs;
mod plain_map;
pub(crate) mod queue;
mod skip_list;
pub(crate) mod states;
pub(crate) mod sums;
pub(crate) mod table;
