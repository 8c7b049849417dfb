//! What is compared: an index behind one mutex, and one behind a mutex per shard. Both promise what
//! the transactional one does: a document appears at once, in all its terms.

use crate::corpus::{Document, Occurrence};
use crate::index::Totals;
use crate::postings::Posting;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Something that must hold at every moment does not.
#[derive(Debug)]
pub(crate) struct Violation(pub(crate) String);

impl Violation {
    /// Fails with what `what` says unless `holds`.
    pub(crate) fn unless(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
        if holds { Ok(()) } else { Err(Violation(what())) }
    }
}

/// An index that many threads can write and read.
pub(crate) trait Contender: Send + Sync {
    /// For the table.
    const NAME: &'static str;

    /// An empty one for so many writers.
    fn new(writers: usize) -> Self;

    /// Adds a document, all at once.
    fn add(&self, writer: usize, number: u32, document: &Document);

    /// Looks at the totals and at one term, which must fit each other at this moment.
    fn audit(&self, term: &Occurrence) -> Result<(), Violation>;

    /// Looks at everything.
    fn audit_all(&self) -> Result<(), Violation>;

    /// Everything, to be compared.
    fn contents(&self) -> BTreeMap<Arc<str>, BTreeMap<u32, u32>>;
}

/// An ordinary index, or a shard of one.
#[derive(Default)]
pub(crate) struct Plain {
    terms: HashMap<Arc<str>, Vec<Posting>>,
    documents: HashMap<u32, (Arc<str>, u64)>,
    totals: Totals,
}

impl Plain {
    fn add_document(&mut self, number: u32, document: &Document) {
        self.documents.insert(number, (Arc::clone(&document.name), document.words));
        self.totals = self.totals.with(document);
    }

    fn add_term(&mut self, term: &Arc<str>, posting: Posting) {
        match self.terms.get_mut(term) {
            Some(postings) => postings.push(posting),
            None => drop(self.terms.insert(Arc::clone(term), vec![posting])),
        }
    }
}

/// Checks all parts together, which must be locked.
fn audit_term(
    parts: &[MutexGuard<'_, Plain>],
    at: usize,
    home_of: impl Fn(u32) -> usize,
    term: &str,
) -> Result<(), Violation> {
    let documents: usize = parts.iter().map(|part| part.documents.len()).sum();
    let totals = parts.iter().fold(Totals::default(), |sum, part| sum.and(&part.totals));
    Violation::unless(documents as u64 == totals.documents, || format!("{totals:?}"))?;
    let postings = parts[at].terms.get(term).map_or(&[][..], Vec::as_slice);
    let is_there = |number| parts[home_of(number)].documents.contains_key(&number);
    Violation::unless(postings.iter().all(|posting| is_there(posting.document)), || {
        format!("{term:?} is in a document that is not there")
    })
}

fn audit_all(parts: &[MutexGuard<'_, Plain>]) -> Result<(), Violation> {
    let totals = parts.iter().fold(Totals::default(), |sum, part| sum.and(&part.totals));
    let mut found = Totals::default();
    for part in parts {
        found.documents += part.documents.len() as u64;
        for posting in part.terms.values().flatten() {
            found.postings += 1;
            found.words += u64::from(posting.occurrences);
        }
    }
    Violation::unless(found == totals, || format!("found {found:?}, but {totals:?}"))
}

fn contents(parts: &[MutexGuard<'_, Plain>]) -> BTreeMap<Arc<str>, BTreeMap<u32, u32>> {
    let terms = parts.iter().flat_map(|part| &part.terms);
    let by_document = |postings: &Vec<Posting>| {
        postings.iter().map(|posting| (posting.document, posting.occurrences)).collect()
    };
    terms.map(|(term, postings)| (Arc::clone(term), by_document(postings))).collect()
}

/// One mutex around everything. With one writer it is also the sequential build.
pub(crate) struct Global(Mutex<Plain>);

impl Contender for Global {
    const NAME: &'static str = "one mutex";

    fn new(_: usize) -> Self {
        Global(Mutex::default())
    }

    fn add(&self, _: usize, number: u32, document: &Document) {
        let mut plain = self.0.lock();
        plain.add_document(number, document);
        for Occurrence { term, count, .. } in &document.terms {
            plain.add_term(term, Posting { document: number, occurrences: *count });
        }
    }

    fn audit(&self, term: &Occurrence) -> Result<(), Violation> {
        audit_term(&[self.0.lock()], 0, |_| 0, &term.term)
    }

    fn audit_all(&self) -> Result<(), Violation> {
        audit_all(&[self.0.lock()])
    }

    fn contents(&self) -> BTreeMap<Arc<str>, BTreeMap<u32, u32>> {
        contents(&[self.0.lock()])
    }
}

/// Terms and documents are distributed over this many mutexes.
const SHARDS: usize = 64;

/// A mutex per shard. A document must appear at once, so its shards are locked together, in
/// ascending order; to see everything at one moment all are locked.
pub(crate) struct Sharded(Vec<Mutex<Plain>>);

/// Where a term is. Its hash was made with the input: that much is a gift.
fn home(occurrence: &Occurrence) -> usize {
    (occurrence.hash % SHARDS as u64) as usize
}

impl Sharded {
    fn lock_all(&self) -> Vec<MutexGuard<'_, Plain>> {
        self.0.iter().map(Mutex::lock).collect()
    }
}

impl Contender for Sharded {
    const NAME: &'static str = "64 mutexes";

    fn new(_: usize) -> Self {
        Sharded((0..SHARDS).map(|_| Mutex::default()).collect())
    }

    fn add(&self, _: usize, number: u32, document: &Document) {
        let document_home = number as usize % SHARDS;
        let mut needed = [false; SHARDS];
        needed[document_home] = true;
        document.terms.iter().for_each(|occurrence| needed[home(occurrence)] = true);
        let mut locked: Vec<Option<MutexGuard<'_, Plain>>> = std::iter::zip(&self.0, needed)
            .map(|(shard, needed)| needed.then(|| shard.lock()))
            .collect();
        let mut part = |at: usize, change: &mut dyn FnMut(&mut Plain)| {
            change(locked[at].as_mut().expect("locked above"));
        };
        part(document_home, &mut |part| part.add_document(number, document));
        for occurrence in &document.terms {
            let posting = Posting { document: number, occurrences: occurrence.count };
            part(home(occurrence), &mut |part| part.add_term(&occurrence.term, posting));
        }
    }

    fn audit(&self, term: &Occurrence) -> Result<(), Violation> {
        let at = |number| number as usize % SHARDS;
        audit_term(&self.lock_all(), home(term), at, &term.term)
    }

    fn audit_all(&self) -> Result<(), Violation> {
        audit_all(&self.lock_all())
    }

    fn contents(&self) -> BTreeMap<Arc<str>, BTreeMap<u32, u32>> {
        contents(&self.lock_all())
    }
}
