//! Random programs of transactions, recorded and judged.
//!
//! | module | job |
//! | --- | --- |
//! | [`program`] | what a thread does: transactions, snapshots, single-cell operations; decoded from bytes |
//! | [`interpreter`] | what a program must do, if no other thread interferes: a sequential model |
//! | [`recorder`] | runs programs on real cells, by one thread or several, and notes every attempt |
//! | `worker` | one thread of such a run |
//! | [`checker`] | is a history opaque and strictly serializable? Finds a serial order, or a cycle |
//! | [`judge`] | replays that order in the interpreter, and compares everything that was seen |
//! | [`canary`] | values that notice use after drop, a second drop, and leaks |
//!
//! One generator serves all checks: `tests/model.rs` (one thread, shrunk by proptest), `tests/history.rs`
//! (several threads), `fuzz/` (both, steered by coverage) and `tests/seeded.rs` (with planted faults).
//!
//! ```
//! use contempo_verify::plan::{Plan, Shape};
//! let plan = Plan::random(7, Shape { threads: 2, cells: 3, units: 20 });
//! let tally = plan.verify().unwrap_or_else(|counterexample| panic!("{counterexample}"));
//! assert!(tally.attempts >= 40);
//! ```

pub mod canary;
pub mod checker;
pub mod interpreter;
pub mod judge;
pub mod plan;
pub mod program;
pub mod recorder;
pub mod settle;
mod worker;
