//! STAMP's `vacation`: a travel agency. Written anew from its published description (Minh, Chung,
//! Kozyrakis, Olukotun: STAMP, IISWC 2008), with its published parameter sets for few and for many
//! conflicts (`-n2 -q90 -u98 -r16384` and `-n4 -q60 -u90 -r16384`).
//!
//! Clients ask for reservations, leave, or change what is on offer, as long as the window lasts; in
//! STAMP they ask 4,096 times.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::structures::agency::{self, Agency, Books, Item, KINDS, OnAgency, Request};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// STAMP's `-r`; fewer in tests, which are not optimised.
const RELATIONS: u64 = if cfg!(test) { 512 } else { 16_384 };

#[derive(Clone, Copy)]
struct Parameters {
    /// `-n`: at most so many queries per request.
    queries: u64,
    /// `-q`: clients ask for this part, in percent, of all there is.
    range: u64,
    /// `-u`: so many percent of requests are reservations.
    reservations: u32,
}

const LOW: Parameters = Parameters { queries: 2, range: 90, reservations: 98 };
const HIGH: Parameters = Parameters { queries: 4, range: 60, reservations: 90 };

/// Few conflicts, more conflicts.
pub(super) const ALL: &[Workload] = &[
    Workload::new(
        "vacation-low",
        Threads::Few { least: 1 },
        |contender, _| agency::maker(contender, LOW),
        "STAMP: a travel agency, -n2 -q90 -u98 -r16384",
    )
    .with("relations=16384 queries=2 range=90 reservations=98")
    .catches(&[Fault::HalfUpdate, Fault::Twice])
    .windows(1, SET_UP)
    .slow(),
    Workload::new(
        "vacation-high",
        Threads::Few { least: 1 },
        |contender, _| agency::maker(contender, HIGH),
        "STAMP: a travel agency, -n4 -q60 -u90 -r16384",
    )
    .with("relations=16384 queries=4 range=60 reservations=90")
    .catches(&[Fault::HalfUpdate, Fault::Twice])
    .windows(1, SET_UP),
];

/// What it takes to fill the tables and to check the books.
const SET_UP: Duration = Duration::from_millis(120);

struct VacationTrial<A> {
    agency: A,
    parameters: Parameters,
}

impl OnAgency for Parameters {
    fn trial<A: Agency>(self) -> Box<dyn Trial> {
        // The same for all contenders and rounds.
        let mut random = SmallRng::seed_from_u64(1);
        let mut books = Books::default();
        for table in &mut books.tables {
            for id in 1..=RELATIONS {
                let free = 100 * random.random_range(1..=5);
                table.insert(id, Item { used: 0, free, price: price(&mut random) });
            }
        }
        books.customers.extend((1..=RELATIONS).map(|id| (id, Vec::new())));
        Box::new(VacationTrial { agency: A::open(books), parameters: self })
    }
}

fn price(random: &mut SmallRng) -> u64 {
    50 + 10 * random.random_range(0..5)
}

impl Parameters {
    fn request(&self, random: &mut SmallRng) -> Request {
        let queries = random.random_range(1..=self.queries);
        let range = RELATIONS * self.range / 100;
        let thing =
            |random: &mut SmallRng| (random.random_range(0..KINDS), random.random_range(1..=range));
        let dice = random.random_range(0..100);
        let customer = random.random_range(1..=range);
        if dice < self.reservations {
            Request::Reserve { customer, wanted: (0..queries).map(|_| thing(random)).collect() }
        } else if dice % 2 == 1 {
            Request::Leave { customer }
        } else {
            let item = |random: &mut SmallRng| {
                let (kind, id) = thing(random);
                (kind, id, random.random_bool(0.5).then(|| price(random)))
            };
            Request::Change { items: (0..queries).map(|_| item(random)).collect() }
        }
    }
}

impl<A: Agency> Trial for VacationTrial<A> {
    fn kinds(&self) -> &'static [&'static str] {
        &["request"]
    }

    fn work(&self, seat: &mut Seat<'_>) {
        let parameters = self.parameters;
        seat.repeat(0, |random| self.agency.serve(&parameters.request(random)));
    }

    /// What customers have reserved is what is used, thing by thing.
    fn check(&self, _done: &[Vec<u64>]) -> Result<(), Violation> {
        let mut books = self.agency.books();
        for reserved in books.customers.values().flatten() {
            let agency::Reserved { kind, id, price } = *reserved;
            let item = books.tables[kind].get_mut(&id);
            let item = item.filter(|item| item.used > 0).ok_or_else(|| {
                Violation(format!("more of kind {kind} are reserved for {price} than used: {id}"))
            })?;
            item.used -= 1;
        }
        let unclaimed = books.tables.iter().flatten().find(|(_, item)| item.used > 0);
        Violation::unless(unclaimed.is_none(), || {
            format!("{unclaimed:?}: used, beyond what customers have reserved")
        })
    }
}
