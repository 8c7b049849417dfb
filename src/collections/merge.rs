//! How the map shrinks: buckets merge again.
//!
//! When the level has fallen, each removal that meets a bucket deeper than the level merges the
//! regions around it, as far as few entries are in them. A bucket is merged at most once for each
//! time that it was split, and what a removal reads beyond that is bounded; so a removal still
//! takes constant time, averaged over those before it. And by the time that the level falls again,
//! most regions have been merged: a map that was emptied by removals has about as many buckets as
//! it was made with. There is no event at which all conflicts with all: a removal conflicts with
//! the uses of the regions that it merges, and with no others.

use super::directory::{Directory, low};
use super::slot::{HashCode, Slot};
use contempo_core::{StmResult, Transaction};

/// Up to so many entries are merged into one bucket. So few, that a level that is too low (it is
/// only a hint) makes no long buckets.
const FEW: usize = 2;

/// log2 of the number of regions that a removal merges, each for itself. Between two falls of the
/// level there is one removal for about eight regions.
const AROUND_BITS: u32 = 3;

impl<E: Slot> Directory<E> {
    /// Merges the buckets that are deeper than the level in the region of `hash`, and in some others.
    #[cold]
    pub(super) fn merge_around(&self, tx: &Transaction<'_>, hash: HashCode) -> StmResult<()> {
        let level = self.level();
        let shared = level.saturating_sub(AROUND_BITS).max(self.base());
        for high in 0..1 << (level - shared) {
            let index = low(hash, shared) | high << shared;
            let Some(cell) = self.probe(index) else { continue };
            let bucket = tx.read(cell)?;
            if bucket.depth() > level
                && let Some(slots) = self.gather(tx, index, level)?
            {
                self.write(tx, index, bucket, level, slots)?;
            }
        }
        Ok(())
    }

    /// The entries of the region of the hashes whose lowest `depth` bits are `index`, a born bucket,
    /// if they are few. Then all buckets in it but this one are unborn afterwards, and this one is
    /// for our caller to write. If they are not few, what could be merged is merged.
    ///
    /// Stops at the first that cannot be merged: so it reads no more than it merges and one path.
    fn gather(&self, tx: &Transaction<'_>, index: usize, depth: u32) -> StmResult<Option<Vec<E>>> {
        let bucket = tx.read(self.cell(index))?;
        // From the deepest split upwards: each child that has few entries, together with what there is, becomes one
        // with this bucket again. The first that has more ends that, and is written as far as it was gathered itself.
        let beside = self.beside(tx, index, bucket)?;
        let mut slots: Vec<E> = bucket.slots().chain(beside).cloned().collect();
        let mut merged = bucket.depth();
        while merged > depth {
            let child = index | 1 << (merged - 1);
            let Some(mut others) = self.gather(tx, child, merged)? else { break };
            let fit = slots.len() + others.len() <= FEW;
            if !fit {
                self.settle(tx, child, merged, others)?;
                break;
            }
            self.write(tx, child, tx.read(self.cell(child))?, 0, Vec::new())?;
            slots.append(&mut others);
            merged -= 1;
        }
        // All of the region is gathered: the caller writes it, perhaps with more. Else it is written here, as far as it
        // came.
        if merged == depth {
            return Ok(Some(slots));
        }
        self.settle(tx, index, merged, slots)?;
        Ok(None)
    }

    /// Writes what was gathered in a bucket, if anything was.
    fn settle(
        &self,
        tx: &Transaction<'_>,
        index: usize,
        depth: u32,
        slots: Vec<E>,
    ) -> StmResult<()> {
        let before = tx.read(self.cell(index))?;
        if before.depth() == depth {
            return Ok(());
        }
        self.write(tx, index, before, depth, slots)
    }

    /// Removes all entries, and all buckets that have been born since the map was made.
    pub(super) fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        let base = self.base();
        let mut walk = self.walk(tx);
        // Its children are found before a bucket is written, and no other code runs meanwhile.
        while let Some(found) = walk.next_bucket() {
            let (_, place) = found?;
            let (index, bucket) = (place.index, place.bucket);
            if index >> base != 0 {
                self.write(tx, index, bucket, 0, Vec::new())?;
            } else if bucket.depth() > base || !bucket.is_empty() {
                self.write(tx, index, bucket, base, Vec::new())?;
            }
        }
        Ok(())
    }
}
