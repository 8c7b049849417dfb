//! Many threads build one index while others look at it; and the same, timed.

use crate::contenders::{Contender, Violation};
use crate::corpus::Corpus;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

/// Every so many audits look at everything.
const THOROUGH: usize = 64;

/// The contenders.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threads {
    /// They add documents.
    pub(crate) writers: usize,
    /// They audit, as fast as they can, until the writers have finished.
    pub(crate) readers: usize,
}

/// What a build came to.
pub(crate) struct Outcome {
    /// From the first document's beginning to the last one's end.
    pub(crate) elapsed: Duration,
    /// Documents that were indexed: these and no others (fewer than all if it was stopped).
    pub(crate) indexed: Vec<usize>,
    /// Audits meanwhile.
    pub(crate) audits: usize,
}

/// Builds `index` from `corpus`. `stop` ends it early, between documents; `progress` is told of
/// each document.
///
/// # Errors
/// If an audit finds that something does not add up.
pub(crate) fn build<C: Contender>(
    index: &C,
    corpus: &Corpus,
    threads: Threads,
    stop: &AtomicBool,
    progress: impl Fn() + Sync,
) -> Result<Outcome, Violation> {
    let (next, audits) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let done = AtomicBool::new(false);
    let violation = Mutex::new(None);
    let start = Barrier::new(threads.writers + threads.readers);
    let audit = |reader: usize| {
        start.wait();
        let mut round = reader;
        while !done.load(Ordering::Relaxed) {
            let document =
                &corpus.documents[round.wrapping_mul(0x9E37_79B9) % corpus.documents.len()];
            let result = match document.terms.get(round % document.terms.len().max(1)) {
                Some(term) if !round.is_multiple_of(THOROUGH) => index.audit(term),
                _ => index.audit_all(),
            };
            audits.fetch_add(1, Ordering::Relaxed);
            if let Err(found) = result {
                *violation.lock().expect("no thread panics with it") = Some(found);
                return;
            }
            round += threads.readers;
        }
    };
    let write = |writer: usize| {
        start.wait();
        let began = Instant::now();
        let mut indexed = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(document) = corpus.documents.get(number) else { break };
            index.add(writer, number as u32, document);
            indexed.push(number);
            progress();
        }
        (began, Instant::now(), indexed)
    };
    let (write, audit) = (&write, &audit);
    let written = std::thread::scope(|scope| {
        for reader in 0..threads.readers {
            scope.spawn(move || audit(reader));
        }
        let writers: Vec<_> =
            (0..threads.writers).map(|writer| scope.spawn(move || write(writer))).collect();
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed); // Also if one has panicked.
        written
    });
    if let Some(found) = violation.into_inner().expect("no thread panics with it") {
        return Err(found);
    }
    let written: Vec<_> =
        written.into_iter().map(|writer| writer.expect("a writer panicked")).collect();
    let began = written.iter().map(|(began, ..)| *began).min();
    let ended = written.iter().map(|(_, ended, _)| *ended).max();
    let elapsed = began.zip(ended).map_or(Duration::ZERO, |(began, ended)| ended - began);
    let indexed = written.into_iter().flat_map(|(.., indexed)| indexed).collect();
    Ok(Outcome { elapsed, indexed, audits: audits.into_inner() })
}

/// The samples of one line of the table.
pub(crate) struct Line {
    name: &'static str,
    threads: Threads,
    /// (documents per second, postings per second, audits per second)
    samples: Vec<[f64; 3]>,
}

impl Line {
    /// No samples yet.
    pub(crate) fn new<C: Contender>(threads: Threads) -> Self {
        Line { name: C::NAME, threads, samples: Vec::new() }
    }

    /// One sample more: a build of a new index.
    ///
    /// # Errors
    /// As [`build`].
    pub(crate) fn sample<C: Contender>(
        &mut self,
        corpus: &Corpus,
        stop: &AtomicBool,
    ) -> Result<(), Violation> {
        let index = C::new(self.threads.writers);
        let outcome = build(&index, corpus, self.threads, stop, || ())?;
        // To free an index is not measured, of none of them: what the writers of this one have
        // left to be freed must not fall to the writers of the next.
        drop(index);
        contempo::collect();
        if outcome.indexed.len() == corpus.documents.len() {
            let per_second = |count: usize| count as f64 / outcome.elapsed.as_secs_f64();
            self.samples.push([
                per_second(corpus.documents.len()),
                per_second(corpus.postings()),
                per_second(outcome.audits),
            ]);
        }
        Ok(())
    }

    /// Prints the medians.
    pub(crate) fn print(mut self) {
        let Threads { writers, readers } = self.threads;
        let mut median = |column: usize| {
            self.samples.sort_by(|one, other| one[column].total_cmp(&other[column]));
            self.samples.get(self.samples.len() / 2).map_or(f64::NAN, |sample| sample[column])
        };
        let [documents, postings, audits] = [median(0), median(1), median(2)];
        let audits = if readers == 0 { "–".into() } else { format!("{audits:.0}") };
        let postings = postings / 1e6;
        println!(
            "{:<12} {writers:>7} {readers:>7} {documents:>12.0} {postings:>11.2} M {audits:>10}",
            self.name,
        );
    }

    /// Prints the head of the table.
    pub(crate) fn print_head() {
        println!("             writers readers  documents/s       terms/s   audits/s");
    }
}
