//! What the model runs: a few operations on cells, in a process of its own that lets itself be
//! watched.

use crate::contenders::Contender;
use crate::engine::control::Control;
use crate::engine::seat::Seat;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::keys::{below, uniform_pair};
use crate::structures::cells::{self, Cells, OnCells};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

/// Threads whose operations are watched.
pub(crate) const THREADS: usize = 8;
/// Operations of each of them that are watched: each step costs some 30 µs.
pub(crate) const OPERATIONS: usize = 24;
/// Operations before that, so that everything is in its usual state.
const BEFORE: usize = 500;
/// Each thread has so many cells of its own.
const OWN: usize = 16;

/// What threads do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Load {
    /// One cell of one's own.
    Own1,
    /// Ten cells of one's own.
    Own10,
    /// Two of 64 cells that all share.
    Transfers,
    /// Ten cells that no thread changes.
    Read10,
    /// One cell that all share.
    Counter,
}

impl Load {
    /// All of them.
    pub(crate) const ALL: &[Load] =
        &[Load::Own1, Load::Own10, Load::Transfers, Load::Read10, Load::Counter];

    /// On the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Load::Own1 => "own-1",
            Load::Own10 => "own-10",
            Load::Transfers => "transfers",
            Load::Read10 => "read-10",
            Load::Counter => "counter",
        }
    }

    /// In words.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Load::Own1 => "each thread increments a cell of its own",
            Load::Own10 => "each thread increments ten cells of its own at once",
            Load::Transfers => "transfers among 64 cells, chosen uniformly",
            Load::Read10 => "reads ten cells at once, which no thread changes",
            Load::Counter => "all threads increment one cell",
        }
    }

    /// The one of this name.
    pub(crate) fn find(name: &str) -> Option<Load> {
        Load::ALL.iter().copied().find(|load| load.name() == name)
    }
}

/// Is this contender of interest here? Whatever has cells for many threads.
pub(crate) fn is_modelled(contender: &Contender) -> bool {
    contender.suits(2) && cells::maker(contender, Watched { load: Load::Own1 }).is_some()
}

/// Told to the watcher: here an operation ends. It looks for stores to this address.
#[repr(align(128))]
pub(crate) struct Mark(AtomicU64);

/// The one that is stored to.
pub(crate) static MARK: Mark = Mark(AtomicU64::new(0));

/// What the process does that is watched.
///
/// # Errors
/// If the contender cannot do this.
pub(crate) fn run(
    contender: &Contender,
    load: Load,
    stop_and_be_watched: fn(),
) -> Result<(), String> {
    let maker = cells::maker(contender, Watched { load });
    let maker = maker.ok_or_else(|| format!("{} cannot do {}", contender.name, load.name()))?;
    println!("{}", std::ptr::from_ref(&MARK).addr());
    (contender.prepare)();
    let trial = maker();
    let turn = (Mutex::new(0), Condvar::new());
    // No thread leaves before all have been watched: else one might take over what another has left.
    let wait_for = |number: usize| {
        let now = turn.0.lock().expect("no thread panics with it");
        turn.1.wait_while(now, |now| *now < number).expect("no thread panics with it")
    };
    std::thread::scope(|scope| {
        for index in 0..THREADS {
            let (trial, wait_for, turn) = (&trial, &wait_for, &turn);
            scope.spawn(move || {
                drop(wait_for(index));
                let control = Control::new(1, false);
                let mut seat = Seat::new(&control, index, 1, 1);
                // Twice the same work: first to warm up, then watched.
                seat.ever[0] = BEFORE as u64;
                trial.work(&mut seat);
                stop_and_be_watched();
                // One more: the first one begins amid the way from the last stop.
                seat.ever[0] = OPERATIONS as u64 + 1;
                trial.work(&mut seat);
                stop_and_be_watched();
                *turn.0.lock().expect("no thread panics with it") += 1;
                turn.1.notify_all();
                drop(wait_for(THREADS));
            });
        }
    });
    Ok(())
}

#[derive(Clone, Copy)]
struct Watched {
    load: Load,
}

struct WatchedTrial<C> {
    cells: C,
    load: Load,
    all: Vec<usize>,
}

impl OnCells for Watched {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        let cells = C::new(THREADS * OWN, 1_000);
        Box::new(WatchedTrial { cells, load: self.load, all: (0..THREADS * OWN).collect() })
    }
}

impl<C: Cells> WatchedTrial<C> {
    #[inline(always)]
    fn repeat(&self, times: u64, mut operation: impl FnMut()) {
        for _ in 0..times {
            operation();
            MARK.0.store(0, Ordering::Relaxed);
        }
    }
}

impl<C: Cells> Trial for WatchedTrial<C> {
    fn kinds(&self) -> &'static [&'static str] {
        &["operation"]
    }

    /// As many operations as the seat says; nothing is timed.
    fn work(&self, seat: &mut Seat<'_>) {
        let own = &self.all[seat.index * OWN..];
        let mut random = SmallRng::seed_from_u64(seat.random.next_u64());
        let cells = &self.cells;
        match self.load {
            Load::Own1 => self.repeat(seat.ever[0], || cells.update(&own[..1])),
            Load::Own10 => self.repeat(seat.ever[0], || cells.update(&own[..10])),
            Load::Counter => self.repeat(seat.ever[0], || cells.update(&self.all[..1])),
            Load::Transfers => self.repeat(seat.ever[0], || {
                let (from, to, _) = uniform_pair(&mut random, 64);
                cells.transfer(from, to, 1);
            }),
            Load::Read10 => self.repeat(seat.ever[0], || {
                let first = below(random.next_u32(), 54);
                std::hint::black_box(cells.read(&self.all[first..first + 10]));
            }),
        }
    }

    fn conduct(&self, _control: &Control, _timing: Timing) -> Vec<Window> {
        Vec::new()
    }

    fn check(&self, _done: &[Vec<u64>]) -> Result<(), Violation> {
        Ok(())
    }
}
