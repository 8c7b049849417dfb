//! Files that are no regions, or only half of one, and links: nothing of others is opened for a region, changed or
//! removed; and a region that was cut off is told.

use crate::support::region::{Place, play, role};
use contempo::shared::{
    Cell, OpenError, Options, Shared, TransactionError, Unusable, liveness_path,
};
use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

/// A folder of its own, which goes with this.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("contempo-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names, targets, sizes, modes and times of all that is there.
    fn content(&self) -> Vec<String> {
        let look = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            let it = path.symlink_metadata().unwrap();
            let target = std::fs::read_link(&path).unwrap_or_default();
            format!("{path:?} {target:?} {} {:o} {}", it.ino(), it.mode(), it.len())
        };
        let mut all: Vec<_> = std::fs::read_dir(&self.0).unwrap().map(look).collect();
        all.sort();
        all
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Calls `f` on a thread of its own, and waits until that has ended: no thread is attached then.
fn aside<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(f).join().unwrap())
}

fn make(path: &Path) {
    aside(|| drop(Shared::create(path, &Options::new()).unwrap()));
}

#[test]
fn what_is_no_region_is_not_removed() {
    let folder = Folder::new("no-region");
    let (region, path) = (folder.join("region"), folder.join("file"));
    make(&region);
    let lock_file = liveness_path(&region);
    let text = "a letter to a friend";
    let zeros_first = [&[0; 4096], text.as_bytes()].concat();
    let contents: [&[u8]; 5] = [b"", text.as_bytes(), &[0; 512], &zeros_first, b"CONTEMP"];
    for content in contents {
        std::fs::write(&path, content).unwrap();
        let before = folder.content();
        let refused = Shared::remove(&path).unwrap_err();
        assert!(matches!(refused, OpenError::Unusable(Unusable::NotARegion)), "{refused:?}");
        assert_eq!((folder.content(), std::fs::read(&path).unwrap()), (before, content.to_vec()));
    }
    std::fs::remove_file(&path).unwrap();
    // The liveness file of a region; a folder; nothing.
    std::fs::create_dir(&path).unwrap();
    let before = folder.content();
    for path in [&lock_file, &path] {
        let refused = Shared::remove(path).unwrap_err();
        assert!(matches!(refused, OpenError::Unusable(Unusable::NotARegion)), "{refused:?}");
    }
    let nothing = Shared::remove(folder.join("nothing")).unwrap_err();
    let is_told =
        matches!(&nothing, OpenError::System { error, .. } if error.kind() == ErrorKind::NotFound);
    assert!(is_told, "{nothing:?}");
    assert_eq!(folder.content(), before);
    // Also while it is in use here.
    aside(|| {
        let shared = Shared::open(&region).unwrap();
        let refused = Shared::remove(&lock_file).unwrap_err();
        assert!(matches!(refused, OpenError::Unusable(Unusable::NotARegion)), "{refused:?}");
        drop(shared);
    });
    Shared::remove(&region).unwrap();
    assert!(!region.exists() && !lock_file.exists());
}

#[test]
fn a_link_to_a_region_is_followed_to_open_it_and_not_to_remove_it() {
    let (folder, other) = (Folder::new("link"), Folder::new("link-elsewhere"));
    let (region, link) = (other.join("region"), folder.join("link"));
    make(&region);
    symlink(&region, &link).unwrap();
    // By the link, in another folder, it is the same region; and leaves no liveness file there.
    aside(|| drop(Shared::open(&link).unwrap()));
    aside(|| {
        let shared = Shared::open(&region).unwrap();
        let cell = shared.root("cell", 1_u64).unwrap();
        let again = Shared::open(&link).unwrap();
        again.atomically(|tx| tx.write(cell, &2)).unwrap();
        assert_eq!(shared.snapshot(|view| view.read(cell)).unwrap(), 2);
    });
    let before = (folder.content(), other.content());
    let refused = Shared::remove(&link).unwrap_err();
    assert!(matches!(refused, OpenError::Unusable(Unusable::Link)), "{refused:?}");
    for path in [&link, &folder.join("dangling")] {
        let _ = symlink(other.join("nothing"), path);
        let refused = Shared::create(path, &Options::new()).unwrap_err();
        let exists = matches!(&refused, OpenError::System { error, .. } if error.kind() == ErrorKind::AlreadyExists);
        assert!(exists, "{refused:?}");
    }
    std::fs::remove_file(folder.join("dangling")).unwrap();
    assert_eq!((folder.content(), other.content()), before);
    // A folder on the way may be a link.
    let way = folder.join("way");
    symlink(&other.0, &way).unwrap();
    aside(|| drop(Shared::open(way.join("region")).unwrap()));
    Shared::remove(way.join("region")).unwrap();
    assert!(other.content().is_empty() && link.is_symlink());
}

#[test]
fn what_stands_at_the_liveness_files_place_is_neither_followed_nor_changed() {
    let folder = Folder::new("lock_file-link");
    let (region, private) = (folder.join("region"), folder.join("private"));
    let lock_file = liveness_path(&region);
    let options = Options::new().mode(0o666);
    let contents: [&[u8]; 3] = [b"", b"a key", &contempo_alloc::region::liveness::MAGIC];
    for (number, content) in contents.into_iter().enumerate() {
        std::fs::write(&private, content).unwrap();
        std::fs::set_permissions(&private, Permissions::from_mode(0o600)).unwrap();
        for by_link in [true, false] {
            if by_link {
                symlink(&private, &lock_file).unwrap();
            } else if number == 2 {
                continue; // That is what our own look like.
            } else {
                std::fs::copy(&private, &lock_file).unwrap();
            }
            let before = folder.content();
            let refused = Shared::create(&region, &options).unwrap_err();
            assert!(
                matches!(refused, OpenError::System { what: "open the liveness file", .. }),
                "{refused:?}"
            );
            assert_eq!(folder.content(), before, "case {number}, link {by_link}");
            std::fs::remove_file(&lock_file).unwrap();
        }
        std::fs::remove_file(&private).unwrap();
    }
    // A region whose liveness file has been replaced by a link, even to itself.
    make(&region);
    std::fs::rename(&lock_file, &private).unwrap();
    symlink(&private, &lock_file).unwrap();
    let before = folder.content();
    let refused = aside(|| Shared::open(&region).map(drop)).unwrap_err();
    assert!(matches!(refused, OpenError::Unusable(Unusable::LivenessFileReplaced)), "{refused:?}");
    assert!(Shared::remove(&region).is_err());
    assert_eq!(folder.content(), before);
}

/// As regions were made before liveness files had a mark: empty, and named by the region.
#[test]
fn a_liveness_file_that_its_region_names_needs_no_mark() {
    let folder = Folder::new("old-lease");
    let region = folder.join("region");
    make(&region);
    File::options().write(true).open(liveness_path(&region)).unwrap().set_len(0).unwrap();
    aside(|| {
        Shared::open(&region).unwrap().root("cell", 1_u64).unwrap();
    });
    Shared::remove(&region).unwrap();
    assert!(folder.content().is_empty(), "{:?}", folder.content());
}

#[test]
fn a_region_that_was_cut_off_is_not_opened() {
    let place = Place::new();
    let options = Options::new().first_bytes(0).processes(1).threads(2);
    let (cell, region) = aside(|| {
        let shared = Shared::create(&place, &options).unwrap();
        let words = shared.root("cell", 7_u64).unwrap().to_bits();
        // It grows beyond what every region has at least.
        for n in 0..8 {
            shared.atomically(|tx| tx.create(&[n; 30_000][..])).unwrap();
        }
        (words, shared.inspect().instance)
    });
    let whole = std::fs::read(place.path()).unwrap();
    let file = File::options().read(true).write(true).open(place.path()).unwrap();
    let pages = (0..whole.len() as u64).step_by(4096);
    let between = [1, 7, 8, 1023, 1031, 8191, 70_001, whole.len() as u64 - 1];
    for length in pages.chain(between) {
        file.set_len(length).unwrap();
        let refused = aside(|| Shared::open(&place).map(drop)).unwrap_err();
        let OpenError::Unusable(why) = &refused else { panic!("{length}: {refused:?}") };
        match (length, why) {
            (0, Unusable::HalfCreated) | (1..8, Unusable::NotARegion) => {}
            (8.., Unusable::Truncated { found, expected }) => {
                assert!(*found == length && *expected > length, "{length}: {why}");
            }
            _ => panic!("{length}: {why:?}"),
        }
        assert_eq!(file.metadata().unwrap().len(), length, "it was touched");
        std::os::unix::fs::FileExt::write_all_at(&file, &whole, 0).unwrap();
    }
    let shared = Shared::open(&place).unwrap();
    assert_eq!(shared.inspect().instance, region);
    assert_eq!(shared.snapshot(|view| view.read(Cell::<u64>::from_bits(cell))).unwrap(), 7);
    assert!(shared.verify().is_sound());
}

#[test]
fn a_region_that_is_cut_off_in_use_is_told_where_that_can_be_seen() {
    let name = "a_region_that_is_cut_off_in_use_is_told_where_that_can_be_seen";
    if let Some((way, place)) = role() {
        let small = Options::new().first_bytes(0).most_bytes(4 << 20);
        let shared = Shared::create(&place, &small).unwrap();
        let cell = shared.root("cell", 1_u64).unwrap();
        let length = std::fs::metadata(&place).unwrap().len();
        let cut_off = || {
            File::options().write(true).open(&place).unwrap().set_len(length - 4096).unwrap();
        };
        cut_off();
        match &way[..] {
            "check" => {
                let report = shared.verify().to_string();
                assert!(report.contains("the file ends before"), "{report}");
            }
            "reap" => {
                shared.reap().unwrap();
                let read = shared.snapshot(|view| view.read(cell));
                assert!(matches!(read, Err(TransactionError::Corrupt)), "{read:?}");
            }
            "grow" => {
                let full = loop {
                    let made = shared.atomically(|tx| tx.create(&[1_u8; 30_000][..]));
                    if let Err(why) = made {
                        break why;
                    }
                };
                assert!(matches!(full, TransactionError::Corrupt), "{full}");
            }
            other => panic!("{other}"),
        }
        return;
    }
    for way in ["check", "reap", "grow"] {
        let place = Place::new();
        let status = play(name, way, place.path()).wait().unwrap();
        assert!(status.success(), "{way}: {status}, signal {:?}", status.signal());
    }
}
