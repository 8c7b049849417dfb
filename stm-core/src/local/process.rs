//! The domain of this process, and how it is found: a static, but under a checker of the user's program.

#[cfg(not(any(contempo_loom, contempo_shuttle)))]
use crate::local::domain::Native;

/// The domain of this process.
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
#[inline(always)]
pub fn native() -> &'static Native {
    static NATIVE: Native = Native::new();
    &NATIVE
}

#[cfg(any(contempo_loom, contempo_shuttle))]
mod checked;
#[cfg(any(contempo_loom, contempo_shuttle))]
pub use checked::{Holder, native, world};
