//! `contempo-shm top`: what happens in a region, again and again.

mod screen;
mod text;

use clap::{Args, ValueEnum};
use contempo::shared::Shared;
use contempo_live::view::{Looks, Thread, View};
use std::error::Error;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Cells that are asked for.
const CELLS: usize = 50;

#[derive(Args, Debug)]
pub(crate) struct Options {
    region: PathBuf,
    /// Seconds between two looks.
    #[arg(long, short, default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// By what threads are sorted at first.
    #[arg(long, short, value_enum, default_value_t = Sort::Doing)]
    sort: Sort,
    /// One view as text, after one interval; needs no terminal.
    #[arg(long)]
    once: bool,
    /// A view as JSON in a line, after each interval; needs no terminal.
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.01..=3600.0).contains(&seconds) {
        return Err("from 0.01 to 3600 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// By what threads are sorted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Sort {
    /// What they do, and then by process.
    Doing,
    /// Commits per second.
    Commits,
    /// Aborts per second.
    Aborts,
    /// How long they have waited.
    Waiting,
    /// How long they have held versions back.
    Holding,
}

impl Sort {
    const ALL: [Sort; 5] = [Sort::Doing, Sort::Commits, Sort::Aborts, Sort::Waiting, Sort::Holding];

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    fn name(self) -> &'static str {
        match self {
            Sort::Doing => "doing",
            Sort::Commits => "commits",
            Sort::Aborts => "aborts",
            Sort::Waiting => "waiting",
            Sort::Holding => "holding",
        }
    }

    /// Sorts, the most first; those that are equal stay as they are.
    fn sort(self, threads: &mut [Thread]) {
        let most = |of: fn(&Thread) -> f64| {
            move |one: &Thread, other: &Thread| of(other).total_cmp(&of(one))
        };
        match self {
            Sort::Doing => threads.sort_by_key(|it| (it.doing, it.process, it.thread)),
            Sort::Commits => threads.sort_by(most(|it| it.commits.per_second)),
            Sort::Aborts => threads.sort_by(most(|it| it.aborts.per_second)),
            Sort::Waiting => {
                threads.sort_by(most(|it| it.waits.as_ref().map_or(-1.0, |waits| waits.seconds)));
            }
            Sort::Holding => {
                threads.sort_by(most(|it| it.holds_stamps.map_or(-1.0, |held| held as f64)));
            }
        }
    }
}

/// What is looked at.
struct Source {
    shared: Shared,
    name: String,
    looks: Looks,
}

impl Source {
    fn look(&mut self) -> View {
        self.looks.look(&self.name, self.shared.activity(CELLS))
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let shared = Shared::open(&options.region)?;
    let name = options.region.display().to_string();
    let mut source = Source { shared, name, looks: Looks::new() };
    if !(options.once || options.json) {
        if !io::stdout().is_terminal() {
            return Err("this is no terminal: with --once or --json it needs none".into());
        }
        return Ok(screen::run(&mut source, options.interval, options.sort)?);
    }
    source.look();
    loop {
        std::thread::sleep(options.interval);
        let mut view = source.look();
        options.sort.sort(&mut view.threads);
        let shown = match options.json {
            true => serde_json::to_string(&view)? + "\n",
            false => text::of(&view),
        };
        let mut out = io::stdout().lock();
        match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
            // Nothing reads on: as `head` does.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        if options.once {
            return Ok(());
        }
    }
}
