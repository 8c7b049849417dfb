//! What a death costs the survivors, in regions of different sizes.

use crate::steps::{Failed, command};
use crate::sweep::{Place, watch};
use crate::verdict::Verdict;
use contempo::shared::{Cell, Options, Shared, Transaction, bytemuck};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a value: with its head, 1 KiB.
const VALUE: usize = 976;
/// Handles in a part of the index.
const PART: usize = 2000;
/// Values that a transaction writes over.
const WRITES: usize = 4;
/// What is asked of a survivor.
const TARGET: Duration = Duration::from_millis(100);

/// Values without number, all over the region.
struct Content {
    cells: Vec<Cell<[u8]>>,
    count: Cell<u64>,
}

impl Content {
    fn make(shared: &Shared, values: usize, progress: &AtomicU64) -> Result<Self, Failed> {
        let mut cells = Vec::with_capacity(values);
        while cells.len() < values {
            progress.fetch_add(1, Ordering::Relaxed); // It takes a while.
            cells.extend(shared.atomically(|tx| {
                (0..128).map(|_| tx.create(&[1; VALUE][..])).collect::<Result<Vec<_>, _>>()
            })?);
        }
        let part = |part: &[Cell<[u8]>]| {
            shared.atomically(|tx| tx.create(bytemuck::cast_slice::<_, u8>(part)))
        };
        let parts = cells.chunks(PART).map(part).collect::<Result<Vec<Cell<[u8]>>, _>>()?;
        shared.root_of("index", bytemuck::cast_slice::<_, u8>(&parts))?;
        Ok(Content { cells, count: shared.root("count", 0)? })
    }

    fn find(shared: &Shared) -> Result<Self, Failed> {
        let index: Cell<[u8]> = shared.find_root("index")?.ok_or("there is no index")?;
        let handles = |cell: Cell<[u8]>| {
            shared.snapshot(|view| {
                let handles = view.read(cell)?.chunks_exact(size_of::<Cell<[u8]>>());
                Ok(handles.map(bytemuck::pod_read_unaligned::<Cell<[u8]>>).collect::<Vec<_>>())
            })
        };
        let mut cells = Vec::new();
        for part in handles(index)? {
            cells.extend(handles(part)?);
        }
        Ok(Content { cells, count: shared.root("count", 0)? })
    }

    fn run(&self, shared: &Shared, random: &mut SmallRng) -> Result<(), Failed> {
        let run = |tx: &Transaction<'_>| {
            for _ in 0..WRITES {
                let cell = self.cells[random.random_range(0..self.cells.len())];
                tx.write(cell, &[random.random(); VALUE])?;
            }
            tx.modify(self.count, |count| count + 1)
        };
        let mut run = run;
        Ok(shared.atomically(&mut run)?)
    }
}

/// A process that is to be killed.
pub(crate) fn victim(path: &Path, seed: u64) -> Result<(), Failed> {
    let shared = Shared::open(path)?;
    let content = Content::find(&shared)?;
    let mut random = SmallRng::seed_from_u64(seed);
    loop {
        content.run(&shared, &mut random)?;
    }
}

/// Kills busy processes in regions with so many MB of values each, beside a survivor.
pub(crate) fn scale(kills: u64, sizes: &[u64]) -> Result<Verdict, Failed> {
    let mut verdict = Verdict::default();
    let progress = Arc::new(AtomicU64::new(0));
    watch(&progress);
    for &size in sizes {
        let most = (2 * size + 256) << 20;
        let place = Place::with("scale", &Options::new().most_bytes(most))?;
        let content = Content::make(&place.shared, size as usize * 1024, &progress)?;
        let before = place.shared.verify().cells;
        let mut times = beside(&place, &content, kills, &progress, &mut verdict)?;
        let mut alone = alone(&place, kills.min(20), &progress, &mut verdict)?;
        place.shared.reap()?;
        place.shared.collect()?;
        let report = place.shared.verify();
        if !report.is_sound() || report.retired != 0 || report.cells != before {
            verdict.leaked += 1;
            verdict.complain(|| format!("{size} MB:\n{report}"));
        }
        times.sort_unstable();
        alone.sort_unstable();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        let slow = times.iter().filter(|time| **time > TARGET).count();
        verdict.longest = verdict.longest.max(at(1.0));
        verdict.notes.push(format!(
            "{size:5} MB: survivor's transactions: {:.1?} median, {:.1?} 99%, {:.1?} 99.9%, {:.1?} longest, {slow} of {} \
             over {TARGET:?}; one death recovered alone: {:.1?} median, {:.1?} longest; the file has {} MB",
            at(0.5), at(0.99), at(0.999), at(1.0), times.len(),
            alone[alone.len() / 2], alone[alone.len() - 1],
            place.shared.inspect().bytes >> 20,
        ));
    }
    Ok(verdict)
}

fn spawn(place: &Place, seed: u64) -> Result<Child, Failed> {
    Ok(command(&place.path, "scale", seed, None)?.spawn()?)
}

fn end(mut child: Child) -> Result<(), Failed> {
    if let Some(status) = child.try_wait()? {
        return Err(format!("a victim has ended by itself: {status}").into());
    }
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL)?;
    child.wait()?;
    Ok(())
}

/// How long the survivor's transactions take while others are killed.
fn beside(
    place: &Place,
    content: &Content,
    kills: u64,
    progress: &AtomicU64,
    verdict: &mut Verdict,
) -> Result<Vec<Duration>, Failed> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let survivor = scope.spawn(|| -> Result<Vec<Duration>, String> {
            let (mut random, mut times) = (SmallRng::seed_from_u64(1), Vec::new());
            while !done.load(Ordering::Relaxed) {
                let begin = Instant::now();
                content.run(&place.shared, &mut random).map_err(|error| error.to_string())?;
                times.push(begin.elapsed());
                std::thread::sleep(Duration::from_micros(300));
            }
            Ok(times)
        });
        let run = (|| -> Result<(), Failed> {
            let committed = || place.shared.inspect().statistics.commits;
            for number in 0..kills {
                let victim = spawn(place, number)?;
                let begin = (committed(), Instant::now());
                // Until it is at work, however large its index is.
                while committed() < begin.0 + 2000 && begin.1.elapsed() < Duration::from_secs(20) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                end(victim)?;
                verdict.kills += 1;
                progress.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })();
        done.store(true, Ordering::Relaxed);
        let times = survivor.join().map_err(|_| "the survivor has panicked")??;
        run.map(|()| times)
    })
}

/// How long it takes to recover one death, when no other process is at work.
fn alone(
    place: &Place,
    kills: u64,
    progress: &AtomicU64,
    verdict: &mut Verdict,
) -> Result<Vec<Duration>, Failed> {
    place.shared.reap()?;
    let mut times = Vec::new();
    for number in 0..kills {
        let before = place.shared.inspect().statistics.commits;
        let victim = spawn(place, number)?;
        while place.shared.inspect().statistics.commits < before + 1000 {
            std::thread::sleep(Duration::from_millis(1));
        }
        end(victim)?;
        let begin = Instant::now();
        let slots = place.shared.reap()?.slots;
        times.push(begin.elapsed());
        verdict.kills += 1;
        verdict.leaked += u64::from(slots != 1);
        progress.fetch_add(1, Ordering::Relaxed);
    }
    Ok(times)
}
