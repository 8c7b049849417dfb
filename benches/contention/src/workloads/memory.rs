//! What a cell takes, and what is held while a thread reads for a long time. In bytes, which do not
//! depend on time: so one round is enough.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::control::Control;
use crate::engine::seat::Seat;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::structures::cells::{self, Cells, OnCells};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Barrier;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering};
use std::time::Duration;

/// So many cells are made, so that what is paid once does not count; fewer in tests.
const CELLS: usize = if cfg!(test) { 10_000 } else { 1_000_000 };
/// While one reads, so many updates are made …
const UPDATES: usize = if cfg!(test) { 2_000 } else { 200_000 };
/// … of so many cells.
const UPDATED: usize = 1_000;

/// Bytes per cell, and held garbage.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "memory",
    Threads::Exactly(1),
    |contender, _| cells::maker(contender, Measure),
    "bytes per cell of 64 bits, and what 200,000 updates leave while a thread reads",
)
.catches(&[Fault::LoseUpdate])
.windows(1, Duration::from_millis(400))
.short()
.once()
.apart()
.slow()];

/// Counts bytes, if that is switched on; else it costs a look at a flag that never changes.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: isize) {
    if COUNTS.load(Ordering::Relaxed) {
        BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: passes everything on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's layout is not of size 0, which is all that `System` asks.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: `alloc` has this block from `System`, with this layout, which the caller promises.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's layout is not of size 0, which is all that `System` asks.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the block is from `System`, with this layout, and the size is not 0, which the caller promises.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What was found out about a contender.
type Figures = Vec<(String, f64)>;

/// Measures when a trial is made.
struct Measure;

struct Measured(Result<Figures, Violation>);

/// As a trial, since that is what makers make; nothing is timed.
impl OnCells for Measure {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        COUNTS.store(true, Ordering::Relaxed);
        let figures = measure::<C>();
        COUNTS.store(false, Ordering::Relaxed);
        Box::new(Measured(figures))
    }
}

impl Trial for Measured {
    fn kinds(&self) -> &'static [&'static str] {
        &[]
    }

    fn work(&self, _seat: &mut Seat<'_>) {}

    fn conduct(&self, control: &Control, _timing: Timing) -> Vec<Window> {
        vec![control.until_done(0)]
    }

    fn check(&self, _done: &[Vec<u64>]) -> Result<(), Violation> {
        self.0.clone().map(|_| ())
    }

    fn figures(&self) -> Figures {
        self.0.clone().unwrap_or_default()
    }
}

fn measure<C: Cells>() -> Result<Figures, Violation> {
    let start = BYTES.load(Ordering::Relaxed);
    let used = || (BYTES.load(Ordering::Relaxed) - start) as f64;
    let cells = C::new(CELLS, 0);
    let new = used();
    // Many at a time, for the sake of those that copy everything for each update.
    let all: Vec<usize> = (0..CELLS).collect();
    all.chunks(1_000).for_each(|some| cells.update(some));
    drop(all);
    let updated = used();
    let expect = |sum: u64, expected: usize| {
        Violation::unless(sum == expected as u64, || {
            format!("after {expected} updates the cells' sum is {sum}")
        })
    };
    expect(cells.audit(), CELLS)?;
    drop(cells);
    let mut figures = vec![
        ("bytes per cell".to_owned(), new / CELLS as f64),
        ("bytes per cell, each updated once".to_owned(), updated / CELLS as f64),
    ];
    if C::READS_WITHOUT_LOCK {
        let (held, left) = garbage::<C>()?;
        figures.push(("kilobytes held while one reads".to_owned(), held / 1e3));
        figures.push(("kilobytes left after that".to_owned(), left / 1e3));
    }
    Ok(figures)
}

/// What is held while one thread is in the middle of reading and another one updates, and what of
/// it is left when it has ended.
fn garbage<C: Cells>() -> Result<(f64, f64), Violation> {
    let cells = C::new(UPDATED, 0);
    let update = |times: usize| (0..times).for_each(|at| cells.update(&[at % UPDATED]));
    let read_and_wait = |barrier: &Barrier| {
        let first = AtomicBool::new(true);
        cells.read_and_hold(&|| {
            // A memory may read again when it sees that something has changed; no thread waits then.
            if first.swap(false, Ordering::Relaxed) {
                barrier.wait();
                barrier.wait();
            }
        });
    };
    // Whatever is paid once, and the thread's own, is paid before.
    update(UPDATED);
    let (barrier, after) = (Barrier::new(2), Mutex::new(0.0));
    let held = std::thread::scope(|scope| {
        scope.spawn(|| read_and_wait(&barrier));
        barrier.wait();
        let start = BYTES.load(Ordering::Relaxed);
        let used = || (BYTES.load(Ordering::Relaxed) - start) as f64;
        update(UPDATES);
        let held = used();
        barrier.wait();
        // Some more, so that a memory that cleans up now and then does.
        update(UPDATED);
        contempo::collect();
        *after.lock().expect("no thread panics with it") = used();
        held
    });
    let (expected, sum) = ((UPDATED + UPDATES + UPDATED) as u64, cells.audit());
    Violation::unless(sum == expected, || format!("{expected} updates made the sum {sum}"))?;
    Ok((held, after.into_inner().expect("no thread panics with it")))
}
