//! The input, read and cut into terms once, so that what is measured later is indexing alone.

use ignore::WalkBuilder;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;

/// Larger files are data rather than text.
const LARGEST: u64 = 4 << 20;

/// A term of a document.
pub(crate) struct Occurrence {
    /// The term; shared by all documents.
    pub(crate) term: Arc<str>,
    /// How often it occurs in this document.
    pub(crate) count: u32,
    /// A hash of the term, for maps that distribute terms without hashing them again.
    pub(crate) hash: u64,
}

/// One document: part of a text file.
pub(crate) struct Document {
    /// File and first line.
    pub(crate) name: Arc<str>,
    /// Its terms, each once.
    pub(crate) terms: Vec<Occurrence>,
    /// How many words it has.
    pub(crate) words: u64,
}

/// All documents of a directory.
pub(crate) struct Corpus {
    /// The documents, in the order in which they were found.
    pub(crate) documents: Vec<Document>,
    /// Text files that were read.
    pub(crate) files: usize,
    /// Files that were left out: binary, not UTF-8, too large or unreadable.
    pub(crate) skipped: usize,
    /// All terms, each once.
    pub(crate) terms: Vec<Arc<str>>,
}

impl Corpus {
    /// Reads the text files below `root` (but not what git ignores, nor build directories) and
    /// cuts each into documents of at most `lines` lines.
    ///
    /// # Errors
    /// If there is no such directory, or no text in it.
    pub(crate) fn read(root: &Path, lines: usize) -> Result<Self, String> {
        if !root.is_dir() {
            return Err(format!("cannot index {}: there is no such directory", root.display()));
        }
        let mut reader = Reader::default();
        let (mut documents, mut files, mut skipped) = (Vec::new(), 0, 0);
        let walk = WalkBuilder::new(root)
            .filter_entry(|entry| !entry.file_name().to_string_lossy().starts_with("target"))
            .sort_by_file_name(Ord::cmp)
            .build();
        for entry in walk {
            let Ok(entry) = entry else {
                skipped += 1;
                continue;
            };
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                continue;
            }
            let Some(text) = read_text(entry.path()) else {
                skipped += 1;
                continue;
            };
            files += 1;
            let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).display();
            let all: Vec<&str> = text.lines().collect();
            for (part, passage) in all.chunks(lines).enumerate() {
                let document = reader.document(format!("{path}:{}", part * lines + 1), passage);
                if document.words > 0 {
                    documents.push(document);
                }
            }
        }
        if documents.is_empty() {
            return Err(format!("nothing to index: no text files below {}", root.display()));
        }
        Ok(Corpus { documents, files, skipped, terms: reader.terms.into_keys().collect() })
    }

    /// How many pairs of a document and a term there are: what an index holds.
    pub(crate) fn postings(&self) -> usize {
        self.documents.iter().map(|document| document.terms.len()).sum()
    }
}

fn read_text(path: &Path) -> Option<String> {
    if path.metadata().ok()?.len() > LARGEST {
        return None;
    }
    let text = String::from_utf8(std::fs::read(path).ok()?).ok()?;
    if text.contains('\0') { None } else { Some(text) }
}

/// Remembers the terms that it has seen.
#[derive(Default)]
struct Reader {
    terms: HashMap<Arc<str>, u64>,
    hasher: RandomState,
}

impl Reader {
    fn document(&mut self, name: String, lines: &[&str]) -> Document {
        let (mut counts, mut words) = (HashMap::new(), 0);
        for line in lines {
            for word in line.split(|letter: char| !letter.is_alphanumeric() && letter != '_') {
                if (2..=40).contains(&word.len()) {
                    *counts.entry(word.to_lowercase()).or_insert(0_u32) += 1;
                    words += 1;
                }
            }
        }
        let terms = counts.into_iter().map(|(term, count)| {
            let (term, hash) = self.intern(term);
            Occurrence { term, count, hash }
        });
        Document { name: name.into(), terms: terms.collect(), words }
    }

    fn intern(&mut self, term: String) -> (Arc<str>, u64) {
        if let Some((known, hash)) = self.terms.get_key_value(term.as_str()) {
            return (Arc::clone(known), *hash);
        }
        let (term, hash): (Arc<str>, _) = (term.as_str().into(), self.hasher.hash_one(&term));
        self.terms.insert(Arc::clone(&term), hash);
        (term, hash)
    }
}
