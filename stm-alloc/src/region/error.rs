//! Why a region cannot be made or opened.

use std::fmt;
use std::io;

/// Why a file is not a region that this program can use. The file is left as it is.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unusable {
    /// It does not begin like a region.
    NotARegion,
    /// It is shorter than its header says, or than any header.
    Truncated {
        /// Bytes that there should be.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// It is a symbolic link, and only what it leads to may be a region: name that.
    Link,
    /// The process that was making it has not finished, or died.
    HalfCreated,
    /// It was made by a version of contempo with another layout.
    OtherVersion {
        /// The layout version of the file.
        found: u32,
        /// That of this program.
        expected: u32,
    },
    /// It was made on a machine with another byte order, page size or kind of processor.
    OtherMachine,
    /// The protocol's own types are laid out otherwise in the program that made it.
    OtherLayout,
    /// Its header has been damaged.
    Damaged,
    /// The liveness file beside it is not the one that it was made with. Without that, no process can tell
    /// which others live.
    LivenessFileReplaced,
    /// The machine went down while processes were attached: what the disk has of the region may be of different
    /// moments. Remove it, and make another.
    NotLeftCleanly,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::NotARegion => write!(f, "the file is not a contempo region"),
            Unusable::Truncated { expected, found } => {
                write!(f, "the region is truncated: {found} bytes of {expected}")
            }
            Unusable::Link => {
                write!(f, "the file is a symbolic link: name the region that it leads to")
            }
            Unusable::HalfCreated => {
                write!(f, "the region is not complete: its maker has not finished, or has died")
            }
            Unusable::OtherVersion { found, expected } => {
                write!(f, "the region has layout version {found}; this program knows {expected}")
            }
            Unusable::OtherMachine => {
                write!(f, "the region comes from a machine with another byte order or page size")
            }
            Unusable::OtherLayout => {
                write!(f, "the program that made the region lays its types out otherwise")
            }
            Unusable::Damaged => write!(f, "the region's header is damaged: wrong checksum"),
            Unusable::NotLeftCleanly => write!(
                f,
                "the machine went down while the region was in use, and the disk may have parts of different \
                 moments: remove the region and make another"
            ),
            Unusable::LivenessFileReplaced => {
                write!(
                    f,
                    "the liveness file beside the region is not the one that it was made with"
                )
            }
        }
    }
}

/// Why a region could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The system refused something.
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// The file is not a region that this program can use.
    Unusable(Unusable),
    /// As many processes as the region has room for are attached.
    TooManyProcesses,
    /// A region of such a size cannot be made; nothing was.
    OutOfRange {
        /// Of what.
        what: &'static str,
        /// What was asked for.
        given: u64,
        /// The least that there can be; beside the others that were asked for.
        least: u64,
        /// The most that there can be.
        most: u64,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::System { what, error } => write!(f, "cannot {what}: {error}"),
            OpenError::Unusable(why) => why.fmt(f),
            OpenError::TooManyProcesses => write!(f, "too many processes are attached"),
            OpenError::OutOfRange { what, given, least, most } => {
                write!(f, "a region cannot be made for {given} {what}: {least} to {most}")
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::System { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<Unusable> for OpenError {
    fn from(why: Unusable) -> Self {
        OpenError::Unusable(why)
    }
}

/// Names what was tried.
pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    move |error| OpenError::System { what, error }
}

/// Why there is no block of the wanted size.
#[derive(Debug)]
#[non_exhaustive]
pub enum NoBlock {
    /// Values of this size do not fit into any block.
    TooLarge {
        /// Bytes wanted.
        wanted: usize,
        /// The most that there can be.
        most: usize,
    },
    /// More was asked for at once than the whole region may have; nothing was allocated.
    BeyondLimit {
        /// Bytes that it would take, at least.
        wanted: u64,
        /// Bytes that the region may have.
        limit: u64,
    },
    /// The region has the size that it was allowed.
    AtItsLimit {
        /// That size, in bytes.
        limit: u64,
    },
    /// This process may not make files larger than that (`RLIMIT_FSIZE`); another one, perhaps.
    FileSizeLimit {
        /// That size, in bytes.
        limit: u64,
    },
    /// The file system would not give more.
    System(io::Error),
}

impl fmt::Display for NoBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoBlock::TooLarge { wanted, most } => {
                write!(f, "a value of {wanted} bytes is too large: the most is {most}")
            }
            NoBlock::BeyondLimit { wanted, limit } => {
                write!(f, "this takes {wanted} bytes or more, and the region may have {limit}")
            }
            NoBlock::AtItsLimit { limit } => {
                write!(f, "the region is full: it has the {limit} bytes that it may have")
            }
            NoBlock::FileSizeLimit { limit } => write!(
                f,
                "the region cannot grow: this process may not make files larger than {limit} bytes (RLIMIT_FSIZE)"
            ),
            NoBlock::System(error) => write!(f, "the region cannot grow: {error}"),
        }
    }
}

impl std::error::Error for NoBlock {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NoBlock::System(error) => Some(error),
            _ => None,
        }
    }
}
