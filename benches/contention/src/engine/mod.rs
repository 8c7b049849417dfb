//! The measuring core: threads that start together, windows of time, and what each thread did in
//! them.
//!
//! | module | job |
//! | --- | --- |
//! | [`trial`] | what a workload must offer to be measured, and how it is measured |
//! | [`control`] | which window it is |
//! | [`seat`] | a thread's place in a trial: its random numbers, its counts, when to stop |
//! | [`tally`] | what one thread did in one window |
//! | [`told`] | what a worker tells of its progress while a window is open |
//! | [`sample`] | the tallies of all threads, made into figures |
//! | [`noise`] | the calibration loop: how quiet was the machine? |
//! | [`pin`] | which thread runs on which core |
//! | [`resources`] | what the system says of memory, processor time, sleeps, and waiting for a core |
//! | [`interrupt`], [`watchdog`] | how a run ends early |

pub(crate) mod control;
pub(crate) mod interrupt;
pub(crate) mod noise;
pub(crate) mod pin;
pub(crate) mod resources;
pub(crate) mod sample;
pub(crate) mod seat;
pub(crate) mod tally;
pub(crate) mod told;
pub(crate) mod trial;
pub(crate) mod watchdog;
