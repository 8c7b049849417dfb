//! The targets of the project, judged: costs as multiples of a mutex, bytes per cell, what a second
//! thread adds.
//!
//! `cargo bench --bench targets` (2 minutes), `-- --quick` (30 seconds), `-- --json FILE`.
//!
//! Made for a noisy machine: each row is measured in many short rounds, each between two
//! measurements of its baseline, and the median of the ratios counts. Never fails: clocks do not
//! decide what is merged, `ci/instructions.sh` does.

mod workload;

use clap::Parser;
use contempo::TVar;
use serde_json::{Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::{black_box, spin_loop};
use std::path::PathBuf;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use workload::hidden;

#[derive(Parser)]
struct Options {
    /// Fewer rounds: within half a minute.
    #[arg(long)]
    quick: bool,
    /// Writes the results to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by `cargo bench`; without it (`cargo test --benches`) one round is a smoke test.
    #[arg(long, hide = true)]
    bench: bool,
    /// Prints bytes per cell, alone in this process.
    #[arg(long, hide = true)]
    memory: bool,
    /// Runs this row of the second part on the second core, until it is killed.
    #[arg(long, hide = true, value_name = "NUMBER")]
    repeat: Option<usize>,
}

/// How long each of the two timed parts may take.
fn budget(options: &Options) -> Duration {
    match options {
        Options { bench: false, .. } => Duration::ZERO,
        Options { quick: true, .. } => Duration::from_secs(8),
        _ => Duration::from_secs(45),
    }
}

/// One timed batch: long against the clock's resolution, short against a time slice.
const BATCH: Duration = Duration::from_micros(500);
/// Batches of two threads are longer: they must overlap.
const PAIRED_BATCH: Duration = Duration::from_millis(2);
/// Quartiles further apart than this part of the median: not to be trusted.
const TOO_NOISY: f64 = 0.25;

// ---- Statistics

struct Quartiles {
    /// A tenth is below: what it takes when nothing disturbs.
    quiet: f64,
    low: f64,
    median: f64,
    high: f64,
}

impl Quartiles {
    fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |part: f64| samples[(part * (samples.len() - 1) as f64).round() as usize];
        Quartiles { quiet: at(0.1), low: at(0.25), median: at(0.5), high: at(0.75) }
    }

    fn spread(&self) -> f64 {
        (self.high - self.low) / self.median
    }

    fn to_json(&self) -> Value {
        json!({ "low": self.low, "median": self.median, "high": self.high })
    }
}

fn verdict(met: bool, limit: f64, quartiles: &Quartiles) -> String {
    let close = (quartiles.low..=quartiles.high).contains(&limit);
    format!(
        "{}{}{}",
        if met { "met" } else { "missed" },
        if close { ", close" } else { "" },
        if quartiles.spread() > TOO_NOISY { ", noisy" } else { "" }
    )
}

// ---- What is timed

type Operation<'a> = Box<dyn FnMut(u64) + 'a>;

/// How long `times` runs take.
fn time(operation: &mut Operation<'_>, times: u64) -> Duration {
    let start = Instant::now();
    operation(times);
    start.elapsed()
}

/// How many runs fill `batch`.
fn calibrate(operation: &mut Operation<'_>, batch: Duration) -> u64 {
    let mut times = 1;
    loop {
        // The shortest of three: being interrupted is not the operation's.
        let taken = (0..3).map(|_| time(operation, times)).min().expect("three");
        if taken >= batch / 4 {
            let wanted = times as f64 * batch.as_secs_f64() / taken.as_secs_f64();
            return (wanted as u64).max(1);
        }
        times *= 2;
    }
}

fn mutex<'a>() -> Operation<'a> {
    let mutex = Box::new(parking_lot::Mutex::new(0_u64));
    Box::new(move |times| {
        for _ in 0..times {
            *black_box(&*mutex).lock() += 1;
        }
    })
}

fn on_cells<'a, R>(count: usize, operation: impl Fn(&[TVar<u64>]) -> R + 'a) -> Operation<'a> {
    let cells = workload::cells(count);
    Box::new(move |times| {
        for _ in 0..times {
            black_box(operation(hidden(&cells)));
        }
    })
}

// ---- Part one: multiples of the mutex

struct Row {
    name: &'static str,
    limit: f64,
    operation: Operation<'static>,
}

impl Row {
    fn new(name: &'static str, limit: f64, operation: Operation<'static>) -> Self {
        Row { name, limit, operation }
    }
}

fn rows() -> Vec<Row> {
    vec![
        Row::new("snapshot read 1", 0.6, on_cells(1, workload::snapshot_read)),
        Row::new("snapshot read 100", 9.0, on_cells(100, workload::snapshot_read)),
        Row::new("snapshot read 1000", 90.0, on_cells(1000, workload::snapshot_read)),
        Row::new("atomically read 1", 0.8, on_cells(1, workload::read)),
        Row::new("atomically read 100", 15.0, on_cells(100, workload::read)),
        Row::new("rmw 1", 2.0, on_cells(1, workload::rmw)),
        Row::new("rmw 2", 2.8, on_cells(2, workload::rmw)),
        Row::new("rmw 10", 15.0, on_cells(10, workload::rmw)),
        Row::new("rmw 1000", 1300.0, on_cells(1000, workload::rmw)),
    ]
}

/// Rounds until the time is used up, at least one.
fn rounds(budget: Duration) -> impl Iterator<Item = ()> {
    let start = Instant::now();
    let mut first = true;
    std::iter::from_fn(move || {
        (std::mem::take(&mut first) || start.elapsed() < budget).then_some(())
    })
}

fn costs(budget: Duration) -> Value {
    let mut baseline = mutex();
    let mutexes = calibrate(&mut baseline, BATCH);
    let mut rows = rows();
    let times: Vec<u64> = rows.iter_mut().map(|row| calibrate(&mut row.operation, BATCH)).collect();
    let mut mutex_ns = Vec::new();
    let mut samples = vec![(Vec::new(), Vec::new()); rows.len()];
    for () in rounds(budget) {
        for (row, (&times, (ns, ratios))) in rows.iter_mut().zip(times.iter().zip(&mut samples)) {
            (row.operation)(times.div_ceil(8)); // Back into the cache.
            let before = per_run(time(&mut baseline, mutexes), mutexes);
            let taken = per_run(time(&mut row.operation, times), times);
            let after = per_run(time(&mut baseline, mutexes), mutexes);
            mutex_ns.extend([before, after]);
            ns.push(taken);
            ratios.push(2.0 * taken / (before + after));
        }
    }
    let rounds = samples[0].0.len();
    let mutex_ns = Quartiles::of(mutex_ns);
    println!("\nMultiples of parking_lot's Mutex (lock, add, unlock), {rounds} rounds\n");
    println!(
        "{:<20} {:>10} {:>8}  {:>17} {:>8} {:>8}",
        "", "ns", "ratio", "quartiles", "quiet", "limit"
    );
    println!("{:<20} {:>10.1} {:>8.2} {:>27.1} ns", "Mutex", mutex_ns.median, 1.0, mutex_ns.quiet);
    let mut results = Vec::new();
    for (row, (ns, ratios)) in rows.iter().zip(samples) {
        let (ns, ratio) = (Quartiles::of(ns), Quartiles::of(ratios));
        let verdict = verdict(ratio.median <= row.limit, row.limit, &ratio);
        let quiet = ns.quiet / mutex_ns.quiet;
        println!(
            "{:<20} {:>10.1} {:>8.2}  {:>8.2}–{:<8.2} {quiet:>8.2} {:>8}  {verdict}",
            row.name, ns.median, ratio.median, ratio.low, ratio.high, row.limit
        );
        results.push(json!({
            "row": row.name, "ns": ns.median, "ratio": ratio.to_json(), "quiet": quiet,
            "limit": row.limit, "verdict": verdict,
        }));
    }
    println!(
        "\nquiet: a tenth of the rounds was faster, of the row and of the mutex. A neighbour on"
    );
    println!("the same core slows a row more than the mutex, whose time is mostly waiting.");
    let trusted = trust("the mutex", &mutex_ns);
    json!({ "rounds": rounds, "mutex_ns": mutex_ns.to_json(), "trusted": trusted, "rows": results })
}

fn per_run(taken: Duration, times: u64) -> f64 {
    taken.as_nanos() as f64 / times as f64
}

fn trust(whose: &str, quartiles: &Quartiles) -> bool {
    let trusted = quartiles.spread() <= TOO_NOISY;
    let (percent, judgement) = (
        quartiles.spread() * 100.0,
        if trusted { "quiet enough" } else { "TOO NOISY: do not trust these figures" },
    );
    println!("\nQuartiles of {whose}: {percent:.0} % of the median apart: {judgement}.");
    trusted
}

// ---- Part two: two threads

/// A name, and what makes the operation on cells of the calling thread.
type Paired = (&'static str, fn() -> Operation<'static>);

const PAIRED: &[Paired] = &[
    ("private mutexes", mutex),
    ("rmw 1", || on_cells(1, workload::rmw)),
    ("rmw 10", || on_cells(10, workload::rmw)),
    ("rmw 100", || on_cells(100, workload::rmw)),
    ("rmw 1000", || on_cells(1000, workload::rmw)),
    ("read 100", || on_cells(100, workload::read)),
];
const SPEED_UP: f64 = 1.8;

/// Where two threads meet before they start, spinning, so that neither is late by a wake-up.
struct Meeting(AtomicU64);

impl Meeting {
    fn wait(&self) {
        let arrival = self.0.fetch_add(1, Ordering::AcqRel);
        let both = (arrival / 2 + 1) * 2;
        let mut spins = 0_u32;
        while self.0.load(Ordering::Acquire) < both {
            spins += 1;
            if spins.is_multiple_of(1000) { std::thread::yield_now() } else { spin_loop() }
        }
    }
}

/// Binds this thread to one core, the first or the second: a scheduler likes to wake a thread on the
/// core of the one that wakes it, where two short batches would run one after the other.
#[cfg(target_os = "linux")]
fn bind(which: usize) {
    // SAFETY: both calls get a set of the size that they are told, on this stack; they change
    // nothing but where this thread runs. A failure leaves that to the scheduler.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&allowed), &mut allowed);
        let cores = 0..8 * size_of_val(&allowed);
        if let Some(core) = cores.filter(|&core| libc::CPU_ISSET(core, &allowed)).nth(which) {
            let mut wanted: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut wanted);
            libc::sched_setaffinity(0, size_of_val(&wanted), &wanted);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn bind(_which: usize) {}

/// The second thread: runs what it is told, and sleeps in between.
fn second(meeting: &Meeting, orders: &Receiver<(usize, u64)>, ends: &Sender<(Instant, Instant)>) {
    bind(1);
    let mut operations: Vec<_> = PAIRED.iter().map(|(_, make)| make()).collect();
    for (which, times) in orders {
        let operation = &mut operations[which];
        operation(times.div_ceil(8));
        meeting.wait();
        let start = Instant::now();
        operation(times);
        ends.send((start, Instant::now())).expect("the first thread waits");
    }
}

fn scaling(budget: Duration) -> Value {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    println!("\nTwo threads on disjoint cells, as multiples of one ({cores} cores)\n");
    let meeting = Meeting(AtomicU64::new(0));
    let mut samples = vec![(Vec::new(), Vec::new()); PAIRED.len()];
    std::thread::scope(|scope| {
        let (orders, from_first) = channel();
        let (to_first, ends) = channel();
        let meeting = &meeting;
        // Before the first is bound: a new thread inherits its maker's cores.
        scope.spawn(move || second(meeting, &from_first, &to_first));
        bind(0);
        let mut operations: Vec<_> = PAIRED.iter().map(|(_, make)| make()).collect();
        let times: Vec<u64> =
            operations.iter_mut().map(|operation| calibrate(operation, PAIRED_BATCH)).collect();
        for () in rounds(budget) {
            for (which, operation) in operations.iter_mut().enumerate() {
                let (ns, speed_ups) = &mut samples[which];
                let times = times[which];
                operation(times.div_ceil(8));
                let before = time(operation, times);
                orders.send((which, times)).expect("the second thread waits");
                operation(times.div_ceil(8));
                meeting.wait();
                let start = Instant::now();
                operation(times);
                let end = Instant::now();
                let (other_start, other_end) = ends.recv().expect("the second thread answers");
                // From the first start to the last end: what does not overlap gains nothing.
                let both = end.max(other_end) - start.min(other_start);
                let after = time(operation, times);
                ns.push(per_run(before, times));
                speed_ups.push((before + after).as_secs_f64() / both.as_secs_f64());
            }
        }
        drop(orders);
    });
    let rounds = samples[0].0.len();
    println!("{:<20} {:>10} {:>8}  {:>17} {:>8}", "", "ns, one", "times", "quartiles", "limit");
    let mut results = Vec::new();
    let mut yardstick: Option<Quartiles> = None;
    for ((name, _), (ns, speed_ups)) in PAIRED.iter().zip(samples) {
        let (ns, speed_up) = (Quartiles::of(ns), Quartiles::of(speed_ups));
        let machine = yardstick.as_ref().map_or(speed_up.median, |it| it.median);
        let mut verdict = verdict(speed_up.median >= SPEED_UP, SPEED_UP, &speed_up);
        if speed_up.median < SPEED_UP && machine < SPEED_UP {
            verdict += ", as by the mutexes: the machine has no more to give";
        }
        println!(
            "{name:<20} {:>10.1} {:>8.2}  {:>8.2}–{:<8.2} {SPEED_UP:>8}  {verdict}",
            ns.median, speed_up.median, speed_up.low, speed_up.high
        );
        results.push(json!({
            "row": name, "ns_one_thread": ns.median, "speed_up": speed_up.to_json(),
            "limit": SPEED_UP, "verdict": verdict, "part_of_mutexes": speed_up.median / machine,
        }));
        yardstick.get_or_insert(speed_up);
    }
    println!(
        "\n{rounds} rounds. Mutexes of their own share nothing: they show what the machine gives."
    );
    let trusted = yardstick.is_some_and(|it| trust("their gain", &it));
    json!({ "rounds": rounds, "cores": cores, "trusted": trusted, "rows": results })
}

/// A process on the second core that runs a row over and over, or is stopped: it shares nothing with this one but the machine.
#[cfg(target_os = "linux")]
struct Neighbour(std::process::Child);

#[cfg(target_os = "linux")]
impl Neighbour {
    fn new(which: usize) -> std::io::Result<Self> {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        command.args(["--repeat", &which.to_string()]).stdout(std::process::Stdio::piped());
        let mut neighbour = Neighbour(command.spawn()?);
        // It says so when it begins.
        let mut ready = [0];
        let output = neighbour.0.stdout.as_mut().expect("it was asked for");
        std::io::Read::read_exact(output, &mut ready)?;
        neighbour.is_sent(libc::SIGSTOP);
        Ok(neighbour)
    }

    fn is_sent(&self, signal: i32) {
        // SAFETY: a signal to a child that has not been waited for, so the number is still its own.
        unsafe { libc::kill(self.0.id().cast_signed(), signal) };
    }
}

#[cfg(target_os = "linux")]
impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The other side of [`Neighbour`].
#[cfg(target_os = "linux")]
fn repeat(which: usize) -> std::io::Result<()> {
    bind(1);
    let mut operation = (PAIRED[which].1)();
    operation(1000);
    std::io::Write::write_all(&mut std::io::stdout(), b"!")?;
    std::io::Write::flush(&mut std::io::stdout())?;
    loop {
        operation(1000);
    }
}

/// What two cores get done of each row in processes of their own, as multiples of one: what the machine gives for this work.
#[cfg(target_os = "linux")]
fn neighbours(budget: Duration) -> std::io::Result<Value> {
    println!("\nTwo processes, as multiples of one: they share nothing, so more cannot be had\n");
    println!("{:<20} {:>10} {:>8}  {:>17}", "", "ns, one", "times", "quartiles");
    let mut results = Vec::new();
    // Before this side is bound to a core.
    let neighbours = (0..PAIRED.len()).map(Neighbour::new).collect::<std::io::Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        // A thread of its own, since it is bound to a core.
        let all = scope.spawn(|| {
            bind(0);
            for (neighbour, (name, make)) in neighbours.iter().zip(PAIRED) {
                let mut operation = make();
                let times = calibrate(&mut operation, PAIRED_BATCH);
                let (mut ns, mut gains) = (Vec::new(), Vec::new());
                for () in rounds(budget / PAIRED.len() as u32) {
                    let alone = time(&mut operation, times);
                    neighbour.is_sent(libc::SIGCONT);
                    operation(times.div_ceil(2)); // Until it runs.
                    let beside = time(&mut operation, times);
                    neighbour.is_sent(libc::SIGSTOP);
                    operation(times.div_ceil(2)); // Until it does not.
                    ns.push(per_run(alone, times));
                    gains.push(2.0 * alone.as_secs_f64() / beside.as_secs_f64());
                }
                let (ns, gain) = (Quartiles::of(ns), Quartiles::of(gains));
                println!(
                    "{name:<20} {:>10.1} {:>8.2}  {:>8.2}–{:<8.2}",
                    ns.median, gain.median, gain.low, gain.high
                );
                results.push(json!({ "row": name, "gain": gain.to_json() }));
            }
        });
        all.join().expect("it does not panic");
    });
    Ok(results.into())
}

#[cfg(not(target_os = "linux"))]
fn repeat(_which: usize) -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn neighbours(_budget: Duration) -> std::io::Result<Value> {
    Ok(Value::Null)
}

// ---- Part three: memory

/// Counts the bytes that are allocated.
struct Counting;

static BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: passes everything on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: the caller's layout is not of size 0, which is all that `System` asks.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: `alloc` has this block from `System`, with this layout, which the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CELLS: usize = 1_000_000;
const BYTES_PER_CELL: f64 = 64.0;

/// Bytes per cell, its handle and all overhead included: new, and after each was updated once.
fn bytes_per_cell() -> (f64, f64) {
    let before = BYTES.load(Ordering::Relaxed);
    let used = || (BYTES.load(Ordering::Relaxed) - before) as f64 / CELLS as f64;
    let cells = workload::cells(CELLS);
    let new = used();
    for cell in &cells {
        cell.update(|n| n + 1);
    }
    let updated = used();
    assert!((0..).zip(&cells).all(|(n, cell)| cell.load() == n + 1));
    (new, updated)
}

/// In a process of its own: here, free blocks of earlier parts would hide some.
fn memory() -> Result<Value, Box<dyn std::error::Error>> {
    let output = std::process::Command::new(std::env::current_exe()?).arg("--memory").output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let printed = String::from_utf8(output.stdout)?;
    println!(
        "\nBytes per TVar<u64> with its value, its handle and all overhead, of {CELLS} cells\n"
    );
    let mut results = Vec::new();
    for (row, bytes) in ["new", "each updated once"].into_iter().zip(printed.split_whitespace()) {
        let bytes: f64 = bytes.parse()?;
        let verdict = if bytes <= BYTES_PER_CELL { "met" } else { "missed" };
        println!("{row:<20} {bytes:>10.1} {:>27} {BYTES_PER_CELL:>8}  {verdict}", "");
        results.push(json!({
            "row": row, "bytes": bytes, "limit": BYTES_PER_CELL, "verdict": verdict,
        }));
    }
    Ok(json!({ "cells": CELLS, "rows": results }))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    if options.memory {
        let (new, updated) = bytes_per_cell();
        println!("{new} {updated}");
        return Ok(());
    }
    if let Some(which) = options.repeat {
        return Ok(repeat(which)?);
    }
    let budget = budget(&options);
    let costs = costs(budget);
    let processes = neighbours(budget)?; // Before this thread is bound to a core: a process inherits that.
    let results = json!({
        "quick": options.quick,
        "costs": costs,
        "scaling": scaling(budget),
        "processes": processes,
        "memory": memory()?,
    });
    if let Some(file) = options.json {
        std::fs::write(file, format!("{results:#}\n"))?;
    }
    Ok(())
}
