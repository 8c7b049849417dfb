//! A mutex and condition variables, as a careful user would write it: nobody is woken in vain.

use super::attempts;
use std::sync::{Condvar, Mutex, MutexGuard};

struct State {
    turn: usize,
    /// Free, and last held by this thread.
    token: Option<usize>,
    closed: bool,
}

/// One condition variable per thread for turns, one for the token.
pub(crate) struct Baton {
    state: Mutex<State>,
    turns: Vec<Condvar>,
    token: Condvar,
}

impl Baton {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// Waits until `ready` or closed; false if closed.
    #[inline]
    fn wait<'a>(
        &'a self,
        on: &Condvar,
        ready: impl Fn(&State) -> bool,
    ) -> (MutexGuard<'a, State>, bool) {
        let mut state = self.lock();
        loop {
            attempts::count();
            if state.closed {
                return (state, false);
            }
            if ready(&state) {
                return (state, true);
            }
            state = on.wait(state).expect("nobody panics with it");
        }
    }
}

impl super::Baton for Baton {
    fn new(threads: usize) -> Self {
        Baton {
            state: Mutex::new(State { turn: 0, token: Some(usize::MAX), closed: false }),
            turns: (0..threads).map(|_| Condvar::new()).collect(),
            token: Condvar::new(),
        }
    }

    #[inline]
    fn pass(&self, me: usize, next: usize) -> bool {
        let (mut state, mine) = self.wait(&self.turns[me], |state| state.turn == me);
        if mine {
            state.turn = next;
            drop(state);
            self.turns[next].notify_one();
        }
        mine
    }

    #[inline]
    fn take(&self, me: usize) -> bool {
        let (mut state, mine) =
            self.wait(&self.token, |state| state.token.is_some_and(|last| last != me));
        if mine {
            state.token = None;
        }
        mine
    }

    #[inline]
    fn put(&self, me: usize) {
        self.lock().token = Some(me);
        self.token.notify_one();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.turns.iter().for_each(Condvar::notify_one);
        self.token.notify_all();
    }
}
