//! Sleeping on a word: the futex of Linux, or elsewhere, and under the checkers, what stands for it.

#[cfg_attr(
    all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))),
    path = "futex/linux.rs"
)]
#[cfg_attr(
    not(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle)))),
    path = "futex/emulated.rs"
)]
mod imp;

/// For words that only threads of this process sleep on.
pub(crate) type Private = imp::Futex<false>;
/// For words in memory that processes share. (Emulated, it works in one process only.)
pub(crate) type Shared = imp::Futex<true>;
