//! Transfers among 10,000 accounts.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::keys::{Keys, uniform_pair};
use crate::structures::cells::{self, Cells, OnCells};
use rand::Rng;

const ACCOUNTS: usize = 10_000;
/// What is on each account at first.
const BALANCE: u64 = 1_000_000;
/// The parameter of the Zipf distribution, as in YCSB.
const SKEW: f64 = 0.99;

#[derive(Clone, Copy)]
enum Choice {
    Uniform,
    Zipf,
}

struct TransfersTrial<C> {
    cells: C,
    choice: Choice,
}

/// Transfers, with and without favourites.
pub(super) const ALL: &[Workload] = &[
    Workload::new(
        "transfers",
        Threads::Sweep { least: 1 },
        |contender, _| cells::maker(contender, Choice::Uniform),
        "transfers among 10,000 accounts, chosen uniformly",
    )
    .with("accounts=10000 balance=1000000 choice=uniform")
    .catches(&[Fault::HalfUpdate, Fault::TornRead]),
    Workload::new(
        "transfers-zipf",
        Threads::Sweep { least: 1 },
        |contender, _| cells::maker(contender, Choice::Zipf),
        "transfers among 10,000 accounts, chosen by a Zipf distribution (0.99)",
    )
    .with("accounts=10000 balance=1000000 choice=zipf:0.99")
    .catches(&[Fault::HalfUpdate, Fault::TornRead]),
];

impl OnCells for Choice {
    fn trial<C: Cells>(self) -> Box<dyn Trial> {
        Box::new(TransfersTrial { cells: C::new(ACCOUNTS, BALANCE), choice: self })
    }
}

/// Fails unless the sum of all accounts is what it was at first.
pub(crate) fn total_is(found: u64, accounts: usize, balance: u64) -> Result<(), Violation> {
    let expected = accounts as u64 * balance;
    Violation::unless(found == expected, || {
        format!("{accounts} accounts hold {expected} in total, but an audit found {found}")
    })
}

impl<C: Cells> Trial for TransfersTrial<C> {
    fn kinds(&self) -> &'static [&'static str] {
        &["transfer"]
    }

    fn work(&self, seat: &mut Seat<'_>) {
        match self.choice {
            Choice::Uniform => seat.repeat(0, |random| {
                let (from, to, amount) = uniform_pair(random, ACCOUNTS);
                self.cells.transfer(from, to, amount);
            }),
            Choice::Zipf => {
                let mut keys = Keys::zipf(&mut seat.random, ACCOUNTS, SKEW);
                seat.repeat(0, |random| {
                    // The keys come again; if they always flowed the same way, accounts would run dry,
                    // and transfers from them would write nothing.
                    let (one, other) = keys.next_pair();
                    let there = random.next_u32() & 1 == 0;
                    let (from, to) = if there { (one, other) } else { (other, one) };
                    self.cells.transfer(from, to, 1);
                });
            }
        }
    }

    fn inspect(&self) -> Result<(), Violation> {
        self.cells.try_audit().map_or(Ok(()), |found| total_is(found, ACCOUNTS, BALANCE))
    }

    fn check(&self, _done: &[Vec<u64>]) -> Result<(), Violation> {
        total_is(self.cells.audit(), ACCOUNTS, BALANCE)
    }
}
