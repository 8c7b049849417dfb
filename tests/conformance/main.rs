//! The conformance suite: what every world promises, asked of each with the same tests.
//!
//! A *world* is where transactions run: one process ([`local`]), or a region that processes share ([`region`]).
//! [`world`] has what a test may do in one; each test is a function over `World`; [`suite`] lists the tests, and
//! makes `local::hooks::…` and `region::hooks::…` of `hooks`. Where worlds differ today, a constant of `World` says
//! so. What only one world has is tested in `tests/local` and `tests/region`.
//!
//! A further world is a file like `region.rs`, and a line in [`suite`].

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod suite;
mod local;
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod region;
mod steps;
mod stepwise;
mod world;

mod alternatives;
mod blocking;
mod bombs;
mod bounds;
mod counts;
mod declared;
mod errors;
mod explicit;
mod hooks;
mod journal;
mod misuse;
mod operations;
mod scheduling;
mod scoped;
mod snapshots;
mod statistics;
mod values;
