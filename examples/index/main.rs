//! A searchable index of a directory: every document is one transaction over two maps and a cell
//! of totals, while readers ask for snapshots in which everything must add up, at every moment.
//!
//! ```text
//! cargo run --release --example index -- [DIR] [--writers 2] [--readers 1] [--query "snapshot read"]
//! ```
//!
//! Then it compares the whole index with a sequential build, measures it beside an index behind one
//! mutex and one behind 64, and answers queries. It fails (exit code 1) if anything was ever
//! inconsistent. Ctrl-C finishes the running documents and reports what was indexed.

mod contenders;
mod corpus;
mod index;
mod postings;
mod race;

use clap::Parser;
use contempo::snapshot;
use contenders::{Contender, Global, Sharded, Violation};
use corpus::Corpus;
use index::Index;
use indicatif::{ProgressBar, ProgressStyle};
use race::{Line, Threads};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Builds a searchable index of a directory of text files in transactions, and measures it.
#[derive(Parser)]
struct Arguments {
    /// The directory.
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// A document is at most this many lines of a file.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    lines: u16,
    /// Threads that add documents.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..))]
    writers: u8,
    /// Threads that ask for snapshots meanwhile.
    #[arg(long, default_value_t = 1)]
    readers: u8,
    /// Rounds of the measurement (0: none); each builds every kind of index anew.
    #[arg(long, default_value_t = 41)]
    rounds: u16,
    /// Documents that have all of these words; may be given several times.
    #[arg(long)]
    query: Vec<String>,
    /// How many answers to print of each query.
    #[arg(long, default_value_t = 5)]
    answers: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let corpus = match Corpus::read(&arguments.directory, arguments.lines.into()) {
        Ok(corpus) => corpus,
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    match run(&arguments, &corpus) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Violation(what)) => {
            eprintln!("VIOLATION: {what}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, corpus: &Corpus) -> Result<(), Violation> {
    let stop = Arc::new(AtomicBool::new(false));
    let on_interrupt = Arc::clone(&stop);
    if let Err(error) = ctrlc::set_handler(move || on_interrupt.store(true, Ordering::Relaxed)) {
        eprintln!("warning: Ctrl-C will end this program at once: {error}");
    }
    println!(
        "{}: {} text files ({} skipped), {} documents, {} terms, {} postings",
        arguments.directory.display(),
        corpus.files,
        corpus.skipped,
        corpus.documents.len(),
        corpus.terms.len(),
        corpus.postings(),
    );
    let threads = Threads { writers: arguments.writers.into(), readers: arguments.readers.into() };
    let index = index_all(corpus, threads, &stop)?;
    queries(arguments, &index);
    if !stop.load(Ordering::Relaxed) && arguments.rounds > 0 {
        measure(corpus, threads, arguments.rounds, &stop)?;
    }
    if stop.load(Ordering::Relaxed) {
        println!("\nstopped by Ctrl-C");
    }
    Ok(())
}

/// Builds the index with all looking, and compares it with a sequential build.
fn index_all(corpus: &Corpus, threads: Threads, stop: &AtomicBool) -> Result<Index, Violation> {
    let bar = ProgressBar::new(corpus.documents.len() as u64).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} documents, {per_sec}")
            .expect("a valid template"),
    );
    let before = contempo::statistics();
    let index = Index::new(threads.writers);
    let outcome = race::build(&index, corpus, threads, stop, || bar.inc(1))?;
    bar.finish_and_clear();
    let done = contempo::statistics().since(&before);
    println!(
        "indexed {} documents in {:.1?}: {} commits, {} attempts repeated; {} audits meanwhile, \
         none failed",
        outcome.indexed.len(),
        outcome.elapsed,
        done.commits,
        done.aborts(),
        outcome.audits,
    );
    index.audit_all()?;
    let sequential = Global::new(1);
    for number in outcome.indexed {
        sequential.add(0, number as u32, &corpus.documents[number]);
    }
    Violation::unless(index.contents() == sequential.contents(), || {
        "the index differs from a sequential build".into()
    })?;
    println!("the whole index equals a sequential build");
    Ok(index)
}

/// Every kind of index in turn, round after round, so that all meet the same weather.
fn measure(
    corpus: &Corpus,
    threads: Threads,
    rounds: u16,
    stop: &AtomicBool,
) -> Result<(), Violation> {
    let mut settings = vec![
        Threads { writers: 1, readers: 0 },
        Threads { readers: 0, ..threads },
        Threads { readers: threads.readers.max(1), ..threads },
    ];
    settings.dedup_by_key(|threads| (threads.writers, threads.readers));
    let mut lines: Vec<_> = settings
        .into_iter()
        .map(|threads| {
            let sharded = Line::new::<Sharded>(threads);
            (Line::new::<Index>(threads), Line::new::<Global>(threads), sharded)
        })
        .collect();
    let bar = ProgressBar::new(rounds.into()).with_message("measuring");
    for _ in 0..rounds {
        for (contempo, global, sharded) in &mut lines {
            contempo.sample::<Index>(corpus, stop)?;
            global.sample::<Global>(corpus, stop)?;
            sharded.sample::<Sharded>(corpus, stop)?;
        }
        bar.inc(1);
        if stop.load(Ordering::Relaxed) {
            break;
        }
    }
    bar.finish_and_clear();
    println!("\nmedians of {} interleaved rounds; every document appears at once", bar.position());
    Line::print_head();
    for (contempo, global, sharded) in lines {
        contempo.print();
        global.print();
        sharded.print();
    }
    Ok(())
}

/// The most frequent terms, and documents that have all words of a query.
fn queries(arguments: &Arguments, index: &Index) {
    snapshot(|view| {
        let mut top: Vec<_> = index.terms(view).collect();
        top.sort_by_key(|(name, documents)| (std::cmp::Reverse(*documents), Arc::clone(name)));
        println!("\ntop terms (documents)");
        for (name, documents) in top.iter().take(arguments.answers) {
            println!("  {name} ({documents})");
        }
        let mut queries = arguments.query.clone();
        if queries.is_empty() {
            // The most frequent words that look as if they meant something.
            let mut long = top.iter().map(|(name, _)| name).filter(|name| name.len() >= 6);
            if let (Some(one), Some(other)) = (long.next(), long.next()) {
                queries = vec![one.to_string(), format!("{one} {other}")];
            }
        }
        for query in queries {
            answer(arguments, index, view, &query);
        }
    });
}

fn answer(arguments: &Arguments, index: &Index, view: &contempo::Snapshot<'_>, query: &str) {
    let words: Vec<_> = query.split_whitespace().map(str::to_lowercase).collect();
    let lists: Vec<_> = words.iter().map(|word| index.postings(view, word)).collect();
    let Some((first, rest)) = lists.split_first() else { return };
    let mut found: Vec<(u32, u32)> = first
        .iter()
        .filter_map(|(document, count)| {
            rest.iter()
                .try_fold(*count, |sum, list| Some(sum + list.get(document)?))
                .map(|score| (score, *document))
        })
        .collect();
    found.sort_unstable_by_key(|(score, document)| (std::cmp::Reverse(*score), *document));
    println!("{:?}: {} documents", words.join(" AND "), found.len());
    for (score, number) in found.iter().take(arguments.answers) {
        if let Some(document) = index.document(view, *number) {
            println!("  {} ({score})", document.name);
        }
    }
}
