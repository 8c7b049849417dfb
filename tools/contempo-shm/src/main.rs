//! `contempo-shm`: looks at shared regions.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod top;

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod tool {
    use crate::top;
    use clap::{Parser, Subcommand};
    use contempo::shared::Shared;
    use std::error::Error;
    use std::path::PathBuf;
    use std::process::ExitCode;

    #[derive(Parser, Debug)]
    #[command(about = "Looks at shared regions of contempo", version)]
    struct Arguments {
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Subcommand, Debug)]
    enum Command {
        /// Which threads are attached, what they hold, which roots there are. To open the region recovers the dead
        /// first; it says what there was.
        Inspect { region: PathBuf },
        /// The full consistency check, after recovering the dead; it says what there was. Exact only while
        /// no thread is at work: it says if one was. Ends with 1 if something is wrong.
        Verify { region: PathBuf },
        /// What the region's transactions have done since it was made.
        Stat { region: PathBuf },
        /// What happens there now, again and again: the hottest cells, what each thread of each process does and waits
        /// for, aborts by cause, which thread holds versions back. In a terminal; with --once or --json without.
        Top(top::Options),
        /// Recovers what dead processes have left, and says what there was.
        Reap { region: PathBuf },
    }

    fn run(command: Command) -> Result<bool, Box<dyn Error>> {
        match command {
            Command::Inspect { region } => {
                let shared = Shared::open(region)?;
                println!("{}", shared.inspect());
                println!("roots");
                for root in shared.roots()? {
                    println!("  {:<20} {:<11} {}", root.name, root.kind, root.type_name);
                }
            }
            Command::Verify { region } => {
                let shared = Shared::open(region)?;
                let recovered = shared.inspect().recovered_at_open;
                if recovered.slots > 0 {
                    println!("at opening  {recovered}");
                }
                let report = shared.verify();
                println!("{report}");
                return Ok(report.is_sound());
            }
            Command::Stat { region } => {
                let seen = Shared::open(region)?.inspect();
                let done = seen.statistics;
                for (name, count) in [
                    ("commits", done.commits),
                    ("read-only", done.read_only),
                    ("aborts", done.aborts_claimed + done.aborts_changed + done.aborts_preempted),
                    ("taken over", done.takeovers),
                    ("waits", done.waits),
                    ("recoveries", seen.recoveries),
                    ("bytes", seen.bytes),
                ] {
                    println!("{name:12}{count}");
                }
            }
            Command::Top(options) => top::run(&options)?,
            Command::Reap { region } => {
                // To open it recovers as well.
                let before = Shared::open(&region)?;
                before.reap()?;
                let seen = before.inspect();
                println!(
                    "so far: {} slots of dead processes recovered, {} transactions aborted, {} blocks \
                     taken back",
                    seen.recoveries, seen.aborted, seen.blocks
                );
            }
        }
        Ok(true)
    }

    pub(crate) fn main() -> ExitCode {
        match run(Arguments::parse().command) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("contempo-shm: {error}");
                ExitCode::from(2)
            }
        }
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn main() -> std::process::ExitCode {
    tool::main()
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn main() -> std::process::ExitCode {
    eprintln!("contempo-shm: shared regions are there on 64-bit Linux only");
    std::process::ExitCode::from(2)
}
