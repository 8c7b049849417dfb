//! A second look before a task waits: other tasks of its executor run once, and it makes its attempt again.
//!
//! For a task that is what spinning is for a thread. What it waits for is often done by another task of the same
//! thread, which runs next: then neither an entry on the watch list nor a wake-up is needed, which cost more than an
//! attempt. Where that was in vain some times it is not done, but for a try now and then.

use crate::primitives::CHECKED;
use std::cell::Cell;

/// What a thread knows about its second looks.
#[derive(Debug)]
pub struct Looks {
    /// So many may be in vain in a row.
    credit: Cell<u8>,
    /// Waits without one.
    without: Cell<u8>,
}

const AT_FIRST: u8 = 2;
const MOST: u8 = 4;
/// Once in so many waits it is tried.
const TRY_EVERY: u8 = 64;

impl Looks {
    /// Of a thread that knows nothing yet.
    pub const fn new() -> Self {
        Looks { credit: Cell::new(AT_FIRST), without: Cell::new(0) }
    }

    /// Is a second look to be made? (Not under the checkers, where nothing is gained by it.)
    pub fn are_worth_while(&self) -> bool {
        if CHECKED {
            return false;
        }
        if self.credit.get() > 0 {
            return true;
        }
        let without = self.without.get() + 1;
        self.without.set(without % TRY_EVERY);
        without == TRY_EVERY
    }

    /// Was there no need to wait, as the second look has found?
    pub fn note(&self, has_paid: bool) {
        let credit = self.credit.get();
        self.credit.set(if has_paid { MOST.min(credit + 1) } else { credit.saturating_sub(1) });
    }
}

impl Default for Looks {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_made_where_that_has_paid_and_now_and_then() {
        let looks = Looks::new();
        for _ in 0..AT_FIRST {
            assert!(looks.are_worth_while());
            looks.note(false);
        }
        let tried = (0..u32::from(TRY_EVERY) * 10).filter(|_| looks.are_worth_while());
        assert_eq!(tried.count(), 10);
        looks.note(true);
        assert!(looks.are_worth_while());
        (0..100).for_each(|_| looks.note(true));
        (0..MOST).for_each(|_| looks.note(false));
        assert!(!looks.are_worth_while());
    }
}
