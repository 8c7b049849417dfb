//! A place for the files of a region, in memory if there is such a place; and tests that play a role in
//! another process.
#![allow(dead_code, reason = "each test binary uses a part of this")]

use contempo::shared::{Cell, Options, Shared};
use std::panic::Location;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A path for a region. Its files go when this does.
#[derive(Debug)]
pub(crate) struct Place(PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("contempo-test-{}-{number}", std::process::id()));
        let place = Place(path);
        place.remove();
        place
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_file(contempo::shared::liveness_path(&self.0));
    }
}

impl AsRef<Path> for Place {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.remove();
    }
}

const ROLE: &str = "CONTEMPO_DEATH_ROLE";
const PLACE: &str = "CONTEMPO_DEATH_PLACE";

/// This test again, in another process, where it plays a role.
#[track_caller]
pub(crate) fn play(test: &str, role: &str, place: &Path) -> Child {
    command(test, role, place).spawn().unwrap()
}

/// The same, to be started. (Tests are in a module of their file's name, if that is not the whole binary.)
#[track_caller]
pub(crate) fn command(test: &str, role: &str, place: &Path) -> Command {
    let file = Path::new(Location::caller().file());
    let module = file.file_stem().unwrap().to_str().unwrap();
    // (Those with planted faults have all of their tests at the top, as `ci/faults.sh` reads them.)
    let alone = file.parent().is_some_and(|folder| folder.ends_with("tests"))
        || env!("CARGO_CRATE_NAME") == "seeded_regions";
    let test = if alone { test.to_owned() } else { format!("{module}::{test}") };
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", &test, "--nocapture", "--test-threads", "1"])
        .env(ROLE, role)
        .env(PLACE, place)
        .stdout(Stdio::piped());
    command
}

/// The role that this process plays, and where.
pub(crate) fn role() -> Option<(String, PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(PLACE)?.into()))
}

/// A region of its own.
pub(crate) fn fresh() -> (Place, Shared) {
    let place = Place::new();
    let shared = Shared::create(&place, &Options::new()).unwrap();
    (place, shared)
}

/// Runs `f` on another thread and waits for it: interference at exactly this point.
pub(crate) fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| scope.spawn(f).join().unwrap())
}

/// The value of a cell, by a snapshot.
pub(crate) fn get(shared: &Shared, cell: Cell<u64>) -> u64 {
    shared.snapshot(|view| view.read(cell)).unwrap()
}

/// Makes it that.
pub(crate) fn set(shared: &Shared, cell: Cell<u64>, value: u64) {
    shared.atomically(|tx| tx.write(cell, &value)).unwrap();
}

/// Everything is where it should be, nothing is lost, and there are so many cells.
pub(crate) fn sound(shared: &Shared, cells: usize) {
    shared.collect().unwrap();
    let report = shared.verify();
    assert!(report.is_sound() && (report.retired, report.dead) == (0, 0), "{report}");
    assert_eq!((report.cells, report.versions), (cells, cells), "{report}");
}
