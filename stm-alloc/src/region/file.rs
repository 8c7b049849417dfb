//! Files that are ours: opened without following links, told by what they are, removed by what they are.
//!
//! A path is a name, and the file that has it may change at any time. So whatever is opened, changed or removed here
//!
//! - is opened without following a link in the last place of the path (`O_NOFOLLOW`), and without waiting for another
//!   process (a pipe);
//! - is known for ours by its descriptor: it is a regular file that begins as ours do;
//! - is changed by its descriptor, and removed only if its name still leads to this very file, by device and inode.
//!
//! Between that last look and the removal the system has nothing that would keep others from putting another file
//! there: a program that may write to the folder, and does just that, may lose that file.

use std::ffi::CString;
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Names a file of this machine: device and inode.
pub type Identity = (u64, u64);

/// What the names of drafts have between that of the file and a random number.
pub const DRAFT: &str = ".making-";
/// How a draft begins, until it is complete.
const DRAFT_MAGIC: [u8; 8] = *b"CONTDRFT";
/// How often a maker begins anew because another has taken its draft away.
const TRIES: u32 = 256;

fn of(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Which file this is.
///
/// # Errors
/// What the system says.
pub fn identity(file: &File) -> io::Result<Identity> {
    Ok(of(&file.metadata()?))
}

/// Which file has this name; a link counts as itself.
///
/// # Errors
/// What the system says.
pub fn identity_at(path: &Path) -> io::Result<Identity> {
    Ok(of(&path.symlink_metadata()?))
}

/// Has this file the name? No if nothing has.
///
/// # Errors
/// What the system says else.
pub fn is_at(path: &Path, identity: Identity) -> io::Result<bool> {
    match identity_at(path) {
        Ok(found) => Ok(found == identity),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Opens a regular file, without following a link and without waiting.
///
/// # Errors
/// What the system says; `InvalidInput` if it is a link, or no regular file.
pub fn open(path: &Path, write: bool) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(write);
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = options.custom_flags(flags).open(path).map_err(|error| {
        match error.raw_os_error() {
            Some(libc::ELOOP) => invalid("it is a symbolic link, which is not followed"),
            // A pipe without a reader, a socket, a folder.
            Some(libc::ENXIO | libc::EISDIR) => invalid("it is no regular file"),
            _ => error,
        }
    })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(invalid("it is no regular file")) }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

/// Does the file begin with these bytes?
///
/// # Errors
/// What the system says.
pub fn begins_with(file: &File, bytes: &[u8]) -> io::Result<bool> {
    let mut found = vec![0; bytes.len()];
    match file.read_exact_at(&mut found, 0) {
        Ok(()) => Ok(found == bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the name if it is this file's. Says whether it was.
///
/// # Errors
/// What the system says.
pub fn remove(path: &Path, identity: Identity) -> io::Result<bool> {
    if !is_at(path, identity)? {
        return Ok(false);
    }
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the file this mode, if it has another.
///
/// # Errors
/// What the system says.
pub fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o7777 == mode & 0o7777 {
        return Ok(());
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// A random number that is not 0.
///
/// # Errors
/// What the system says.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0_u8; 8];
    // SAFETY: writes at most `bytes.len()` bytes to `bytes`, a local.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != 8 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from_ne_bytes(bytes) | 1)
}

/// A file that is being made, under a name of its own beside its place. It goes with this, unless it was moved to its
/// place.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: File,
    identity: Identity,
}

impl Draft {
    /// An empty one, but for a mark at its beginning, which is to be written over.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(place: &Path, mode: u32) -> io::Result<Self> {
        for _ in 0..TRIES {
            let mut name = place.as_os_str().to_owned();
            name.push(format!("{DRAFT}{:016x}", random()?));
            let mut options = File::options();
            options.read(true).write(true).create_new(true).mode(mode);
            let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(&name)?;
            let identity = identity(&file)?;
            let draft = Draft { path: name.into(), file, identity };
            // A process that came before we had locked it may have removed it, or is about to.
            if try_lock(&draft.file) && draft.file.metadata()?.nlink() > 0 {
                draft.file.write_all_at(&DRAFT_MAGIC, 0)?;
                // As the user says, whatever the umask.
                set_mode(&draft.file, mode)?;
                return Ok(draft);
            }
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Moves it to its place, where there must be nothing.
    ///
    /// # Errors
    /// `AlreadyExists`; or what the system says.
    pub fn publish(&self, place: &Path) -> io::Result<()> {
        move_to(&self.path, place)
    }

    /// The file, once it was moved: what is left of the draft goes.
    ///
    /// # Errors
    /// If there is no other descriptor for it.
    pub fn into_file(self) -> io::Result<File> {
        let file = self.file.try_clone()?;
        // SAFETY: an open descriptor and integers. (It may be a lock on the same file as others, to some systems.)
        unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
        Ok(file)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Mostly it is not there any more.
        let _ = remove(&self.path, self.identity);
    }
}

/// Locks the file for as long as a process has it open by this descriptor, or mapped by it.
fn try_lock(file: &File) -> bool {
    // SAFETY: an open descriptor and integers.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
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
    // It may stay: no process has it locked once we are gone, and the next maker removes it.
    let _ = std::fs::remove_file(from);
    Ok(())
}

/// Removes the drafts for this place whose makers are dead: those that no process has locked, and that begin as a draft
/// does (or are empty), or as `complete` files do.
pub fn remove_drafts(place: &Path, complete: &[&[u8]]) {
    let Some(name) = place.file_name() else { return };
    let folder = match place.parent() {
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
        remove_abandoned(&entry.path(), complete, || ());
    }
}

/// `meanwhile` is for tests: between the look and the removal.
fn remove_abandoned(draft: &Path, complete: &[&[u8]], meanwhile: impl FnOnce()) {
    let Ok(file) = open(draft, false) else { return };
    let begins = |bytes: &[u8]| begins_with(&file, bytes).unwrap_or(false);
    let is_empty = file.metadata().is_ok_and(|it| it.len() == 0);
    if (is_empty || begins(&DRAFT_MAGIC) || complete.iter().any(|bytes| begins(bytes)))
        && try_lock(&file)
        && let Ok(identity) = identity(&file)
    {
        meanwhile();
        // Locked until it is gone (`file` lives as long): a maker that locks it after this sees that.
        let _ = remove(draft, identity);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("contempo-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn a_file_is_moved_to_a_free_place_only() {
        let (from, to) = (fresh("move-from"), fresh("move-to"));
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
    fn what_is_no_regular_file_is_not_opened() {
        let (file, link, pipe) = (fresh("regular"), fresh("link"), fresh("pipe"));
        std::fs::write(&file, "some text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let name = CString::new(pipe.as_os_str().as_bytes()).unwrap();
        // SAFETY: a name that ends with a zero.
        assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
        for (write, path) in [(false, &link), (true, &link), (false, &pipe), (true, &pipe)] {
            let refused = open(path, write).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{refused}");
        }
        assert_eq!(
            open(&std::env::temp_dir(), true).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
        let opened = open(&file, false).unwrap();
        assert!(begins_with(&opened, b"some").unwrap() && !begins_with(&opened, b"text").unwrap());
        assert!(!begins_with(&opened, b"some text and more").unwrap());
        for path in [file, link, pipe] {
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn a_name_that_has_become_anothers_is_not_removed() {
        let (path, kept) = (fresh("removed"), fresh("removed-kept"));
        std::fs::write(&path, "first").unwrap();
        let first = identity(&open(&path, false).unwrap()).unwrap();
        std::fs::rename(&path, &kept).unwrap();
        assert!(!is_at(&path, first).unwrap() && !remove(&path, first).unwrap());
        // Another file; and a link to the very same one.
        std::fs::write(&path, "second").unwrap();
        assert!(!remove(&path, first).unwrap() && path.exists());
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&kept, &path).unwrap();
        assert!(!remove(&path, first).unwrap() && path.is_symlink());
        assert!(remove(&kept, first).unwrap() && !kept.exists());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn no_draft_is_removed_under_its_maker() {
        let path = fresh("maker");
        // A maker has made its file, and comes to lock it while another takes that for one of a dead maker.
        let file = File::create(&path).unwrap();
        remove_abandoned(&path, &[], || assert!(!try_lock(&file), "locked by both"));
        let gone = try_lock(&file) && file.metadata().unwrap().nlink() == 0;
        assert!(gone, "it sees that it was too late");
        // And the other way round.
        let file = File::create(&path).unwrap();
        assert!(try_lock(&file));
        remove_abandoned(&path, &[], || panic!("it is in use"));
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn drafts_of_the_dead_are_removed_and_no_others() {
        let path = fresh("drafts");
        let alive = Draft::new(&path, 0o600).unwrap();
        let with = |end: &str, text: &[u8]| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            std::fs::write(&name, text).unwrap();
            PathBuf::from(name)
        };
        let dead = [
            with(".making-0123456789abcdef", b""),
            with(".making-0123456789abcde0", b"CONTDRFT and more"),
            with(".making-0123456789abcde1", b"complete"),
        ];
        let others = [
            with(".making-0123", b""),
            with(".making-0123456789abcdeg", b""),
            with(".draft", b""),
            with(".making-0123456789abcde2", b"a letter to a friend"),
            with(".making-0123456789abcde3", &[0; 4096]),
        ];
        remove_drafts(&path, &[b"complete"]);
        assert!(alive.path.exists() && dead.iter().all(|dead| !dead.exists()));
        for other in others {
            std::fs::remove_file(other).unwrap();
        }
        let left = alive.path.clone();
        drop(alive);
        assert!(!left.exists());
    }
}
