//! Operations that are short forms of others: a change that says something, a wait for one cell, one attempt.

use crate::local::context::{self, Context};
use crate::local::fresh::{self, Fresh, prepare};
use crate::local::run::{atomically, session};
use crate::local::transaction::Transaction;
use crate::local::tvar::TVar;
use crate::session::bounds::Bounds;
use crate::session::error::{Abort, Exhausted, Interrupt, StmResult, TryError};
use contempo_sched::primitives::guard::{Kept, discard};
use std::cell::Cell;
use std::convert::Infallible;
use std::time::Duration;

impl<T: Send + Sync + 'static> TVar<T> {
    /// Replaces the value by what `change` makes of it, and returns what it says besides: `change` gives the new value,
    /// and then the result. It runs again if the cell has changed meanwhile, and must not run a transaction. (Haskell's
    /// `stateTVar`, in the order of `atomicModifyIORef`; in a transaction: [`Transaction::modify_with`].)
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let jobs = contempo::TVar::new(vec!["sweep", "cook"]);
    /// let job = jobs.update_with(|jobs| match jobs.split_last() {
    ///     Some((last, rest)) => (rest.to_vec(), Some(*last)),
    ///     None => (vec![], None),
    /// });
    /// assert_eq!((job, jobs.load()), (Some("cook"), vec!["sweep"]));
    /// ```
    #[inline]
    #[track_caller]
    pub fn update_with<R>(&self, mut change: impl FnMut(&T) -> (T, R)) -> R {
        self.try_update_with(move |before| {
            let (value, result) = change(before);
            (Some(value), result)
        })
    }

    /// Replaces the value by what `change` makes of it, if it makes something; returns what it says besides. As
    /// [`update_with`](Self::update_with), for a change that may find that there is none: the cell is then as it was, and
    /// nothing that sleeps is woken. (As `try_update` of std's atomics.)
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let stock = contempo::TVar::new(1_u32);
    /// let take = |wanted| stock.try_update_with(|left| (left.checked_sub(wanted), *left));
    /// assert_eq!((take(1), take(1), stock.load()), (1, 0, 0));
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_update_with<R>(&self, change: impl FnMut(&T) -> (Option<T>, R)) -> R {
        let (mut change, local) = (Kept::new(change), context::current());
        let context: &Context = &local;
        let said = Kept::new(Cell::new(None));
        let make = |before: &T| {
            let (value, result) = (*change)(before);
            said.set(Some(result));
            let value = value?;
            let (block, place) = prepare::<T>(context);
            // SAFETY: `prepare` has given out this place, for a value of this type; nothing is there yet.
            unsafe { place.write(value) };
            Some(block)
        };
        let back = |block| {
            // SAFETY: `make` has written its value, and the commit that has failed has given it back: it is private.
            unsafe { fresh::discard::<T>(context, block) };
            discard(said.take());
        };
        self.write_one(context, false, make, back, |_| ());
        match said.into_inner().into_inner() {
            Some(result) => result,
            None => {
                unreachable!("what was committed was made, and nothing was given back after that")
            }
        }
    }

    /// Replaces the value by `new` if the present one is as wanted. `is_wanted` runs again if the cell has changed
    /// meanwhile, and must not run a transaction.
    ///
    /// # Errors
    /// `new`, if the value was not as wanted.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let slot = contempo::TVar::new(None);
    /// assert_eq!(slot.store_if(Some("first"), Option::is_none), Ok(()));
    /// assert_eq!(slot.store_if(Some("second"), Option::is_none), Err(Some("second")));
    /// ```
    #[inline]
    #[track_caller]
    pub fn store_if(&self, new: T, is_wanted: impl FnMut(&T) -> bool) -> Result<(), T> {
        let (mut is_wanted, local) = (Kept::new(is_wanted), context::current());
        let context: &Context = &local;
        let (block, place) = prepare::<T>(context);
        // SAFETY: `prepare` has given out this place, for a value of this type; nothing is there yet.
        unsafe { place.write(new) };
        // SAFETY: the block is of `prepare` with this context, and its value was just written.
        let fresh = unsafe { Fresh::<T>::new(context, block) };
        let make = |value: &T| if (*is_wanted)(value) { fresh.take() } else { None };
        self.write_one(context, false, make, |block| fresh.put(block), |_| ());
        match fresh.take() {
            // SAFETY: private still, with its value.
            Some(block) => Err(unsafe { fresh::into_value(context, block) }),
            None => Ok(()),
        }
    }

    /// Sleeps until the value is as wanted, and returns a clone of it: at once, if it is. `is_wanted` is called with each
    /// value that is there when this thread looks (one that is replaced before that is missed), and must not run a
    /// transaction. To wait for several cells, or to change one too: [`retry`](Transaction::retry) in a transaction.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let done = contempo::TVar::new(0);
    /// std::thread::scope(|scope| {
    ///     for _ in 0..3 {
    ///         scope.spawn(|| done.update(|n| n + 1));
    ///     }
    ///     assert_eq!(done.wait_until(|n| *n == 3), 3);
    /// });
    /// ```
    #[track_caller]
    pub fn wait_until(&self, mut is_wanted: impl FnMut(&T) -> bool) -> T
    where
        T: Clone,
    {
        self.wait_map(|value| is_wanted(value).then(|| value.clone()))
    }

    /// Sleeps until `pick` makes something of the value, and returns that. As [`wait_until`](Self::wait_until).
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let answer: contempo::TVar<Option<String>> = contempo::TVar::new(None);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| answer.store(Some("42".to_owned())));
    ///     assert_eq!(answer.wait_map(|answer| answer.as_ref().map(String::len)), 2);
    /// });
    /// ```
    #[track_caller]
    pub fn wait_map<R>(&self, pick: impl FnMut(&T) -> Option<R>) -> R {
        let mut pick = Kept::new(pick);
        atomically(|tx| self.pick(tx, &mut *pick))
    }

    /// [Waits until](Self::wait_until) the value is as wanted, but for at most `timeout`: then nothing comes. Looks
    /// once at least.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use std::time::Duration;
    /// let done = contempo::TVar::new(0);
    /// assert_eq!(done.wait_until_timeout(Duration::from_millis(1), |n| *n == 3), None);
    /// assert_eq!(done.wait_until_timeout(Duration::ZERO, |n| *n == 0), Some(0));
    /// ```
    #[track_caller]
    pub fn wait_until_timeout(
        &self,
        timeout: Duration,
        mut is_wanted: impl FnMut(&T) -> bool,
    ) -> Option<T>
    where
        T: Clone,
    {
        self.wait_map_timeout(timeout, |value| is_wanted(value).then(|| value.clone()))
    }

    /// [Waits until](Self::wait_map) `pick` makes something of the value, but for at most `timeout`: then nothing comes.
    /// Looks once at least.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use std::time::Duration;
    /// let answer: contempo::TVar<Option<String>> = contempo::TVar::new(None);
    /// let length = answer.wait_map_timeout(Duration::from_millis(1), |answer| answer.as_ref().map(String::len));
    /// assert_eq!(length, None);
    /// ```
    #[track_caller]
    pub fn wait_map_timeout<R>(
        &self,
        timeout: Duration,
        pick: impl FnMut(&T) -> Option<R>,
    ) -> Option<R> {
        let mut pick = Kept::new(pick);
        Transaction::builder().timeout(timeout).run(|tx| self.pick(tx, &mut *pick)).ok()
    }

    fn pick<R>(
        &self,
        tx: &Transaction<'_>,
        pick: &mut impl FnMut(&T) -> Option<R>,
    ) -> StmResult<R> {
        match pick(tx.read(self)?) {
            Some(picked) => Ok(picked),
            None => tx.retry(),
        }
    }
}

/// Tries `body` as a transaction, once: if that meets a conflict, or asks to wait, it is over, and nothing of it
/// remains. So `body` is called once at most, and may give away what it has captured. Never sleeps. (With errors of your
/// own: [`Transaction::builder`] with [`max_attempts(1)`](crate::Builder::max_attempts).)
///
/// # Errors
/// [`Exhausted::Attempts`] if it did not commit.
///
/// # Panics
/// As [`atomically`].
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, try_once};
/// let (slot, job) = (TVar::new(None), String::from("sweep"));
/// assert!(try_once(|tx| tx.write(&slot, Some(job))).is_ok()); // gives the job away
/// let full = try_once(|tx| tx.check(tx.read(&slot)?.is_none()));
/// assert!(full.is_err()); // it would have to wait
/// ```
#[inline]
#[track_caller]
pub fn try_once<R>(body: impl FnOnce(&Transaction<'_>) -> StmResult<R>) -> Result<R, Exhausted> {
    let mut body = Kept::new(Some(body));
    let run = |tx: &Transaction<'_>| match body.take() {
        Some(body) => body(tx).map_err(Abort::<Infallible>::from),
        None => unreachable!("there is one attempt"),
    };
    match session(&context::current(), Bounds::ONCE, run) {
        Ok(value) => Ok(value),
        Err(TryError::User(never)) => match never {},
        Err(TryError::Exhausted(exhausted)) => Err(exhausted),
    }
}

impl<'tx> Transaction<'tx> {
    /// Runs `part`; if that [retries](Self::retry), the transaction waits for it, but for at most `timeout` from the first
    /// time that it had to wait; after that the part is undone, and the transaction goes on without it. Such parts may lie
    /// inside each other, in helpers that know nothing of one another, and in a transaction with
    /// [bounds](Transaction::builder): the tighter wins. If the outer time is up first, the outer part is undone with the
    /// inner one.
    ///
    /// # Errors
    /// What `part` fails with; [`Interrupt`] while there is time, or if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// use std::time::Duration;
    /// let (inbox, asked): (TVar<Option<u32>>, _) = (TVar::new(None), TVar::new(0));
    /// let mail = atomically(|tx| {
    ///     tx.nested_timeout(Duration::from_millis(5), |tx| {
    ///         tx.modify(&asked, |asked| asked + 1)?;
    ///         match tx.read(&inbox)? {
    ///             Some(mail) => Ok(*mail),
    ///             None => tx.retry(),
    ///         }
    ///     })
    /// });
    /// assert_eq!((mail, asked.load()), (None, 0));
    /// ```
    pub fn nested_timeout<R, X: From<Interrupt>>(
        &self,
        timeout: Duration,
        part: impl FnOnce(&Transaction<'tx>) -> Result<R, X>,
    ) -> Result<Option<R>, X> {
        self.or_else(
            |tx| part(tx).map(Some),
            |tx| {
                tx.retry_timeout(timeout)?;
                Ok(None)
            },
        )
    }
}
