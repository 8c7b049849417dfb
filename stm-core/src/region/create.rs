//! Making regions, and removing them.
//!
//! A region is made under a name of its own beside its place, all of it, and then moved there without
//! replacing anything. So no process sees a region that is not complete; of two makers at the same place exactly one
//! wins, and touches nothing of the other's. A maker that dies leaves a *draft* at most: it has that locked while it
//! lives, and the next maker at this place removes drafts that no process has locked.
//!
//! The liveness file stands at a fixed place beside the region. It is made if there is none, and never replaced: all
//! regions that are made at this place have it in common, each its own space of liveness locks in it (`LivenessFile`).
//! A region names its liveness file by device and inode. So that the two fit when the region comes to its place, a
//! process that moves it there, or removes the two, holds the gate of the liveness file meanwhile, one at a time.

use crate::region::domain::RegionDomain;
use crate::region::open::{self, Options, TRIES, layout_hash, liveness_path};
use crate::region::slots;
use crate::region::thread_session;
use contempo_alloc::region::clean_shutdown;
use contempo_alloc::region::error::{OpenError, system};
use contempo_alloc::region::file::{self, Draft, Identity};
use contempo_alloc::region::fork::ForkMark;
use contempo_alloc::region::layout::{self, Incarnation};
use contempo_alloc::region::liveness::{self, LivenessFile};
use contempo_alloc::region::map::Map;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a maker waits for the gate: other processes hold it for a few system calls.
const GATE_TIMEOUT: Duration = Duration::from_secs(10);
/// How files of ours begin.
const BEGINNINGS: [&[u8]; 2] = [&layout::MAGIC.to_le_bytes(), &liveness::MAGIC];

/// Can a region have these sizes? Before anything is made.
fn check_sizes(options: &Options) -> Result<(), OpenError> {
    let slots = options.slots();
    let check = |what, given: u64, least: u64, most: u64| {
        let good = (least..=most).contains(&given);
        good.then_some(()).ok_or(OpenError::OutOfRange { what, given, least, most })
    };
    check("processes", options.processes.into(), 1, layout::MOST_PROCESSES.into())?;
    check("threads", slots.into(), 1, layout::MOST_SLOTS.into())?;
    let most = options.most.min(layout::MOST_BYTES);
    let least = layout::blocks_at(options.processes, slots, most) + 2 * layout::SUPERBLOCK;
    check("bytes", options.most, least as u64, layout::MOST_BYTES)?;
    check("bytes from the beginning", options.first, 0, options.most)
}

/// Makes a region at `path`, where there must be no file, and attaches this process to it.
///
/// # Errors
/// What the system says; `AlreadyExists` if something is there, `ResourceBusy` if others make and remove regions
/// there all the time. No file of ours is left then.
pub fn create(path: &Path, options: &Options) -> Result<Arc<RegionDomain>, OpenError> {
    check_sizes(options)?;
    // Makers that have died may have left drafts, which take space.
    for place in [path, &liveness_path(path)] {
        file::remove_drafts(place, &BEGINNINGS);
    }
    for _ in 0..TRIES {
        if path.symlink_metadata().is_ok() {
            return Err(exists());
        }
        let lock_file = liveness_path(path);
        let instance = file::random().map_err(system("draw a random number"))?;
        let (liveness, made) = LivenessFile::open_or_make(&lock_file, options.mode, instance)
            .map_err(system("open the liveness file"))?;
        let draft = Draft::new(path, options.mode).map_err(system("create the region's file"));
        match draft.and_then(|draft| {
            let domain = fill(&draft, instance, &liveness, options)?;
            Ok(publish(path, &draft, &domain, options)?.then_some(domain))
        }) {
            Ok(Some(domain)) => {
                // This thread takes part from now on.
                thread_session::with(&domain, |session| session.map(|_| ()))??;
                return Ok(domain);
            }
            Ok(None) => {} // The liveness file was removed: once more.
            Err(why) => {
                if made {
                    remove_lonely(path, &lock_file, &liveness);
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

/// Lays a region out in the draft, and attaches this process to it: all that there is to do before another sees it.
fn fill(
    draft: &Draft,
    instance: u64,
    liveness: &LivenessFile,
    options: &Options,
) -> Result<Arc<RegionDomain>, OpenError> {
    // First as its maker, which has no record yet: lay it out, and put the directory in by an ordinary transaction.
    let (processes, slots) = (options.processes, options.slots());
    let identity = layout::Identity::new(instance, layout_hash(), processes, slots, options.most);
    let file = || draft.file().try_clone().map_err(system("open the region's file again"));
    let holder = || liveness.again().map_err(system("open the liveness file again"));
    let map = Map::create(file()?, identity, options.first)?;
    let fork = ForkMark::new().map_err(system("mark this process"))?;
    let maker = Incarnation { record: 0, generation: 0 };
    let domain = RegionDomain::new(map, holder()?, maker, fork);
    // No other process can have opened it yet.
    let Some(session) = slots::take_slot(&domain)? else {
        return Err(OpenError::TooManyProcesses);
    };
    let directory = session.atomically(|session| session.create(&[])).map_err(|stopped| {
        system("put the directory into the region")(io::Error::other(format!("{stopped:?}")))
    })?;
    slots::leave(&domain, &session);
    drop(session);
    domain.map.complete(directory, liveness.identity());
    drop(domain);
    // From here on as a process that opens it.
    let map = Map::open(file()?, layout_hash())?;
    let holder = holder()?;
    let own = open::take_record(&map, &holder)?;
    clean_shutdown::attach(&map)?;
    let fork = ForkMark::new().map_err(system("mark this process"))?;
    Ok(Arc::new(RegionDomain::new(map, holder, own, fork)))
}

/// Moves the region to its place. False if its liveness file does not stand beside that any more.
fn publish(
    path: &Path,
    draft: &Draft,
    domain: &Arc<RegionDomain>,
    options: &Options,
) -> Result<bool, OpenError> {
    let liveness = &domain.liveness;
    let _gate = liveness.take_gate(GATE_TIMEOUT).map_err(system("wait for another maker"))?;
    if !liveness.is_at(&liveness_path(path)).map_err(system("look at the liveness file"))? {
        return Ok(false);
    }
    if path.symlink_metadata().is_ok() {
        return Err(exists());
    }
    // Whatever the umask, and whatever mode the last region here had.
    liveness.set_mode(options.mode).map_err(system("set the liveness file's mode"))?;
    // Another thread of this process that opens it waits until we are on the list.
    let known = open::known(domain, draft.file())?;
    let mut attached = open::attached()?;
    draft.publish(path).map_err(system("create the region's file"))?;
    attached.push(known);
    Ok(true)
}

/// Removes the liveness file, which we have made, if there is no region beside it.
fn remove_lonely(path: &Path, lock_file: &Path, liveness: &LivenessFile) {
    let Ok(_gate) = liveness.take_gate(GATE_TIMEOUT) else { return };
    if path.symlink_metadata().is_err() {
        let _ = liveness.remove(lock_file);
    }
}

/// Removes the region at `path` and its liveness file. Processes that are attached go on with it.
///
/// # Errors
/// What the system says; [`Unusable::NotARegion`](crate::region::Unusable::NotARegion) if the file is none,
/// [`Unusable::Link`](crate::region::Unusable::Link) if it is a symbolic link.
pub fn remove(path: &Path) -> Result<(), OpenError> {
    let lock_file = liveness_path(path);
    for _ in 0..TRIES {
        // The liveness file that the region names; none if it was removed already.
        let region = Found::at(path)?;
        let liveness = match LivenessFile::open(&lock_file, 0, Some(region.lock_file)) {
            Ok(liveness) => Some(liveness),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(system("open the liveness file")(error)),
        };
        // At the gate no maker can put another region here, beside a liveness file that is about to go.
        let gate = liveness.as_ref().map(|liveness| liveness.take_gate(GATE_TIMEOUT)).transpose();
        let _gate = gate.map_err(system("wait for a maker"))?;
        if let Some(liveness) = &liveness
            && !liveness.is_at(&lock_file).map_err(system("look at the liveness file"))?
        {
            continue; // Another has removed the two.
        }
        if !file::remove(path, region.identity).map_err(system("remove the region's file"))? {
            continue; // Another has removed it, or put another there.
        }
        if let Some(liveness) = &liveness {
            // After the region: should we die in between, the next region here has it.
            liveness.remove(&lock_file).map_err(system("remove the liveness file"))?;
        }
        return Ok(());
    }
    Err(busy())
}

/// A file that begins as a region does.
struct Found {
    identity: Identity,
    /// The liveness file that it names, if it does.
    lock_file: Identity,
}

impl Found {
    fn at(path: &Path) -> Result<Self, OpenError> {
        let file = open::open_region(path, false)?;
        let lock_file = layout::recognise(&file)?;
        let identity = file::identity(&file).map_err(system("look at the region's file"))?;
        Ok(Found { identity, lock_file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_places_or_removes_a_region_stands_at_the_gate() {
        let path = std::env::temp_dir().join(format!("contempo-gate-{}", std::process::id()));
        let (lock_file, options) = (liveness_path(&path), Options::default());
        let _ = (std::fs::remove_file(&path), std::fs::remove_file(&lock_file));
        let timeout = Duration::from_secs(1);
        // Whether the other is at the gate by then, or comes later: the file must not be there yet.
        let meanwhile = Duration::from_millis(150);
        let (liveness, _) = LivenessFile::open_or_make(&lock_file, 0o600, 0).unwrap();
        std::thread::scope(|scope| {
            let gate = liveness.take_gate(timeout).unwrap();
            let maker = scope.spawn(|| create(&path, &options).map(drop));
            std::thread::sleep(meanwhile);
            assert!(!path.exists(), "a region came to its place without the gate");
            // Its maker finds that the liveness file has gone, and makes another.
            std::fs::remove_file(&lock_file).unwrap();
            drop(gate);
            maker.join().unwrap().unwrap();
        });
        open::open(&path).unwrap();
        let liveness = LivenessFile::open(&lock_file, 0, None).unwrap();
        std::thread::scope(|scope| {
            let gate = liveness.take_gate(timeout).unwrap();
            let remover = scope.spawn(|| remove(&path));
            std::thread::sleep(meanwhile);
            assert!(path.exists(), "a region was removed without the gate");
            drop(gate);
            remover.join().unwrap().unwrap();
        });
        assert!(!path.exists() && !lock_file.exists());
    }
}
