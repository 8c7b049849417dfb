//! Random kills, and stops, under load.

use crate::load::KINDS;
use crate::steps::{Failed, command};
use crate::sweep::{CROWDED, Place, options, watch};
use crate::verdict::Verdict;
use contempo::shared::TransactionError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// So many kills a reader lags behind.
const LAG: u64 = 3;

/// Kills one of some busy processes again and again.
pub(crate) fn random(
    kills: u64,
    processes: usize,
    seed: u64,
    crowded: bool,
    fault: Option<String>,
) -> Result<Verdict, Failed> {
    println!("seed {seed}");
    let (mut random, fault) = (SmallRng::seed_from_u64(seed), fault.as_deref());
    let place = if crowded {
        Place::with("crowded", &options().most_bytes(CROWDED))?
    } else {
        Place::new("random")?
    };
    if crowded {
        // So that there is a superblock for each size that the survivor needs: large texts take the others.
        for kind in KINDS.iter().cycle().take(40 * KINDS.len()) {
            place.shared.atomically(|tx| place.load.run(tx, kind, &mut random))?;
        }
    }
    let kind = if crowded { "crowd" } else { "any" };
    let (mut verdict, progress) = (Verdict::default(), Arc::new(AtomicU64::new(0)));
    watch(&progress);
    let spawn =
        |seed| -> Result<Child, Failed> { Ok(command(&place.path, kind, seed, fault)?.spawn()?) };
    let mut victims = (0..processes)
        .map(|number| spawn(seed.wrapping_add(number as u64)))
        .collect::<Result<Vec<_>, _>>()?;
    // One thread of this process works all the time, as a survivor does. The time from each kill to its
    // next commits is what matters: on cells that the dead may have claimed.
    let (done, worst) = (AtomicBool::new(false), AtomicU64::new(0));
    let (slow, full) = (AtomicU64::new(0), AtomicU64::new(0));
    let inconsistent = AtomicU64::new(0);
    let (mut commits, mut lagged) = (0, 0);
    let outcome = std::thread::scope(|scope| -> Result<(), Failed> {
        let survivor = scope.spawn(|| -> Result<u64, String> {
            let (mut random, mut commits) = (SmallRng::seed_from_u64(seed ^ 1), 0);
            while !done.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let run = place.shared.atomically(|tx| {
                    place.load.touch(tx)?;
                    place.load.run(tx, "structure", &mut random)
                });
                match run {
                    Err(TransactionError::NoBlock(_)) if crowded => {
                        full.fetch_add(1, Ordering::Relaxed);
                        match place.shared.atomically(|tx| place.load.shrink(tx)) {
                            Ok(()) | Err(TransactionError::NoBlock(_)) => continue,
                            Err(error) => return Err(error.to_string()),
                        }
                    }
                    other => other.map_err(|error| error.to_string())?,
                }
                let took = begin.elapsed();
                worst.fetch_max(took.as_micros() as u64, Ordering::Relaxed);
                slow.fetch_add(u64::from(took > Duration::from_millis(100)), Ordering::Relaxed);
                commits += 1;
                let audit = place.shared.atomically(|tx| place.load.audit(tx));
                if let Some(wrong) = audit.map_err(|error| error.to_string())?.0 {
                    println!("{wrong}");
                    inconsistent.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_micros(300));
            }
            Ok(commits)
        });
        // One lags behind what all of them write, and behind some deaths, and then sees what it has seen before. (Where
        // all is full it would hold back what there is.)
        let lagging = scope.spawn(|| -> Result<u64, String> {
            let mut looks = 0;
            while !crowded && !done.load(Ordering::Relaxed) {
                let begin = progress.load(Ordering::Relaxed);
                let goes_on = || progress.load(Ordering::Relaxed) < begin + LAG;
                let seen = place.shared.atomically(|tx| {
                    let first = place.load.audit(tx)?;
                    while goes_on() && !done.load(Ordering::Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    Ok((first, place.load.audit(tx)?))
                });
                let (first, last) = seen.map_err(|error| error.to_string())?;
                if first != last || last.0.is_some() {
                    println!("first {first:?}, and then {last:?}");
                    inconsistent.fetch_add(1, Ordering::Relaxed);
                }
                looks += 1;
                // What the dead have left goes to a thread that is not killed: else it is adopted again and again.
                place.shared.reap().map_err(|error| error.to_string())?;
            }
            Ok(looks)
        });
        let run = (|| -> Result<(), Failed> {
            for number in 0..kills {
                std::thread::sleep(Duration::from_micros(random.random_range(500..8000)));
                let at = random.random_range(0..processes);
                let pid = Pid::from_raw(i32::try_from(victims[at].id())?);
                // Some are only stopped, for a while, and some of those killed then.
                let stopped = random.random_bool(0.1);
                if stopped {
                    kill(pid, Signal::SIGSTOP)?;
                    std::thread::sleep(Duration::from_millis(random.random_range(1..30)));
                    kill(pid, Signal::SIGCONT)?;
                }
                if !stopped || random.random_bool(0.5) {
                    if let Some(status) = victims[at].try_wait()? {
                        return Err(format!("a victim has ended by itself: {status}").into());
                    }
                    victims[at].kill()?;
                    victims[at].wait()?;
                    victims[at] = spawn(seed.wrapping_mul(31).wrapping_add(number))?;
                }
                verdict.kills += 1;
                progress.fetch_add(1, Ordering::Relaxed);
                if number % 100 == 99 {
                    place.shared.reap()?;
                }
            }
            Ok(())
        })();
        done.store(true, Ordering::Relaxed);
        commits = survivor.join().map_err(|_| "the survivor has panicked")??;
        lagged = lagging.join().map_err(|_| "the thread that lags has panicked")??;
        run
    });
    for victim in &mut victims {
        victim.kill()?;
        victim.wait()?;
    }
    if let Err(error) = outcome {
        // A process has met what no protocol writes, or a victim has ended by itself.
        verdict.kills = verdict.kills.max(1);
        verdict.inconsistent += 1;
        verdict.complain(|| error.to_string());
        return Ok(verdict);
    }
    verdict.inconsistent += inconsistent.into_inner();
    let during = Duration::from_micros(worst.into_inner());
    let killed = verdict.kills;
    if crowded {
        // Now there must be room: the others are gone. But not for large texts, perhaps: a superblock for two of
        // them may be all that there is.
        place.shared.reap()?;
        place.shared.atomically(|tx| place.load.shrink(tx))?;
    }
    place.examine("after all of them", &mut verdict);
    verdict.kills = killed;
    verdict.longest = verdict.longest.max(during);
    if during > Duration::from_secs(1) || commits == 0 {
        verdict.stuck += 1;
        verdict.complain(|| format!("the survivor committed {commits} times"));
    }
    if crowded {
        let full = full.into_inner();
        verdict.notes.push(format!("{full} times there was no room for the survivor"));
    }
    verdict.notes.push(format!("{lagged} looks at a moment that was {LAG} kills ago"));
    let seen = place.shared.inspect();
    verdict.aborted = seen.aborted;
    verdict.blocks = seen.blocks;
    verdict.committed = seen.statistics.commits - commits;
    verdict.notes.push(format!(
        "{} slots of the dead recovered; the survivor committed {commits} times meanwhile, {} of them in \
         more than 100 ms; the region has {} bytes",
        seen.recoveries,
        slow.into_inner(),
        seen.bytes
    ));
    Ok(verdict)
}
