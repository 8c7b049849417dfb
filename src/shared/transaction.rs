//! What a closure can do inside a transaction, or a snapshot, of a region.

use crate::shared::cell::{Cell, Value};
use crate::shared::error::{Interrupt, TransactionError};
use contempo_core::region::NoBlock;
use contempo_core::region::block::FREES_CELL;
use contempo_core::region::domain::{Decoder, RegionVersion};
use contempo_core::region::handle::Handle;
use contempo_core::region::session::{Session, Stopped};
use std::marker::PhantomData;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A running transaction of a region, as its closure sees it.
///
/// References that it hands out (to byte strings) live for `'tx`, the attempt:
///
/// ```compile_fail
/// # fn f(shared: &contempo::shared::Shared, name: contempo::shared::Cell<str>) {
/// let leaked: &str = shared.atomically(|tx| tx.read(name)).unwrap(); // does not compile
/// # }
/// ```
pub struct Transaction<'tx> {
    pub(crate) session: &'tx Session,
    decoder: Decoder<'tx>,
    region: u64,
    /// Invariant in `'tx`; not `Send`, not `Sync`.
    _attempt: PhantomData<(std::cell::Cell<&'tx ()>, *const ())>,
}

#[cold]
fn other_region<T: ?Sized>(session: &Session, cell: Cell<T>) -> Interrupt {
    let why = if cell.is_null() { Stopped::NoSuchCell } else { Stopped::OtherRegion };
    session.interrupt(why)
}

/// The value of a version.
#[inline(always)]
fn value<'a, T: Value + ?Sized>(
    session: &Session,
    version: &'a RegionVersion,
) -> Result<T::Read<'a>, Interrupt> {
    let length = match T::SIZE {
        Some(length) if version.is_plain(length) => length,
        _ => length_of::<T>(version).map_err(|why| session.interrupt(why))?,
    };
    // SAFETY: the version's block lies in the region, and a superblock more is mapped behind whatever
    // begins there; versions do not change while an announced transaction can reach them; data begin at
    // a multiple of 8.
    unsafe { T::read(version, length) }.map_err(|why| session.interrupt(why))
}

/// The length of a value, if there is one of this type.
#[inline(never)]
fn length_of<T: Value + ?Sized>(version: &RegionVersion) -> Result<usize, Stopped> {
    if version.has(FREES_CELL) {
        return Err(Stopped::NoSuchCell);
    }
    // Relaxed: written before the version was published.
    let length = version.length.load(Ordering::Relaxed) as usize;
    if length > contempo_core::region::LARGEST_VALUE {
        return Err(Stopped::Corrupt);
    }
    match T::SIZE {
        Some(expected) if length != expected => Err(Stopped::OtherSize { expected, found: length }),
        _ => Ok(length),
    }
}

impl<'tx> Transaction<'tx> {
    pub(crate) fn new(session: &'tx Session, region: u64) -> Self {
        Transaction { session, decoder: session.domain().decoder(), region, _attempt: PhantomData }
    }

    #[inline(always)]
    fn handle<T: ?Sized>(&self, cell: Cell<T>) -> Result<Handle, Interrupt> {
        if cell.region != self.region {
            return Err(other_region(self.session, cell));
        }
        Ok(Handle::from_bits(cell.handle))
    }

    /// The value of `cell` in this transaction: what it has written itself, or else what was committed. A
    /// transaction that only reads stays at its moment: to wait for a change, return [`retry`](Self::retry).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-read-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let name = shared.root_of("name", "Ada")?;
    /// assert_eq!(shared.atomically(|tx| Ok(tx.read(name)?.len()))?, 3);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn read<T: Value + ?Sized>(&self, cell: Cell<T>) -> Result<T::Read<'tx>, Interrupt> {
        let version = self.session.see(self.decoder, self.handle(cell)?)?;
        // A value of fixed size is copied; else a reference goes out that must stay good.
        if T::SIZE.is_none() {
            self.session.lend(version);
        }
        value::<T>(self.session, version)
    }

    /// As [`read`](Self::read), for a caller that does not know whether the cell is still there, or is of this type:
    /// if not, it learns that, and the transaction goes on.
    ///
    /// A cell that was freed before the moment that the transaction reads at never comes back, so nothing that the
    /// transaction concludes from its absence can become wrong.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`. Inside: [`TransactionError::NoSuchCell`], [`TransactionError::OtherRegion`],
    /// [`TransactionError::OtherSize`] and [`TransactionError::NotText`].
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, TransactionError};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-try-read-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let job = shared.atomically(|tx| tx.create(&7_u64))?;
    /// shared.atomically(|tx| tx.free(job))?;
    /// let found = shared.atomically(|tx| tx.try_read(job))?;
    /// assert!(matches!(found, Err(TransactionError::NoSuchCell)));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_read<T: Value + ?Sized>(
        &self,
        cell: Cell<T>,
    ) -> Result<Result<T::Read<'tx>, TransactionError>, Interrupt> {
        Ok(self.session.attempt(|| self.read(cell))?.map_err(TransactionError::from))
    }

    /// As `read`, for a caller that has no use for what it gets once it writes to that cell.
    #[inline(always)]
    pub(crate) fn look(&self, cell: Cell<[u8]>) -> Result<&'tx [u8], Interrupt> {
        let version = self.session.see(self.decoder, self.handle(cell)?)?;
        value::<[u8]>(self.session, version)
    }

    /// May the region have so many bytes at all?
    pub(crate) fn can_have(&self, wanted: u64) -> Result<(), Interrupt> {
        let limit = self.session.domain().map.identity().most;
        if wanted <= limit {
            return Ok(());
        }
        let why = NoBlock::BeyondLimit { wanted, limit };
        Err(self.session.interrupt(Stopped::NoBlock(why)))
    }

    /// Is what has this size none too large for its place?
    pub(crate) fn fits(&self, wanted: usize, most: usize) -> Result<(), Interrupt> {
        if wanted <= most {
            return Ok(());
        }
        Err(self.session.interrupt(Stopped::NoBlock(NoBlock::TooLarge { wanted, most })))
    }

    /// The handles of these cells, with room for one more.
    pub(crate) fn handles(&self, cells: &[Cell<[u8]>]) -> Result<Vec<u64>, Interrupt> {
        let mut handles = Vec::with_capacity(cells.len() + 1);
        for cell in cells {
            handles.push(self.handle(*cell)?.bits());
        }
        Ok(handles)
    }

    /// Makes `value` the value of `cell` when this transaction commits.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-write-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let name = shared.root_of("name", "Ada")?;
    /// shared.atomically(|tx| tx.write(name, "Grace"))?;
    /// assert_eq!(shared.snapshot(|view| Ok(view.read(name)?.to_owned()))?, "Grace");
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use = "an interrupted attempt cannot go on: pass the signal on with `?`"]
    pub fn write<T: Value + ?Sized>(&self, cell: Cell<T>, value: &T) -> Result<(), Interrupt> {
        self.session.write(self.handle(cell)?, value.bytes())
    }

    /// Replaces the value of `cell` by what `change` makes of it.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-modify-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let count = shared.root("count", 41_u64)?;
    /// shared.atomically(|tx| tx.modify(count, |count| count + 1))?;
    /// assert_eq!(shared.snapshot(|view| view.read(count))?, 42);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use = "an interrupted attempt cannot go on: pass the signal on with `?`"]
    pub fn modify<T>(&self, cell: Cell<T>, change: impl FnOnce(T) -> T) -> Result<(), Interrupt>
    where
        T: Value + for<'a> Value<Read<'a> = T>,
    {
        let before = self.read(cell)?;
        self.write(cell, &change(before))
    }

    /// A new cell with this value. It is there for others once this transaction commits; if it does not,
    /// then it never was.
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-create-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let first = shared.root("first", contempo::shared::Cell::<u64>::null())?;
    /// shared.atomically(|tx| {
    ///    let cell = tx.create(&7)?;
    ///    tx.write(first, &cell) // where others find it
    /// })?;
    /// assert_eq!(shared.snapshot(|view| view.read(view.read(first)?))?, 7);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create<T: Value + ?Sized>(&self, value: &T) -> Result<Cell<T>, Interrupt> {
        Ok(Cell::new(self.session.create(value.bytes())?.bits(), self.region))
    }

    /// Frees a cell when this transaction commits. A transaction that uses it after that gets
    /// [`NoSuchCell`](crate::shared::TransactionError::NoSuchCell).
    ///
    /// # Errors
    /// [`Interrupt`]: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-free-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let cell = shared.atomically(|tx| tx.create(&7_u64))?;
    /// shared.atomically(|tx| tx.free(cell))?;
    /// assert!(shared.atomically(|tx| tx.read(cell)).is_err());
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "an interrupted attempt cannot go on: pass the signal on with `?`"]
    pub fn free<T: ?Sized>(&self, cell: Cell<T>) -> Result<(), Interrupt> {
        self.session.free(self.handle(cell)?)
    }

    /// Gives up this attempt and sleeps until a cell that it has read changes, by whatever process; then
    /// the closure runs again. This is how to wait for a change: to read the cell again and again shows none, since a
    /// transaction that only reads stays at its moment.
    ///
    /// # Errors
    /// Always [`Interrupt`]: pass it on with `?` or return it.
    ///
    /// # Panics
    /// When it comes to sleeping and the attempt has read no cell: nothing could wake it.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-retry-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let inbox = shared.root("inbox", 0_u64)?;
    /// std::thread::scope(|scope| {
    ///    // Another process would do as well.
    ///    scope.spawn(|| shared.atomically(|tx| tx.write(inbox, &7)));
    ///    let mail = shared.atomically(|tx| match tx.read(inbox)? {
    ///        0 => tx.retry(),
    ///        mail => Ok(mail),
    ///    });
    ///    assert_eq!(mail.unwrap(), 7);
    /// });
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cold]
    pub fn retry<R>(&self) -> Result<R, Interrupt> {
        Err(self.session.interrupt(Stopped::Retry))
    }

    /// Goes on if `condition` holds, else [retries](Self::retry).
    ///
    /// # Errors
    /// [`Interrupt`] if it does not hold: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-check-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let stock = shared.root("stock", 3_u64)?;
    /// shared.atomically(|tx| {
    ///    tx.check(tx.read(stock)? > 0)?; // sleeps while there is nothing
    ///    tx.modify(stock, |left| left - 1)
    /// })?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use = "an interrupted attempt cannot go on: pass the signal on with `?`"]
    pub fn check(&self, condition: bool) -> Result<(), Interrupt> {
        if condition && self.session.may_go_on() { Ok(()) } else { self.retry() }
    }

    /// [Retries](Self::retry), but for at most `timeout` from the first time that this transaction had to wait;
    /// after that it returns `Ok`, and the closure can do without.
    ///
    /// # Errors
    /// [`Interrupt`] while there is time: pass it on with `?`.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// use std::time::Duration;
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-timeout-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let inbox = shared.root("inbox", 0_u64)?;
    /// let mail = shared.atomically(|tx| match tx.read(inbox)? {
    ///     0 => {
    ///         tx.retry_timeout(Duration::from_millis(5))?;
    ///         Ok(None) // nothing came in time
    ///     }
    ///     mail => Ok(Some(mail)),
    /// })?;
    /// assert_eq!(mail, None);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cold]
    #[must_use = "an interrupted attempt cannot go on: pass the signal on with `?`"]
    pub fn retry_timeout(&self, timeout: Duration) -> Result<(), Interrupt> {
        self.session.retry_timeout(timeout)
    }

    /// Ends the transaction without effect: it fails with [`Cancelled`](crate::shared::TransactionError::Cancelled).
    ///
    /// # Errors
    /// Always [`Interrupt`]: pass it on with `?` or return it.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-cancel-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let stock = shared.root("stock", 3_u64)?;
    /// let sold = shared.atomically(|tx| match tx.read(stock)?.checked_sub(5) {
    ///    Some(left) => tx.write(stock, &left),
    ///    None => tx.cancel(),
    /// });
    /// assert!(matches!(sold, Err(contempo::shared::TransactionError::Cancelled)));
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cold]
    pub fn cancel<R>(&self) -> Result<R, Interrupt> {
        Err(self.session.interrupt(Stopped::Cancelled))
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

/// A read-only view of all cells of a region as they were at one moment. It never aborts.
pub struct Snapshot<'s> {
    pub(crate) session: &'s Session,
    decoder: Decoder<'s>,
    bound: u64,
    region: u64,
    /// Invariant in `'s`; not `Send`, not `Sync`.
    _view: PhantomData<(std::cell::Cell<&'s ()>, *const ())>,
}

impl<'s> Snapshot<'s> {
    pub(crate) fn new(session: &'s Session, region: u64) -> Self {
        let (decoder, bound) = (session.domain().decoder(), session.reads_at());
        Snapshot { session, decoder, bound, region, _view: PhantomData }
    }

    /// The value of `cell` at the moment of this snapshot.
    ///
    /// # Errors
    /// [`Interrupt`] if there was no such cell, or it has another size than its type: pass it on with `?`;
    /// [`Shared::snapshot`](crate::shared::Shared::snapshot) then says why.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-view-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let (a, b) = (shared.root("a", 1_u64)?, shared.root("b", 2_u64)?);
    /// assert_eq!(shared.snapshot(|view| Ok(view.read(a)? + view.read(b)?))?, 3);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn read<T: Value + ?Sized>(&self, cell: Cell<T>) -> Result<T::Read<'s>, Interrupt> {
        if cell.region != self.region {
            return Err(other_region(self.session, cell));
        }
        let cell = Handle::from_bits(cell.handle);
        let version = match self.decoder.newest(cell, self.bound) {
            Some((_, version)) => version,
            None => self.session.look(cell)?,
        };
        value::<T>(self.session, version)
    }
}

impl std::fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}
