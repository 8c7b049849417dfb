//! Making and opening regions; records and leases of processes.

use crate::region::block;
use crate::region::current;
use crate::region::domain::RegionDomain;
use crate::region::recover;
use crate::region::session::Session;
use contempo_alloc::announcement::{self, Idle};
use contempo_alloc::region::error::{OpenError, Unusable, system};
use contempo_alloc::region::layout::{self, Identity, Incarnation};
use contempo_alloc::region::map::Map;
use contempo_sched::lease::{ForkMark, LeaseFile, started_at};
use contempo_sched::primitives::Ordering;
use contempo_sched::table::Descriptors;
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

/// How large a region may become, and for how many.
#[derive(Clone, Debug)]
pub struct Options {
    /// Processes that can be attached at a time.
    pub processes: u32,
    /// Threads, of all processes, that can have run transactions and not ended.
    pub slots: u32,
    /// Bytes that the file may have.
    pub most: u64,
    /// Bytes for blocks that it has from the beginning.
    pub first: u64,
    /// The mode of the files.
    pub mode: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { processes: 64, slots: 128, most: 1 << 32, first: 512 * 1024, mode: 0o600 }
    }
}

/// A region that this process is attached to.
struct Known {
    /// Device and inode.
    key: (u64, u64),
    /// Whose entry this is: a forked child inherits those of its parent.
    process: u32,
    region: Weak<RegionDomain>,
}

/// The regions that this process is attached to. One that is opened again is the same. An entry goes when
/// its region has been left, so a `Weak` that leads nowhere means: it is being left now.
static ATTACHED: Mutex<Vec<Known>> = Mutex::new(Vec::new());
/// An entry has gone.
static LEFT: Condvar = Condvar::new();

/// Where the lease file of the region at `path` lies.
pub fn lease_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lease");
    name.into()
}

fn layout_hash() -> u64 {
    layout::layout_hash(&block::LAYOUT)
}

fn random() -> io::Result<u64> {
    let mut bytes = [0_u8; 8];
    // SAFETY: writes at most 8 bytes.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != 8 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from_ne_bytes(bytes) | 1)
}

/// Makes a region at `path`, where there must be no file, and attaches this process to it.
///
/// # Errors
/// What the system says. No file is left then.
pub fn create(path: &Path, options: &Options) -> Result<Arc<RegionDomain>, OpenError> {
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(options.mode)
        .open(path)
        .map_err(system("create the region's file"))?;
    let made = fill(path, file, options);
    if made.is_err() {
        // Both are ours: the first was made above, and the second belongs to it.
        let _ = std::fs::remove_file(path);
        let _ = std::fs::remove_file(lease_path(path));
    }
    made
}

fn fill(path: &Path, file: File, options: &Options) -> Result<Arc<RegionDomain>, OpenError> {
    // As the user says, whatever the umask.
    file.set_permissions(std::fs::Permissions::from_mode(options.mode))
        .map_err(system("set the region's mode"))?;
    let sensible = (1..=layout::MOST_PROCESSES).contains(&options.processes)
        && (1..=layout::MOST_SLOTS).contains(&options.slots)
        && options.most <= layout::MOST_BYTES
        && options.first <= options.most
        && options.most
            >= (layout::blocks_at(options.processes, options.slots) + 2 * layout::SUPERBLOCK)
                as u64;
    if !sensible {
        let error = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(system("make a region of these sizes")(error));
    }
    let instance = random().map_err(system("draw a random number"))?;
    let (processes, slots) = (options.processes, options.slots);
    let identity = Identity::new(instance, layout_hash(), processes, slots, options.most);
    let again = file.try_clone().map_err(system("open the region's file again"))?;
    let map = Map::create(file, identity, options.first)?;
    // One that is there belongs to a region that is gone; whoever has it open keeps it.
    let lease = lease_path(path);
    match std::fs::remove_file(&lease) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(system("remove an old lease file")(error));
        }
        _ => {}
    }
    let leases =
        LeaseFile::open(&lease, Some(options.mode)).map_err(system("create the lease file"))?;
    // Whatever the umask, as above.
    leases.set_mode(options.mode).map_err(system("set the lease file's mode"))?;
    let fork = ForkMark::new().map_err(system("mark this process"))?;
    let domain = RegionDomain::new(map, leases, Incarnation { record: 0, generation: 0 }, fork);
    // Nobody else can have opened it yet.
    let Some(session) = take_slot(&domain)? else { return Err(OpenError::TooManyProcesses) };
    let directory = session.atomically(|session| session.create(&[])).map_err(|stopped| {
        system("put the directory into the region")(io::Error::other(format!("{stopped:?}")))
    })?;
    leave(&domain, &session);
    drop(session);
    let map = Arc::clone(&domain.map);
    // Another holder, in time: the lease file is not closed in between, and our record is taken before
    // anybody else can have one.
    let leases = LeaseFile::open(&lease, None).map_err(system("open the lease file"))?;
    if leases.identity() != domain.leases.identity() {
        return Err(Unusable::LeaseFileReplaced.into());
    }
    drop(domain);
    let own = take_record(&map, &leases)?;
    let key = key_of(&again)?;
    let fork = ForkMark::new().map_err(system("mark this process"))?;
    // Until we are on the list, `open` in another thread waits.
    let mut attached = attached();
    map.complete(directory, leases.identity());
    let map = Map::open(again, layout_hash())?;
    let domain = Arc::new(RegionDomain::new(map, leases, own, fork));
    let region = Arc::downgrade(&domain);
    attached.push(Known { key, process: std::process::id(), region });
    drop(attached);
    // This thread takes part from now on.
    current::with(&domain, |session| session.map(|_| ()))??;
    Ok(domain)
}

fn attached() -> MutexGuard<'static, Vec<Known>> {
    ATTACHED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn key_of(file: &File) -> Result<(u64, u64), OpenError> {
    let metadata = file.metadata().map_err(system("look at the region's file"))?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The region of this key that this process is attached to. Waits for one that is being left.
fn find(
    mut attached: MutexGuard<'static, Vec<Known>>,
    key: (u64, u64),
) -> Result<Arc<RegionDomain>, MutexGuard<'static, Vec<Known>>> {
    attached.retain(|known| known.process == std::process::id());
    loop {
        let Some(at) = attached.iter().position(|known| known.key == key) else {
            return Err(attached);
        };
        match attached[at].region.upgrade() {
            Some(region) if region.fork.is_child() => {
                // Of an ancestor that had our number: never to be dropped here.
                std::mem::forget(region);
                attached.swap_remove(at);
            }
            Some(region) => return Ok(region),
            None => attached = LEFT.wait(attached).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Attaches this process to the region at `path`.
///
/// # Errors
/// Why it cannot; the file is left as it is.
pub fn open(path: &Path) -> Result<Arc<RegionDomain>, OpenError> {
    let file = File::options()
        .read(true)
        .write(true)
        .open(path)
        .map_err(system("open the region's file"))?;
    let key = key_of(&file)?;
    let mut attached = match find(attached(), key) {
        Ok(region) => return Ok(region),
        Err(attached) => attached,
    };
    let map = Map::open(file, layout_hash())?;
    let leases = match LeaseFile::open(&lease_path(path), None) {
        Ok(leases) => leases,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Unusable::LeaseFileReplaced.into());
        }
        Err(error) => return Err(system("open the lease file")(error)),
    };
    let identity = leases.identity();
    if map.identity().lease != [identity.0, identity.1] {
        return Err(Unusable::LeaseFileReplaced.into());
    }
    let fork = ForkMark::new().map_err(system("mark this process"))?;
    let own = take_record(&map, &leases)?;
    let domain = Arc::new(RegionDomain::new(map, leases, own, fork));
    let region = Arc::downgrade(&domain);
    attached.push(Known { key, process: std::process::id(), region });
    drop(attached);
    // Whoever comes looks after those who are gone.
    current::with(&domain, |session| session.map(recover::reap))??;
    Ok(domain)
}

/// Takes a record that no living process has.
fn take_record(map: &Map, leases: &LeaseFile) -> Result<Incarnation, OpenError> {
    for record in 0..map.identity().processes {
        if leases.try_take(record).map_err(system("take a lease"))? {
            let place = map.process(record);
            // Only the lease's holder writes here. 48 bits, and never 0 (the maker's).
            let generation =
                place.generation.load(Ordering::Acquire).wrapping_add(1) & ((1 << 48) - 1);
            let process = std::process::id();
            place.process.store(process, Ordering::Relaxed);
            place.started.store(started_at(process), Ordering::Relaxed);
            // Release, partner: the acquire in `recover::is_dead`. From now on slots of the record's
            // last owner are known for dead.
            place.generation.store(generation, Ordering::Release);
            return Ok(Incarnation { record, generation });
        }
    }
    Err(OpenError::TooManyProcesses)
}

/// A session for the calling thread, on a slot of its own; none if all are taken by the living.
///
/// # Errors
/// If the system does not say who is alive.
pub(crate) fn take_slot(domain: &RegionDomain) -> Result<Option<Session>, OpenError> {
    let (map, own) = (&domain.map, domain.own.bits());
    let raise = |slot: u32| {
        // SeqCst, partner: `SlotTable::each`; as in `DescriptorTable::take`.
        map.shared().high_water.fetch_max(slot + 1, Ordering::SeqCst);
    };
    for slot in 0..map.identity().slots {
        let Some(record) = map.slot(slot) else { break };
        if record.process.load(Ordering::Relaxed) != 0 {
            continue;
        }
        // Before it is taken: should we die in between, whoever looks for the dead looks this far.
        raise(slot);
        // Acquire, partner: the release by whoever gave it up, or cleared it up.
        let taken = record.process.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed);
        if taken.is_ok() {
            // SAFETY: the session is kept by `current`, which keeps the region; the slot is ours.
            return Ok(Some(unsafe { Session::new(domain, slot) }));
        }
    }
    // All are taken, perhaps by the dead, and nobody has a slot from which to clear them up: take one of
    // those over.
    let _alone = domain.recovering.lock().unwrap_or_else(PoisonError::into_inner);
    let mut session = None;
    for slot in 0..map.identity().slots {
        let done = recover::with_dead_slot(domain, slot, |_| {
            // SAFETY: as above; it becomes ours below, and until then nobody else's.
            let heir = unsafe { Session::new(domain, slot) };
            raise(slot);
            recover::clear_up(&heir, slot);
            heir.renew_serial();
            if let Some(record) = map.slot(slot) {
                record.process.store(own, Ordering::Release);
            }
            session = Some(heir);
        });
        done.map_err(system("look at the leases"))?;
        if session.is_some() {
            break;
        }
    }
    Ok(session)
}

/// Gives a session's slot up, if nothing is held in it. If something is, the slot is left to others, as
/// after a death: they see that this process has gone.
pub(crate) fn leave(domain: &RegionDomain, session: &Session) {
    session.memory.collect(domain, Idle::Inactive);
    if session.memory.held() > 0 {
        return;
    }
    session.memory.leave();
    announcement::withdraw(domain_descriptor(domain, session.slot));
    if let Some(record) = domain.map.slot(session.slot) {
        // Release, partner: the acquire in `take_slot`.
        record.process.store(0, Ordering::Release);
    }
}

fn domain_descriptor(domain: &RegionDomain, slot: u32) -> &contempo_sched::descriptor::Descriptor {
    use crate::domain::Domain;
    domain.table().descriptor(slot)
}

impl Drop for RegionDomain {
    /// Leaves the region.
    fn drop(&mut self) {
        if self.fork.is_child() {
            // The parent's.
            std::mem::take(self.pool.get_mut().unwrap_or_else(PoisonError::into_inner))
                .into_iter()
                .for_each(std::mem::forget);
            return;
        }
        let pool = self.pool.get_mut().unwrap_or_else(PoisonError::into_inner);
        for session in std::mem::take(pool) {
            leave(self, &session);
        }
        // What the system refuses now, it does when the file is closed.
        let _ = self.leases.give_up(self.own.record);
        // Now whoever waits in `open` can attach anew.
        let own = std::ptr::from_ref(self);
        attached().retain(|known| !std::ptr::eq(known.region.as_ptr(), own));
        LEFT.notify_all();
    }
}
