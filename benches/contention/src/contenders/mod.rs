//! The contenders: ways to let threads share something. What is shared is in
//! [`structures`](crate::structures).
//!
//! | module | families |
//! | --- | --- |
//! | [`transactional`] | what transactional memories have in common |
//! | [`contempo`], [`peers`] | the transactional memories |
//! | [`guards`] | one lock, or none, around everything |
//! | [`monitors`] | mutexes with condition variables |
//! | [`faults`] | contenders that are wrong on purpose |
//! | [`attempts`] | how often closures run |

pub(crate) mod attempts;
pub(crate) mod contempo;
pub(crate) mod faults;
pub(crate) mod guards;
pub(crate) mod monitors;
pub(crate) mod peers;
pub(crate) mod transactional;

use faults::Fault;

/// A contender as the user names it.
#[derive(Debug)]
pub(crate) struct Contender {
    /// On the command line and in all results.
    pub(crate) name: &'static str,
    /// For `--list` and the page.
    pub(crate) about: &'static str,
    /// Which implementation of each structure it is.
    pub(crate) family: Family,
    /// Is it part of a quick run?
    pub(crate) quick: bool,
    /// Called in the thread that makes its structures, before it does.
    pub(crate) prepare: fn(),
}

/// Kinds of implementations. A structure need not have one of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Family {
    Contempo,
    ContempoCell,
    ContempoDeclared,
    RustStm,
    FastStm,
    AsyncStm,
    Sequential,
    StdMutex,
    ParkingLotMutex,
    StdRwLock,
    ParkingLotRwLock,
    OrderedStd,
    OrderedParkingLot,
    ArcSwap,
    Atomic,
    DashMap,
    Scc,
    Papaya,
    SkipMap,
    Channel,
    Unshared,
    Faulty,
    External,
}

impl Contender {
    /// One that is part of full runs.
    pub(crate) const fn new(name: &'static str, family: Family, about: &'static str) -> Self {
        Contender { name, about, family, quick: false, prepare: nothing }
    }

    /// Part of a quick run, too.
    const fn quick(self) -> Self {
        Contender { quick: true, ..self }
    }

    const fn prepared(self, prepare: fn()) -> Self {
        Contender { prepare, ..self }
    }

    /// Can it be used by so many threads?
    pub(crate) fn suits(&self, threads: usize) -> bool {
        self.family != Family::Sequential || threads == 1
    }

    /// May another thread look while the workers are busy?
    pub(crate) fn shared(&self) -> bool {
        self.family != Family::Sequential
    }

    /// Is it a variant of contempo?
    pub(crate) fn is_contempo(&self) -> bool {
        matches!(self.family, Family::Contempo | Family::ContempoCell | Family::ContempoDeclared)
    }

    /// Is it held to the project's targets?
    pub(crate) fn is_judged(&self) -> bool {
        self.name == "contempo"
    }
}

fn nothing() {}

/// All contenders. contempo's policies and variants are in one place: the first lines.
pub(crate) const ALL: &[Contender] = &[
    Contender::new(
        "contempo",
        Family::Contempo,
        "contempo: transactions, and snapshots for what only reads",
    )
    .quick()
    .prepared(contempo::turns),
    Contender::new(
        "contempo-cell",
        Family::ContempoCell,
        "contempo: operations on one cell alone (TVar::update, TVar::load)",
    )
    .prepared(contempo::turns),
    Contender::new(
        "contempo-declared",
        Family::ContempoDeclared,
        "contempo: updates say beforehand which cells they need (atomically_on)",
    )
    .prepared(contempo::turns),
    Contender::new("contempo-timid", Family::Contempo, "contempo with the policy Timid")
        .prepared(contempo::timid),
    Contender::new("contempo-greedy", Family::Contempo, "contempo with the policy Greedy")
        .prepared(contempo::greedy),
    Contender::new("contempo-karma", Family::Contempo, "contempo with the policy Karma")
        .prepared(contempo::karma),
    Contender::new(
        "contempo-polite",
        Family::Contempo,
        "contempo with rules of the program's own: Polite",
    )
    .prepared(contempo::polite),
    Contender::new("stm", Family::RustStm, "the crate stm").quick(),
    Contender::new("fast-stm", Family::FastStm, "the crate fast-stm"),
    Contender::new("async-stm", Family::AsyncStm, "the crate async-stm, a thread per task"),
    Contender::new("std-mutex", Family::StdMutex, "one std Mutex, with Condvars to wait on")
        .quick(),
    Contender::new(
        "parking_lot-mutex",
        Family::ParkingLotMutex,
        "one parking_lot Mutex, with Condvars to wait on",
    )
    .quick(),
    Contender::new("std-rwlock", Family::StdRwLock, "one std RwLock"),
    Contender::new("parking_lot-rwlock", Family::ParkingLotRwLock, "one parking_lot RwLock"),
    Contender::new(
        "ordered-std",
        Family::OrderedStd,
        "std Mutexes, one per cell or part, taken in order: by hand, without an STM",
    ),
    Contender::new(
        "ordered-parking_lot",
        Family::OrderedParkingLot,
        "parking_lot Mutexes, one per cell or part, taken in order: by hand, without an STM",
    )
    .quick(),
    Contender::new("arc-swap", Family::ArcSwap, "arc-swap: read, copy everything, update"),
    Contender::new("atomic", Family::Atomic, "atomic integers, where they are enough"),
    Contender::new("dashmap", Family::DashMap, "the concurrent map dashmap"),
    Contender::new("scc", Family::Scc, "the concurrent map of scc"),
    Contender::new("papaya", Family::Papaya, "the concurrent map papaya").quick(),
    Contender::new("crossbeam-skiplist", Family::SkipMap, "the concurrent map crossbeam-skiplist")
        .quick(),
    Contender::new("crossbeam-channel", Family::Channel, "a channel of crossbeam-channel").quick(),
    Contender::new("sequential", Family::Sequential, "no synchronisation; one thread only"),
    Contender::new(
        "unshared",
        Family::Unshared,
        "a mutex per thread, so nothing is shared: what the machine and its scheduler give",
    )
    .quick(),
];

/// Contenders that are wrong on purpose: the checks must catch them. Never part of a run unless
/// named.
pub(crate) const FAULTY: &[Contender] = &[
    Contender::new("fault-lose-update", Family::Faulty, "changes are reported, and not made")
        .prepared(|| faults::plant(Fault::LoseUpdate)),
    Contender::new("fault-half-update", Family::Faulty, "of a change in two places, one is made")
        .prepared(|| faults::plant(Fault::HalfUpdate)),
    Contender::new("fault-torn-read", Family::Faulty, "what is read never was")
        .prepared(|| faults::plant(Fault::TornRead)),
    Contender::new("fault-twice", Family::Faulty, "something is done twice")
        .prepared(|| faults::plant(Fault::Twice)),
    Contender::new("fault-no-wait", Family::Faulty, "a thread that must wait goes on")
        .prepared(|| faults::plant(Fault::NoWait)),
    Contender::new("fault-out-of-order", Family::Faulty, "what comes out is not what is next")
        .prepared(|| faults::plant(Fault::OutOfOrder)),
];

/// The contender of this name.
pub(crate) fn find(name: &str) -> Option<&'static Contender> {
    ALL.iter().chain(FAULTY).find(|contender| contender.name == name)
}

/// The contender with this fault.
pub(crate) fn broken(fault: Fault) -> &'static Contender {
    let name = match fault {
        Fault::LoseUpdate => "fault-lose-update",
        Fault::HalfUpdate => "fault-half-update",
        Fault::TornRead => "fault-torn-read",
        Fault::Twice => "fault-twice",
        Fault::NoWait => "fault-no-wait",
        Fault::OutOfOrder => "fault-out-of-order",
    };
    find(name).expect("each fault has a contender")
}
