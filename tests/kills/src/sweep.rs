//! A kill at every instruction; and of recoverers, around everything that they do to the region.

use crate::load::{LAG, Load, ROOM, SWEPT};
use crate::steps::{Ended, Failed, Victim};
use crate::verdict::Verdict;
use contempo::shared::{Options, Shared, liveness_path};
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Bytes of a region in which a few processes are a crowd: they take over what others hold.
pub(crate) const CROWDED: u64 = 1_300_000;

pub(crate) fn options() -> Options {
    Options::new().threads(16).processes(16).first_bytes(0)
}

/// A region for a sweep, and this process, which survives, attached to it.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) shared: Shared,
    pub(crate) load: Load,
}

impl Place {
    pub(crate) fn new(name: &str) -> Result<Self, Failed> {
        Self::with(name, &options())
    }

    pub(crate) fn with(name: &str, options: &Options) -> Result<Self, Failed> {
        let file = format!("contempo-kills-{}-{name}", std::process::id());
        let memory = PathBuf::from("/dev/shm");
        let path = if memory.is_dir() { memory } else { std::env::temp_dir() }.join(file);
        let _ = std::fs::remove_file(&path);
        let shared = Shared::create(&path, options)?;
        let mut load = Load::new(&shared)?;
        // What there is beside what there should be.
        let (_, others) = shared.atomically(|tx| load.audit(tx))?;
        load.directory += shared.verify().cells - others;
        Ok(Place { path, shared, load })
    }

    /// Takes all the room there is, and makes no use of it.
    fn hold_all(&self) -> Result<(), Failed> {
        self.shared.atomically(|tx| self.load.shrink(tx))?;
        let mut cells = Vec::new();
        while let Ok(cell) = self.shared.atomically(|tx| tx.create(&[0_u8; 30_000][..])) {
            cells.push(cell);
        }
        for cell in cells {
            self.shared.atomically(|tx| tx.free(cell))?;
        }
        Ok(())
    }

    /// Runs `f` beside a reader that begins before, and looks at all after it. What was wrong with what that saw?
    fn beside_a_reader<R>(
        &self,
        f: impl FnOnce() -> Result<R, Failed>,
    ) -> Result<(R, Option<String>), Failed> {
        std::thread::scope(|scope| {
            let ((begun, has_begun), (look, looks)) = (channel(), channel::<()>());
            let reader = scope.spawn(move || {
                self.shared.atomically(|tx| {
                    let first = self.load.audit(tx)?;
                    let _ = begun.send(());
                    let _ = looks.recv(); // Or `f` has failed.
                    Ok((first, self.load.audit(tx)?))
                })
            });
            has_begun.recv()?;
            let result = f();
            drop(look);
            let (first, last) = reader.join().map_err(|_| "the reader has panicked")??;
            let is_wrong = first != last || last.0.is_some();
            Ok((result?, is_wrong.then(|| format!("first {first:?}, and then {last:?}"))))
        })
    }

    fn recover(&self, verdict: &mut Verdict) -> Result<(), Failed> {
        let recovered = self.shared.reap()?;
        verdict.aborted += recovered.aborted;
        verdict.blocks += recovered.blocks;
        Ok(self.shared.collect()?)
    }

    /// Looks at what a death has left. False if the region cannot be used after it.
    pub(crate) fn examine(&self, what: &str, verdict: &mut Verdict) -> bool {
        verdict.kills += 1;
        let looked = self.look(what, verdict);
        if let Err(error) = &looked {
            verdict.inconsistent += 1;
            verdict.complain(|| format!("{what}: {error}"));
        }
        looked.is_ok()
    }

    fn look(&self, what: &str, verdict: &mut Verdict) -> Result<(), Failed> {
        // Every other time without recovery first: the dead keep no process from going on.
        if verdict.kills.is_multiple_of(2) {
            self.recover(verdict)?;
        }
        let begin = Instant::now();
        let count = self.load.count;
        self.shared.atomically(|tx| tx.modify(count, |count| count + 1))?;
        let (wrong, cells) = self.shared.atomically(|tx| {
            self.load.touch(tx)?;
            self.load.audit(tx)
        })?;
        let took = begin.elapsed();
        verdict.longest = verdict.longest.max(took);
        if took > Duration::from_secs(1) {
            verdict.stuck += 1;
            verdict.complain(|| format!("{what}: it took {took:?}"));
        }
        if let Some(wrong) = wrong {
            verdict.inconsistent += 1;
            verdict.complain(|| format!("{what}: {wrong}"));
        }
        self.recover(verdict)?;
        let (wrong, cells_after) = self.shared.atomically(|tx| self.load.audit(tx))?;
        if let Some(wrong) = wrong {
            verdict.inconsistent += 1;
            verdict.complain(|| format!("{what}, recovered: {wrong}"));
        }
        let report = self.shared.verify();
        // Nothing may be left to be recovered.
        let lost = (report.dead, report.to_recover) != (0, 0)
            || report.unreachable != 0
            || report.retired != 0
            || report.cells != cells_after
            || report.versions != cells_after;
        if !report.is_sound() || lost || cells != cells_after {
            verdict.leaked += 1;
            verdict.complain(|| format!("{what}: {cells_after} cells should be there:\n{report}"));
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(liveness_path(&self.path));
    }
}

/// Ends this process if it comes to a standstill.
pub(crate) fn watch(progress: &std::sync::Arc<std::sync::atomic::AtomicU64>) {
    use std::sync::atomic::Ordering;
    let progress = std::sync::Arc::clone(progress);
    std::thread::spawn(move || {
        let mut before = u64::MAX;
        loop {
            std::thread::sleep(Duration::from_secs(30));
            let now = progress.load(Ordering::Relaxed);
            if now == before {
                println!("stuck: nothing has happened for 30 seconds, after {now} kills");
                std::process::exit(1);
            }
            before = now;
        }
    });
}

/// A kill at every `stride`-th instruction of each kind of transaction.
pub(crate) fn sweep(
    seconds: u64,
    stride: u64,
    only: Option<&str>,
    fault: Option<String>,
) -> Result<Verdict, Failed> {
    let all = SWEPT.into_iter().filter(|kind| only.is_none_or(|only| only == *kind));
    let others = [ROOM, LAG].into_iter().filter(|kind| only == Some(*kind));
    let kinds: Vec<&str> = all.chain(others).collect();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut verdict, progress) = (Verdict::default(), std::sync::Arc::default());
    watch(&progress);
    for (number, &kind) in kinds.iter().enumerate() {
        let place = if kind == ROOM {
            Place::with(kind, &options().most_bytes(CROWDED))?
        } else {
            Place::new(kind)?
        };
        // A share of the time for each; what one leaves, the next has.
        let left = end.saturating_duration_since(Instant::now());
        let share = Instant::now() + left / u32::try_from(kinds.len() - number)?;
        let (mut at, mut total) = (0, None);
        while Instant::now() < share {
            if kind == ROOM {
                place.hold_all()?;
            }
            let before = place.shared.snapshot(|view| view.read(place.load.count))?;
            let kill = || -> Result<Ended, Failed> {
                let victim = Victim::start(&place.path, kind, at, fault.as_deref())?;
                let ended = victim.step(at, |_, _| Ok(()))?;
                victim.kill()?;
                Ok(ended)
            };
            let ended = if kind == LAG {
                let (ended, wrong) = place.beside_a_reader(kill)?;
                if let Some(wrong) = wrong {
                    verdict.inconsistent += 1;
                    verdict.complain(|| format!("{kind}, after {at} instructions: {wrong}"));
                }
                ended
            } else {
                kill()?
            };
            let after = place.shared.snapshot(|view| view.read(place.load.count))?;
            verdict.committed += after - before - 1; // One was to warm up.
            let usable = place.examine(&format!("{kind}, after {at} instructions"), &mut verdict);
            progress.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if fault.is_some() && !verdict.is_good() {
                return Ok(verdict); // It shows: enough.
            }
            if !usable {
                break;
            }
            if let Ended::AtTheEnd(steps) = ended {
                total = Some(steps);
                break;
            }
            at += stride;
        }
        verdict.notes.push(match total {
            Some(steps) => format!("{kind:10} swept: {steps} instructions, every {stride}"),
            None => format!("{kind:10} NOT finished: time was up after {at} instructions"),
        });
    }
    Ok(verdict)
}

/// Kills of recoverers.
pub(crate) fn recoverers(seconds: u64, fault: Option<String>) -> Result<Verdict, Failed> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut verdict, progress) = (Verdict::default(), std::sync::Arc::default());
    watch(&progress);
    let fault = fault.as_deref();
    let mut points = 0;
    for (number, kind) in SWEPT.iter().enumerate() {
        let left = end.saturating_duration_since(Instant::now());
        let share = Instant::now() + left / u32::try_from(SWEPT.len() - number)?;
        // Where the one to be recovered has died: at each of its writes to the region, in turn.
        let place = Place::new(kind)?;
        let profile = crate::profile::writes(&place.path, kind, fault)?;
        place.examine("a profile", &mut verdict);
        drop(place);
        let deaths = profile.len();
        // From the end of the transaction to its beginning: where most is to be done comes first.
        for (index, death) in profile.into_iter().enumerate().rev() {
            if Instant::now() >= share {
                break;
            }
            let place = Place::new(kind)?;
            let corpse = |seed| -> Result<(), Failed> {
                let victim = Victim::start(&place.path, kind, seed, fault)?;
                victim.step(death, |_, _| Ok(()))?;
                victim.kill()
            };
            corpse(0)?;
            let writes = crate::profile::writes(&place.path, "recoverer", fault)?;
            place.examine("a profile of a recoverer", &mut verdict);
            for at in writes.iter().flat_map(|at| [*at, at + 1]) {
                if Instant::now() >= share {
                    break;
                }
                corpse(0)?;
                let victim = Victim::start(&place.path, "recoverer", 0, fault)?;
                victim.step(at, |_, _| Ok(()))?;
                victim.kill()?;
                let what = format!(
                    "{kind}, killed at write {index} of {deaths}; recoverer after {at} instructions"
                );
                if !place.examine(&what, &mut verdict) {
                    break;
                }
                points += 1;
                progress.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }
    verdict.notes.push(format!("{points} deaths of recoverers"));
    Ok(verdict)
}

/// Kills of processes that attach: around everything that they do to the region, and their system calls.
pub(crate) fn attachers(
    seconds: u64,
    stride: usize,
    fault: Option<String>,
) -> Result<Verdict, Failed> {
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut verdict, progress) = (Verdict::default(), std::sync::Arc::default());
    watch(&progress);
    let fault = fault.as_deref();
    // A slot that was in use before is counted already: each time a new region.
    let place = Place::new("attacher")?;
    let writes = crate::profile::writes(&place.path, "attacher", fault)?;
    drop(place);
    let points: Vec<u64> = writes.iter().flat_map(|at| [*at, at + 1]).collect();
    let (mut tried, all) = (0, points.len());
    for at in points.into_iter().step_by(stride) {
        if Instant::now() >= end || (fault.is_some() && tried > 0 && !verdict.is_good()) {
            break;
        }
        let place = Place::new("attacher")?;
        let victim = Victim::start(&place.path, "attacher", 0, fault)?;
        victim.step(at, |_, _| Ok(()))?;
        victim.kill()?;
        place.examine(&format!("attaching, after {at} instructions"), &mut verdict);
        tried += 1;
        progress.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    verdict.notes.push(format!("{tried} of {all} deaths of processes that attach"));
    Ok(verdict)
}

/// Kills of makers: before and after each of their system calls.
pub(crate) fn makers() -> Result<Verdict, Failed> {
    let (mut verdict, progress) = (Verdict::default(), std::sync::Arc::default());
    watch(&progress);
    let place = Place::new("maker")?;
    let path = place.path.with_extension("made");
    let (mut made, mut drafts) = (0, 0);
    for calls in 0.. {
        let victim = Victim::start(&path, "maker", 0, None)?;
        let ended = victim.call(calls)?;
        victim.kill()?;
        verdict.kills += 1;
        progress.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let what = format!("making, after {calls} stops at system calls");
        drafts += drafts_of(&path)?.len();
        match Shared::open(&path) {
            Ok(shared) => {
                made += 1;
                let report = shared.verify();
                if !report.is_sound() || report.cells != 1 {
                    verdict.leaked += 1;
                    verdict.complain(|| format!("{what}:\n{report}"));
                }
                drop(shared);
                Shared::remove(&path)?;
            }
            Err(contempo::shared::OpenError::System { error, .. })
                if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                verdict.inconsistent += 1;
                verdict.complain(|| format!("{what}: {error}"));
                return Ok(verdict);
            }
        }
        // The next maker is not kept from it, and cleans up.
        if let Err(error) = Shared::create(&path, &Options::new().first_bytes(0)) {
            verdict.stuck += 1;
            verdict.complain(|| format!("{what}: {error}"));
            return Ok(verdict);
        }
        let left = drafts_of(&path)?;
        if !left.is_empty() {
            verdict.leaked += 1;
            verdict.complain(|| format!("{what}: {left:?}"));
        }
        Shared::remove(&path)?;
        if let Ended::AtTheEnd(calls) = ended {
            verdict.notes.push(format!(
                "makers swept: {calls} stops; {drafts} drafts were left by them, {made} whole regions"
            ));
            break;
        }
    }
    Ok(verdict)
}

fn drafts_of(path: &std::path::Path) -> Result<Vec<std::ffi::OsString>, Failed> {
    let begin = format!("{}.making-", path.file_name().unwrap_or_default().to_string_lossy());
    let folder = path.parent().ok_or("a path in a folder")?;
    let names = std::fs::read_dir(folder)?.flatten().map(|entry| entry.file_name());
    Ok(names.filter(|name| name.to_string_lossy().starts_with(&begin)).collect())
}
