//! What a closure can do inside a transaction.

use crate::layout::{CellHeader, VersionHeader};
use crate::local::context::Context;
use crate::local::fresh::prepare;
use crate::local::tvar::TVar;
use crate::local::unpublished::Unpublished;
use crate::protocol::commit::ReadEntry;
use crate::protocol::read::{newest_at, stamp_of};
use crate::protocol::version::Version;
use crate::session::error::{Interrupt, StmResult};
use crate::session::parts::Parts;
use contempo_alloc::reclaim::retired::Block;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::checked::Step;
use contempo_sched::primitives::fault::{Fault, planted};
use contempo_sched::primitives::{CHECKED, Ordering};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use crate::local::domain::Native;

/// A running transaction, as its closure sees it.
///
/// References that it hands out live for `'tx`, the attempt: they stay valid while the closure
/// runs, whatever it or another thread writes, and cannot leave it. The handle itself cannot leave
/// either, nor go to another thread:
///
/// ```compile_fail
/// # use contempo_core as contempo;
/// let cell = contempo::TVar::new(1);
/// let mut leaked = None;
/// contempo::atomically(|tx| { leaked = Some(tx); Ok(()) });
/// leaked.unwrap().read(&cell); // does not compile
/// ```
///
/// ```compile_fail
/// # use contempo_core as contempo;
/// let cell = contempo::TVar::new(1);
/// // Does not compile: `&u64` belongs to the attempt. Copy or clone it instead.
/// let value: &u64 = contempo::atomically(|tx| tx.read(&cell));
/// ```
pub struct Transaction<'tx> {
    pub(crate) context: &'tx Context,
    /// The part that its references end with; 0 if they live as long as the attempt.
    scope: usize,
    /// Invariant in `'tx`; not `Send`, not `Sync`.
    _attempt: PhantomData<(std::cell::Cell<&'tx ()>, *const ())>,
}

impl<'tx> Transaction<'tx> {
    #[inline(always)]
    pub(crate) fn new(context: &'tx Context) -> Self {
        Transaction { context, scope: 0, _attempt: PhantomData }
    }

    /// For the part that is running: what it gives out ends with that.
    pub(super) fn scoped(context: &'tx Context) -> Self {
        Transaction { context, scope: context.writes().part(), _attempt: PhantomData }
    }

    /// The value of `cell` in this transaction: what it has written itself, or else what was
    /// committed when it began (or later, if that is consistent with everything else it has read).
    ///
    /// Costs two loads and a log entry; never clones, never counts, never blocks.
    ///
    /// A transaction that only reads stays at its moment, whatever others commit: a loop that reads a cell until it
    /// changes never ends. To wait for a change, return [`retry`](Self::retry).
    ///
    /// # Errors
    /// [`Interrupt`] if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let names = TVar::new(vec!["Ada", "Grace"]);
    /// let first = atomically(|tx| {
    ///     let names: &Vec<&str> = tx.read(&names)?;
    ///     Ok(names[0])
    /// });
    /// assert_eq!(first, "Ada");
    /// ```
    #[inline(always)]
    pub fn read<T: Send + Sync + 'static>(&self, cell: &TVar<T>) -> StmResult<&'tx T> {
        self.version(cell.header()).map(|version| {
            // SAFETY: a version of this cell, so of type `T`; this attempt is its contemporary.
            unsafe { Version::value(version.as_ptr()) }
        })
    }

    /// What [`read`](Self::read) gives, and what tells its version from every other one that the cell ever has: the stamp of
    /// its commit, and where it lies. (A thread may commit twice at one stamp; but no memory is used again before the phase
    /// of that is over.) Not to be called for a cell that this transaction has written.
    pub(super) fn read_told_apart<T: Send + Sync + 'static>(
        &self,
        cell: &TVar<T>,
    ) -> StmResult<((u64, usize), &'tx T)> {
        let version = self.committed(cell.header())?.as_ptr();
        // SAFETY: inside an attempt, at whose bound the version was found to be the newest that is committed.
        let stamp = unsafe { stamp_of(self.context.domain, version, self.context.bound.get()) };
        // SAFETY: a version of this cell, so of type `T`; this attempt is its contemporary.
        Ok(((stamp, version.addr()), unsafe { Version::value(version) }))
    }

    /// The version that this transaction sees, which is lent if it is its own.
    #[inline(always)]
    fn version(&self, cell: &CellHeader<Native>) -> StmResult<NonNull<VersionHeader<Native>>> {
        if let Some(version) = self.own(cell)? {
            // SAFETY: in the log, so alive; and private.
            Unpublished::lend(self.scope, unsafe { &version.as_ref().prev });
            return Ok(version);
        }
        self.committed(cell)
    }

    /// The version that this transaction has written itself, if it has.
    #[inline(always)]
    fn own(&self, cell: &CellHeader<Native>) -> StmResult<Option<NonNull<VersionHeader<Native>>>> {
        let writes = self.context.writes();
        if !writes.is_empty()
            && !planted(Fault::OwnWriteNotRead)
            && let Some(entry) = writes.find(cell)
        {
            if !self.context.is_open() {
                return Err(Interrupt::new());
            }
            // SAFETY: every entry is made with a version, and keeps one: the pointer is not null.
            return Ok(Some(unsafe { NonNull::new_unchecked(writes.version(entry)) }));
        }
        Ok(None)
    }

    /// The version that was committed before this transaction, as it sees it.
    #[inline(always)]
    fn committed(&self, cell: &CellHeader<Native>) -> StmResult<NonNull<VersionHeader<Native>>> {
        let context = self.context;
        context.step(Step::Read);
        // Acquire, partner: the claim that published the version.
        let version = cell.value.load(Ordering::Acquire);
        // SAFETY: the head of a cell is not freed before this attempt ends.
        let version_tag = unsafe { &*version }.version_tag.load(Ordering::Acquire);
        if version_tag.committed_by(context.fast_bound.get()) {
            context.reads().push(ReadEntry { cell, version });
            // SAFETY: it was looked into above: a cell has a version from its creation on, so its head is not null.
            return Ok(unsafe { NonNull::new_unchecked(version) });
        }
        // A head that is later than the bound may be this thread's own, of the phase in which the attempt has begun: not
        // later than its begin. Among threads that share stamps that is what a thread reads most. (In line, though apart:
        // a call for it costs two threads an eighth. Not where each read is to go the slow way. Loaded once more, since the
        // comparison above needs no register; but not for checkers, which would try what each of the loads may find.)
        let version_tag = if CHECKED {
            version_tag
        } else {
            // SAFETY: as for the load above: the head of a cell is not freed before this attempt ends. Acquire, as there.
            unsafe { &*version }.version_tag.load(Ordering::Acquire)
        };
        if context.fast_bound.get() != 0 && context.is_own(version_tag, context.bound.get()) {
            apart();
            context.reads().push(ReadEntry { cell, version });
            // SAFETY: as every head, it is not null; it was looked into above.
            return Ok(unsafe { NonNull::new_unchecked(version) });
        }
        read_slow(context, cell)
    }

    /// Makes `value` the value of `cell` when this transaction commits. Until then only this
    /// transaction sees it. References to earlier values stay valid.
    ///
    /// A write of a cell that was not read depends on nothing: it cannot conflict with other
    /// writes that committed before.
    ///
    /// **What is kept, and for how long.** A value that this transaction has written itself, and writes over, is
    /// dropped at once if nothing can see it: if [`read`](Self::read), [`replace`](Self::replace) or
    /// [`take`](Self::take) has not given out a reference to it, and no part around ([`nested`](Self::nested),
    /// [`or_else`](Self::or_else)) would bring it back by failing. Otherwise it stays until that part ends
    /// or, if a reference was given out, until the attempt does. So does what an interrupted attempt is
    /// given to write. What was committed is kept as [`TVar`] says.
    ///
    /// A value that is dropped at once is dropped as by an assignment: here, before `write` returns. A
    /// transaction in its destructor is one of its own. It does not see what this one has written, and if it
    /// changes what this one has read, this one has to repeat its attempt (and then keeps such values to its
    /// end). A panic in a destructor is reported and goes no further.
    ///
    /// # Errors
    /// [`Interrupt`] if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let (a, b) = (TVar::new(1), TVar::new(2));
    /// atomically(|tx| {
    ///     let (x, y) = (tx.read(&a)?, tx.read(&b)?);
    ///     tx.write(&a, *y)?;
    ///     tx.write(&b, *x) // `x` is what it was
    /// });
    /// assert_eq!((a.load(), b.load()), (2, 1));
    /// ```
    #[inline(always)]
    #[must_use = "an interrupted attempt cannot go on: pass the signal on with `?`"]
    pub fn write<T: Send + Sync + 'static>(&self, cell: &TVar<T>, value: T) -> StmResult<()> {
        let (block, place) = prepare::<T>(self.context);
        // SAFETY: `prepare` has given out this place, for a value of this type; nothing is there yet.
        unsafe { place.write(value) };
        self.put(cell, block)
    }

    /// Makes the version in `block`, whose value is written, that of `cell`.
    #[inline(always)]
    fn put<T: Send + Sync + 'static>(&self, cell: &TVar<T>, block: NonNull<u8>) -> StmResult<()> {
        let (context, kind) = (self.context, Version::<T, Native>::KIND);
        context.updating.set(true);
        if context.fast_bound.get() == 0 || context.stale.get() {
            write_slow(context, cell.header(), Block { address: block, kind })?;
        }
        if let Some(over) = context.writes().write(cell.header(), block.cast().as_ptr(), kind) {
            context.let_go(over);
        }
        Ok(())
    }

    /// Replaces the value of `cell` by what `change` makes of it.
    ///
    /// The reference that `change` gets ends with it. So a value that this transaction has written itself is
    /// dropped as soon as it is replaced ([`write`](Self::write) says when it is not): however often a
    /// transaction modifies a cell, two of its values are there, and the committed one.
    ///
    /// ```compile_fail
    /// # use contempo_core as contempo;
    /// let cell = contempo::TVar::new(vec![1]);
    /// contempo::atomically(|tx| {
    ///     let mut kept = None;
    ///     tx.modify(&cell, |before| { kept = Some(before); Vec::new() }) // does not compile: use `replace`
    /// });
    /// ```
    ///
    /// # Errors
    /// [`Interrupt`] if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let counter = TVar::new(41);
    /// atomically(|tx| tx.modify(&counter, |n| n + 1));
    /// assert_eq!(counter.load(), 42);
    /// ```
    #[inline(always)]
    #[must_use = "an interrupted attempt cannot go on: pass the signal on with `?`"]
    pub fn modify<T: Send + Sync + 'static>(
        &self,
        cell: &TVar<T>,
        change: impl FnOnce(&T) -> T,
    ) -> StmResult<()> {
        let (version, used) = match self.own(cell.header())? {
            // It may be written over by `change`; then it stays, as everything that is in use. (If `change`
            // panics, it is in use to the end.)
            // SAFETY: in the log, so alive; and private.
            Some(version) => (version, Unpublished::begin_use(unsafe { &version.as_ref().prev })),
            None => (self.committed(cell.header())?, false),
        };
        // SAFETY: a version of this cell, so of type `T`. Its own stays while it is in use, and of what was committed
        // this attempt is a contemporary.
        let value = change(unsafe { Version::value(version.as_ptr()) });
        if used {
            // SAFETY: in the log still, or among what it has written over.
            Unpublished::end_use(unsafe { &version.as_ref().prev });
        }
        let (block, place) = prepare::<T>(self.context);
        // SAFETY: `prepare` has given out this place, for a value of this type; nothing is there yet.
        unsafe { place.write(value) };
        self.put(cell, block)
    }

    /// Replaces the value of `cell` by what `change` makes of it, and returns what it says besides: `change` gives the
    /// new value, and then the result. (Haskell's `stateTVar`, in the order of `atomicModifyIORef`.) In all else as
    /// [`modify`](Self::modify); on a cell alone: [`TVar::update_with`].
    ///
    /// # Errors
    /// [`Interrupt`] if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let (tickets, sold) = (TVar::new(7), TVar::new(vec![]));
    /// let ticket = atomically(|tx| {
    ///     let ticket = tx.modify_with(&tickets, |next| (next + 1, *next))?;
    ///     tx.modify(&sold, |sold| [&sold[..], &[ticket]].concat())?;
    ///     Ok(ticket)
    /// });
    /// assert_eq!((ticket, tickets.load(), sold.load()), (7, 8, vec![7]));
    /// ```
    #[inline(always)]
    pub fn modify_with<T: Send + Sync + 'static, R>(
        &self,
        cell: &TVar<T>,
        change: impl FnOnce(&T) -> (T, R),
    ) -> StmResult<R> {
        // (`change` gives its value as that of `modify` does: a pair of it and the result would be one more copy.)
        let mut said = None;
        self.modify(cell, |before| {
            let (value, result) = change(before);
            said = Some(result);
            value
        })?;
        match said {
            Some(result) => Ok(result),
            None => unreachable!("`modify` calls its closure before it succeeds"),
        }
    }

    /// Writes `value` and returns what was there before, which stays to the end of the attempt.
    ///
    /// # Errors
    /// [`Interrupt`] if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let state = TVar::new("idle");
    /// let before = atomically(|tx| Ok(*tx.replace(&state, "busy")?));
    /// assert_eq!((before, state.load()), ("idle", "busy"));
    /// ```
    #[inline(always)]
    pub fn replace<T: Send + Sync + 'static>(&self, cell: &TVar<T>, value: T) -> StmResult<&'tx T> {
        let (block, place) = prepare::<T>(self.context);
        // SAFETY: `prepare` has given out this place, for a value of this type; nothing is there yet.
        unsafe { place.write(value) };
        match self.read(cell) {
            Ok(before) => self.put(cell, block).map(|()| before),
            Err(interrupt) => {
                // It is dropped after the attempt.
                self.context.discard(Block { address: block, kind: Version::<T, Native>::KIND });
                Err(interrupt)
            }
        }
    }

    /// Writes the default value and returns what was there before.
    ///
    /// # Errors
    /// [`Interrupt`] if the attempt must be repeated: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let slot = TVar::new(Some(7));
    /// assert_eq!(atomically(|tx| Ok(*tx.take(&slot)?)), Some(7));
    /// assert_eq!(slot.load(), None);
    /// ```
    #[inline(always)]
    pub fn take<T: Default + Send + Sync + 'static>(&self, cell: &TVar<T>) -> StmResult<&'tx T> {
        self.replace(cell, T::default())
    }

    /// Gives up this attempt and sleeps until a cell that it has read changes; then the closure
    /// runs again. Inside [`or_else`](Self::or_else) the other side is tried first.
    ///
    /// This is how to wait for a change: to read the cell again and again shows no change, since the transaction
    /// stays at its moment. To look now and then instead, end the transaction and run another each time, or
    /// use [`retry_timeout`](Self::retry_timeout).
    ///
    /// # Errors
    /// Always [`Interrupt`]: pass it on with `?` or return it.
    ///
    /// # Panics
    /// When it comes to sleeping and the attempt has read no cell, or none but those that it had written before:
    /// what it reads there is its own, which no other thread changes, so nothing could wake it. Read first, and write
    /// then ([`modify`](Self::modify) and [`replace`](Self::replace) do).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let inbox = TVar::new(None);
    /// std::thread::scope(|scope| {
    ///     scope.spawn(|| inbox.store(Some("mail")));
    ///     let mail = atomically(|tx| match tx.read(&inbox)? {
    ///         Some(mail) => Ok(*mail),
    ///         None => tx.retry(),
    ///     });
    ///     assert_eq!(mail, "mail");
    /// });
    /// ```
    #[cold]
    pub fn retry<R>(&self) -> StmResult<R> {
        Err(self.context.interrupt(Cause::Retry))
    }

    /// Goes on if `condition` holds, else [retries](Self::retry).
    ///
    /// # Errors
    /// [`Interrupt`] if the condition does not hold: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let stock = TVar::new(3);
    /// atomically(|tx| {
    ///     tx.check(*tx.read(&stock)? > 0)?; // sleeps while there is nothing
    ///     tx.modify(&stock, |n| n - 1)
    /// });
    /// assert_eq!(stock.load(), 2);
    /// ```
    #[inline]
    #[must_use = "an interrupted attempt cannot go on: pass the signal on with `?`"]
    pub fn check(&self, condition: bool) -> StmResult<()> {
        if condition && self.context.is_open() { Ok(()) } else { self.retry() }
    }

    /// [Retries](Self::retry), but for at most `timeout` from the first time that this transaction
    /// had to wait; after that it returns `Ok`, and the closure can do without.
    ///
    /// # Errors
    /// [`Interrupt`] while there is time: pass it on with `?`.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// use std::time::Duration;
    /// let inbox: TVar<Option<u32>> = TVar::new(None);
    /// let mail = atomically(|tx| match tx.read(&inbox)? {
    ///     Some(mail) => Ok(Some(*mail)),
    ///     None => {
    ///         tx.retry_timeout(Duration::from_millis(5))?;
    ///         Ok(None) // nothing came in time
    ///     }
    /// });
    /// assert_eq!(mail, None);
    /// ```
    #[cold]
    #[must_use = "an interrupted attempt cannot go on: pass the signal on with `?`"]
    pub fn retry_timeout(&self, timeout: Duration) -> StmResult<()> {
        let context = self.context;
        if !context.is_open() {
            return Err(Interrupt::new());
        }
        if context.common.has_waited(timeout) {
            return Ok(());
        }
        self.retry()
    }

    /// Runs `hook` after this transaction has committed, outside of it, on this thread, before the call that runs the
    /// transaction returns. Hooks of one transaction run in the order in which they were registered. If the part of the
    /// transaction that registered it is rolled back, it does not run. (Hooks that borrow what lives around the
    /// transaction: [`atomically_scoped`](crate::atomically_scoped).)
    ///
    /// **Between transactions.** Those of one thread run one after the other: all hooks of a transaction before its next
    /// one begins. (A transaction that a hook runs has run *its* hooks before that hook goes on, and so before the
    /// next hook of the outer one.) Between threads there is **no order**: a hook runs some time after its commit, and
    /// another thread may have seen that commit, have committed itself and have run its own hooks before. So hooks that
    /// write to a log from several threads may write in another order than that of the commits. Where the order counts,
    /// let a cell decide it: append to a queue *in* the transaction and have one thread drain that, or draw a number in
    /// it ([`modify_with`](Self::modify_with)) and write that along.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{TVar, atomically};
    /// let cell = TVar::new(0);
    /// atomically(|tx| {
    ///     tx.on_commit(|| println!("written"));
    ///     tx.write(&cell, 1)
    /// });
    /// ```
    pub fn on_commit(&self, hook: impl FnOnce() + 'static) {
        self.context.common.on_commit(Box::new(hook));
    }

    /// Runs `hook` if the part of the transaction that registers it is rolled back: after the
    /// outcome of the attempt, outside of it, on this thread; those of one part newest first, those
    /// of a part that was rolled back earlier before those of the rest. Every attempt that is
    /// rolled back runs the hooks that *it* registered.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::{Abort, TVar, try_atomically};
    /// let cell = TVar::new(0);
    /// let result: Result<(), _> = try_atomically(|tx| {
    ///     tx.on_rollback(|| println!("not written"));
    ///     tx.write(&cell, 1)?;
    ///     Err(Abort::error("changed my mind"))
    /// });
    /// assert_eq!((result, cell.load()), (Err("changed my mind"), 0));
    /// ```
    pub fn on_rollback(&self, hook: impl FnOnce() + 'static) {
        self.context.common.on_rollback(Box::new(hook));
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("interrupted", &self.context.interrupted.get())
            .finish_non_exhaustive()
    }
}

/// A write by an attempt that escalates, which reserves the cell first; or by one that is interrupted,
/// or is now: it has read a version that was superseded, which can never be validated. Then the value
/// is dropped after the attempt, outside the transaction.
#[cold]
#[inline(never)]
fn write_slow(context: &Context, cell: &CellHeader<Native>, block: Block) -> StmResult<()> {
    let refused = if !context.is_open() || context.stale.get() {
        Cause::Changed
    } else {
        match context.reserve(cell) {
            Ok(()) => return Ok(()),
            Err(cause) => cause,
        }
    };
    context.discard(block);
    Err(context.interrupt(refused))
}

/// What is on the way to a call of this is laid out apart.
#[cold]
#[inline(always)]
fn apart() {}

/// A read that the fast path could not settle: the attempt is interrupted, the cell is claimed, or
/// its newest version is later than our bound; or the transaction escalates.
#[cold]
#[inline(never)]
fn read_slow(
    context: &Context,
    cell: &CellHeader<Native>,
) -> StmResult<NonNull<VersionHeader<Native>>> {
    if !context.is_open() {
        return Err(Interrupt::new());
    }
    // Escalated, it reserves the cell before it reads it.
    if context.turns.reserving.get()
        && let Err(cause) = context.reserve(cell)
    {
        return Err(context.interrupt(cause));
    }
    if context.recent.get() && !planted(Fault::BoundNotRefreshed) {
        // The bound is from before our begin: good for versions at or before it, for nothing else.
        let moved = if context.updating.get() { context.extend() } else { context.refresh() };
        if !moved {
            return Err(context.interrupt(Cause::Changed));
        }
    }
    loop {
        // SAFETY: inside an attempt with this bound; the cell is alive, as we were given it.
        let found =
            unsafe { newest_at(context.domain, cell, context.bound.get(), context.claim.get()) };
        if found.superseded {
            // A transaction that writes needs the newest; one that only reads is content.
            if context.updating.get() {
                if context.extend() {
                    continue;
                }
                let preempted = context.turns.trusting.get();
                return Err(context.interrupt(if preempted {
                    Cause::Preempted
                } else {
                    Cause::Changed
                }));
            }
            context.stale.set(true);
        }
        context.reads().push(ReadEntry { cell, version: found.version });
        // SAFETY: a cell has a version at every bound, and `newest_at` finds it: it is not null.
        return Ok(unsafe { NonNull::new_unchecked(found.version) });
    }
}
