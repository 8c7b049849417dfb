//! Regions: memory in a file that several processes map.
//!
//! | module | job |
//! | --- | --- |
//! | [`layout`] | what lies where, and how a file is recognised |
//! | [`error`] | why a region cannot be made or opened |
//! | [`map`] | the mapping: bounds, growth |
//! | [`handle`] | references that mean the same in every process, checked when they are decoded |
//! | [`links`] | how versions lead to each other, and how one is taken out |
//! | [`superblock`] | one superblock: which class it has, how it changes that |
//! | [`ownership`] | which epoch owns it, and hints at its free blocks |
//! | [`sizes`] | of superblocks and blocks |
//! | [`blocks`] | the superblocks and free blocks of a slot |
//! | [`reserve`] | room that is left in a full region for transactions that give back |
//! | [`draws`] | has a thread drawn on that? |
//! | [`trace`] | where a slot has retired something |
//! | [`epoch`] | which slot memory belongs to, and until when |
//! | [`mod@file`] | files that are ours: opened without following links, removed by what they are |
//! | [`liveness`] | which processes are alive |
//! | [`fork`] | what a forked child is to leave alone |
//! | [`clean_shutdown`] | has the machine gone down while the region was in use? |
//!
//! What survives a death at any instruction, and why, is in `docs/regions.md`, "Death at any instruction". The
//! rule for every change here: the *truth* about a block is its one meta word; everything else (hints,
//! caches) may be lost, late or wrong, and is checked against that word.

// Words, and what is done with each: no mapping, so models run them as they are.
pub mod draws;
pub mod epoch;
pub mod handle;
pub mod links;
pub mod ownership;
pub mod sizes;
pub mod trace;

#[cfg(not(contempo_loom))]
pub mod blocks;
#[cfg(not(contempo_loom))]
pub mod clean_shutdown;
#[cfg(not(contempo_loom))]
pub mod error;
#[cfg(not(contempo_loom))]
pub mod file;
#[cfg(not(contempo_loom))]
pub mod fork;
#[cfg(not(contempo_loom))]
pub mod layout;
#[cfg(not(contempo_loom))]
pub mod liveness;
#[cfg(not(contempo_loom))]
pub mod map;
#[cfg(not(contempo_loom))]
pub mod reserve;
#[cfg(not(contempo_loom))]
pub mod superblock;
