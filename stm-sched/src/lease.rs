//! Who is alive: leases that the kernel takes back at death.
//!
//! A process that takes part holds a lock on one byte of a *lease file*. The kernel gives the lock up
//! when the process ends, however it ends, and at no other time: not when it is stopped, not when its
//! number is given to another, and it answers across pid namespaces. (`kill(pid, 0)` fails in all
//! three.) These are the traditional record locks of POSIX: a forked child does not inherit them, so
//! a child does not keep its dead parent alive. They have two traps, and a list of the process's lease
//! files (`Open`) is there for both: closing *any* descriptor of the file drops all locks of the
//! process, so there is one descriptor for each file, which is closed when nobody in the process holds
//! anything; and the kernel does not tell two holders in one process apart, so the list does.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A lease file that this process has open.
#[derive(Debug)]
struct Open {
    file: ManuallyDrop<File>,
    identity: (u64, u64),
    /// Leases that some holder in this process has.
    taken: Mutex<BTreeSet<u32>>,
    /// A child has the descriptor of its parent, and none of the locks.
    fork: ForkMark,
    /// Holders. Changed under the lock of [`OPEN`] only.
    holders: AtomicU32,
}

/// The lease files that this process has open. Files are opened and closed under its lock, so no
/// descriptor is closed while another holder of the same file has a lease.
static OPEN: Mutex<Vec<Arc<Open>>> = Mutex::new(Vec::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever is guarded here is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One holder of leases. Dropping it gives up what it holds, and nothing else.
#[derive(Debug)]
pub struct LeaseFile {
    open: Arc<Open>,
    own: Mutex<BTreeSet<u32>>,
}

fn identity_of(file: &File) -> io::Result<(u64, u64)> {
    let metadata = file.metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

impl LeaseFile {
    /// Opens the file at `path`; with `create_mode`, makes it, which fails if it is there already.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, create_mode: Option<u32>) -> io::Result<Self> {
        let mut all = lock(&OPEN);
        // A parent's are not ours, and closing one would drop what we have in it by another descriptor.
        all.retain(|open| !open.fork.is_child());
        let known = |all: &[Arc<Open>], identity| {
            let open = all.iter().find(|open| open.identity == identity)?;
            // Relaxed, here and below: under the lock.
            open.holders.fetch_add(1, Ordering::Relaxed);
            Some(LeaseFile { open: Arc::clone(open), own: Mutex::default() })
        };
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_CLOEXEC);
        match create_mode {
            Some(mode) => {
                options.create_new(true).mode(mode);
            }
            None => {
                // To look at it drops no lock.
                let look = libc::O_PATH | libc::O_CLOEXEC;
                let place = File::options().read(true).custom_flags(look).open(path)?;
                if let Some(known) = known(&all, identity_of(&place)?) {
                    return Ok(known);
                }
            }
        }
        let fork = ForkMark::new()?;
        // Not to be closed on any way out before it is known that nobody here has a lease in it.
        let file = ManuallyDrop::new(options.open(path)?);
        let identity = identity_of(&file)?;
        if let Some(known) = known(&all, identity) {
            return Ok(known); // Moved to this place since we looked: the descriptor stays open.
        }
        let (taken, holders) = (Mutex::default(), AtomicU32::new(1));
        let open = Arc::new(Open { file, identity, taken, fork, holders });
        all.push(Arc::clone(&open));
        Ok(LeaseFile { open, own: Mutex::default() })
    }

    /// Identifies the file on this machine: device and inode.
    pub fn identity(&self) -> (u64, u64) {
        self.open.identity
    }

    /// Gives the file this mode.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        self.open.file.set_permissions(std::fs::Permissions::from_mode(mode))
    }

    fn lock(index: u32, kind: libc::c_int) -> libc::flock {
        libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: libc::off_t::from(index),
            l_len: 1,
            l_pid: 0,
        }
    }

    fn control(&self, command: libc::c_int, lock: &mut libc::flock) -> io::Result<()> {
        let file = self.open.file.as_raw_fd();
        // SAFETY: the descriptor is open, and `lock` is a `flock` that lives for the call.
        if unsafe { libc::fcntl(file, command, std::ptr::from_mut(lock)) } == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Takes the lease `index` if nobody has it: no other process, and no holder in this one.
    ///
    /// # Errors
    /// What the system says, other than that it is taken.
    pub fn try_take(&self, index: u32) -> io::Result<bool> {
        let mut taken = lock(&self.open.taken);
        if taken.contains(&index) {
            return Ok(false);
        }
        match self.control(libc::F_SETLK, &mut Self::lock(index, libc::F_WRLCK)) {
            Ok(()) => {
                taken.insert(index);
                lock(&self.own).insert(index);
                Ok(true)
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the lease `index` up, if this holder has it.
    ///
    /// # Errors
    /// What the system says.
    pub fn give_up(&self, index: u32) -> io::Result<()> {
        let mut taken = lock(&self.open.taken);
        if !lock(&self.own).remove(&index) {
            return Ok(());
        }
        let given_up = self.control(libc::F_SETLK, &mut Self::lock(index, libc::F_UNLCK));
        taken.remove(&index);
        given_up
    }

    /// Does somebody else have the lease `index`, in another process or in this one?
    ///
    /// # Errors
    /// What the system says.
    pub fn is_taken_by_another(&self, index: u32) -> io::Result<bool> {
        if lock(&self.open.taken).contains(&index) {
            return Ok(!lock(&self.own).contains(&index));
        }
        let mut lock = Self::lock(index, libc::F_WRLCK);
        self.control(libc::F_GETLK, &mut lock)?;
        Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
    }
}

impl Drop for LeaseFile {
    fn drop(&mut self) {
        if self.open.fork.is_child() {
            return; // The parent's.
        }
        for index in std::mem::take(&mut *lock(&self.own)) {
            let mut taken = lock(&self.open.taken);
            // What cannot be given up now is given up when the file is closed.
            let _ = self.control(libc::F_SETLK, &mut Self::lock(index, libc::F_UNLCK));
            taken.remove(&index);
        }
        let mut all = lock(&OPEN);
        if self.open.holders.fetch_sub(1, Ordering::Relaxed) == 1 {
            all.retain(|open| !Arc::ptr_eq(open, &self.open));
            // SAFETY: a descriptor of ours, which nobody uses any more: there was no other holder, and
            // none can have come since, as we hold the list.
            unsafe { libc::close(self.open.file.as_raw_fd()) };
        }
    }
}

/// Tells a process from its forked children: a word in a page that the kernel clears in a child.
#[derive(Debug)]
pub struct ForkMark {
    page: NonNull<AtomicU32>,
}

// SAFETY: the page is an atomic word, shared by the threads of this process.
unsafe impl Send for ForkMark {}
// SAFETY: as above.
unsafe impl Sync for ForkMark {}

const PAGE: usize = 4096;

/// What the word of a [`ForkMark`] can be.
const CLEARED: u32 = 0;
const GOOD: u32 = 1;
const SPOILED: u32 = 2;

impl ForkMark {
    /// Marks this process.
    ///
    /// # Errors
    /// What the system says; Linux before 4.14 does not know such pages.
    pub fn new() -> io::Result<Self> {
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping, at an address that the kernel chooses.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, access, kind, -1, 0) };
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(word) = NonNull::new(page.cast::<AtomicU32>()) else {
            return Err(io::Error::other("the kernel mapped a page at address zero"));
        };
        let mark = ForkMark { page: word };
        // SAFETY: the page was just mapped, and is ours.
        if unsafe { libc::madvise(page, PAGE, libc::MADV_WIPEONFORK) } == -1 {
            return Err(io::Error::last_os_error());
        }
        // Relaxed: a child is made by a system call of this process, after this.
        mark.word().store(GOOD, Ordering::Relaxed);
        Ok(mark)
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: mapped until drop, aligned, and never accessed otherwise.
        unsafe { self.page.as_ref() }
    }

    /// Is this a forked child of the process that made the mark?
    #[inline(always)]
    pub fn is_child(&self) -> bool {
        // Relaxed: see `new`.
        self.word().load(Ordering::Relaxed) == CLEARED
    }

    /// Says, once and for all, that what the mark belongs to is not to be used any more.
    pub fn spoil(&self) {
        // Relaxed: nothing is passed on with it. A swap: the mark of a child stays that.
        let _ = self.word().compare_exchange(GOOD, SPOILED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Has that been said, by this process?
    #[inline(always)]
    pub fn is_spoiled(&self) -> bool {
        self.word().load(Ordering::Relaxed) == SPOILED
    }

    /// Is this the process that made the mark, and has it not spoiled it? One load.
    #[inline(always)]
    pub fn is_good(&self) -> bool {
        self.word().load(Ordering::Relaxed) == GOOD
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; nobody has a reference to it any more.
        unsafe { libc::munmap(self.page.as_ptr().cast(), PAGE) };
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

    #[test]
    fn a_lease_shows_to_others_only_and_ends_with_its_holder() {
        let path = std::env::temp_dir().join(format!("contempo-lease-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let leases = LeaseFile::open(&path, Some(0o600)).unwrap();
        assert!(LeaseFile::open(&path, Some(0o600)).is_err(), "it is there already");
        assert!(leases.try_take(3).unwrap() && !leases.is_taken_by_another(3).unwrap());
        // SAFETY: the child makes system calls only, and ends without running anything else.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // By the system alone: what the parent knows of itself is not the child's.
            lock(&leases.open.taken).clear();
            let refused = matches!(leases.try_take(3), Ok(false));
            let shown = matches!(leases.is_taken_by_another(3), Ok(true));
            let other = matches!(leases.try_take(4), Ok(true));
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!(refused && shown && other))) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
        assert!(!leases.is_taken_by_another(4).unwrap(), "the child is gone");
        std::fs::remove_file(&path).unwrap();
    }

    /// Does this process have the lease, as another one sees it?
    fn shows(path: &Path, index: u32) -> bool {
        // SAFETY: the child makes system calls only, and ends without running anything else.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let options = libc::O_RDWR | libc::O_CLOEXEC;
            let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
            // SAFETY: system calls on a name and a descriptor of our own.
            unsafe {
                let file = libc::open(name.as_ptr(), options);
                let mut lock = LeaseFile::lock(index, libc::F_WRLCK);
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
    fn holders_in_one_process_keep_each_others_leases() {
        let path = std::env::temp_dir().join(format!("contempo-holders-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let first = LeaseFile::open(&path, Some(0o600)).unwrap();
        assert!(first.try_take(1).unwrap() && shows(&path, 1));
        let second = LeaseFile::open(&path, None).unwrap();
        assert!(!second.try_take(1).unwrap() && second.is_taken_by_another(1).unwrap());
        assert!(second.try_take(2).unwrap() && shows(&path, 2));
        second.give_up(1).unwrap();
        assert!(shows(&path, 1), "given up by one that does not have it");
        drop(first);
        assert!(!shows(&path, 1) && shows(&path, 2), "each holder's end with it");
        // At another name, and closed again: the same file.
        let moved = path.with_extension("moved");
        std::fs::rename(&path, &moved).unwrap();
        drop(LeaseFile::open(&moved, None).unwrap());
        assert!(shows(&moved, 2));
        drop(second);
        assert!(!shows(&moved, 2));
        std::fs::remove_file(&moved).unwrap();
    }

    #[test]
    fn a_child_is_told_from_its_parent() {
        let mark = ForkMark::new().unwrap();
        assert!(!mark.is_child());
        // SAFETY: as above.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends the child.
            unsafe { libc::_exit(i32::from(!mark.is_child())) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((status, mark.is_child()), (0, false));
    }

    #[test]
    fn a_process_has_a_start_time() {
        assert_ne!(started_at(std::process::id()), 0);
        assert_eq!(started_at(u32::MAX), 0);
    }
}
