//! Processes that transfer in one region, while others of them are killed and started: the total never
//! changes. Ends with what was recovered.
//!
//! `cargo run --release --example shared_ledger [KILLS]`

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
mod ledger {
    use contempo::shared::{Cell, Options, RootError, Shared, liveness_path};
    use rand::{Rng, RngExt};
    use std::error::Error;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command};
    use std::time::Duration;

    const ACCOUNTS: usize = 16;
    const EACH: u64 = 1000;
    const PROCESSES: usize = 3;

    fn accounts(shared: &Shared) -> Result<Vec<Cell<u64>>, RootError> {
        (0..ACCOUNTS).map(|number| shared.root(&format!("account {number}"), EACH)).collect()
    }

    fn total(shared: &Shared, accounts: &[Cell<u64>]) -> Result<u64, Box<dyn Error>> {
        Ok(shared.snapshot(|view| accounts.iter().map(|cell| view.read(*cell)).sum())?)
    }

    /// Transfers, until this process is killed.
    fn work(region: &Path) -> Result<(), Box<dyn Error>> {
        let shared = Shared::open(region)?;
        let (accounts, mut random) = (accounts(&shared)?, rand::rng());
        loop {
            let (from, to) = (pick(&accounts, &mut random), pick(&accounts, &mut random));
            shared.atomically(|tx| {
                let sum = tx.read(from)?.min(10);
                tx.modify(from, |balance| balance - sum)?;
                tx.modify(to, |balance| balance + sum)
            })?;
        }
    }

    fn pick(accounts: &[Cell<u64>], random: &mut impl Rng) -> Cell<u64> {
        accounts[random.random_range(0..accounts.len())]
    }

    fn start(region: &Path) -> std::io::Result<Child> {
        Command::new(std::env::current_exe()?).arg("--work").arg(region).spawn()
    }

    fn run(region: &Path, kills: u64) -> Result<(), Box<dyn Error>> {
        let shared = Shared::create(region, &Options::new())?;
        let accounts = accounts(&shared)?;
        let expected = ACCOUNTS as u64 * EACH;
        let mut workers = (0..PROCESSES).map(|_| start(region)).collect::<Result<Vec<_>, _>>()?;
        let mut random = rand::rng();
        for kill in 1..=kills {
            std::thread::sleep(Duration::from_millis(random.random_range(2..20)));
            let worker = &mut workers[random.random_range(0..PROCESSES)];
            worker.kill()?; // SIGKILL: wherever it is.
            worker.wait()?;
            let found = total(&shared, &accounts)?;
            if found != expected {
                return Err(format!("after {kill} kills the total is {found}").into());
            }
            *worker = start(region)?;
        }
        for worker in &mut workers {
            worker.kill()?;
            worker.wait()?;
        }
        shared.reap()?;
        shared.collect()?;
        let (found, report, seen) = (total(&shared, &accounts)?, shared.verify(), shared.inspect());
        println!("total         {found}, as in the beginning");
        println!("transfers     {}", seen.statistics.commits);
        println!("killed        {}", kills + PROCESSES as u64);
        println!("recovered     {} slots", seen.recoveries);
        println!("aborted       {} transactions that were not decided", seen.aborted);
        println!("taken back    {} blocks", seen.blocks);
        println!("check         {} cells, {} versions", report.cells, report.versions);
        if found != expected || !report.is_sound() {
            return Err(format!("something is wrong:\n{report}").into());
        }
        Ok(())
    }

    pub(crate) fn main() -> Result<(), Box<dyn Error>> {
        let mut arguments = std::env::args().skip(1);
        let first = arguments.next();
        if first.as_deref() == Some("--work") {
            return work(Path::new(&arguments.next().ok_or("which region?")?));
        }
        let kills = first.map_or(Ok(100), |kills| kills.parse())?;
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { PathBuf::from(memory) } else { std::env::temp_dir() };
        let region = folder.join(format!("contempo-ledger-{}", std::process::id()));
        let outcome = run(&region, kills);
        std::fs::remove_file(&region)?;
        std::fs::remove_file(liveness_path(&region))?;
        outcome
    }
}

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    ledger::main()
}

#[cfg(not(all(feature = "shared", target_os = "linux", target_pointer_width = "64")))]
fn main() {
    println!("skipped: shared regions are there on 64-bit Linux, with the feature `shared`");
}
