//! The reserve of a full region: room for transactions that give back at least as much as they take.
//!
//! To free a cell, or to write it anew, takes a block before another is given back. So the last superblocks without a
//! class are kept for that. They get one of two classes that nothing else takes blocks from:
//!
//! - [`FREEING`]: for what says that a cell is freed. That goes with its cell, so these blocks always come back, and
//!   one superblock of them is kept whatever else is short;
//! - [`VALUES`]: for new values of cells that there are. Such a value *stays*; what it has replaced is given back
//!   somewhere else. That is a loan: it is paid back when the value is moved to where there is room (`stm-core`,
//!   `session::reserve`). What was given back is the room for that, and must not be gone by then. So a thread that
//!   finds the reserve short (`Room::is_whole`) takes no block to which one of the values could be moved (`owed`),
//!   but by a transaction in need, and a thread that has drawn on it leaves what it frees to that rule, too: as hints,
//!   and not in its caches. (What is too small for all those values pays for none, however long it is kept. If a
//!   transaction has given back many small blocks for a large value, then a superblock with few values is emptied:
//!   `blocks::emptying`.)
//!
//! Whether a thread has drawn is told by two counts ([`Draws`](super::draws::Draws)), so that none looks at the
//! blocks of the reserve while it is whole.

use crate::region::draws::NOTHING;
use crate::region::map::Map;
use crate::region::superblock::{RESERVE, SIZES, Superblock};

/// How large a block is that takes the value in this block of the reserve; none if that goes by itself.
///
/// # Safety
/// A block of [`VALUES`], which is mapped. It may be freed or filled at that moment: then the answer is a guess.
pub type SizeOfValue = unsafe fn(*mut u8) -> Option<usize>;

/// The class for what frees a cell.
pub const FREEING: usize = RESERVE;
/// The class for new values of cells.
pub const VALUES: usize = RESERVE + 1;
const _: () = assert!(VALUES + 1 == SIZES.len());

/// One superblock of so many is reserved,
const RESERVED_PART: usize = 64;
/// but not less than these: one of each class,
const LEAST_RESERVED: usize = SIZES.len() - RESERVE;
/// and not more.
const MOST_RESERVED: usize = 16;

/// What there is of the reserve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Room {
    /// Superblocks of any kind.
    all: usize,
    /// Those without a class.
    fresh: usize,
    /// Those of [`FREEING`] in which something is free.
    freeing: usize,
    /// Free blocks of [`VALUES`].
    values: usize,
}

impl Room {
    /// Looks at all superblocks, and at each block of the reserve.
    pub(super) fn of(map: &Map) -> Self {
        let mut room = Room::default();
        for superblock in Superblock::all(map) {
            // Free blocks count only where they are the reserve's; of the other classes one look at the state will do.
            let state = superblock.state();
            room.all += 1;
            room.fresh += usize::from(state.is_free());
            match state.class() {
                Some(FREEING) => room.freeing += usize::from(superblock.free_blocks() > 0),
                Some(VALUES) => room.values += superblock.free_blocks(),
                _ => {}
            }
        }
        room
    }

    /// How many superblocks without a class are missing where there is none of them.
    fn missing(self) -> usize {
        let reserved = (self.all / RESERVED_PART).clamp(LEAST_RESERVED, MOST_RESERVED);
        let each = Superblock::most_blocks(VALUES);
        // Half a superblock of values may be out on loan.
        let values = ((reserved - 1) * each).saturating_sub(self.values + each / 2).div_ceil(each);
        // And one for what frees cells, if there is no free block of that class.
        values + usize::from(self.freeing == 0)
    }

    /// Is there as much as there should be?
    pub(super) fn is_whole(self) -> bool {
        self.fresh >= self.missing()
    }

    /// May an empty superblock of this class be closed? Then it is of no use for a while: until all that run now have
    /// ended. If so, it is not counted any more.
    pub(super) fn may_close(&mut self, class: usize) -> bool {
        // Closed it counts neither as one of its class nor as fresh: is the reserve whole without it?
        if class == FREEING && self.freeing > 1 {
            self.freeing -= 1; // A spare one: whatever else is missing, it is of more use without a class.
            return true;
        }
        let without = match class {
            FREEING => Room { freeing: self.freeing.saturating_sub(1), ..*self },
            VALUES => Room {
                values: self.values.saturating_sub(Superblock::most_blocks(VALUES)),
                ..*self
            },
            _ => return true,
        };
        let may = without.is_whole();
        if may {
            *self = without;
        }
        may
    }

    /// May a superblock without a class be given this one?
    pub(super) fn may_give(self, class: usize) -> bool {
        match class {
            FREEING => true,
            VALUES => self.fresh > usize::from(self.freeing == 0),
            _ => self.fresh > self.missing(),
        }
    }
}

/// The smallest class of which a block is owed to the reserve; none if that is whole.
pub(super) fn owed(map: &Map, size_of: SizeOfValue) -> Option<usize> {
    if Room::of(map).is_whole() {
        return None;
    }
    let lent = Superblock::all(map).filter(|superblock| superblock.state().is_of_class(VALUES));
    let least = lent
        .flat_map(|superblock| superblock.blocks_in_use())
        // SAFETY: `blocks_in_use` has found a block of this class at this place in the map.
        .filter_map(|at| unsafe { size_of(at) })
        .min();
    // Larger than any value of the reserve: no protocol writes that.
    Some(least.map_or(NOTHING, |least| class_of(least).unwrap_or(NOTHING)))
}

/// The smallest class whose blocks have `size` bytes, if one has.
#[inline]
pub(super) fn class_of(size: usize) -> Option<usize> {
    // A handful of comparisons; the common sizes come first.
    SIZES[..RESERVE].iter().position(|class| *class >= size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_blocks_are_kept_for_transactions_that_free() {
        let last = Room { all: 60, fresh: 1, freeing: 0, values: 15 };
        assert!(last.may_give(FREEING) && !last.may_give(VALUES) && !last.may_give(0));
        let one_more = Room { fresh: 2, values: 0, ..last };
        assert!(one_more.may_give(VALUES) && !one_more.may_give(0) && one_more.is_whole());
        assert!(Room { fresh: 3, ..one_more }.may_give(0));
    }

    #[test]
    fn values_on_loan_are_missing() {
        let lent = Room { all: 60, fresh: 0, freeing: 1, values: 15 };
        assert!(lent.is_whole());
        assert!(Room { values: 8, ..lent }.is_whole());
        assert!(!Room { values: 7, ..lent }.is_whole());
        assert!(Room { values: 7, fresh: 1, ..lent }.is_whole(), "there is another superblock");
        assert!(!Room { freeing: 0, ..lent }.is_whole(), "nothing is left for those that free");
        let mut spare = Room { all: 60, fresh: 0, freeing: 2, values: 0 };
        assert!(
            spare.may_close(FREEING) && !spare.may_close(FREEING),
            "all but one of them may go"
        );
        let mut last = lent;
        assert!(last.may_close(0) && !last.may_close(VALUES) && !last.may_close(FREEING));
        let mut two = Room { values: 30, ..lent };
        assert!(two.may_close(VALUES) && two == lent && !two.may_close(VALUES));
        assert_eq!(Room { all: 1 << 20, fresh: 0, freeing: 1, values: 0 }.missing(), 15);
    }
}
