//! Sleeping on a word: the futex of Linux, or elsewhere, and under the checkers, what stands for it.
//! (While a program is checked, that is the checker's own parking.)

#[cfg_attr(
    all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))),
    path = "futex/linux.rs"
)]
#[cfg_attr(
    any(
        all(any(contempo_loom, contempo_shuttle), contempo_models),
        not(any(target_os = "linux", contempo_loom, contempo_shuttle))
    ),
    path = "futex/emulated.rs"
)]
#[cfg_attr(
    all(any(contempo_loom, contempo_shuttle), not(contempo_models)),
    path = "futex/checked.rs"
)]
mod imp;

/// For words that only threads of this process sleep on.
pub(crate) type Private = imp::Futex<false>;
/// For words in memory that processes share. (Emulated, it works in one process only.)
pub(crate) type Shared = imp::Futex<true>;
