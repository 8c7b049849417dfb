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
use std::time::Duration;

/// Operations of each thread that are watched: each step costs some 30 µs.
pub(crate) const OPERATIONS: usize = 24;
/// Operations of each before that, so that everything is in its usual state.
const BEFORE: usize = 500;
/// Each thread has so many cells of its own.
const OWN: usize = 16;
/// So many are shared.
const SHARED: usize = 64;

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
    contender.suits(2)
        && cells::maker(contender, Watched { load: Load::Own1, threads: 2 }).is_some()
}

/// Told to the watcher: here an operation ends. It looks for stores to this address.
#[repr(align(128))]
pub(crate) struct Mark(AtomicU64);

/// The one that is stored to.
pub(crate) static MARK: Mark = Mark(AtomicU64::new(0));

/// What the process does that is watched: its threads take turns, an operation each, as the cores of the model do.
///
/// # Errors
/// If the contender cannot do this.
pub(crate) fn run(
    contender: &Contender,
    load: Load,
    threads: usize,
    stop_and_be_watched: fn(),
) -> Result<(), String> {
    let maker = cells::maker(contender, Watched { load, threads });
    let maker = maker.ok_or_else(|| format!("{} cannot do {}", contender.name, load.name()))?;
    println!("{}", std::ptr::from_ref(&MARK).addr());
    (contender.prepare)();
    // A watched thread is thousands of times as slow: it is not to take each operation for the end of its quantum.
    let mut settings = contempo::settings();
    settings.quantum = Duration::ZERO;
    contempo::configure(settings).map_err(|error| error.to_string())?;
    let trial = maker();
    let turns = Turns::of(threads);
    std::thread::scope(|scope| {
        for index in 0..threads {
            let (trial, turns) = (&trial, &turns);
            scope.spawn(move || {
                let control = Control::new(1, false);
                let mut seat = Seat::new(&control, index, 1, 1);
                seat.ever[0] = 1;
                for number in 0..BEFORE {
                    turns.take(number * threads + index, || trial.work(&mut seat));
                }
                for number in BEFORE..BEFORE + OPERATIONS {
                    turns.take(number * threads + index, || {
                        stop_and_be_watched();
                        trial.work(&mut seat);
                        stop_and_be_watched();
                    });
                }
                // No thread leaves before all have been watched: else one might take over what another has left.
                turns.take((BEFORE + OPERATIONS) * threads + index, || ());
            });
        }
    });
    Ok(())
}

/// Which thread's turn it is.
struct Turns {
    /// The number of the turn.
    now: Mutex<usize>,
    /// Each thread sleeps for its own turns.
    sleeps: Vec<Condvar>,
}

impl Turns {
    fn of(threads: usize) -> Self {
        Turns { now: Mutex::new(0), sleeps: (0..threads).map(|_| Condvar::new()).collect() }
    }

    /// Does this as the turn of this number.
    fn take(&self, number: usize, act: impl FnOnce()) {
        let of = |number: usize| &self.sleeps[number % self.sleeps.len()];
        let now = self.now.lock().expect("no thread panics with it");
        let waits = |now: &mut usize| *now < number;
        drop(of(number).wait_while(now, waits).expect("no thread panics with it"));
        act();
        *self.now.lock().expect("no thread panics with it") += 1;
        of(number + 1).notify_one();
    }
}

#[derive(Clone, Copy)]
struct Watched {
    load: Load,
    threads: usize,
}

struct WatchedTrial<C> {
    cells: C,
    load: Load,
    all: Vec<usize>,
}

impl OnCells for Watched {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        // At least those that are shared.
        let number = (self.threads * OWN).max(SHARED);
        let cells = C::new(number, 1_000);
        Box::new(WatchedTrial { cells, load: self.load, all: (0..number).collect() })
    }
}

impl<C: Cells> WatchedTrial<C> {
    #[inline(always)]
    fn repeat(&self, times: u64, mut operation: impl FnMut()) {
        // What came before is the way here.
        MARK.0.store(0, Ordering::Relaxed);
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
                let (from, to, _) = uniform_pair(&mut random, SHARED);
                cells.transfer(from, to, 1);
            }),
            Load::Read10 => self.repeat(seat.ever[0], || {
                let first = below(random.next_u32(), SHARED - 10);
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
