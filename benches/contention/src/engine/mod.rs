//! The measuring core: threads that start together, windows of time, and what each thread did in
//! them.
//!
//! | module | job |
//! | --- | --- |
//! | [`seat`] | a thread's place in a trial: its random numbers, its counts, when to stop |
//! | [`tally`] | what one thread did in one window |
//! | [`trial`] | what a workload must offer to be measured, and how it is measured |
//! | [`sample`] | the tallies of all threads, made into figures |
//! | [`noise`] | the calibration loop: how quiet was the machine? |
//! | [`pin`] | which thread runs on which core |

pub(crate) mod noise;
pub(crate) mod pin;
pub(crate) mod sample;
pub(crate) mod seat;
pub(crate) mod tally;
pub(crate) mod trial;
