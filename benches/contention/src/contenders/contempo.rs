//! contempo: transactions on one `TVar` per cell.

use super::attempts;
use ::contempo::{TVar, Transaction, atomically, snapshot};

/// Chooses how conflicts are settled in the trials that follow. This is the place to select a
/// policy: a contender per policy has a function like this one.
pub(crate) fn select_default_policy() {}

/// A `TVar` per cell.
pub(crate) struct Cells(Vec<TVar<u64>>);

impl super::Cells for Cells {
    fn new(count: usize, value: u64) -> Self {
        Cells((0..count).map(|_| TVar::new(value)).collect())
    }

    #[inline]
    fn update(&self, at: &[usize]) {
        atomically(|tx: &Transaction<'_>| {
            attempts::count();
            at.iter().try_for_each(|&at| tx.modify(&self.0[at], |value| value + 1))
        });
    }

    #[inline]
    fn read(&self, at: &[usize]) -> u64 {
        atomically(|tx: &Transaction<'_>| {
            attempts::count();
            at.iter().try_fold(0_u64, |sum, &at| Ok(sum.wrapping_add(*tx.read(&self.0[at])?)))
        })
    }

    #[inline]
    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        let (from, to) = (&self.0[from], &self.0[to]);
        atomically(|tx: &Transaction<'_>| {
            attempts::count();
            let Some(rest) = tx.read(from)?.checked_sub(amount) else { return Ok(false) };
            tx.write(from, rest)?;
            tx.modify(to, |balance| balance + amount)?;
            Ok(true)
        })
    }

    #[inline]
    fn audit(&self) -> u64 {
        snapshot(|view| {
            attempts::count();
            self.0.iter().fold(0_u64, |sum, cell| sum.wrapping_add(*view.read(cell)))
        })
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        atomically(|tx: &Transaction<'_>| {
            at.iter().try_for_each(|&at| tx.modify(&self.0[at], |value| value + 1))?;
            meanwhile();
            Ok(())
        });
    }
}

/// As [`Cells`], with the operations for one cell alone where there are such.
pub(crate) struct SingleCells(Cells);

impl super::Cells for SingleCells {
    fn new(count: usize, value: u64) -> Self {
        SingleCells(Cells::new(count, value))
    }

    #[inline]
    fn update(&self, at: &[usize]) {
        let [at] = at else { return self.0.update(at) };
        self.0.0[*at].update(|value| {
            attempts::count();
            value + 1
        });
    }

    #[inline]
    fn read(&self, at: &[usize]) -> u64 {
        let [at] = at else { return self.0.read(at) };
        attempts::count();
        self.0.0[*at].load()
    }

    #[inline]
    fn transfer(&self, from: usize, to: usize, amount: u64) -> bool {
        self.0.transfer(from, to, amount)
    }

    #[inline]
    fn audit(&self) -> u64 {
        self.0.audit()
    }

    fn hold(&self, at: &[usize], meanwhile: &dyn Fn()) {
        self.0.hold(at, meanwhile);
    }
}

/// What a baton's cell says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Held,
    /// Free, and last held by this thread.
    Free(usize),
    Closed,
}

/// One `TVar` for the turn, one for the token.
pub(crate) struct Baton {
    turn: TVar<usize>,
    token: TVar<Token>,
}

/// The turn of nobody: the baton is closed.
const CLOSED: usize = usize::MAX;

impl super::Baton for Baton {
    fn new(_threads: usize) -> Self {
        Baton { turn: TVar::new(0), token: TVar::new(Token::Free(usize::MAX)) }
    }

    #[inline]
    fn pass(&self, me: usize, next: usize) -> bool {
        atomically(|tx: &Transaction<'_>| {
            attempts::count();
            match *tx.read(&self.turn)? {
                CLOSED => Ok(false),
                turn if turn == me => {
                    tx.write(&self.turn, next)?;
                    Ok(true)
                }
                _ => tx.retry(),
            }
        })
    }

    #[inline]
    fn take(&self, me: usize) -> bool {
        atomically(|tx: &Transaction<'_>| {
            attempts::count();
            match *tx.read(&self.token)? {
                Token::Closed => Ok(false),
                Token::Free(last) if last != me => {
                    tx.write(&self.token, Token::Held)?;
                    Ok(true)
                }
                _ => tx.retry(),
            }
        })
    }

    #[inline]
    fn put(&self, me: usize) {
        atomically(|tx: &Transaction<'_>| {
            if *tx.read(&self.token)? != Token::Closed {
                tx.write(&self.token, Token::Free(me))?;
            }
            Ok(())
        });
    }

    fn close(&self) {
        atomically(|tx: &Transaction<'_>| {
            tx.write(&self.turn, CLOSED)?;
            tx.write(&self.token, Token::Closed)
        });
    }
}
