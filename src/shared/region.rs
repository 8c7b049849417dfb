//! `Shared`: a region that this process is attached to.

use crate::shared::error::{Interrupt, OpenError, TransactionError, TryError};
use crate::shared::transaction::{Snapshot, Transaction};
use contempo_core::Abort;
use contempo_core::guard::Kept;
use contempo_core::region::domain::RegionDomain;
use contempo_core::region::recovered::Recovered;
use contempo_core::region::session::Session;
use contempo_core::region::verify::{self, Report};
use contempo_core::region::{create, inspect, open, thread_session};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use contempo_core::region::inspect::{Attached, Inspection};

/// How large a new region may become, and for how many.
#[derive(Clone, Debug, Default)]
pub struct Options(open::Options);

impl Options {
    /// Room for 256 processes and 1,024 threads, up to 4 GiB, mode 0600. (A region of less than some 25 MB has room for
    /// fewer threads, unless [`threads`](Self::threads) says how many.)
    ///
    /// ```
    /// let options = contempo::shared::Options::new().most_bytes(64 << 20).threads(32);
    /// # let _ = options;
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Processes that can be attached at a time: 1 to 1024.
    #[must_use]
    pub fn processes(mut self, most: u32) -> Self {
        self.0.processes = most;
        self
    }

    /// Threads, of all processes together, that can have used the region and not ended: 1 to 4096. One that ends
    /// gives its place back at once. What is not used costs its space in the file, and no time. If it is not said: as
    /// many as a sixteenth of [`most_bytes`](Self::most_bytes) has room for, 16 at least and 1,024 at most.
    #[must_use]
    pub fn threads(mut self, most: u32) -> Self {
        self.0.slots = Some(most);
        self
    }

    /// Bytes that the file may have: up to 64 GiB. So much address space is taken in every process, and
    /// so much of the file is allocated as is needed.
    #[must_use]
    pub fn most_bytes(mut self, most: u64) -> Self {
        self.0.most = most;
        self
    }

    /// Bytes for values that are allocated at once.
    #[must_use]
    pub fn first_bytes(mut self, first: u64) -> Self {
        self.0.first = first;
        self
    }

    /// The mode of the files, whatever the umask.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.0.mode = mode;
        self
    }
}

/// Where the liveness file of the region at `path` lies: beside it. It tells which processes live; without it, or
/// with another, the region cannot be opened.
///
/// ```
/// assert_eq!(contempo::shared::liveness_path("/dev/shm/ledger"), std::path::Path::new("/dev/shm/ledger.lease"));
/// ```
pub fn liveness_path(path: impl AsRef<Path>) -> PathBuf {
    open::liveness_path(path.as_ref())
}

/// A region that this process is attached to. Clones are the same; so is a region that is opened again by
/// the same process. It stays attached until the last clone is dropped *and* the threads that have used
/// it have ended.
#[derive(Clone, Debug)]
pub struct Shared {
    domain: Arc<RegionDomain>,
    region: u64,
}

impl Shared {
    fn of(domain: Arc<RegionDomain>) -> Self {
        let region = domain.map.identity().instance;
        Shared { domain, region }
    }

    /// Makes a region in a new file at `path`, and its liveness file beside it, if there is none. On a `tmpfs`
    /// (`/dev/shm`) it is memory, and is gone when the machine stops.
    ///
    /// No process sees a region that is not complete. Of several that make one at the same place, one wins.
    ///
    /// # Errors
    /// [`OpenError`] if there is such a file already ([`AlreadyExists`](std::io::ErrorKind::AlreadyExists)), or the
    /// system refuses. No file is left then.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-new-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// assert!(Shared::create(&path, &Options::new()).is_err()); // there is one already
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(path: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        create::create(path.as_ref(), &options.0).map(Self::of)
    }

    /// Attaches this process to the region at `path`, and recovers what dead processes have left. If `path` is a
    /// symbolic link, then the region is the one at the place where it leads, with the liveness file beside that.
    ///
    /// # Errors
    /// [`OpenError`] if the file is not a region that this program can use; it is left as it is. Also one that was cut
    /// off while no process had it open ([`Truncated`](crate::shared::Unusable::Truncated)).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-open-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let again = Shared::open(&path)?; // in another process, mostly
    /// assert!(again.roots()?.is_empty());
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        open::open(path.as_ref()).map(Self::of)
    }

    /// The same region for this process: what a forked child goes on with. It is found by the descriptors that the child
    /// has inherited, so it is its parent's region also if that was removed, or another one was made in its place. In the
    /// process that has opened the region it is the same.
    ///
    /// # Errors
    /// [`OpenError`]: as many processes as the region has room for are attached, or the system refuses.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-reopen-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let again = shared.reopen()?; // in a forked child, mostly
    /// assert_eq!(again.inspect().instance, shared.inspect().instance);
    /// # Shared::remove(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reopen(&self) -> Result<Self, OpenError> {
        open::reopen(&self.domain).map(Self::of)
    }

    /// Attaches this process to the region at `path`, or makes it if there is no file: of several that do so at the
    /// same time one makes it, and all have the same. `options` are those of a new one; one that is there keeps its
    /// own.
    ///
    /// # Errors
    /// [`OpenError`] if there is a file that is not a region that this program can use, which is left as it is; if the
    /// system refuses; or if others make and remove regions there all the time.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-either-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// let shared = Shared::open_or_create(&path, &Options::new())?;
    /// let again = Shared::open_or_create(&path, &Options::new())?; // in another process, mostly
    /// assert_eq!(shared.inspect().instance, again.inspect().instance);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_or_create(path: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        /// How often others may make or remove one between two looks.
        const TRIES: u32 = 64;
        let is = |result: &Result<Self, OpenError>, kind: ErrorKind| matches!(result, Err(OpenError::System { error, .. }) if error.kind() == kind);
        let path = path.as_ref();
        let mut opened = Self::open(path);
        for _ in 0..TRIES {
            if !is(&opened, ErrorKind::NotFound) {
                return opened;
            }
            let made = Self::create(path, options);
            if !is(&made, ErrorKind::AlreadyExists) {
                return made;
            }
            opened = Self::open(path);
        }
        opened
    }

    /// Removes the region at `path` and its liveness file, in a way that fits with processes that make one there,
    /// or remove it, at the same time. Processes that are attached go on with it, and no other finds it. Also one that
    /// is damaged, or of another version: what counts is that the file begins as regions do.
    ///
    /// # Errors
    /// [`OpenError`] if there is no region, or the system refuses: what is no region is left alone
    /// ([`NotARegion`](crate::shared::Unusable::NotARegion)), and so is a symbolic link, and what it leads to
    /// ([`Link`](crate::shared::Unusable::Link)).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-remove-{}", std::process::id()));
    /// # let _ = Shared::remove(&path);
    /// let shared = Shared::create(&path, &Options::new())?;
    /// Shared::remove(&path)?;
    /// assert!(!path.exists() && !contempo::shared::liveness_path(&path).exists());
    /// shared.root("cell", 1_u64)?; // it is there for a process that has it open
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove(path: impl AsRef<Path>) -> Result<(), OpenError> {
        create::remove(path.as_ref())
    }

    #[inline(always)]
    pub(crate) fn with<R, X: From<TransactionError>>(
        &self,
        f: impl FnOnce(&Session) -> Result<R, X>,
    ) -> Result<R, X> {
        let run = |session: Result<&Session, _>| match session {
            Ok(session) => f(session),
            Err(thread_session::TooManyThreads) => Err(TransactionError::TooManyThreads.into()),
        };
        if self.domain.fork.is_child() {
            return Err(TransactionError::Forked.into());
        }
        thread_session::with(&self.domain, run)
            .unwrap_or_else(|why| Err(TransactionError::Liveness(why).into()))
    }

    /// This thread's session, for one transaction or snapshot.
    #[inline(always)]
    pub(crate) fn session(&self) -> Result<thread_session::Local, TransactionError> {
        if self.domain.fork.is_child() {
            return Err(TransactionError::Forked);
        }
        match thread_session::current(&self.domain) {
            Ok(Ok(session)) => Ok(session),
            Ok(Err(thread_session::TooManyThreads)) => Err(TransactionError::TooManyThreads),
            Err(why) => Err(TransactionError::Liveness(why)),
        }
    }

    /// Runs `body` as one transaction: everything that it reads belongs to one moment, and everything that
    /// it writes becomes visible at one moment, to all processes. Conflicts are repeated.
    ///
    /// # Errors
    /// [`TransactionError`]; nothing has changed then.
    ///
    /// # Panics
    /// Inside a transaction or snapshot of the same region on the same thread; and if `body` returns `Ok`
    /// although an operation has failed.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-atomically-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let (from, to) = (shared.root("from", 100_u64)?, shared.root("to", 0_u64)?);
    /// shared.atomically(|tx| {
    ///    tx.modify(from, |balance| balance - 30)?;
    ///    tx.modify(to, |balance| balance + 30)
    /// })?;
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn atomically<R>(
        &self,
        body: impl FnMut(&Transaction<'_>) -> Result<R, Interrupt>,
    ) -> Result<R, TransactionError> {
        let mut body = Kept::new(body);
        let run = |session: &Session| (*body)(&Transaction::new(session, self.region));
        self.session()?.get().atomically(run).map_err(TransactionError::from)
    }

    /// As [`atomically`](Self::atomically), but `body` may also fail with an error of the user's, which rolls the
    /// transaction back and comes out as [`TryError::User`]. `?` works on both; errors that do not implement
    /// [`std::error::Error`] are wrapped by [`Abort::error`].
    ///
    /// The error is always judged on a consistent state: all that this attempt has read belongs to one moment.
    ///
    /// # Errors
    /// [`TryError`]; nothing has changed then.
    ///
    /// # Panics
    /// As [`atomically`](Self::atomically).
    ///
    /// ```
    /// use contempo::shared::{Options, Shared, Abort, TryError};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-try-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let stock = shared.root("stock", 3_u32)?;
    /// let sold = shared.try_atomically(|tx| {
    ///     let left = tx.read(stock)?.checked_sub(5).ok_or(Abort::error("sold out"))?;
    ///     tx.write(stock, &left)?;
    ///     Ok(left)
    /// });
    /// assert!(matches!(sold, Err(TryError::User("sold out"))));
    /// assert_eq!(shared.snapshot(|view| view.read(stock))?, 3);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn try_atomically<R, E>(
        &self,
        body: impl FnMut(&Transaction<'_>) -> Result<R, Abort<E>>,
    ) -> Result<R, TryError<E>> {
        let mut body = Kept::new(body);
        let run = |session: &Session| (*body)(&Transaction::new(session, self.region));
        self.session()?.get().try_atomically(run).map_err(TryError::from)
    }

    /// Looks at all cells as they are at one moment. Never repeated, and keeps no log.
    ///
    /// It stays at that moment: a loop that reads a cell until it changes never ends. To wait for a change, run a
    /// transaction that [retries](Transaction::retry). Inside a snapshot of the same region on the same thread it
    /// joins that one, and sees what that sees.
    ///
    /// # Errors
    /// [`TransactionError`].
    ///
    /// # Panics
    /// Inside a transaction of the same region on the same thread: what it reads there would not be validated when
    /// that commits. Read by the transaction's handle instead.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-snapshot-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let cells = [shared.root("0", 1_u64)?, shared.root("1", 2_u64)?];
    /// let sum: u64 = shared.snapshot(|view| cells.iter().map(|cell| view.read(*cell)).sum())?;
    /// assert_eq!(sum, 3);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[track_caller]
    pub fn snapshot<R>(
        &self,
        body: impl FnOnce(&Snapshot<'_>) -> Result<R, Interrupt>,
    ) -> Result<R, TransactionError> {
        let body = Kept::new(body);
        let look = |session: &Session| body.into_inner()(&Snapshot::new(session, self.region));
        self.session()?.get().snapshot(look).map_err(TransactionError::from)
    }

    /// Recovers what dead processes have left. Happens by itself when a process opens the region, and
    /// when the dead hold memory back. Inside a transaction, or while another thread of this process is at
    /// it, nothing is done.
    ///
    /// # Errors
    /// [`TransactionError`] if this thread cannot take part.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-reap-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// assert_eq!(shared.reap()?.slots, 0); // no process has died
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reap(&self) -> Result<Recovered, TransactionError> {
        self.with(|session| Ok(session.reap()))
    }

    /// Frees what this thread, and threads of this process that have ended, have retired, as far as no
    /// running transaction needs it: each needs at most one version of each cell, and cells that were freed since it
    /// began. Happens by itself, less thoroughly. Linear in what is retired.
    ///
    /// # Errors
    /// [`TransactionError`] if this thread cannot take part.
    ///
    /// # Panics
    /// Inside a transaction or snapshot of the same region on the same thread.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-collect-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let cell = shared.root("cell", 0_u64)?;
    /// shared.atomically(|tx| tx.write(cell, &1))?;
    /// shared.collect()?;
    /// assert_eq!(shared.verify().retired, 0);
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[track_caller]
    pub fn collect(&self) -> Result<(), TransactionError> {
        self.session()?.get().collect_thoroughly();
        Ok(())
    }

    /// Checks every block of the region, and changes nothing. What dead processes have left, and no
    /// recovery has taken back yet, is judged as it will be after recovery; the report says how much that is. It also
    /// says how many threads were at work: while there are any, what one is just doing may show as a problem. Takes as
    /// long as to look at every block, and some milliseconds more if something looks wrong while others are at work.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-fsck-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let report = shared.verify();
    /// assert!(report.is_sound(), "{report}");
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self) -> Report {
        verify::verify(&self.domain)
    }

    /// Which processes are attached, and what they hold.
    ///
    /// ```
    /// use contempo::shared::{Options, Shared};
    /// # let path = std::env::temp_dir().join(format!("contempo-doc-inspect-{}", std::process::id()));
    /// # let _ = std::fs::remove_file(&path);
    /// # let shared = Shared::create(&path, &Options::new())?;
    /// let seen = shared.inspect();
    /// assert_eq!(seen.attached[0].process, std::process::id());
    /// println!("{seen}");
    /// # std::fs::remove_file(&path)?;
    /// # std::fs::remove_file(contempo::shared::liveness_path(&path))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inspect(&self) -> Inspection {
        inspect::inspect(&self.domain)
    }

    pub(crate) fn domain(&self) -> &Arc<RegionDomain> {
        &self.domain
    }

    /// What tells its cells from those of other regions.
    pub(crate) fn number(&self) -> u64 {
        self.region
    }

    pub(crate) fn directory(&self) -> crate::shared::Cell<[u8]> {
        crate::shared::Cell::new(self.domain.map.identity().directory, self.region)
    }
}
