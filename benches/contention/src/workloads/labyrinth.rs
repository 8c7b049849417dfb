//! STAMP's `labyrinth`: paths through a grid that must not cross. Written anew from its published
//! description (Minh et al., IISWC 2008; Lee's algorithm as in Watson et al., 2007) with the
//! parameter set `-i random-x32-y32-z3-n96`.
//!
//! As in STAMP, a thread takes a copy of the grid, finds a way on the copy, and then claims the
//! points of that way in one transaction, if they are still free; else it starts again.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::control::Control;
use crate::engine::interrupt;
use crate::engine::seat::Seat;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::structures::grid::{self, FREE, Grid, OnGrid};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// STAMP's `-x`, `-y`, `-z`.
const SIZE: [usize; 3] = [32, 32, 3];
const POINTS: usize = SIZE[0] * SIZE[1] * SIZE[2];
/// STAMP's `-n`.
const PATHS: usize = 96;

/// All paths.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "labyrinth",
    Threads::Few { least: 1 },
    |contender, _| grid::maker(contender, Labyrinth),
    "STAMP: paths through a grid that must not cross, x32-y32-z3-n96",
)
.with("x=32 y=32 z=3 paths=96")
.catches(&[Fault::HalfUpdate, Fault::TornRead])
.windows(1, Duration::from_millis(5))];

#[derive(Clone, Copy)]
struct Labyrinth;

struct LabyrinthTrial<G> {
    grid: G,
    /// From where to where.
    wanted: Vec<(usize, usize)>,
    next: AtomicUsize,
    /// Ways that were found, with the number of their path.
    ways: Mutex<Vec<(u32, Vec<usize>)>>,
}

impl OnGrid for Labyrinth {
    fn trial<G: Grid>(self) -> Box<dyn Trial> {
        // The same for all contenders and rounds.
        let mut points: Vec<usize> = (0..POINTS).collect();
        points.shuffle(&mut SmallRng::seed_from_u64(1));
        Box::new(LabyrinthTrial {
            grid: G::new(POINTS),
            wanted: points.chunks(2).take(PATHS).map(|ends| (ends[0], ends[1])).collect(),
            next: AtomicUsize::new(0),
            ways: Mutex::default(),
        })
    }
}

/// The points beside a point.
fn neighbours(point: usize) -> impl Iterator<Item = usize> {
    let [width, height, _] = SIZE;
    let at = [point % width, point / width % height, point / (width * height)];
    let step = [1, width, width * height];
    (0..3).flat_map(move |axis| {
        let back = (at[axis] > 0).then(|| point - step[axis]);
        let forth = (at[axis] + 1 < SIZE[axis]).then(|| point + step[axis]);
        back.into_iter().chain(forth)
    })
}

/// A shortest way over free points, from end to end.
fn route(grid: &[u32], from: usize, to: usize) -> Option<Vec<usize>> {
    if grid[from] != FREE || grid[to] != FREE {
        return None;
    }
    let mut came_from = vec![usize::MAX; POINTS];
    came_from[from] = from;
    let mut front = VecDeque::from([from]);
    while let Some(point) = front.pop_front() {
        if point == to {
            let back = |at: &usize| (*at != from).then(|| came_from[*at]);
            return Some(std::iter::successors(Some(to), back).collect());
        }
        for next in neighbours(point) {
            if grid[next] == FREE && came_from[next] == usize::MAX {
                came_from[next] = point;
                front.push_back(next);
            }
        }
    }
    None
}

impl<G: Grid> LabyrinthTrial<G> {
    /// Finds and claims a way. None if there is none any more.
    fn connect(&self, path: usize, copy: &mut Vec<u32>) -> Option<Vec<usize>> {
        let (from, to) = self.wanted[path];
        loop {
            self.grid.copy(copy);
            let way = route(copy, from, to)?;
            let mut points = way.clone();
            points.sort_unstable();
            if self.grid.claim(&points, path as u32 + 1) {
                return Some(way);
            }
        }
    }
}

impl<G: Grid> Trial for LabyrinthTrial<G> {
    fn kinds(&self) -> &'static [&'static str] {
        &["path"]
    }

    fn work(&self, seat: &mut Seat<'_>) {
        seat.wait_for_window();
        let (mut copy, mut ways) = (Vec::new(), Vec::new());
        while seat.goes_on() {
            let path = self.next.fetch_add(1, Ordering::Relaxed);
            if path >= PATHS {
                break;
            }
            let way = seat.timed(0, |_| self.connect(path, &mut copy));
            ways.extend(way.map(|way| (path as u32 + 1, way)));
        }
        self.ways.lock().expect("no thread panics with it").extend(ways);
    }

    fn shares_work(&self) -> bool {
        true
    }

    fn conduct(&self, control: &Control, _timing: Timing) -> Vec<Window> {
        vec![control.until_done(0)]
    }

    /// Every path leads from end to end, and the grid has its points and no others.
    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let ways = self.ways.lock().expect("no thread panics with it");
        let mut expected = vec![FREE; POINTS];
        for (path, way) in ways.iter() {
            let (from, to) = self.wanted[*path as usize - 1];
            let connected = way.windows(2).all(|pair| neighbours(pair[0]).any(|it| it == pair[1]));
            let ends = way.first() == Some(&to) && way.last() == Some(&from);
            Violation::unless(connected && ends, || format!("path {path} leads nowhere: {way:?}"))?;
            for &point in way {
                let other = std::mem::replace(&mut expected[point], *path);
                Violation::unless(other == FREE, || format!("paths {other} and {path} cross"))?;
            }
        }
        let mut grid = Vec::new();
        self.grid.copy(&mut grid);
        Violation::unless(grid == expected, || "the grid is not what the paths say".into())?;
        let tried: u64 = done.iter().map(|kinds| kinds[0]).sum();
        Violation::unless(tried == PATHS as u64 || interrupt::requested(), || {
            format!("{tried} of {PATHS} paths were tried")
        })
    }

    fn figures(&self) -> Vec<(String, f64)> {
        let found = self.ways.lock().expect("no thread panics with it").len();
        vec![("paths that found a way".into(), found as f64)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_goes_round_what_is_in_its_way() {
        let mut grid = vec![FREE; POINTS];
        assert_eq!(route(&grid, 0, 4).map(|way| way.len()), Some(5));
        // A wall through all layers, with one hole.
        for z in 0..SIZE[2] {
            for y in 0..SIZE[1] {
                grid[z * SIZE[0] * SIZE[1] + y * SIZE[0] + 2] = 1;
            }
        }
        assert_eq!(route(&grid, 0, 4), None);
        grid[SIZE[0] * 3 + 2] = FREE;
        assert_eq!(route(&grid, 0, 4).map(|way| way.len()), Some(11));
    }
}
