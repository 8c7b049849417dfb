//! Making regions, and removing them.
//!
//! A region is made under a name of its own beside its place, all of it, and then moved there without
//! replacing anything. So nobody sees a region that is not complete; of two makers at the same place exactly one
//! wins, and touches nothing of the other's. A maker that dies leaves a *draft* at most: it has that locked while it
//! lives, and the next maker at this place removes drafts that nobody has locked.
//!
//! The lease file stands at a fixed place beside the region. It is made if there is none, and never replaced: all
//! regions that are made at this place have it in common, each its own space of leases in it (`LeaseFile`). A
//! region names its lease file by device and inode. So that the two fit when the region comes to its place, whoever
//! moves it there, or removes the two, stands at the gate of the lease file meanwhile, one at a time.

use crate::region::attach::{self, Options, lease_path};
use crate::region::block;
use crate::region::current;
use crate::region::domain::RegionDomain;
use contempo_alloc::region::error::{OpenError, system};
use contempo_alloc::region::layout::{self, Identity, Incarnation};
use contempo_alloc::region::map::Map;
use contempo_alloc::region::power;
use contempo_sched::fork::ForkMark;
use contempo_sched::lease::LeaseFile;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a maker waits for the gate: others hold it for a few system calls.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a maker begins anew because somebody has taken its lease file, or its draft, away.
pub(crate) const TRIES: u32 = 256;
/// What the names of drafts have between that of the region and a random number.
const DRAFT: &str = ".making-";

pub(crate) fn layout_hash() -> u64 {
    layout::layout_hash(&block::LAYOUT)
}

fn random() -> Result<u64, OpenError> {
    let mut bytes = [0_u8; 8];
    // SAFETY: writes at most 8 bytes.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != 8 {
        return Err(system("draw a random number")(io::Error::last_os_error()));
    }
    Ok(u64::from_ne_bytes(bytes) | 1)
}

/// Makes a region at `path`, where there must be no file, and attaches this process to it.
///
/// # Errors
/// What the system says; `AlreadyExists` if something is there, `ResourceBusy` if others make and remove regions
/// there all the time. No file of ours is left then.
pub fn create(path: &Path, options: &Options) -> Result<Arc<RegionDomain>, OpenError> {
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
    remove_drafts(path);
    for _ in 0..TRIES {
        if path.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let lease = lease_path(path);
        let instance = random()?;
        let (leases, made) = LeaseFile::open_or_make(&lease, options.mode, instance)
            .map_err(system("open the lease file"))?;
        match Draft::new(path, options.mode).and_then(|draft| {
            let domain = fill(&draft, instance, &leases, options)?;
            Ok(publish(path, &draft, &domain, options)?.then_some(domain))
        }) {
            Ok(Some(domain)) => {
                // This thread takes part from now on.
                current::with(&domain, |session| session.map(|_| ()))??;
                return Ok(domain);
            }
            Ok(None) => {} // Somebody has removed the lease file: once more.
            Err(why) => {
                if made {
                    remove_lonely(path, &lease, &leases);
                }
                return Err(why);
            }
        }
    }
    Err(busy())
}

fn busy() -> OpenError {
    system("get at the region's place, where others make and remove regions all the time")(
        io::ErrorKind::ResourceBusy.into(),
    )
}

fn exists() -> OpenError {
    system("create the region's file")(io::ErrorKind::AlreadyExists.into())
}

/// Lays a region out in the draft, and attaches this process to it: all that there is to do before others see it.
fn fill(
    draft: &Draft,
    instance: u64,
    leases: &LeaseFile,
    options: &Options,
) -> Result<Arc<RegionDomain>, OpenError> {
    let (processes, slots) = (options.processes, options.slots);
    let identity = Identity::new(instance, layout_hash(), processes, slots, options.most);
    let file = || draft.file.try_clone().map_err(system("open the region's file again"));
    let holder = || leases.again().map_err(system("open the lease file again"));
    let map = Map::create(file()?, identity, options.first)?;
    let fork = ForkMark::new().map_err(system("mark this process"))?;
    let maker = Incarnation { record: 0, generation: 0 };
    let domain = RegionDomain::new(map, holder()?, maker, fork);
    // Nobody else can have opened it yet.
    let Some(session) = attach::take_slot(&domain)? else {
        return Err(OpenError::TooManyProcesses);
    };
    let directory = session.atomically(|session| session.create(&[])).map_err(|stopped| {
        system("put the directory into the region")(io::Error::other(format!("{stopped:?}")))
    })?;
    attach::leave(&domain, &session);
    drop(session);
    domain.map.complete(directory, leases.identity());
    drop(domain);
    // As whoever opens it.
    let map = Map::open(file()?, layout_hash())?;
    let holder = holder()?;
    let own = attach::take_record(&map, &holder)?;
    power::attach(&map)?;
    let fork = ForkMark::new().map_err(system("mark this process"))?;
    Ok(Arc::new(RegionDomain::new(map, holder, own, fork)))
}

/// Moves the region to its place. False if its lease file does not stand beside that any more.
fn publish(
    path: &Path,
    draft: &Draft,
    domain: &Arc<RegionDomain>,
    options: &Options,
) -> Result<bool, OpenError> {
    let leases = &domain.leases;
    let _gate = leases.take_gate(PATIENCE).map_err(system("wait for another maker"))?;
    if !leases.is_at(&lease_path(path)).map_err(system("look at the lease file"))? {
        return Ok(false);
    }
    if path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    // Whatever the umask, and whatever mode the last region here had.
    leases.set_mode(options.mode).map_err(system("set the lease file's mode"))?;
    // Who opens it in another thread of this process waits until we are on the list.
    let known = attach::known(domain, &draft.file)?;
    let mut attached = attach::attached()?;
    move_to(&draft.path, path).map_err(system("create the region's file"))?;
    attached.push(known);
    Ok(true)
}

/// Moves a file to where there is none.
fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    let name = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (old, new) = (name(from)?, name(to)?);
    let (here, flags) = (libc::AT_FDCWD, libc::RENAME_NOREPLACE);
    // SAFETY: two names that end with a zero, and integers.
    let moved = unsafe {
        libc::syscall(libc::SYS_renameat2, here, old.as_ptr(), here, new.as_ptr(), flags)
    };
    if moved == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // Not every file system can.
    if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) {
        return link_to(from, to);
    }
    Err(error)
}

/// The same in two steps: for a moment the file has both names.
fn link_to(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)?;
    // It may stay: nobody has it locked once we are gone, and the next maker removes it.
    let _ = std::fs::remove_file(from);
    Ok(())
}

/// Removes the lease file, which we have made, if there is no region beside it.
fn remove_lonely(path: &Path, lease: &Path, leases: &LeaseFile) {
    let Ok(_gate) = leases.take_gate(PATIENCE) else { return };
    if leases.is_at(lease).unwrap_or(false) && path.symlink_metadata().is_err() {
        let _ = std::fs::remove_file(lease);
    }
}

/// Removes the region at `path` and its lease file. Processes that are attached go on with it.
///
/// # Errors
/// What the system says; [`Unusable::NotARegion`](crate::region::Unusable::NotARegion) if the file is none.
pub fn remove(path: &Path) -> Result<(), OpenError> {
    let lease = lease_path(path);
    for _ in 0..TRIES {
        let leases = match LeaseFile::open(&lease, 0) {
            Ok(leases) => Some(leases),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(system("open the lease file")(error)),
        };
        let gate = leases.as_ref().map(|leases| leases.take_gate(PATIENCE)).transpose();
        let _gate = gate.map_err(system("wait for a maker"))?;
        if let Some(leases) = &leases
            && !leases.is_at(&lease).map_err(system("look at the lease file"))?
        {
            continue; // Another has removed the two.
        }
        remove_region(path)?;
        if leases.is_some() {
            // After the region: should we die in between, the next region here has it.
            std::fs::remove_file(&lease).map_err(system("remove the lease file"))?;
        }
        return Ok(());
    }
    Err(busy())
}

fn remove_region(path: &Path) -> Result<(), OpenError> {
    attach::not_a_lease_file(path)?;
    // Not to wait, if it is a pipe.
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
    let file = options.open(path).map_err(system("open the region's file"))?;
    layout::recognise(&file)?;
    std::fs::remove_file(path).map_err(system("remove the region's file"))
}

/// A region that is being made. Its file goes with it, unless that was moved to its place.
struct Draft {
    path: PathBuf,
    file: File,
}

impl Draft {
    fn new(path: &Path, mode: u32) -> Result<Self, OpenError> {
        for _ in 0..TRIES {
            let mut name = path.as_os_str().to_owned();
            name.push(format!("{DRAFT}{:016x}", random()?));
            let mut options = File::options();
            options.read(true).write(true).create_new(true).mode(mode);
            let file = options.open(&name).map_err(system("create the region's file"))?;
            let draft = Draft { path: name.into(), file };
            // One who came before we had locked it may have removed it, or is about to.
            if try_lock(&draft.file) && draft.file.metadata().is_ok_and(|it| it.nlink() > 0) {
                // As the user says, whatever the umask.
                draft
                    .file
                    .set_permissions(std::fs::Permissions::from_mode(mode))
                    .map_err(system("set the region's mode"))?;
                return Ok(draft);
            }
        }
        Err(system("lock the region's file")(io::ErrorKind::WouldBlock.into()))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Mostly it is not there any more. Nobody else has this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Locks the file for as long as somebody has it open by this descriptor, or mapped by it.
fn try_lock(file: &File) -> bool {
    // SAFETY: an open descriptor and integers.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

/// Removes what makers have left here that are dead.
fn remove_drafts(path: &Path) {
    let Some(name) = path.file_name() else { return };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut begin = name.to_owned();
    begin.push(DRAFT);
    // What cannot be looked at now may be next time.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(number) = name.as_bytes().strip_prefix(begin.as_bytes()) else { continue };
        if number.len() != 16 || !number.iter().all(u8::is_ascii_hexdigit) {
            continue;
        }
        remove_abandoned(&entry.path(), || ());
    }
}

/// Removes a draft that nobody has locked. `meanwhile` is for tests: between the look and the removal.
fn remove_abandoned(draft: &Path, meanwhile: impl FnOnce()) {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC);
    if let Ok(file) = options.open(draft)
        && try_lock(&file)
    {
        meanwhile();
        // Locked until it is gone (`file` lives as long): a maker that locks it after this sees that.
        let _ = std::fs::remove_file(draft);
        drop(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_moved_to_a_free_place_only() {
        let folder = std::env::temp_dir();
        let name = |what: &str| folder.join(format!("contempo-move-{what}-{}", std::process::id()));
        let (from, to) = (name("from"), name("to"));
        for by in [move_to, link_to] {
            for file in [&from, &to] {
                std::fs::write(file, file.as_os_str().as_bytes()).unwrap();
            }
            let refused = by(&from, &to).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(&to).unwrap(), to.as_os_str().as_bytes());
            std::fs::remove_file(&to).unwrap();
            by(&from, &to).unwrap();
            assert!(!from.exists());
            assert_eq!(std::fs::read(&to).unwrap(), from.as_os_str().as_bytes());
            std::fs::remove_file(&to).unwrap();
        }
    }

    #[test]
    fn who_moves_a_region_to_its_place_or_removes_it_stands_at_the_gate() {
        let path = std::env::temp_dir().join(format!("contempo-gate-{}", std::process::id()));
        let (lease, options) = (lease_path(&path), Options::default());
        let _ = (std::fs::remove_file(&path), std::fs::remove_file(&lease));
        let patience = Duration::from_secs(1);
        // Whether the other is at the gate by then, or comes later: the file must not be there yet.
        let meanwhile = Duration::from_millis(150);
        let (leases, _) = LeaseFile::open_or_make(&lease, 0o600, 0).unwrap();
        std::thread::scope(|scope| {
            let gate = leases.take_gate(patience).unwrap();
            let maker = scope.spawn(|| create(&path, &options).map(drop));
            std::thread::sleep(meanwhile);
            assert!(!path.exists(), "a region came to its place without the gate");
            // Its maker finds that the lease file has gone, and makes another.
            std::fs::remove_file(&lease).unwrap();
            drop(gate);
            maker.join().unwrap().unwrap();
        });
        attach::open(&path).unwrap();
        let leases = LeaseFile::open(&lease, 0).unwrap();
        std::thread::scope(|scope| {
            let gate = leases.take_gate(patience).unwrap();
            let remover = scope.spawn(|| remove(&path));
            std::thread::sleep(meanwhile);
            assert!(path.exists(), "a region was removed without the gate");
            drop(gate);
            remover.join().unwrap().unwrap();
        });
        assert!(!path.exists() && !lease.exists());
    }

    #[test]
    fn no_draft_is_removed_under_its_maker() {
        let path = std::env::temp_dir().join(format!("contempo-maker-{}", std::process::id()));
        // A maker has made its file, and comes to lock it while somebody takes that for one of a dead maker.
        let file = File::create(&path).unwrap();
        remove_abandoned(&path, || assert!(!try_lock(&file), "locked by both"));
        assert!(
            try_lock(&file) && file.metadata().unwrap().nlink() == 0,
            "it sees that it was too late"
        );
        // And the other way round.
        let file = File::create(&path).unwrap();
        assert!(try_lock(&file));
        remove_abandoned(&path, || panic!("it is somebody's"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn drafts_of_the_dead_are_removed_and_no_others() {
        let path = std::env::temp_dir().join(format!("contempo-drafts-{}", std::process::id()));
        let alive = Draft::new(&path, 0o600).unwrap();
        let with = |end: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            std::fs::write(&name, "").unwrap();
            PathBuf::from(name)
        };
        let dead = with(".making-0123456789abcdef");
        let others = [with(".making-0123"), with(".making-0123456789abcdeg"), with(".draft")];
        remove_drafts(&path);
        assert!(alive.path.exists() && !dead.exists());
        for other in others {
            std::fs::remove_file(other).unwrap();
        }
        let left = alive.path.clone();
        drop(alive);
        assert!(!left.exists());
    }
}
