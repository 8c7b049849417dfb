//! In which documents a term occurs: immutable lists that are cheap to append to.
//!
//! A cell's value is replaced as a whole, so an append must not copy the list. What is copied here
//! is one small *tail*; when it is full it is frozen into a chunk that all later versions share,
//! linked to the chunk before it. An append copies at most [`CHUNK`] postings, always fits one
//! cached block, and takes an `Arc` once in [`CHUNK`] times; reading follows one pointer per chunk.

use std::sync::Arc;

/// Postings per chunk: the tail is then 56 bytes, which is copied in a few nanoseconds.
const CHUNK: usize = 7;

/// A term occurs in `document` so many times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posting {
    /// The number of the document.
    pub(crate) document: u32,
    /// How often the term occurs in it.
    pub(crate) occurrences: u32,
}

#[derive(Debug)]
struct Chunk {
    postings: [Posting; CHUNK],
    before: Option<Arc<Chunk>>,
}

impl Drop for Chunk {
    /// One after the other: a long chain that drops itself recursively overflows the stack.
    fn drop(&mut self) {
        let mut next = self.before.take();
        while let Some(mut chunk) = next.and_then(Arc::into_inner) {
            next = chunk.before.take();
        }
    }
}

/// An immutable list of postings, in the order in which their documents were committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Postings {
    documents: u32,
    occurrences: u64,
    tail: [Posting; CHUNK],
    full: Option<Arc<Chunk>>,
}

impl Postings {
    /// In how many documents the term occurs. Constant time.
    pub(crate) fn documents(&self) -> u32 {
        self.documents
    }

    /// How often the term occurs in all of them. Constant time.
    pub(crate) fn occurrences(&self) -> u64 {
        self.occurrences
    }

    /// This list and one posting more. Constant time.
    pub(crate) fn with(&self, posting: Posting) -> Self {
        let mut longer = self.clone();
        let at = self.documents as usize % CHUNK;
        if at == 0 && self.documents > 0 {
            longer.full = Some(Arc::new(Chunk { postings: self.tail, before: longer.full.take() }));
        }
        longer.tail[at] = posting;
        longer.documents += 1;
        longer.occurrences += u64::from(posting.occurrences);
        longer
    }

    /// All postings, the newest chunk first. Linear.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Posting> {
        let tail = match self.documents as usize {
            0 => 0,
            documents => (documents - 1) % CHUNK + 1,
        };
        let chunks = std::iter::successors(self.full.as_deref(), |chunk| chunk.before.as_deref());
        self.tail[..tail].iter().chain(chunks.flat_map(|chunk| &chunk.postings)).copied()
    }
}
