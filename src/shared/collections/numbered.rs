//! Plain data with a number.

use bytemuck::{Pod, Zeroable};

/// An item with a number. Packed: so that items of any size have no padding behind them.
#[repr(C, packed)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) item: T,
}

impl<T: Copy> Clone for Numbered<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Copy> Copy for Numbered<T> {}

// SAFETY: zero is the number 0 and a zeroed item.
unsafe impl<T: Zeroable> Zeroable for Numbered<T> {}
// SAFETY: `repr(C, packed)`: the item follows the number without padding, and nothing follows it; both are plain data.
unsafe impl<T: Pod> Pod for Numbered<T> {}
