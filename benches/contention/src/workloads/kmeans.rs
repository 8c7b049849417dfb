//! STAMP's `kmeans`: points are grouped round the nearest of some centers, which move to the middle
//! of their group, until hardly any point changes its group. Written anew from its published
//! description (Minh et al., IISWC 2008) with its parameter sets for many and for few conflicts
//! (`-m15 -n15 -t0.05` and `-m40 -n40 -t0.05`, each with `-i random-n2048-d16-c16`).

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::control::Control;
use crate::engine::interrupt;
use crate::engine::seat::Seat;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::structures::sums::{self, DIMENSIONS, OnSums, Point, Sum, Sums};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, RwLock};
use std::time::Duration;

const POINTS: usize = 2_048;
/// Points are drawn round so many middles.
const GROUPS: usize = 16;
/// How far from the middle, per dimension, where the middles lie between 0 and 1.
const SPREAD: f64 = 0.5;
/// STAMP's `-t`: it is over when at most this part of the points changes its group.
const THRESHOLD: f64 = 0.05;
/// Or after so many steps.
const MOST_STEPS: usize = 500;
/// Points that a thread takes at a time.
const CHUNK: usize = 3;
/// Coordinates are whole numbers of this part of 1.
const UNIT: f64 = (1 << 20) as f64;

/// Few clusters, many clusters.
pub(super) const ALL: &[Workload] = &[
    Workload::new(
        "kmeans-high",
        Threads::Few { least: 1 },
        |contender, threads| sums::maker(contender, KMeans { clusters: 15, threads }),
        "STAMP: groups points, -m15 -n15 -t0.05 -i random-n2048-d16-c16",
    )
    .with("clusters=15 points=2048 dimensions=16 threshold=0.05")
    .catches(&[Fault::LoseUpdate, Fault::HalfUpdate])
    .windows(1, Duration::from_millis(5)),
    Workload::new(
        "kmeans-low",
        Threads::Few { least: 1 },
        |contender, threads| sums::maker(contender, KMeans { clusters: 40, threads }),
        "STAMP: groups points, -m40 -n40 -t0.05 -i random-n2048-d16-c16",
    )
    .with("clusters=40 points=2048 dimensions=16 threshold=0.05")
    .catches(&[Fault::LoseUpdate, Fault::HalfUpdate])
    .windows(1, Duration::from_millis(5))
    .slow(),
];

#[derive(Clone, Copy)]
struct KMeans {
    clusters: usize,
    threads: usize,
}

struct KMeansTrial<S> {
    sums: S,
    points: Vec<Point>,
    /// The sum of all points: what the clusters' sums must add up to, in every step.
    total: Sum,
    centers: RwLock<Vec<Point>>,
    /// Which cluster each point is in.
    cluster_of: Vec<AtomicU32>,
    next: AtomicUsize,
    changed: AtomicUsize,
    over: AtomicBool,
    barrier: Barrier,
    steps: Mutex<usize>,
}

impl OnSums for KMeans {
    fn trial<S: Sums>(self) -> Box<dyn Trial> {
        // The same for all contenders and rounds.
        let mut random = SmallRng::seed_from_u64(1);
        let middles: Vec<[f64; DIMENSIONS]> =
            (0..GROUPS).map(|_| std::array::from_fn(|_| random.random())).collect();
        let points: Vec<Point> = (0..POINTS)
            .map(|number| {
                let middle = middles[number % GROUPS];
                middle.map(|at| ((at + random.random_range(-SPREAD..SPREAD)) * UNIT) as i64)
            })
            .collect();
        let mut total = Sum { count: POINTS as i64, ..Sum::default() };
        for point in &points {
            total.sum.iter_mut().zip(point).for_each(|(sum, coordinate)| *sum += coordinate);
        }
        let centers = (0..self.clusters).map(|_| points[random.random_range(0..POINTS)]).collect();
        Box::new(KMeansTrial {
            sums: S::new(self.clusters),
            points,
            total,
            centers: RwLock::new(centers),
            cluster_of: (0..POINTS).map(|_| AtomicU32::new(u32::MAX)).collect(),
            next: AtomicUsize::new(0),
            changed: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            barrier: Barrier::new(self.threads),
            steps: Mutex::new(0),
        })
    }
}

fn nearest(centers: &[Point], point: &Point) -> usize {
    let distance = |center: &Point| -> i64 {
        center.iter().zip(point).map(|(one, other)| (one - other) * (one - other)).sum()
    };
    let nearest = centers.iter().enumerate().min_by_key(|(_, center)| distance(center));
    nearest.expect("there are centers").0
}

impl<S: Sums> KMeansTrial<S> {
    /// Each point to its cluster, until none are left.
    fn group(&self, seat: &mut Seat<'_>) {
        let centers = self.centers.read().expect("no thread panics with it");
        let mut changed = 0;
        loop {
            // Relaxed: points do not change, and the barrier orders the rest.
            let first = self.next.fetch_add(CHUNK, Ordering::Relaxed);
            if first >= POINTS {
                break;
            }
            for number in first..(first + CHUNK).min(POINTS) {
                let point = &self.points[number];
                let cluster = nearest(&centers, point);
                let before = self.cluster_of[number].swap(cluster as u32, Ordering::Relaxed);
                changed += usize::from(before != cluster as u32);
                seat.timed(0, |_| self.sums.add(cluster, point));
            }
        }
        self.changed.fetch_add(changed, Ordering::Relaxed);
    }

    /// Each center to the middle of its cluster; checks that no point was lost.
    fn move_centers(&self, seat: &mut Seat<'_>) {
        let mut centers = self.centers.write().expect("no thread panics with it");
        let mut total = Sum::default();
        for (cluster, center) in centers.iter_mut().enumerate() {
            let Sum { count, sum } = self.sums.take(cluster);
            total.count += count;
            total.sum.iter_mut().zip(sum).for_each(|(total, part)| *total += part);
            if count > 0 {
                *center = sum.map(|sum| sum / count);
            }
        }
        if total != self.total {
            seat.violation(format!(
                "{} points were added to clusters as {}, or with other sums",
                self.total.count, total.count
            ));
        }
        let mut steps = self.steps.lock().expect("no thread panics with it");
        *steps += 1;
        let changed = self.changed.swap(0, Ordering::Relaxed) as f64 / POINTS as f64;
        let over = changed <= THRESHOLD || *steps >= MOST_STEPS || !seat.goes_on();
        self.over.store(over, Ordering::Relaxed);
        self.next.store(0, Ordering::Relaxed);
    }
}

impl<S: Sums> Trial for KMeansTrial<S> {
    fn kinds(&self) -> &'static [&'static str] {
        &["point"]
    }

    fn work(&self, seat: &mut Seat<'_>) {
        seat.wait_for_window();
        while !self.over.load(Ordering::Relaxed) {
            self.group(seat);
            if self.barrier.wait().is_leader() {
                self.move_centers(seat);
            }
            self.barrier.wait();
        }
    }

    fn shares_work(&self) -> bool {
        true
    }

    fn conduct(&self, control: &Control, _timing: Timing) -> Vec<Window> {
        vec![control.until_done(0)]
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let steps = *self.steps.lock().expect("no thread panics with it");
        let added: u64 = done.iter().map(|kinds| kinds[0]).sum();
        Violation::unless(added == (steps * POINTS) as u64 || interrupt::requested(), || {
            format!("in {steps} steps {added} points were added, not {POINTS} in each")
        })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let steps = *self.steps.lock().expect("no thread panics with it");
        vec![("steps until hardly a point changed".into(), steps as f64)]
    }
}
