//! 90 % transfers and 10 % audits over 1,000 accounts, and each of them without the other.

use super::transfers::total_is;
use crate::contenders::{Cells, Contender, OnCells};
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::keys::uniform_pair;

const ACCOUNTS: usize = 1_000;
const BALANCE: u64 = 1_000;
/// Transfers between two audits.
const TRANSFERS: u64 = 9;

/// What threads do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mix {
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

/// The trial for this contender.
pub(crate) fn build(contender: &Contender, threads: usize, mix: Mix) -> Option<Box<dyn Trial>> {
    contender.on_cells(threads, mix)
}

impl OnCells for Mix {
    fn build<C: Cells>(self) -> Box<dyn Trial> {
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
