//! What transactions between processes cost, beside those in one process and LMDB.
//!
//! `cargo run --release -p shared-bench [-- --rounds 9 --millis 300]`; `--maps` for the hash map beside the
//! ordered one (`maps`).
//!
//! All contenders run in each round, one after the other, so that a ratio compares what the machine gave to
//! both within a second. The medians of the rounds are printed, and each ratio is the median of the
//! rounds' ratios. A worker runs one kind of transaction for as long as it is told, and says how many
//! there were.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod kinds;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod maps;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod ping_pong;

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod bench {
    use crate::kinds::{self, KINDS};
    use crate::maps;
    use clap::Parser;
    use std::collections::BTreeMap;
    use std::io::{BufRead, BufReader, Write};
    use std::path::{Path, PathBuf};
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
    use std::time::Duration;

    pub(crate) type Failed = Box<dyn std::error::Error>;

    #[derive(Parser, Debug)]
    #[command(about)]
    struct Arguments {
        /// Rounds.
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// Milliseconds of each contender in a round.
        #[arg(long, default_value_t = 300)]
        millis: u64,
        /// Only contenders whose names contain this.
        #[arg(long, default_value = "")]
        only: String,
        /// The hash map beside the ordered one instead, up to so many entries (1,000,000 if none are said).
        #[arg(long, num_args = 0..=1, default_missing_value = "1000000")]
        maps: Option<usize>,
        /// A worker: kind, threads, its number, and where.
        #[arg(long, hide = true, num_args = 4)]
        worker: Vec<String>,
    }

    struct Worker {
        child: Child,
        to: ChildStdin,
        from: BufReader<ChildStdout>,
    }

    impl Worker {
        fn start(kind: &str, threads: usize, number: usize, place: &Path) -> Result<Self, Failed> {
            let mut child = Command::new(std::env::current_exe()?)
                .args(["--worker", kind, &threads.to_string(), &number.to_string()])
                .arg(place)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let (to, from) = (child.stdin.take(), child.stdout.take());
            let (to, from) = (to.ok_or("no pipe")?, BufReader::new(from.ok_or("no pipe")?));
            Ok(Worker { child, to, from })
        }

        fn go(&mut self, time: Duration) -> Result<(), Failed> {
            writeln!(self.to, "{}", time.as_millis())?;
            Ok(self.to.flush()?)
        }

        /// Transactions per second.
        fn rate(&mut self) -> Result<f64, Failed> {
            let mut line = String::new();
            self.from.read_line(&mut line)?;
            Ok(line.trim().parse()?)
        }
    }

    /// What is measured: a name, the kind, processes and threads in each.
    const CONTENDERS: [(&str, &str, usize, usize); 19] = [
        ("read 1, one process", "native-read-1", 1, 1),
        ("read 1, region", "shared-read-1", 1, 1),
        ("read 100, one process", "native-read-100", 1, 1),
        ("read 100, region", "shared-read-100", 1, 1),
        ("snapshot 100, one process", "native-snapshot-100", 1, 1),
        ("snapshot 100, region", "shared-snapshot-100", 1, 1),
        ("4 cells, one process, 1 thread", "native-update-4", 1, 1),
        ("4 cells, region, 1 process", "shared-update-4", 1, 1),
        ("4 cells, one process, 2 threads", "native-update-4", 1, 2),
        ("4 cells, region, 2 processes", "shared-update-4", 2, 1),
        ("4 cells, LMDB, 2 processes", "lmdb-update-4", 2, 1),
        ("1 cell, region, 1 process", "shared-increment", 1, 1),
        ("1 cell, region, 2 processes", "shared-increment", 2, 1),
        ("1 cell, one process, 2 threads", "native-increment", 1, 2),
        ("4 cells, region, 8 processes", "shared-update-4", 8, 1),
        ("1 cell, region, 8 processes", "shared-increment", 8, 1),
        ("there and back, one process, 2 threads", "native-ping-pong", 1, 2),
        ("there and back, region, 2 processes", "shared-ping-pong", 2, 1),
        ("there and back, socket, 2 processes", "socket-ping-pong", 2, 1),
    ];

    /// Ratios that have a target: what, over what, at least.
    const RATIOS: [(&str, &str, &str, f64); 8] = [
        ("a read transaction in a region", "read 1, region", "read 1, one process", 1.0 / 3.0),
        ("100 reads in a region", "read 100, region", "read 100, one process", 1.0 / 3.0),
        ("a snapshot of 100", "snapshot 100, region", "snapshot 100, one process", 1.0 / 3.0),
        (
            "4 cells, 1 process",
            "4 cells, region, 1 process",
            "4 cells, one process, 1 thread",
            1.0 / 3.0,
        ),
        (
            "4 cells, 2 processes",
            "4 cells, region, 2 processes",
            "4 cells, one process, 2 threads",
            1.0 / 3.0,
        ),
        ("the same, times LMDB", "4 cells, region, 2 processes", "4 cells, LMDB, 2 processes", 5.0),
        (
            "1 cell, 2 processes, times 1",
            "1 cell, region, 2 processes",
            "1 cell, region, 1 process",
            0.8,
        ),
        (
            "there and back, times a socket",
            "there and back, region, 2 processes",
            "there and back, socket, 2 processes",
            1.0,
        ),
    ];

    pub(crate) fn median(mut values: Vec<f64>) -> f64 {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn run(arguments: &Arguments, folder: &Path) -> Result<(), Failed> {
        let (rounds, time) = (arguments.rounds, Duration::from_millis(arguments.millis));
        let is_asked = |name: &str| name.contains(&arguments.only);
        kinds::prepare(folder)?;
        let mut workers = Vec::new();
        for (name, kind, processes, threads) in CONTENDERS.into_iter().filter(|it| is_asked(it.0)) {
            if !KINDS.contains(&kind) {
                return Err(format!("there is no kind {kind}").into());
            }
            let group = (0..processes).map(|number| Worker::start(kind, threads, number, folder));
            workers.push((name, group.collect::<Result<Vec<_>, _>>()?));
        }
        let mut rates: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut fairness: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for _ in 0..rounds {
            for (name, group) in &mut workers {
                group.iter_mut().try_for_each(|worker| worker.go(time))?;
                let each: Vec<f64> =
                    group.iter_mut().map(Worker::rate).collect::<Result<_, _>>()?;
                rates.entry(name).or_default().push(each.iter().sum());
                let least = each.iter().copied().fold(f64::INFINITY, f64::min);
                let most = each.iter().copied().fold(0.0, f64::max);
                fairness.entry(*name).or_default().push(least / most);
            }
        }
        for (_, group) in workers {
            for mut worker in group {
                drop(worker.to);
                worker.child.wait()?;
            }
        }
        println!("| what | M/s | ns | slowest/fastest process |\n| --- | --- | --- | --- |");
        for (name, ..) in CONTENDERS.into_iter().filter(|it| is_asked(it.0)) {
            let rate = median(rates[name].clone());
            let fair = median(fairness[name].clone());
            println!("| {name} | {:.3} | {:.1} | {fair:.2} |", rate / 1e6, 1e9 / rate);
        }
        println!(
            "\n| ratio (medians of {rounds} rounds) | measured | target | |\n| --- | --- | --- | --- |"
        );
        for (name, above, below, least) in RATIOS {
            let (Some(above), Some(below)) = (rates.get(above), rates.get(below)) else { continue };
            let each = above.iter().zip(below).map(|(above, below)| above / below);
            let ratio = median(each.collect());
            let verdict = if ratio >= least { "met" } else { "missed" };
            println!("| {name} | {ratio:.2} | ≥ {least:.2} | {verdict} |");
        }
        Ok(())
    }

    pub(crate) fn main() -> Result<(), Failed> {
        let arguments = Arguments::parse();
        if let [kind, threads, number, folder] = &arguments.worker[..] {
            return kinds::work(kind, threads.parse()?, number.parse()?, Path::new(folder));
        }
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = base.join(format!("contempo-shared-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let outcome = match arguments.maps {
            Some(most) => maps::run(&folder, most),
            None => run(&arguments, &folder),
        };
        std::fs::remove_dir_all(&folder)?;
        outcome
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    bench::main()
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn main() {
    println!("skipped: shared regions are there on 64-bit Linux only");
}
