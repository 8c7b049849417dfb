//! `TVar`: the handle on a cell, and single-cell operations.

use crate::layout::CellHeader;
use crate::local::cell::Cell;
use crate::local::context::{self, Context};
use crate::local::domain::Native;
use crate::local::fresh::{self, Fresh, prepare, prepare_first};
use crate::local::leave::{Leave, LeaveOne};
use crate::protocol::read::newest_at;
use crate::protocol::version::Version;
use contempo_alloc::reclaim::interface::Reclaim;
use contempo_alloc::reclaim::retired::Block;
use contempo_sched::descriptor::statistics::Cause;
use contempo_sched::primitives::checked::Step;
use contempo_sched::primitives::guard::Kept;
use contempo_sched::primitives::{Ordering, fence};
use contempo_sched::words::LockWord;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

/// A transactional variable: a handle on a mutable cell.
///
/// A handle is one pointer. Cloning it gives another handle on the *same* cell (like `Arc`), so it
/// can be moved into closures, threads, other cells' values and data structures. Handles are
/// counted when they are cloned and dropped, never when the cell is accessed: a cell whose last
/// handle goes is handed to reclamation, and lives on until every transaction that could refer to
/// it has ended (`docs/decisions/cell-handles.md`).
///
/// Values are immutable: a write makes a new one. The old one is dropped outside any transaction, and
/// no destructor of one stops another. When:
///
/// | | |
/// | --- | --- |
/// | no other transaction runs | at the end of the transaction that has replaced it; so does what is in a cell whose last handle goes |
/// | others run that see it, or could | when the last of them ends, by that thread; or with the next collection of any thread |
/// | others run that began before it was replaced, and none of them sees it | once some thousand versions were replaced, by a thread that writes; what is in a cell whose last handle goes: as above |
/// | threads run short transactions without a pause | each looks every 10 µs or so what can go, and some may stay until the next transaction of any thread |
/// | small values without a destructor | they are not dropped; each thread gives their memory back a hundred or so at a time, those between 0.5 and 64 KiB when they come to 64 KiB; and uses it for new values, while older transactions run, some thousand at a time |
///
/// [`collect`](crate::collect) frees whatever no running transaction holds. (With the feature
/// `reclaim-epoch`, a thread that begins or ends at that moment may put it off to the next collection.)
///
/// ```
/// # use contempo_core as contempo;
/// use std::sync::mpsc::{TryRecvError, channel};
/// let (sender, receiver) = channel::<u32>();
/// let line = contempo::TVar::new(Some(sender));
/// line.store(None);
/// assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
/// ```
///
/// ```
/// # use contempo_core as contempo;
/// use contempo::{TVar, atomically};
///
/// struct Node { value: u32, next: TVar<Option<std::sync::Arc<Node>>> }
///
/// let head: TVar<Option<std::sync::Arc<Node>>> = TVar::new(None);
/// for value in 0..3 {
///     atomically(|tx| {
///         let next = TVar::new(tx.read(&head)?.clone()); // a cell made inside a transaction
///         tx.write(&head, Some(Node { value, next }.into()))
///     });
/// }
/// let sum = atomically(|tx| {
///     let (mut sum, mut at) = (0, tx.read(&head)?);
///     while let Some(node) = at {
///         sum += node.value;
///         at = tx.read(&node.next)?; // a cell reached through a value just read
///     }
///     Ok(sum)
/// });
/// assert_eq!(sum, 3);
/// ```
///
/// A handle is invariant in `T`: values go in as well as out.
///
/// ```compile_fail
/// # use contempo_core as contempo;
/// let general: contempo::TVar<for<'a> fn(&'a str)> = contempo::TVar::new(|_| ());
/// let special: contempo::TVar<fn(&'static str)> = general; // does not compile
/// ```
///
/// A panic in the destructor of an old value is reported by the panic hook and goes no further: it
/// would meet a transaction that has nothing to do with it.
pub struct TVar<T: Send + Sync + 'static> {
    cell: NonNull<Cell<T>>,
    /// Invariant in `T`.
    _values: PhantomData<std::cell::Cell<T>>,
}

// SAFETY: the cell behind the handle is made of atomics; its values are shared between threads
// (`T: Sync`) and dropped by any of them (`T: Send`).
unsafe impl<T: Send + Sync + 'static> Send for TVar<T> {}
// SAFETY: a shared handle gives what an owned one gives: atomics, and values that threads may share and drop
// (`T: Sync + Send`).
unsafe impl<T: Send + Sync + 'static> Sync for TVar<T> {}

// A panic inside a transaction rolls it back, and outside one a cell holds a complete value: there
// is nothing that unwinding could break.
impl<T: Send + Sync + 'static> std::panic::UnwindSafe for TVar<T> {}
impl<T: Send + Sync + 'static> std::panic::RefUnwindSafe for TVar<T> {}

impl<T: Send + Sync + 'static> TVar<T> {
    /// A new cell with this value. Allocates two small blocks from this thread's cache.
    ///
    /// For a cell in a `static`, see [`static_tvar!`](crate::static_tvar).
    #[inline]
    #[cfg_attr(feature = "places", track_caller)]
    pub fn new(value: T) -> Self {
        let local = context::current();
        let context: &Context = &local;
        let (version, place) = prepare_first::<T>(context);
        // SAFETY: `prepare` has given out this place, for a value of this type; nothing is there yet.
        unsafe { place.write(value) };
        let block = context.reclaimer.blocks.allocate(Cell::<T>::KIND.shape);
        // SAFETY: just allocated for this shape.
        let cell = unsafe { Cell::init(block, version.cast().as_ptr()) };
        let cell = TVar { cell, _values: PhantomData };
        #[cfg(feature = "places")]
        cell.set_made(context, std::panic::Location::caller());
        cell
    }

    /// Where it was made, for the contention report.
    #[cfg(feature = "places")]
    #[inline(never)]
    fn set_made(&self, context: &Context, at: &'static std::panic::Location<'static>) {
        context.domain.names().set_made(self.header().key(), at, std::any::type_name::<T>());
        self.header().change_lock(LockWord::named); // Whatever is known of it is forgotten with it.
    }

    /// # Safety
    /// This is the one handle that the cell was made with, and it is never dropped.
    #[cfg(not(any(contempo_loom, contempo_shuttle)))]
    #[doc(hidden)]
    pub const unsafe fn from_static(cell: &'static crate::local::statics::StaticCell<T>) -> Self {
        TVar { cell: NonNull::from_ref(&cell.0), _values: PhantomData }
    }

    #[inline(always)]
    fn cell(&self) -> &Cell<T> {
        self.cell.as_ptr().expose_provenance(); // For `has_handles`; costs nothing.
        // SAFETY: the cell lives as long as it has a handle.
        unsafe { self.cell.as_ref() }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &CellHeader<Native> {
        &self.cell().header
    }

    /// A new cell with this value, and a name for the [contention
    /// report](crate::contention_report). Names are kept beside the cells: those without one pay
    /// nothing for it.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let balance = contempo::TVar::named("accounts/7", 100);
    /// assert_eq!(balance.name().as_deref(), Some("accounts/7"));
    /// ```
    #[cfg_attr(feature = "places", track_caller)]
    pub fn named(name: impl Into<String>, value: T) -> Self {
        let cell = TVar::new(value);
        cell.set_name(name);
        cell
    }

    /// Names this cell, for the [contention report](crate::contention_report); also one in a static.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// contempo::static_tvar! {
    ///     static SERVED: u64 = 0;
    /// }
    /// SERVED.set_name("served");
    /// assert_eq!(SERVED.name().as_deref(), Some("served"));
    /// ```
    pub fn set_name(&self, name: impl Into<String>) {
        let name = name.into();
        context::with(|context| context.domain.names().set(self.header().key(), name));
        self.header().change_lock(LockWord::named);
    }

    /// This cell's name, if it has one.
    ///
    /// ```
    /// assert_eq!(contempo_core::TVar::new(0).name(), None);
    /// ```
    pub fn name(&self) -> Option<String> {
        // Relaxed: a name that is set by another thread at this moment may be missed.
        if !self.header().lock.load(Ordering::Relaxed).has_name() {
            return None;
        }
        context::with(|context| context.domain.names().get(self.header().key()))
    }

    /// Do both handles refer to the same cell?
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// use contempo::TVar;
    /// let (one, other) = (TVar::new(1), TVar::new(1));
    /// assert!(one.ptr_eq(&one.clone()) && !one.ptr_eq(&other));
    /// ```
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.cell == other.cell
    }

    /// Calls `look` with the current value, without copying it. `look` must not run a transaction.
    ///
    /// # Panics
    /// Inside a transaction of the same thread: use [`Transaction::read`](crate::Transaction::read)
    /// there.
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let name = contempo::TVar::new(String::from("contempo"));
    /// assert_eq!(name.with(|name| name.len()), 8);
    /// ```
    #[inline]
    #[track_caller]
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        let (look, local) = (Kept::new(look), context::current());
        let context: &Context = &local;
        context.begin_session();
        context.step(Step::Begin);
        let bound = context.reclaimer.enter();
        let _leave = Leave(context);
        // A snapshot of one cell: two loads, unless its head is a claim, or later.
        // Acquire, partner: the claim that published the version.
        let mut version = self.header().value.load(Ordering::Acquire);
        // SAFETY: the head of a cell is not freed before this session ends.
        let version_tag = unsafe { &*version }.version_tag.load(Ordering::Acquire);
        if !version_tag.committed_by(bound) {
            let own = context.claim.get(); // Never published: no claim is ours.
            // SAFETY: inside a session with this bound; the cell is alive.
            version = unsafe { newest_at(context.domain, self.header(), bound, own) }.version;
        }
        // SAFETY: a version of this cell, so of type `T`, which belongs to the bound of this session.
        look.into_inner()(unsafe { Version::value(version) })
    }

    /// A clone of the current value.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// assert_eq!(contempo::TVar::new(7).load(), 7);
    /// ```
    #[inline]
    #[track_caller]
    pub fn load(&self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// Replaces the value.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let cell = contempo::TVar::new(1);
    /// cell.store(2);
    /// assert_eq!(cell.load(), 2);
    /// ```
    #[inline]
    #[track_caller]
    pub fn store(&self, value: T) {
        let local = context::current();
        let context: &Context = &local;
        let (block, place) = prepare::<T>(context);
        // SAFETY: `prepare` has given out this place, for a value of this type; nothing is there yet.
        unsafe { place.write(value) };
        // SAFETY: the block is of `prepare` with this context, and its value was just written.
        let fresh = unsafe { Fresh::<T>::new(context, block) };
        self.write_one(context, true, |_| fresh.take(), |block| fresh.put(block), |_| ());
        std::mem::forget(fresh); // It is in the cell.
    }

    /// Replaces the value and returns a clone of what was there before. The clone is made after the
    /// commit: if `Clone` panics, the value has been replaced all the same.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let cell = contempo::TVar::new(1);
    /// assert_eq!((cell.swap(2), cell.load()), (1, 2));
    /// ```
    #[inline]
    #[track_caller]
    pub fn swap(&self, value: T) -> T
    where
        T: Clone,
    {
        let local = context::current();
        let context: &Context = &local;
        let (block, place) = prepare::<T>(context);
        // SAFETY: `prepare` has given out this place, for a value of this type; nothing is there yet.
        unsafe { place.write(value) };
        // SAFETY: the block is of `prepare` with this context, and its value was just written.
        let fresh = unsafe { Fresh::<T>::new(context, block) };
        self.write_one(context, true, |_| fresh.take(), |block| fresh.put(block), T::clone)
    }

    /// Replaces the value by what `change` makes of it. `change` runs again if the cell has changed
    /// meanwhile, and must not run a transaction.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let counter = contempo::TVar::new(41);
    /// counter.update(|n| n + 1);
    /// assert_eq!(counter.load(), 42);
    /// ```
    #[inline]
    #[track_caller]
    pub fn update(&self, change: impl FnMut(&T) -> T) {
        let (mut change, local) = (Kept::new(change), context::current());
        let context: &Context = &local;
        let make = |before: &T| {
            let value = (*change)(before);
            let (block, place) = prepare::<T>(context);
            // SAFETY: `prepare` has given out this place, for a value of this type; nothing is there yet.
            unsafe { place.write(value) };
            Some(block)
        };
        // SAFETY: `make` has written its value, and the commit that has failed has given it back: it is private.
        let back = |block| unsafe { fresh::discard::<T>(context, block) };
        self.write_one(context, false, make, back, |_| ());
    }

    /// Replaces the value by `new` if it equals `expected`.
    ///
    /// # Errors
    /// `new`, if the value was another.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    ///
    /// ```
    /// # use contempo_core as contempo;
    /// let cell = contempo::TVar::new(1);
    /// assert_eq!(cell.compare_and_store(&1, 2), Ok(()));
    /// assert_eq!(cell.compare_and_store(&1, 3), Err(3));
    /// ```
    #[inline]
    #[track_caller]
    pub fn compare_and_store(&self, expected: &T, new: T) -> Result<(), T>
    where
        T: PartialEq,
    {
        self.store_if(new, |value| value == expected)
    }

    /// A transaction of this cell alone: `make` gives a private version with the new value, or nothing to leave the
    /// cell as it is; `result` looks at the value that was there before. If the commit fails, the new
    /// value goes to `back` and all begins again. Not `blind`: the new value may replace only the
    /// very version that `make` has seen.
    #[inline(always)]
    #[track_caller]
    pub(super) fn write_one<R>(
        &self,
        context: &Context,
        blind: bool,
        mut make: impl FnMut(&T) -> Option<NonNull<u8>>,
        mut back: impl FnMut(NonNull<u8>),
        result: impl FnOnce(&T) -> R,
    ) -> R {
        loop {
            // Begin, as every attempt: a thread that wrote last begins at a recent bound, which it knew already.
            context.begin_session();
            if !blind {
                context.step(Step::Begin);
            }
            let bound = if context.wrote.get() {
                context.reclaimer.enter_recent()
            } else {
                context.reclaimer.enter()
            };
            context.bound.set(bound);
            // From here on a panic of user code leaves the session.
            let leave = LeaveOne(context);
            let (cause, block) = 'attempt: {
                // Escalated, it reserves the cell first, as any transaction.
                if context.turns.unlucky.get()
                    && context.turns.reserving.get()
                    && let Err(cause) = context.reserve(self.header())
                {
                    break 'attempt (cause, None);
                }
                // Make the new value from what is there now. A head that is later than our bound does not belong to that.
                // Acquire, partner: the claim that published the version.
                let mut seen = self.header().value.load(Ordering::Acquire);
                // SAFETY: the head of a cell is not freed before this session ends.
                let version_tag = unsafe { &*seen }.version_tag.load(Ordering::Acquire);
                if !context.may_take(version_tag, bound) {
                    // SAFETY: inside a session; the cell is alive, since this handle is.
                    seen = unsafe { context.newest(self.header()) };
                }
                // SAFETY: a version of this cell, so of type `T`, which belongs to the bound of this session.
                let before: &T = unsafe { Version::value(seen) };
                let Some(block) = make(before) else {
                    context.wrote.set(false); // It has not written after all.
                    return result(before);
                };
                // Commit it: no read is to be validated, since the claim itself compares with `expected`.
                let expected = if blind { null_mut() } else { seen };
                context.step(Step::Commit);
                // SAFETY: private, as `make` has given it out; we are inside a transaction.
                match unsafe { fresh::commit::<T>(context, block, self.header(), expected) } {
                    Ok(replaced) => {
                        // Look at the old value before the session ends, as long as the announcement keeps it.
                        // SAFETY: replaced by our commit, so this thread has retired it, and frees it or uses it again
                        // only after the session (others may take it out of its chain before that).
                        let result = result(unsafe { Version::value(replaced) });
                        std::mem::forget(leave);
                        if context.turns.unlucky.get() {
                            context.forget_turns();
                        }
                        context.reclaimer.exit();
                        context.end_session();
                        return result;
                    }
                    Err((conflict, block)) => {
                        let cause = conflict.cause;
                        context.turns.note(conflict);
                        (cause, Some(block))
                    }
                }
            };
            // It has lost: `once_more` leaves the session by itself, and gives the value back outside of it.
            std::mem::forget(leave);
            self.once_more(context, cause, || {
                if let Some(block) = block {
                    back(block);
                }
            });
        }
    }

    /// After a failed attempt at this cell alone. `back` may run a destructor, and that transactions:
    /// outside the session, and without anything of ours in force.
    #[cold]
    #[inline(never)]
    fn once_more(&self, context: &Context, cause: Cause, back: impl FnOnce()) {
        // Inside the session: what it has met is alive as long as that lasts.
        context.descriptor.counters.count_abort(cause);
        let pause = context.lost(cause, 1);
        context.reclaimer.exit();
        let suspended = context.suspend();
        context.end_session();
        context.outside(back);
        // Only now wait, and escalate if the pause has come to that.
        let turn = context.pause(pause, suspended.history(), None);
        context.go_on(suspended);
        turn.into_iter().for_each(|turn| context.has_had_its_turn(turn));
        context.escalate_if_due();
    }
}

impl<T: Send + Sync + 'static> Clone for TVar<T> {
    /// Another handle on the same cell.
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed: we hold a handle, so the count cannot reach zero meanwhile (as in `Arc`).
        let handles = self.cell().handles.fetch_add(1, Ordering::Relaxed);
        debug_assert_ne!(handles, 0, "a handle is cloned of a cell that is gone");
        if handles > usize::MAX / 2 {
            std::process::abort(); // Only by leaking handles without end; as `Arc` does.
        }
        TVar { cell: self.cell, _values: PhantomData }
    }
}

impl<T: Send + Sync + 'static> Drop for TVar<T> {
    #[inline]
    fn drop(&mut self) {
        // Release, partner: the fence below: uses of other handles happen before the end.
        let handles = self.cell().handles.fetch_sub(1, Ordering::Release);
        debug_assert_ne!(handles, 0, "a handle is dropped of a cell that is gone");
        if handles == 1 {
            fence(Ordering::Acquire);
            retire_cell(Block { address: self.cell.cast(), kind: Cell::<T>::KIND });
        }
    }
}

#[cold]
#[inline(never)]
fn retire_cell(block: Block) {
    // A program under a checker may drop handles when no thread can be asked for its context.
    #[cfg(all(any(contempo_loom, contempo_shuttle), not(contempo_models)))]
    if let Some(world) = crate::local::process::world() {
        let stamp = contempo_sched::clock::Clock::now(crate::domain::Domain::clock(&*world));
        // SAFETY: no handle is left, so no transaction that begins from now on can reach the cell.
        unsafe { world.memory().retire_for_anyone(stamp, block) };
    }
    #[cfg(not(all(any(contempo_loom, contempo_shuttle), not(contempo_models))))]
    context::with(|context| {
        // SAFETY: no handle is left, so no transaction that begins from now on can reach the cell.
        unsafe { context.reclaimer.retire_now(block) };
        context.has_retired();
    });
}

impl<T: Default + Send + Sync + 'static> Default for TVar<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn default() -> Self {
        TVar::new(T::default())
    }
}

impl<T: Send + Sync + 'static> From<T> for TVar<T> {
    #[cfg_attr(feature = "places", track_caller)]
    fn from(value: T) -> Self {
        TVar::new(value)
    }
}

/// Shows the current value; inside a transaction, only that there is one (the handle does not know
/// which of its versions that transaction sees).
impl<T: std::fmt::Debug + Send + Sync + 'static> std::fmt::Debug for TVar<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if context::with(Context::is_running) {
            return f.write_str("TVar(..)");
        }
        self.with(|value| f.debug_tuple("TVar").field(value).finish())
    }
}

/// Declares cells in statics, made at compile time: no lazy initialisation, no allocation.
///
/// ```
/// # use contempo_core as contempo;
/// contempo::static_tvar! {
///     /// Requests served so far.
///     pub static SERVED: u64 = 0;
///     static LIMITS: (u32, u32) = (1, 10);
/// }
/// SERVED.update(|n| n + 1);
/// assert_eq!((SERVED.load(), LIMITS.load()), (1, (1, 10)));
/// ```
#[cfg(not(any(contempo_loom, contempo_shuttle)))]
#[macro_export]
macro_rules! static_tvar {
    ($($(#[$meta:meta])* $visibility:vis static $name:ident: $type:ty = $value:expr;)+) => {$(
        $(#[$meta])*
        $visibility static $name: $crate::TVar<$type> = {
            // Macros cannot make names of items that the caller's expressions do not see: so these are
            // names that no program has (as in the standard library's `thread_local!`).
            static __CONTEMPO_INTERNAL_VERSION: $crate::local::statics::StaticVersion<$type> =
                $crate::local::statics::StaticVersion::new($value);
            // SAFETY: the version is named here only.
            static __CONTEMPO_INTERNAL_CELL: $crate::local::statics::StaticCell<$type> =
                unsafe { $crate::local::statics::StaticCell::new(&__CONTEMPO_INTERNAL_VERSION) };
            // SAFETY: the cell is named here only, and a static is never dropped.
            unsafe { $crate::TVar::from_static(&__CONTEMPO_INTERNAL_CELL) }
        };
    )+};
}
