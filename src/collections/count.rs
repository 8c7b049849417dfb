//! How many entries there are, in stripes: each thread counts in a cell of its own.

use super::reader::Reader;
use contempo_core::{StmResult, TVar, Transaction};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};

/// Twice the threads that can run at once, so that few that do share a stripe. (Two under a checker of
/// programs, where each is a step of every count.)
static STRIPES: LazyLock<usize> = LazyLock::new(|| {
    if cfg!(any(contempo_loom, contempo_shuttle)) {
        return 2;
    }
    let threads = std::thread::available_parallelism().map_or(4, usize::from);
    (2 * threads).next_power_of_two().clamp(8, 64)
});

#[cfg(not(any(contempo_loom, contempo_shuttle)))]
thread_local! {
    /// Threads are numbered as they first count.
    static THREAD: usize = {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// The number of this thread: under a checker, whose threads are not the system's, that of its slot.
pub(super) fn thread() -> usize {
    #[cfg(any(contempo_loom, contempo_shuttle))]
    return contempo_core::thread_number();
    #[cfg(not(any(contempo_loom, contempo_shuttle)))]
    THREAD.with(|thread| *thread)
}

struct Stripe {
    /// What was inserted in this stripe, less what was removed in it: may be negative.
    count: TVar<i64>,
    /// What `count` was when it was last published: a plain estimate, so that whether to grow can
    /// be asked without reading the other stripes. An absolute number: what an attempt that was
    /// rolled back has published is corrected by the next that publishes.
    published: AtomicI64,
}

pub(super) struct Count {
    stripes: Box<[Stripe]>,
}

impl Count {
    pub(super) fn new() -> Self {
        Self::with_stripes(*STRIPES)
    }

    /// In one stripe, for what conflicts anyway where it is counted.
    pub(super) fn small() -> Self {
        Self::with_stripes(1)
    }

    fn with_stripes(stripes: usize) -> Self {
        let stripe = || Stripe { count: TVar::new(0), published: AtomicI64::new(0) };
        Count { stripes: std::iter::repeat_with(stripe).take(stripes).collect() }
    }

    /// Names its cells for the contention report.
    pub(super) fn set_name(&self, name: &str) {
        for stripe in &self.stripes {
            stripe.count.set_name(format!("{name}: count"));
        }
    }

    /// The sum. Linear in the number of stripes.
    pub(super) fn sum<'a, R: Reader<'a>>(&self, at: &R) -> Result<usize, R::Error> {
        let sum = self.total(at)?;
        Ok(usize::try_from(sum).expect("what is removed was inserted before"))
    }

    /// The sum, which may be negative if more was taken than added.
    pub(super) fn total<'a, R: Reader<'a>>(&self, at: &R) -> Result<i64, R::Error> {
        let mut sum = 0_i64;
        for stripe in &self.stripes {
            sum = sum.wrapping_add(*at.cell(&stripe.count)?);
        }
        Ok(sum)
    }

    /// Makes it 0: all that was counted is gone.
    pub(super) fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        for stripe in &self.stripes {
            if *tx.read(&stripe.count)? != 0 {
                tx.write(&stripe.count, 0)?;
            }
            // Relaxed: an estimate. Should this be rolled back, it is too low until the stripes
            // count again.
            stripe.published.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Adds `change`, wrapping around; the stripe of this thread, and what that counts now.
    #[inline]
    fn change(&self, tx: &Transaction<'_>, change: i64) -> StmResult<(&Stripe, i64)> {
        let stripe = &self.stripes[thread() % self.stripes.len()];
        // Not `read` and `write`: a reference that `read` gives out would keep each of the transaction's
        // counts to its end.
        let mut count = 0;
        tx.modify(&stripe.count, |before| {
            count = before.wrapping_add(change);
            count
        })?;
        Ok((stripe, count))
    }

    /// Adds `change` to what is not estimated.
    #[inline]
    pub(super) fn add(&self, tx: &Transaction<'_>, change: i64) -> StmResult<()> {
        self.change(tx, change).map(drop)
    }

    /// Adds `change`. Now and then, in a map with `2^level` buckets, returns about how many entries
    /// there are: whenever a stripe is further from what it has published than its share of a
    /// thirty-second of the buckets. So however the changes are distributed over the threads, the
    /// estimate is off by no more than that (or a few for each stripe).
    #[inline]
    pub(super) fn add_and_estimate(
        &self,
        tx: &Transaction<'_>,
        change: i64,
        level: u32,
    ) -> StmResult<Option<usize>> {
        let (stripe, count) = self.change(tx, change)?;
        let interval = ((1_i64 << level) / (32 * self.stripes.len() as i64)).max(4);
        // Relaxed, here and below: an estimate.
        if (count - stripe.published.load(Ordering::Relaxed)).abs() < interval {
            return Ok(None);
        }
        stripe.published.store(count, Ordering::Relaxed);
        let about = |stripe: &Stripe| stripe.published.load(Ordering::Relaxed);
        Ok(Some(usize::try_from(self.stripes.iter().map(about).sum::<i64>()).unwrap_or(0)))
    }
}
