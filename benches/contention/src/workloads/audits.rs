//! 90 % transfers and 10 % audits over 1,000 accounts, and each of them without the other.

use super::transfers::total_is;
use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::keys::uniform_pair;
use crate::structures::cells::{self, Cells, OnCells};

const ACCOUNTS: usize = 1_000;
/// So much that no account runs dry: then transfers would write nothing.
const BALANCE: u64 = 1_000_000;
/// Transfers between two audits.
const TRANSFERS: u64 = 9;

/// What threads do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mix {
    /// Nine transfers, an audit.
    Both,
    /// The same loop, without the audits.
    TransfersOnly,
    /// The same loop, without the transfers.
    AuditsOnly,
}

struct AuditsTrial<C> {
    cells: C,
    mix: Mix,
}

const TRANSFER: usize = 0;
const AUDIT: usize = 1;

/// The mix, and its parts alone.
pub(super) const ALL: &[Workload] = &[
    Workload::new(
        "audits",
        Threads::Exactly(2),
        |contender, _| cells::maker(contender, Mix::Both),
        "1,000 accounts: nine transfers, then an audit of all",
    )
    .with("accounts=1000 balance=1000000 transfers=9 audits=1")
    .catches(&[Fault::HalfUpdate, Fault::TornRead])
    .weight(2.0),
    Workload::new(
        "audits-none",
        Threads::Exactly(2),
        |contender, _| cells::maker(contender, Mix::TransfersOnly),
        "1,000 accounts: the transfers of `audits` without its audits",
    )
    .with("accounts=1000 balance=1000000 transfers=9 audits=0")
    .catches(&[Fault::HalfUpdate])
    .weight(2.0),
    Workload::new(
        "audits-alone",
        Threads::Exactly(1),
        |contender, _| cells::maker(contender, Mix::AuditsOnly),
        "1,000 accounts: one thread audits, none transfers",
    )
    .with("accounts=1000 balance=1000000 transfers=0 audits=1")
    .catches(&[Fault::TornRead]),
];

impl OnCells for Mix {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        Box::new(AuditsTrial { cells: C::new(ACCOUNTS, BALANCE), mix: self })
    }
}

impl<C: Cells> Trial for AuditsTrial<C> {
    fn kinds(&self) -> &'static [&'static str] {
        &["transfer", "audit"]
    }

    fn does(&self, _seat: usize, kind: usize) -> bool {
        match self.mix {
            Mix::Both => true,
            Mix::TransfersOnly => kind == TRANSFER,
            Mix::AuditsOnly => kind == AUDIT,
        }
    }

    fn work(&self, seat: &mut Seat<'_>) {
        while seat.goes_on() {
            if self.mix != Mix::AuditsOnly {
                seat.batch(TRANSFER, TRANSFERS, |random| {
                    let (from, to, amount) = uniform_pair(random, ACCOUNTS);
                    self.cells.transfer(from, to, amount);
                });
            }
            if self.mix != Mix::TransfersOnly {
                let found = seat.timed(AUDIT, |_| self.cells.audit());
                if let Err(Violation(what)) = total_is(found, ACCOUNTS, BALANCE) {
                    return seat.violation(what);
                }
            }
        }
    }

    fn check(&self, _done: &[Vec<u64>]) -> Result<(), Violation> {
        total_is(self.cells.audit(), ACCOUNTS, BALANCE)
    }
}
