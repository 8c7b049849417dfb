//! What threads share: one trait per kind of structure, implemented by each family of contenders
//! that has one.
//!
//! | trait | what it is | workloads |
//! | --- | --- | --- |
//! | [`cells::Cells`] | numbered cells, several of which change at once | `counter`, `transfers`, … |
//! | [`baton::Baton`] | a turn or a token that threads wait for | `ping-pong`, `ring`, `token`, … |
//!
//! Workloads are generic over these traits: a contender's code is inlined into the loop that is
//! measured, as it would be in a user's program.

pub(crate) mod baton;
pub(crate) mod by_hand;
pub(crate) mod cells;
