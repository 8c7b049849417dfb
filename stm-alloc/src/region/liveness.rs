//! Which processes live: liveness locks that the kernel takes back at death.
//!
//! A process that takes part holds a lock on one byte of a *liveness file*. The kernel gives the lock up
//! when the process ends, however it ends, and at no other time: not when it is stopped, not when its
//! number is given to another, and it answers across pid namespaces. (`kill(pid, 0)` fails in all
//! three.) These are the traditional record locks of POSIX: a forked child does not inherit them, so
//! a child does not keep its dead parent alive. They have two traps, and a list of the process's liveness lock
//! files (`Open`) is there for both: closing *any* descriptor of the file drops all locks of the
//! process, so there is one descriptor for each file, which is closed when no holder in the process holds
//! anything; and the kernel does not tell two holders in one process apart, so the list does.
//!
//! A liveness file is known by what is in it ([`MAGIC`]), or by device and inode, if a region names those. It comes to
//! its place with that in it, and is never written to again.

use crate::region::file::{self, Draft, Identity};
use crate::region::fork::{ForkMark, PerProcess};
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A liveness file that this process has open.
#[derive(Debug)]
struct Open {
    file: ManuallyDrop<File>,
    identity: Identity,
    /// Places in the file that some holder in this process has locked.
    taken: Mutex<BTreeSet<u64>>,
    /// A child has the descriptor of its parent, and none of the locks.
    fork: ForkMark,
    /// Holders. Changed under the lock of [`OPEN`] only.
    holders: AtomicU32,
}

/// The liveness files that this process has open. Files are opened and closed under its lock, so no
/// descriptor is closed while another holder of the same file has a liveness lock.
static OPEN: PerProcess<Mutex<Vec<Arc<Open>>>> = PerProcess::new();

fn another_file() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "there is another file at its place")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever is guarded here is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One holder of liveness locks. Dropping it gives up what it holds, and nothing else.
///
/// Liveness locks are numbered within a *space*: regions that were made at the same place one after the other have the
/// same liveness file, and some may be in use still. Each has the space of its instance number.
#[derive(Debug)]
pub struct LivenessFile {
    open: Arc<Open>,
    own: Mutex<BTreeSet<u64>>,
    /// Where the space begins.
    base: u64,
}

/// Liveness locks in a space, as a power of two.
const SPACE_BITS: u32 = 13;
/// The place of the [`Gate`], beyond all spaces.
const GATE: u64 = 1 << 62;
/// What is in a liveness file.
pub const MAGIC: [u8; 16] = *b"contempo leases\n";
/// How often a holder that waits for the gate looks whether it is free.
const LOOK: Duration = Duration::from_millis(1);

/// Held while files are put to their place, or taken away: one at a time, of all processes and threads.
#[derive(Debug)]
#[must_use = "the gate is given up when this is dropped"]
pub struct Gate<'f>(&'f LivenessFile);

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        // What cannot be given up now is given up when the file is closed.
        let _ = self.0.give_up_place(GATE);
    }
}

impl LivenessFile {
    /// Opens the file at `path`, for the liveness locks of this space. If a region names its liveness file, then this
    /// is `known`.
    ///
    /// # Errors
    /// What the system says; `AlreadyExists` if there is something else: a link, or a file that is neither `known` nor
    /// begins as liveness files do.
    pub fn open(path: &Path, space: u64, known: Option<Identity>) -> io::Result<Self> {
        let mut all = lock(OPEN.get()?);
        Self::find_or_open(&mut all, path, space, known)
    }

    /// Opens a file that is to be none of this process's liveness files. (To close another descriptor of one would drop
    /// all liveness locks.) None if it is one.
    ///
    /// # Errors
    /// As [`file::open`].
    pub fn open_other(path: &Path, write: bool) -> io::Result<Option<File>> {
        let all = lock(OPEN.get()?);
        let is_known = |identity| all.iter().any(|open| open.identity == identity);
        if is_known(file::identity_at(path)?) {
            return Ok(None);
        }
        // Not to be closed before it is known that no holder here has a liveness lock in it.
        let opened = ManuallyDrop::new(file::open(path, write)?);
        if is_known(file::identity(&opened)?) {
            return Ok(None); // Moved to this place since we looked: the descriptor stays open.
        }
        Ok(Some(ManuallyDrop::into_inner(opened)))
    }

    /// Opens the file at `path`, and makes it first if it is not there. Says whether it did.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_or_make(path: &Path, mode: u32, space: u64) -> io::Result<(Self, bool)> {
        let mut all = lock(OPEN.get()?);
        loop {
            match Self::find_or_open(&mut all, path, space, None) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => return other.map(|liveness| (liveness, false)),
            }
            // It is not there: made under a name of its own, with its beginning in it, and then put to its place.
            let fork = ForkMark::new()?;
            let draft = Draft::new(path, mode)?;
            draft.file().write_all_at(&MAGIC, 0)?;
            match draft.publish(path) {
                // Another maker was faster: its file is to be found in the next round.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    // No holder in this process has a liveness lock in a file that is new: it may be closed on the way
                    // out.
                    let identity = file::identity(draft.file())?;
                    let file = ManuallyDrop::new(draft.into_file()?);
                    return Ok((Self::add(&mut all, file, identity, fork, space), true));
                }
            }
        }
    }

    /// A holder of the file at `path`: of the descriptor that there is, or of a new one.
    fn find_or_open(
        all: &mut Vec<Arc<Open>>,
        path: &Path,
        space: u64,
        known: Option<Identity>,
    ) -> io::Result<Self> {
        let find = |all: &[Arc<Open>], identity| {
            let open = all.iter().find(|open| open.identity == identity)?;
            // Relaxed, here and below: under the lock.
            open.holders.fetch_add(1, Ordering::Relaxed);
            Some(Self::holder(Arc::clone(open), space))
        };
        // By device and inode, which needs no descriptor: to look at them drops no lock.
        if let Some(found) = find(all, file::identity_at(path)?) {
            return Ok(found);
        }
        let fork = ForkMark::new()?;
        // Not to be closed on any way out before it is known that no holder here has a liveness lock in it.
        let opened = ManuallyDrop::new(file::open(path, true).map_err(|error| {
            if error.kind() == io::ErrorKind::InvalidInput { another_file() } else { error }
        })?);
        let identity = file::identity(&opened)?;
        if let Some(found) = find(all, identity) {
            return Ok(found); // Moved to this place since we looked: the descriptor stays open.
        }
        // Not a file of a user's that happens to have its name: the mode of that would be changed, and it would be
        // removed with the region.
        if known != Some(identity) && !file::begins_with(&opened, &MAGIC).is_ok_and(|it| it) {
            drop(ManuallyDrop::into_inner(opened));
            return Err(another_file());
        }
        Ok(Self::add(all, opened, identity, fork, space))
    }

    /// Puts a file that was opened into the list, and makes its first holder.
    fn add(
        all: &mut Vec<Arc<Open>>,
        file: ManuallyDrop<File>,
        identity: Identity,
        fork: ForkMark,
        space: u64,
    ) -> Self {
        let (taken, holders) = (Mutex::default(), AtomicU32::new(1));
        let open = Arc::new(Open { file, identity, taken, fork, holders });
        all.push(Arc::clone(&open));
        Self::holder(open, space)
    }

    fn holder(open: Arc<Open>, space: u64) -> Self {
        // Below the gate: 49 bits of the space, and 13 for each of its liveness locks.
        let base = space >> (64 - 49) << SPACE_BITS;
        LivenessFile { open, own: Mutex::default(), base }
    }

    /// Another holder of liveness locks in the same file, of the same space.
    ///
    /// # Errors
    /// What the system says.
    pub fn again(&self) -> io::Result<Self> {
        let _all = lock(OPEN.get()?);
        self.open.holders.fetch_add(1, Ordering::Relaxed);
        Ok(LivenessFile { open: Arc::clone(&self.open), own: Mutex::default(), base: self.base })
    }

    /// A holder of the same file, of the same space, in a forked child of the process that has opened this: by the
    /// descriptor that the child has inherited, wherever the file's name leads by now. (Another descriptor for the same
    /// open file: the child has none of its parent's locks, and takes its own.)
    ///
    /// # Errors
    /// What the system says.
    pub fn inherited(&self) -> io::Result<Self> {
        let mut all = lock(OPEN.get()?);
        let identity = self.identity();
        let open = match all.iter().find(|open| open.identity == identity) {
            Some(open) => {
                // Relaxed: under the lock.
                open.holders.fetch_add(1, Ordering::Relaxed);
                Arc::clone(open)
            }
            None => {
                let fork = ForkMark::new()?;
                // In no list of this process yet, so no lock of its is dropped if it is closed on the way out.
                let file = ManuallyDrop::new(self.open.file.try_clone()?);
                let (taken, holders) = (Mutex::default(), AtomicU32::new(1));
                let open = Arc::new(Open { file, identity, taken, fork, holders });
                all.push(Arc::clone(&open));
                open
            }
        };
        Ok(LivenessFile { open, own: Mutex::default(), base: self.base })
    }

    /// Is this the file at `path`?
    ///
    /// # Errors
    /// What the system says, other than that there is none.
    pub fn is_at(&self, path: &Path) -> io::Result<bool> {
        file::is_at(path, self.identity())
    }

    /// Removes the file's name, if `path` still is that. Says whether it was.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, path: &Path) -> io::Result<bool> {
        file::remove(path, self.identity())
    }

    /// Takes the gate of this file, and waits so long for it.
    ///
    /// # Errors
    /// `TimedOut`; or what the system says.
    pub fn take_gate(&self, timeout: Duration) -> io::Result<Gate<'_>> {
        let begin = Instant::now();
        while !self.try_take_place(GATE)? {
            if begin.elapsed() >= timeout {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(Gate(self))
    }

    /// Identifies the file on this machine: device and inode.
    pub fn identity(&self) -> Identity {
        self.open.identity
    }

    /// Gives the file this mode, if it has another.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        file::set_mode(&self.open.file, mode)
    }

    fn lock(from: u64, count: u64, kind: libc::c_int) -> libc::flock {
        libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            // Both are at most `GATE`.
            l_start: from as libc::off_t,
            l_len: count as libc::off_t,
            l_pid: 0,
        }
    }

    /// The place of a liveness lock of ours.
    fn place(&self, index: u32) -> u64 {
        debug_assert!(index >> SPACE_BITS == 0);
        self.base | u64::from(index)
    }

    /// A forked child has nothing to do with the locks of its parent, and may find these lists locked for ever.
    fn check_parent(&self) -> io::Result<()> {
        if self.open.fork.is_child() {
            return Err(io::Error::other(
                "the liveness file was opened before this process was forked",
            ));
        }
        Ok(())
    }

    fn control(&self, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
        let file = self.open.file.as_raw_fd();
        // SAFETY: the descriptor is open, and `lock` is a `flock` that lives for the call.
        if unsafe { libc::fcntl(file, command, std::ptr::from_mut(lock)) } == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Takes the liveness lock `index` if it is free: no other process has it, and no holder in this one.
    ///
    /// # Errors
    /// What the system says, other than that it is taken.
    pub fn try_take(&self, index: u32) -> io::Result<bool> {
        self.try_take_place(self.place(index))
    }

    fn try_take_place(&self, place: u64) -> io::Result<bool> {
        self.check_parent()?;
        // First in this process, whose holders the kernel does not tell apart, then between processes; under one lock,
        // so that the list says what the kernel does.
        let mut taken = lock(&self.open.taken);
        if taken.contains(&place) {
            return Ok(false);
        }
        match self.control(libc::F_SETLK, &mut Self::lock(place, 1, libc::F_WRLCK)) {
            Ok(()) => {
                taken.insert(place);
                lock(&self.own).insert(place);
                Ok(true)
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the liveness lock `index` up, if this holder has it.
    ///
    /// # Errors
    /// What the system says.
    pub fn give_up(&self, index: u32) -> io::Result<()> {
        self.give_up_place(self.place(index))
    }

    fn give_up_place(&self, place: u64) -> io::Result<()> {
        self.check_parent()?;
        // The list and the kernel change under one lock, so that no holder here takes the place in between.
        let mut taken = lock(&self.open.taken);
        if !lock(&self.own).remove(&place) {
            return Ok(());
        }
        let given_up = self.control(libc::F_SETLK, &mut Self::lock(place, 1, libc::F_UNLCK));
        taken.remove(&place);
        given_up
    }

    /// Does another holder have the liveness lock `index`, in another process or in this one?
    ///
    /// # Errors
    /// What the system says.
    pub fn is_taken_by_another(&self, index: u32) -> io::Result<bool> {
        self.is_one_taken_by_another(index, 1)
    }

    /// Does another holder have one of `count` liveness locks from `first` on?
    ///
    /// # Errors
    /// What the system says.
    pub fn is_one_taken_by_another(&self, first: u32, count: u32) -> io::Result<bool> {
        self.check_parent()?;
        let (from, count) = (self.place(first), u64::from(count));
        let taken = lock(&self.open.taken);
        let own = lock(&self.own);
        if taken.range(from..from + count).any(|place| !own.contains(place)) {
            return Ok(true);
        }
        // The kernel tells of locks of other processes only, so what is ours does not count here.
        let mut lock = Self::lock(from, count, libc::F_WRLCK);
        self.control(libc::F_GETLK, &mut lock)?;
        Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
    }
}

impl Drop for LivenessFile {
    fn drop(&mut self) {
        if self.open.fork.is_child() {
            return; // The parent's.
        }
        for place in std::mem::take(&mut *lock(&self.own)) {
            let mut taken = lock(&self.open.taken);
            // What cannot be given up now is given up when the file is closed.
            let _ = self.control(libc::F_SETLK, &mut Self::lock(place, 1, libc::F_UNLCK));
            taken.remove(&place);
        }
        // The list is there, as this holder is counted in it. The last holder closes the file, under the lock of the
        // list: no other can come to it meanwhile.
        let Ok(all) = OPEN.get() else { return };
        let mut all = lock(all);
        if self.open.holders.fetch_sub(1, Ordering::Relaxed) == 1 {
            all.retain(|open| !Arc::ptr_eq(open, &self.open));
            // SAFETY: a descriptor of ours, which no thread uses any more: there was no other holder, and
            // none can have come since, as we hold the list.
            unsafe { libc::close(self.open.file.as_raw_fd()) };
        }
    }
}

/// When a process was started, in ticks since the machine was: with its number, that names it.
/// 0 if it is not there, or `/proc` is not.
pub fn started_at(process: u32) -> u64 {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return 0 };
    // The second field is a name in parentheses that may contain anything; the 22nd is the time.
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that nothing has.
    fn fresh(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("contempo-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    fn make(path: &Path) -> LivenessFile {
        let (liveness, made) = LivenessFile::open_or_make(path, 0o600, 0).unwrap();
        assert!(made);
        liveness
    }

    /// What a forked child says.
    fn in_child(test: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child runs the closure, and ends without running anything else.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(test));
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!well.unwrap_or(false))) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        status == 0
    }

    #[test]
    fn a_liveness_lock_shows_to_others_only_and_ends_with_its_holder() {
        let path = fresh("lease");
        let liveness = make(&path);
        assert!(!LivenessFile::open_or_make(&path, 0o600, 0).unwrap().1, "it is there already");
        assert!(liveness.try_take(3).unwrap() && !liveness.is_taken_by_another(3).unwrap());
        let child = in_child(|| {
            // Its parent's holder knows nothing of a child; its own does.
            assert!(liveness.try_take(4).is_err() && liveness.is_taken_by_another(3).is_err());
            let own = LivenessFile::open(&path, 0, None).unwrap();
            let refused = matches!(own.try_take(3), Ok(false));
            let shown = matches!(own.is_taken_by_another(3), Ok(true));
            let among = matches!(own.is_one_taken_by_another(0, 64), Ok(true));
            refused && shown && among && matches!(own.try_take(4), Ok(true))
        });
        assert!(child);
        assert!(!liveness.is_taken_by_another(4).unwrap(), "the child is gone");
        assert!(!liveness.is_one_taken_by_another(0, 64).unwrap(), "no process but this");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn spaces_do_not_meet_and_one_is_at_the_gate() {
        let path = fresh("spaces");
        let first = make(&path);
        let other = LivenessFile::open(&path, 1 << 15, None).unwrap();
        let last = LivenessFile::open(&path, u64::MAX, None).unwrap();
        for index in [0, 1, (1 << SPACE_BITS) - 1] {
            assert!(first.try_take(index).unwrap() && other.try_take(index).unwrap());
            assert!(last.try_take(index).unwrap() && !first.is_taken_by_another(index).unwrap());
        }
        let timeout = Duration::from_millis(5);
        let gate = first.take_gate(timeout).unwrap();
        assert_eq!(other.take_gate(timeout).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let outside = || LivenessFile::open(&path, 0, None).unwrap().take_gate(timeout).is_err();
        assert!(in_child(outside), "another process");
        drop(gate);
        drop(other.take_gate(timeout).unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_child_opens_files_whatever_its_parents_threads_were_at() {
        let path = fresh("forked");
        let kept = make(&path);
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        drop(LivenessFile::open(&path, 7, None).unwrap());
                    }
                });
            }
            for round in 0..200 {
                let opens = in_child(|| {
                    // SAFETY: ends a child that hangs.
                    unsafe { libc::alarm(20) };
                    LivenessFile::open(&path, 7, None).is_ok_and(|own| own.try_take(5).is_ok())
                });
                if !opens {
                    done.store(true, Ordering::Relaxed);
                }
                assert!(opens, "round {round}");
            }
            done.store(true, Ordering::Relaxed);
        });
        drop(kept);
        std::fs::remove_file(&path).unwrap();
    }

    /// Does this process have the liveness lock, as another one sees it?
    fn shows(path: &Path, index: u32) -> bool {
        // SAFETY: the child makes system calls only, and ends without running anything else.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let options = libc::O_RDWR | libc::O_CLOEXEC;
            let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
            // SAFETY: system calls on a name and a descriptor of our own.
            unsafe {
                let file = libc::open(name.as_ptr(), options);
                let mut lock = LivenessFile::lock(index.into(), 1, libc::F_WRLCK);
                let asked = libc::fcntl(file, libc::F_GETLK, &raw mut lock);
                let taken = lock.l_type != libc::F_UNLCK as libc::c_short;
                libc::_exit(if asked == -1 { 2 } else { i32::from(taken) });
            }
        }
        let mut status = 0;
        // SAFETY: waits for our own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) < 2);
        libc::WEXITSTATUS(status) == 1
    }

    #[test]
    fn holders_in_one_process_keep_each_others_liveness_locks() {
        let path = fresh("holders");
        let first = make(&path);
        assert!(first.try_take(1).unwrap() && shows(&path, 1));
        let second = LivenessFile::open(&path, 0, None).unwrap();
        assert!(!second.try_take(1).unwrap() && second.is_taken_by_another(1).unwrap());
        assert!(second.try_take(2).unwrap() && shows(&path, 2));
        second.give_up(1).unwrap();
        assert!(shows(&path, 1), "given up by one that does not have it");
        drop(first);
        assert!(!shows(&path, 1) && shows(&path, 2), "each holder's end with it");
        // At another name, and closed again: the same file.
        let moved = path.with_extension("moved");
        std::fs::rename(&path, &moved).unwrap();
        drop(LivenessFile::open(&moved, 0, None).unwrap());
        assert!(shows(&moved, 2));
        drop(second);
        assert!(!shows(&moved, 2));
        std::fs::remove_file(&moved).unwrap();
    }

    #[test]
    fn a_process_has_a_start_time() {
        assert_ne!(started_at(std::process::id()), 0);
        assert_eq!(started_at(u32::MAX), 0);
    }
}
