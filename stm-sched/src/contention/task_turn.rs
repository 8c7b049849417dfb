//! The turn of a task, which waits in a queue without a descriptor.

use crate::primitives::fault::{Fault, planted};
use crate::primitives::guard::discard;
use crate::primitives::waiter::Tasks;
use crate::primitives::{Mutex, MutexGuard, Ordering};
use crate::words::{AtomicTurnWord, TurnPhase, TurnWord};
use std::task::Waker;

/// A turn word, and what wakes the task. It serves for one wait, so its ticket does not change; a queue keeps it alive
/// for as long as it has its place.
///
/// | from | to | by |
/// | --- | --- | --- |
/// | Waiting, First | Called; Waiting also First | as for a thread ([`TurnWord`]) |
/// | anything | Idle | the task: it waits no more |
#[derive(Debug)]
pub struct TaskTurn {
    turn: AtomicTurnWord,
    waker: Mutex<Option<Waker>>,
}

impl TaskTurn {
    /// A turn in `phase`.
    pub(super) fn new(phase: TurnPhase) -> Self {
        TaskTurn { turn: AtomicTurnWord::new(TurnWord::new(1, phase)), waker: Mutex::new(None) }
    }

    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The turn as it is now.
    pub(super) fn now(&self) -> TurnWord {
        // Acquire, partner: the release of the thread that stored it.
        self.turn.load(Ordering::Acquire)
    }

    /// How is it now? From now on the task is woken by `waker`, and by no earlier one, once that changes.
    pub fn poll(&self, waker: &Waker) -> TurnPhase {
        let early = self.now().phase();
        // Copied and dropped while the mutex is free: that is code of a user's.
        let copy = waker.clone();
        let old = self.waker().replace(copy);
        discard(old);
        if planted(Fault::TurnLookedAtBeforeTheWaker) {
            return early;
        }
        // Ours first: `wake` finds our waker. Theirs first: its thread moved the turn on before it took the mutex, and we
        // have taken it after that, so we see it.
        self.now().phase()
    }

    /// The task waits no more. How was it before that? Its waker goes to `tasks`, to be dropped: a queue that comes upon
    /// the turn later, under its mutex and perhaps inside of a transaction, drops nothing of a user's with it.
    pub fn end(&self, tasks: &mut Tasks) -> TurnPhase {
        // AcqRel, partners: the compare-and-swap in `advance`, and the load in `now`: only one of them and this decides
        // whether the task was called.
        let before = self.turn.swap(TurnWord::new(1, TurnPhase::Idle), Ordering::AcqRel).phase();
        let waker = self.waker().take();
        waker.into_iter().for_each(|waker| tasks.drop_later(waker));
        before
    }

    /// Moves it on to `phase`; false if it is there already, or waits no more. By a thread that is at the list.
    pub(super) fn advance(&self, phase: TurnPhase) -> bool {
        let now = self.now();
        // AcqRel, partner: the loads of the task. (It claims nothing by its turn, so nothing as strong is needed as for
        // the word of a descriptor.)
        now.phase() != phase
            && matches!(now.phase(), TurnPhase::Waiting | TurnPhase::First)
            && self
                .turn
                .compare_exchange(now, now.with_phase(phase), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }

    /// Wakes the task, if it has been polled, after its turn was moved on.
    pub(super) fn wake(&self, tasks: &mut Tasks) {
        if let Some(waker) = self.waker().take() {
            tasks.push(waker);
        }
    }
}
