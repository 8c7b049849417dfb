//! Who is alive: leases that the kernel takes back at death.
//!
//! A process that takes part holds a lock on one byte of a *lease file*. The kernel gives the lock up
//! when the process ends, however it ends, and at no other time: not when it is stopped, not when its
//! number is given to another, and it answers across pid namespaces. (`kill(pid, 0)` fails in all
//! three.) These are the traditional record locks of POSIX: a forked child does not inherit them, so
//! a child does not keep its dead parent alive. Their trap is that closing *any* descriptor of the
//! file drops all locks of the process; so a process opens a lease file once, and keeps it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// An open lease file. Dropping it gives up every lease of this process in it.
#[derive(Debug)]
pub struct LeaseFile {
    file: File,
}

impl LeaseFile {
    /// Opens the file at `path`; with `create_mode`, makes it, which fails if it is there already.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path, create_mode: Option<u32>) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).custom_flags(libc::O_CLOEXEC);
        if let Some(mode) = create_mode {
            options.create_new(true).mode(mode);
        }
        Ok(LeaseFile { file: options.open(path)? })
    }

    /// Identifies the file on this machine: device and inode.
    ///
    /// # Errors
    /// What the system says.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.dev(), metadata.ino()))
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
        // SAFETY: the descriptor is open, and `lock` is a `flock` that lives for the call.
        if unsafe { libc::fcntl(self.file.as_raw_fd(), command, std::ptr::from_mut(lock)) } == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Takes the lease `index` if no other process has it. (This process may have it already.)
    ///
    /// # Errors
    /// What the system says, other than that it is taken.
    pub fn try_take(&self, index: u32) -> io::Result<bool> {
        match self.control(libc::F_SETLK, &mut Self::lock(index, libc::F_WRLCK)) {
            Ok(()) => Ok(true),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the lease `index` up.
    ///
    /// # Errors
    /// What the system says.
    pub fn give_up(&self, index: u32) -> io::Result<()> {
        self.control(libc::F_SETLK, &mut Self::lock(index, libc::F_UNLCK))
    }

    /// Does another process have the lease `index`? (The leases of this process do not show.)
    ///
    /// # Errors
    /// What the system says.
    pub fn is_taken_by_another(&self, index: u32) -> io::Result<bool> {
        let mut lock = Self::lock(index, libc::F_WRLCK);
        self.control(libc::F_GETLK, &mut lock)?;
        Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
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
        mark.word().store(1, Ordering::Relaxed);
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
        self.word().load(Ordering::Relaxed) == 0
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; nobody has a reference to it any more.
        unsafe { libc::munmap(self.page.as_ptr().cast(), PAGE) };
    }
}

/// Sleeps until `word`, which other processes may map too, is not `value` any more or somebody wakes
/// it; for at most `time`. May return early.
pub fn wait_shared(word: &AtomicU32, value: u32, time: std::time::Duration) {
    let time = libc::timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos() as _ };
    // SAFETY: the word and the time are alive for the length of the call.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, &raw const time);
    }
}

/// Wakes everyone who sleeps on `word`, in any process.
pub fn wake_shared(word: &AtomicU32) {
    // SAFETY: the word is alive for the length of the call; the kernel does not write to it.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
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
