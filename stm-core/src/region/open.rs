//! Opening regions; records and liveness locks of processes. (Making them: `create`.)

use crate::region::domain::{self, RegionDomain};
use crate::region::liveness::is_cut_off;
use crate::region::session::Session;
use crate::region::thread_session;
use contempo_alloc::region::clean_shutdown;
use contempo_alloc::region::error::{OpenError, Unusable, system};
use contempo_alloc::region::file::{self, Identity};
use contempo_alloc::region::fork::{ForkMark, PerProcess};
use contempo_alloc::region::layout::{self, Incarnation, SlotRecord};
use contempo_alloc::region::liveness::{LivenessFile, started_at};
use contempo_alloc::region::map::Map;
use contempo_sched::primitives::Ordering;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// How often a maker begins anew because its liveness file, or its draft, was taken away.
pub(crate) const TRIES: u32 = 256;

pub(crate) fn layout_hash() -> u64 {
    layout::layout_hash(&domain::LAYOUT)
}

/// How large a region may become, and for how many.
#[derive(Clone, Debug)]
pub struct Options {
    /// Processes that can be attached at a time.
    pub processes: u32,
    /// Threads, of all processes, that can have run transactions and not ended; if it is not said, as many as suit
    /// the size.
    pub slots: Option<u32>,
    /// Bytes that the file may have.
    pub most: u64,
    /// Bytes for blocks that it has from the beginning.
    pub first: u64,
    /// The mode of the files.
    pub mode: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { processes: 256, slots: None, most: 1 << 32, first: 512 * 1024, mode: 0o600 }
    }
}

impl Options {
    /// How many threads: what was said, or as many as a sixteenth of the region has room for, within limits.
    pub(crate) fn slots(&self) -> u32 {
        let suit = self.most / 16 / size_of::<SlotRecord>() as u64;
        self.slots.unwrap_or(suit.clamp(16, 1024) as u32)
    }
}

/// A region that this process is attached to.
pub(crate) struct Known {
    /// Device and inode.
    key: Identity,
    region: Weak<RegionDomain>,
}

/// The regions that this process is attached to. One that is opened again is the same. An entry goes when
/// its region has been left, so a `Weak` that leads nowhere means: it is being left now.
#[derive(Default)]
struct List {
    known: Mutex<Vec<Known>>,
    /// An entry has gone.
    left: Condvar,
}

/// A forked child has its own: a thread of its parent's that it does not have may have that one locked.
static ATTACHED: PerProcess<List> = PerProcess::new();

/// Where the liveness file of the region at `path` lies.
pub fn liveness_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lease");
    name.into()
}

fn list() -> Result<&'static List, OpenError> {
    ATTACHED.get().map_err(system("mark this process"))
}

/// The list, locked.
pub(crate) fn attached() -> Result<MutexGuard<'static, Vec<Known>>, OpenError> {
    Ok(list()?.known.lock().unwrap_or_else(PoisonError::into_inner))
}

/// An entry for the list.
pub(crate) fn known(domain: &Arc<RegionDomain>, file: &File) -> Result<Known, OpenError> {
    Ok(Known { key: key_of(file)?, region: Arc::downgrade(domain) })
}

fn key_of(file: &File) -> Result<Identity, OpenError> {
    file::identity(file).map_err(system("look at the region's file"))
}

/// The region of this key that this process is attached to. Waits for one that is being left.
fn find(
    list: &'static List,
    key: Identity,
) -> Result<Arc<RegionDomain>, MutexGuard<'static, Vec<Known>>> {
    let mut attached = list.known.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(known) = attached.iter().find(|known| known.key == key) else {
            return Err(attached);
        };
        match known.region.upgrade() {
            Some(region) => return Ok(region),
            None => attached = list.left.wait(attached).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Attaches this process to the region at `path`. A symbolic link is followed first: then the region is that at the
/// place where it leads, with the liveness file beside that.
///
/// # Errors
/// Why it cannot; the file is left as it is.
pub fn open(path: &Path) -> Result<Arc<RegionDomain>, OpenError> {
    let mut tries = 1;
    loop {
        let path = &path.canonicalize().map_err(system("open the region's file"))?;
        let file = open_region(path, true)?;
        let key = key_of(&file)?;
        match open_file(path, file, key) {
            // Perhaps both were removed, and made again, while we looked from one to the other.
            Err(OpenError::Unusable(Unusable::LivenessFileReplaced))
                if tries < TRIES && !is_at(path, key) =>
            {
                tries += 1;
            }
            other => return other,
        }
    }
}

/// Opens what may be the file of a region, and does not follow links.
///
/// # Errors
/// If it is a link, or one of this process's liveness files; what the system says.
pub(crate) fn open_region(path: &Path, write: bool) -> Result<File, OpenError> {
    match LivenessFile::open_other(path, write) {
        Ok(Some(file)) => Ok(file),
        Ok(None) => Err(Unusable::NotARegion.into()),
        Err(_) if path.is_symlink() => Err(Unusable::Link.into()),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(Unusable::NotARegion.into())
        }
        Err(error) => Err(system("open the region's file")(error)),
    }
}

fn is_at(path: &Path, key: Identity) -> bool {
    file::is_at(path, key).unwrap_or(false)
}

fn open_file(path: &Path, file: File, key: Identity) -> Result<Arc<RegionDomain>, OpenError> {
    attach(file, key, |map| {
        let [device, inode] = map.identity().lock_file;
        let known = Some((device, inode));
        LivenessFile::open(&liveness_path(path), map.identity().instance, known)
    })
}

/// The region of `domain` for this process: the same; or, in a forked child of the process that has opened it, that
/// region anew, by the descriptors that the child has inherited, wherever the names of the files lead by now.
///
/// # Errors
/// Why it cannot.
pub fn reopen(domain: &Arc<RegionDomain>) -> Result<Arc<RegionDomain>, OpenError> {
    if !domain.fork.is_child() {
        return Ok(Arc::clone(domain));
    }
    let file = domain.map.file().map_err(system("open the region's file"))?;
    let key = key_of(&file)?;
    attach(file, key, |_| domain.liveness.inherited())
}

/// Attaches this process to the region in `file`, whose liveness file `liveness` opens; or gives the region of this key
/// that it is attached to.
fn attach(
    file: File,
    key: Identity,
    liveness: impl FnOnce(&Map) -> io::Result<LivenessFile>,
) -> Result<Arc<RegionDomain>, OpenError> {
    // This process may be attached to the region already: one mapping for all.
    let mut attached = match find(list()?, key) {
        Ok(region) => return Ok(region),
        Err(attached) => attached,
    };
    // Map it, and open the very liveness file that it names: locks in another would say nothing about its processes.
    let map = Map::open(file, layout_hash())?;
    let [device, inode] = map.identity().lock_file;
    let known = Some((device, inode));
    let liveness = match liveness(&map) {
        Ok(liveness) => liveness,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists) =>
        {
            return Err(Unusable::LivenessFileReplaced.into());
        }
        Err(error) => return Err(system("open the liveness file")(error)),
    };
    if known != Some(liveness.identity()) {
        return Err(Unusable::LivenessFileReplaced.into());
    }
    // Refuse what was not left cleanly before the machine went down: a part of it may not have been written back.
    let processes = map.identity().processes;
    clean_shutdown::check(&map, || {
        liveness.is_one_taken_by_another(0, processes).unwrap_or(false)
    })?;
    // Attach: a record with its liveness lock, so that other processes see that this one lives.
    let fork = ForkMark::new().map_err(system("mark this process"))?;
    let own = take_record(&map, &liveness)?;
    clean_shutdown::attach(&map)?;
    let domain = Arc::new(RegionDomain::new(map, liveness, own, fork));
    attached.push(Known { key, region: Arc::downgrade(&domain) });
    drop(attached);
    // A process that comes recovers those that are gone.
    let done = thread_session::with(&domain, |session| session.map(Session::reap))??;
    domain.recovered_at_open.get_or_init(|| done);
    Ok(domain)
}

/// Takes a record that no living process has.
pub(crate) fn take_record(map: &Map, liveness: &LivenessFile) -> Result<Incarnation, OpenError> {
    for record in 0..map.identity().processes {
        if liveness.try_take(record).map_err(system("take a liveness lock"))? {
            let place = map.process(record);
            // Only the liveness lock's holder writes here. 48 bits, and never 0 (the maker's).
            let generation =
                place.generation.load(Ordering::Acquire).wrapping_add(1) & ((1 << 48) - 1);
            let process = std::process::id();
            place.process.store(process, Ordering::Relaxed);
            place.started.store(started_at(process), Ordering::Relaxed);
            // Release, partner: the acquire in `liveness::is_dead`. From now on slots of the record's
            // last owner are known for dead.
            place.generation.store(generation, Ordering::Release);
            return Ok(Incarnation { record, generation });
        }
    }
    Err(OpenError::TooManyProcesses)
}

impl Drop for RegionDomain {
    /// Leaves the region.
    fn drop(&mut self) {
        if self.fork.is_child() {
            return; // The parent's.
        }
        // Of a file that was cut off nothing is touched any more.
        let is_whole = !is_cut_off(self);
        // What the system refuses now, it does when the file is closed.
        let _ = self.liveness.give_up(self.own.record);
        if is_whole {
            let processes = self.map.identity().processes;
            let taken = || self.liveness.is_one_taken_by_another(0, processes);
            clean_shutdown::leave(&self.map, || taken().is_ok_and(|taken| !taken));
        }
        // Now a thread that waits in `open` can attach anew.
        let own = std::ptr::from_ref(self);
        let Ok(list) = list() else { return };
        let mut attached = list.known.lock().unwrap_or_else(PoisonError::into_inner);
        attached.retain(|known| !std::ptr::eq(known.region.as_ptr(), own));
        drop(attached);
        list.left.notify_all();
    }
}
