//! A flag for assertions.

#[cfg(debug_assertions)]
use std::cell::Cell;

/// A flag of one thread that assertions ask. In builds without assertions it takes no room, and is never set.
///
/// In place of a look at an atomic word that says the same: to loom each of those is one more step, which changes what
/// it explores.
#[derive(Debug, Default)]
pub struct Noted(#[cfg(debug_assertions)] Cell<bool>);

impl Noted {
    /// Not set.
    pub const fn new() -> Self {
        Noted(
            #[cfg(debug_assertions)]
            Cell::new(false),
        )
    }

    /// Sets or clears it.
    #[inline(always)]
    pub fn set(&self, value: bool) {
        #[cfg(debug_assertions)]
        self.0.set(value);
        #[cfg(not(debug_assertions))]
        let _ = value;
    }

    /// Is it set? For assertions only: in builds without them the answer means nothing.
    #[inline(always)]
    pub fn is_set(&self) -> bool {
        #[cfg(debug_assertions)]
        return self.0.get();
        #[cfg(not(debug_assertions))]
        false
    }
}
