//! Hours of everything at once: transfers, declared and ordinary, waiting, alternatives, errors, panics,
//! deadlines, cells and threads that come and go; while auditors look at the total, and this program at its
//! own memory.
//!
//! ```text
//! cargo run --release --example soak -- --minutes 60
//! ```
//!
//! The last line is the verdict. Ctrl-C ends it early, with a verdict.

mod work;

use clap::Parser;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use work::World;

/// Soaks contempo in random work, and watches its invariants and its memory.
#[derive(Parser)]
struct Options {
    /// How long.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// How many threads work at a time.
    #[arg(long, default_value_t = 8)]
    threads: usize,
    /// The seed of all choices; how threads interleave is not ours to choose.
    #[arg(long)]
    seed: Option<u64>,
}

/// Kilobytes of memory that this process has in use, where the system tells.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// What the memory may grow by after the first fifth of the time, as a multiple, and in any case.
const GROWTH: u64 = 2;
const SLACK_KILOBYTES: u64 = 256 * 1024;

fn main() -> ExitCode {
    let options = Options::parse();
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let seed = options.seed.unwrap_or_else(rand::random);
    println!("seed {seed}, {} threads, {length:?}", options.threads);
    let stop: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
    if ctrlc::set_handler(|| stop.store(true, Ordering::Relaxed)).is_err() {
        eprintln!("soak: no handler for Ctrl-C: it will end the program without a verdict");
    }
    // Panics are part of the work: they are counted, not printed.
    let unexpected = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if !info.payload().is::<work::Planned>() {
            unexpected(info);
        }
    }));

    let bar = indicatif::ProgressBar::new(length.as_secs().max(1)).with_style(
        indicatif::ProgressStyle::with_template("{elapsed} of {len}s {wide_bar} {msg}")
            .expect("a valid template"),
    );
    let (start, world, lives) = (Instant::now(), World::new(), AtomicU64::new(0));
    let (mut settled, mut most) = (None, 0);
    std::thread::scope(|scope| {
        for seat in 0..options.threads as u64 {
            let (world, lives) = (&world, &lives);
            scope.spawn(move || {
                // A thread lives for a moment, and another takes its place.
                while !stop.load(Ordering::Relaxed) {
                    let life = lives.fetch_add(1, Ordering::Relaxed);
                    let live = || world.live(seed ^ seat << 32 ^ life, stop);
                    std::thread::scope(|inner| inner.spawn(live).join()).ok();
                }
            });
        }
        while start.elapsed() < length && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(200));
            if let Some(now) = memory() {
                if start.elapsed() * 5 > length {
                    settled.get_or_insert(now);
                }
                most = most.max(now);
            }
            bar.set_position(start.elapsed().as_secs());
            bar.set_message(format!(
                "{} operations, {} threads so far, {} MB",
                world.operations(),
                lives.load(Ordering::Relaxed),
                memory().unwrap_or(0) / 1024
            ));
        }
        stop.store(true, Ordering::Relaxed);
        world.wake_everyone();
    });
    bar.finish_and_clear();
    contempo::collect();

    let mut wrong = world.verdict();
    let allowed = settled.map(|settled| settled * GROWTH + SLACK_KILOBYTES);
    if allowed.is_some_and(|allowed| most > allowed) {
        let (before, most) = (settled.unwrap_or(0) / 1024, most / 1024);
        wrong.push(format!("memory grew from {before} MB to {most} MB"));
    }
    println!("{}", contempo::contention_report(5));
    println!("{:?}", contempo::statistics());
    let (operations, lives) = (world.operations(), lives.into_inner());
    let what = format!(
        "{operations} operations by {lives} threads in {:.0?}, at most {} MB, seed {seed}",
        start.elapsed(),
        most / 1024
    );
    if wrong.is_empty() {
        println!("soak: sound: {what}");
        return ExitCode::SUCCESS;
    }
    println!("soak: WRONG: {}: {what}", wrong.join("; "));
    ExitCode::FAILURE
}
