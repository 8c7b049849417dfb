//! The index on transactional maps: each document is one transaction.
//!
//! What keeps writers out of each other's way:
//! - *Totals* are kept per writer, in a cell each; readers add them up.
//! - Every document has the frequent words of its language, so a single cell for the postings of
//!   "the" would put all writers in one queue. A term begins with one cell, which is all that most
//!   terms ever need; when it turns out to be frequent, it is *widened* to a list per writer.
//! - Documents and terms are in [`TMap`]s, which have no cell that all insertions share.

use crate::contenders::{Contender, Violation};
use crate::corpus::{Document, Occurrence};
use crate::postings::{Posting, Postings};
use contempo::collections::TMap;
use contempo::{Snapshot, StmResult, TVar, Transaction, atomically, snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Documents that have a term when it is widened.
const FREQUENT: u32 = 16;

/// What a writer has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Documents indexed.
    pub(crate) documents: u64,
    /// Pairs of a document and a term.
    pub(crate) postings: u64,
    /// Words of those documents.
    pub(crate) words: u64,
}

impl Totals {
    /// With one document more.
    pub(crate) fn with(&self, document: &Document) -> Self {
        Totals {
            documents: self.documents + 1,
            postings: self.postings + document.terms.len() as u64,
            words: self.words + document.words,
        }
    }

    /// Sums up.
    pub(crate) fn and(self, other: &Totals) -> Self {
        Totals {
            documents: self.documents + other.documents,
            postings: self.postings + other.postings,
            words: self.words + other.words,
        }
    }
}

/// The postings of a term.
enum Term {
    Rare(Postings),
    /// What there was when it was widened, and a list per writer.
    Frequent(Postings, Arc<[TVar<Postings>]>),
}

/// What is kept of a document.
pub(crate) struct Entry {
    /// File and first line.
    pub(crate) name: Arc<str>,
    words: u64,
}

/// An inverted index.
pub(crate) struct Index {
    terms: TMap<Arc<str>, Term>,
    documents: TMap<u32, Entry>,
    totals: Vec<TVar<Totals>>,
}

impl Index {
    fn add_term(
        &self,
        tx: &Transaction<'_>,
        writer: usize,
        term: &Arc<str>,
        posting: Posting,
    ) -> StmResult<()> {
        let changed = match self.terms.get(tx, term)? {
            None => Term::Rare(Postings::default().with(posting)),
            Some(Term::Frequent(_, lists)) => {
                return tx.modify(&lists[writer], |list| list.with(posting));
            }
            Some(Term::Rare(list)) if list.documents() < FREQUENT => Term::Rare(list.with(posting)),
            Some(Term::Rare(list)) => {
                let lists = self.totals.iter().map(|_| TVar::new(Postings::default())).collect();
                Term::Frequent(list.with(posting), lists)
            }
        };
        self.terms.insert(tx, Arc::clone(term), changed).map(drop)
    }

    /// Shows the lists of a term.
    fn lists<'s>(view: &Snapshot<'s>, term: &'s Term) -> impl Iterator<Item = &'s Postings> {
        let (first, rest): (_, &[TVar<Postings>]) = match term {
            Term::Rare(list) => (list, &[]),
            Term::Frequent(list, lists) => (list, lists),
        };
        std::iter::once(first).chain(rest.iter().map(|list| view.read(list)))
    }

    /// The postings of `term`, by document.
    pub(crate) fn postings(&self, view: &Snapshot<'_>, term: &str) -> BTreeMap<u32, u32> {
        let lists = self.terms.get(view, term).map(|term| Self::lists(view, term));
        let postings = lists.into_iter().flatten().flat_map(Postings::iter);
        postings.map(|posting| (posting.document, posting.occurrences)).collect()
    }

    /// A document.
    pub(crate) fn document<'s>(&self, view: &Snapshot<'s>, number: u32) -> Option<&'s Entry> {
        self.documents.get(view, &number)
    }

    /// All terms with the number of documents that have them.
    pub(crate) fn terms<'i, 's>(
        &'i self,
        view: &'i Snapshot<'s>,
    ) -> impl Iterator<Item = (&'s Arc<str>, u32)> {
        self.terms
            .iter(view)
            .map(|(name, term)| (name, Self::lists(view, term).map(Postings::documents).sum()))
    }

    /// What has been indexed.
    pub(crate) fn totals(&self, view: &Snapshot<'_>) -> Totals {
        self.totals.iter().fold(Totals::default(), |sum, cell| sum.and(view.read(cell)))
    }
}

impl Contender for Index {
    const NAME: &'static str = "contempo";

    fn new(writers: usize) -> Self {
        let totals = (0..writers).map(|_| TVar::default()).collect();
        Index { terms: TMap::new(), documents: TMap::new(), totals }
    }

    fn add(&self, writer: usize, number: u32, document: &Document) {
        atomically(|tx| {
            let entry = Entry { name: Arc::clone(&document.name), words: document.words };
            self.documents.insert(tx, number, entry)?;
            for occurrence in &document.terms {
                let posting = Posting { document: number, occurrences: occurrence.count };
                self.add_term(tx, writer, &occurrence.term, posting)?;
            }
            tx.modify(&self.totals[writer], |totals| totals.with(document))
        });
    }

    fn audit(&self, term: &Occurrence) -> Result<(), Violation> {
        snapshot(|view| {
            let totals = self.totals(view);
            Violation::unless(self.documents.len(view) as u64 == totals.documents, || {
                format!("{} documents, but {totals:?}", self.documents.len(view))
            })?;
            let lists = self.terms.get(view, &term.term).map(|term| Self::lists(view, term));
            for list in lists.into_iter().flatten() {
                let found = list
                    .iter()
                    .filter(|posting| self.documents.contains_key(view, &posting.document));
                let found = found.count() as u64;
                Violation::unless(found == u64::from(list.documents()), || {
                    format!(
                        "{found} documents of {} are there, not {}",
                        term.term,
                        list.documents()
                    )
                })?;
            }
            Ok(())
        })
    }

    fn audit_all(&self) -> Result<(), Violation> {
        snapshot(|view| {
            let totals = self.totals(view);
            let lists = self.terms.values(view).flat_map(|term| Self::lists(view, term));
            let found = lists.fold(Totals::default(), |sum, list| Totals {
                postings: sum.postings + u64::from(list.documents()),
                words: sum.words + list.occurrences(),
                ..sum
            });
            let (mut found, mut words) = (found, 0);
            for entry in self.documents.values(view) {
                found.documents += 1;
                words += entry.words;
            }
            Violation::unless(found == totals && words == totals.words, || {
                format!("found {found:?} and {words} words of documents, but {totals:?}")
            })
        })
    }

    fn contents(&self) -> BTreeMap<Arc<str>, BTreeMap<u32, u32>> {
        snapshot(|view| {
            let names = self.terms.keys(view);
            names.map(|name| (Arc::clone(name), self.postings(view, name))).collect()
        })
    }
}
