//! The accumulators of STAMP's `kmeans`: for each cluster a count, and a sum per dimension.

use crate::contenders::contempo::Contempo;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::guards::{Guard, Unguarded};
use crate::contenders::monitors::Monitor;
use crate::contenders::peers::{AsyncStm, FastStm, RustStm};
use crate::contenders::transactional::{Access, Stm};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicI64, Ordering};

/// Dimensions of points.
pub(crate) const DIMENSIONS: usize = 16;

/// A point, in whole numbers: so sums do not depend on the order of additions.
pub(crate) type Point = [i64; DIMENSIONS];

/// How many points were added, and their sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) count: i64,
    pub(crate) sum: Point,
}

impl Sum {
    fn add(&mut self, point: &Point) {
        self.count += 1;
        self.sum.iter_mut().zip(point).for_each(|(sum, coordinate)| *sum += coordinate);
    }
}

/// A sum per cluster.
pub(crate) trait Sums: Send + Sync + 'static {
    /// For so many clusters.
    fn new(clusters: usize) -> Self;

    /// Adds a point to a cluster's sum.
    fn add(&self, cluster: usize, point: &Point);

    /// The sum of a cluster, which starts again at nothing. Called while no thread adds.
    fn take(&self, cluster: usize) -> Sum;
}

/// A workload on sums.
pub(crate) trait OnSums {
    /// The trial for these sums.
    fn trial<S: Sums>(self) -> Box<dyn Trial>;
}

/// A variable per cluster: its numbers change together.
pub(crate) struct Variables<S: Stm>(Vec<S::Var<Sum>>);

impl<S: Stm> Sums for Variables<S> {
    fn new(clusters: usize) -> Self {
        Variables((0..clusters).map(|_| S::var(Sum::default())).collect())
    }

    #[inline]
    fn add(&self, cluster: usize, point: &Point) {
        S::atomically(|tx| {
            S::modify(tx, &self.0[cluster], |sum| {
                let mut sum = *sum;
                sum.add(point);
                sum
            })
        });
    }

    fn take(&self, cluster: usize) -> Sum {
        S::atomically(|tx| {
            let sum = *tx.read(&self.0[cluster])?;
            S::write(tx, &self.0[cluster], Sum::default())?;
            Ok(sum)
        })
    }
}

/// Plain sums behind one guard.
pub(crate) struct Guarded<G>(G);

impl<G: Guard<Vec<Sum>>> Sums for Guarded<G> {
    fn new(clusters: usize) -> Self {
        Guarded(G::guard(vec![Sum::default(); clusters]))
    }

    #[inline]
    fn add(&self, cluster: usize, point: &Point) {
        self.0.write(|sums| sums[cluster].add(point));
    }

    fn take(&self, cluster: usize) -> Sum {
        self.0.write(|sums| std::mem::take(&mut sums[cluster]))
    }
}

/// A mutex per cluster.
pub(crate) struct Ordered<M>(Vec<M>);

impl<M: Monitor<Sum>> Sums for Ordered<M> {
    fn new(clusters: usize) -> Self {
        Ordered((0..clusters).map(|_| M::monitor(Sum::default())).collect())
    }

    #[inline]
    fn add(&self, cluster: usize, point: &Point) {
        self.0[cluster].enter().add(point);
    }

    fn take(&self, cluster: usize) -> Sum {
        std::mem::take(&mut *self.0[cluster].enter())
    }
}

/// An atomic per number. None looks before all have added, so this is enough.
pub(crate) struct Atomics(Vec<AtomicSum>);

#[derive(Default)]
struct AtomicSum {
    count: AtomicI64,
    sum: [AtomicI64; DIMENSIONS],
}

impl Sums for Atomics {
    fn new(clusters: usize) -> Self {
        Atomics((0..clusters).map(|_| AtomicSum::default()).collect())
    }

    #[inline]
    fn add(&self, cluster: usize, point: &Point) {
        // Relaxed: the barrier between adding and taking orders them.
        let AtomicSum { count, sum } = &self.0[cluster];
        count.fetch_add(1, Ordering::Relaxed);
        for (sum, coordinate) in sum.iter().zip(point) {
            sum.fetch_add(*coordinate, Ordering::Relaxed);
        }
    }

    fn take(&self, cluster: usize) -> Sum {
        let AtomicSum { count, sum } = &self.0[cluster];
        let sum = sum.each_ref().map(|sum| sum.swap(0, Ordering::Relaxed));
        Sum { count: count.swap(0, Ordering::Relaxed), sum }
    }
}

/// Sums that go wrong.
pub(crate) struct Faulty {
    sums: Guarded<std::sync::Mutex<Vec<Sum>>>,
    breakage: Breakage,
}

impl Sums for Faulty {
    fn new(clusters: usize) -> Self {
        Faulty { sums: Sums::new(clusters), breakage: Breakage::planted() }
    }

    fn add(&self, cluster: usize, point: &Point) {
        if self.breakage.strikes(Fault::HalfUpdate) {
            return self.sums.0.write(|sums| sums[cluster].count += 1);
        }
        if !self.breakage.strikes(Fault::LoseUpdate) {
            self.sums.add(cluster, point);
        }
    }

    fn take(&self, cluster: usize) -> Sum {
        self.sums.take(cluster)
    }
}

fn later<S: Sums>(workload: impl OnSums + 'static) -> Maker {
    Box::new(move || workload.trial::<S>())
}

/// Makes trials of a workload on sums; none if this contender has none. Nothing only reads: so no
/// `RwLock`.
pub(crate) fn maker(contender: &Contender, workload: impl OnSums + 'static) -> Option<Maker> {
    Some(match contender.family {
        Family::Contempo => later::<Variables<Contempo>>(workload),
        Family::RustStm => later::<Variables<RustStm>>(workload),
        Family::FastStm => later::<Variables<FastStm>>(workload),
        Family::AsyncStm => later::<Variables<AsyncStm>>(workload),
        Family::Sequential => later::<Guarded<Unguarded<_>>>(workload),
        Family::StdMutex => later::<Guarded<std::sync::Mutex<_>>>(workload),
        Family::ParkingLotMutex => later::<Guarded<parking_lot::Mutex<_>>>(workload),
        Family::ArcSwap => later::<Guarded<ArcSwap<_>>>(workload),
        Family::OrderedStd => later::<Ordered<std::sync::Mutex<Sum>>>(workload),
        Family::OrderedParkingLot => later::<Ordered<parking_lot::Mutex<Sum>>>(workload),
        Family::Atomic => later::<Atomics>(workload),
        Family::Faulty => later::<Faulty>(workload),
        _ => return None,
    })
}
