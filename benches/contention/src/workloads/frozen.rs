//! A thread is stopped anywhere, by a signal: between two operations, in the middle of one, while
//! it commits or holds a lock. What do the others on the same cells still get done?

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::control::Control;
use crate::engine::seat::Seat;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::structures::cells::{self, Cells, OnCells};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// All threads update these.
const CELLS: [usize; 4] = [0, 1, 2, 3];
/// What the others have, to notice that one has stopped and to recover; less in tests.
const GRACE: Duration = Duration::from_millis(if cfg!(test) { 10 } else { 100 });

/// Two work, one is stopped: once per trial, several trials per round.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "frozen",
    Threads::Exactly(3),
    |contender, _| signals::AVAILABLE.then(|| cells::maker(contender, Frozen)).flatten(),
    "three threads update four cells; one of them is stopped by a signal, wherever it is",
)
.with("cells=4 grace_ms=100")
.catches(&[Fault::LoseUpdate, Fault::HalfUpdate])
.windows(2, GRACE)
.samples(4)
.slow()];

#[derive(Clone, Copy)]
struct Frozen;

struct FrozenTrial<C> {
    cells: C,
    victim: OnceLock<signals::Thread>,
}

/// The seat of the thread that is stopped.
const VICTIM: usize = 2;

impl OnCells for Frozen {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        Box::new(FrozenTrial { cells: C::new(CELLS.len(), 0), victim: OnceLock::new() })
    }
}

impl<C: Cells> Trial for FrozenTrial<C> {
    fn kinds(&self) -> &'static [&'static str] {
        &["update"]
    }

    fn windows(&self) -> &'static [&'static str] {
        &["before", "while one is stopped"]
    }

    /// Before, the victim works, too; but only what the others do is compared.
    fn does(&self, seat: usize, _kind: usize) -> bool {
        seat != VICTIM
    }

    fn work(&self, seat: &mut Seat<'_>) {
        if seat.index == VICTIM {
            self.victim.get_or_init(signals::this_thread);
        }
        seat.repeat(0, |_| self.cells.update(&CELLS));
    }

    fn conduct(&self, control: &Control, timing: Timing) -> Vec<Window> {
        // The signal's handler knows only statics: one trial of this kind at a time.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock();
        self.warm_up(control, timing);
        let before = self.window(control, 0, timing.window);
        if let Some(victim) = self.victim.get() {
            signals::stop(victim);
        }
        std::thread::sleep(GRACE);
        let stopped = self.window(control, 1, timing.window);
        signals::resume();
        self.look(control);
        vec![before, stopped]
    }

    fn inspect(&self) -> Result<(), Violation> {
        let Some(found) = self.cells.try_audit() else { return Ok(()) };
        Violation::unless(found.is_multiple_of(CELLS.len() as u64), || {
            format!("{} cells change together, but their sum is {found}", CELLS.len())
        })
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        let expected = done.iter().map(|kinds| kinds[0]).sum::<u64>() * CELLS.len() as u64;
        let found = self.cells.audit();
        Violation::unless(found == expected, || {
            format!("updates should have made the sum {expected}, but it is {found}")
        })
    }
}

/// Stopping a thread with a signal.
#[cfg(unix)]
mod signals {
    use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    use std::sync::Once;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    /// Can threads be stopped here?
    pub(super) const AVAILABLE: bool = true;
    /// Nothing else in this program uses it.
    const SIGNAL: Signal = Signal::SIGUSR1;

    static STOP: AtomicBool = AtomicBool::new(false);
    static STOPPED: AtomicBool = AtomicBool::new(false);

    pub(super) type Thread = Pthread;

    pub(super) fn this_thread() -> Thread {
        pthread_self()
    }

    /// Sleeps, in the thread that got the signal, until told to go on.
    extern "C" fn sleep(_signal: nix::libc::c_int) {
        STOPPED.store(true, Ordering::SeqCst);
        while STOP.load(Ordering::SeqCst) {
            // Nothing but the system call `nanosleep`: no lock, no allocation.
            std::thread::sleep(Duration::from_millis(1));
        }
        STOPPED.store(false, Ordering::SeqCst);
    }

    /// Stops a thread and waits until it is stopped.
    pub(super) fn stop(thread: &Thread) {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            let action =
                SigAction::new(SigHandler::Handler(sleep), SaFlags::SA_RESTART, SigSet::empty());
            // SAFETY: the handler only uses atomics and `nanosleep`, which may be used in
            // handlers, and this signal had no handler that other code relies on.
            unsafe { sigaction(SIGNAL, &action) }.expect("the signal can be handled");
        });
        STOP.store(true, Ordering::SeqCst);
        pthread_kill(*thread, SIGNAL).expect("the thread works until the trial is over");
        while !STOPPED.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets the stopped thread go on.
    pub(super) fn resume() {
        STOP.store(false, Ordering::SeqCst);
        while STOPPED.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// There is no known way to stop a thread here.
#[cfg(not(unix))]
mod signals {
    pub(super) const AVAILABLE: bool = false;

    pub(super) struct Thread;

    pub(super) fn this_thread() -> Thread {
        Thread
    }

    pub(super) fn stop(_thread: &Thread) {}

    pub(super) fn resume() {}
}
