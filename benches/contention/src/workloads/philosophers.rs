//! Dining philosophers: as many as there are threads.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::seat::Seat;
use crate::engine::trial::{Trial, Violation};
use crate::structures::table::{self, OnTable, Table};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

struct Dinner {
    seats: usize,
}

struct DinnerTrial<T> {
    table: T,
    /// The philosophers that eat, by their own account.
    eating: Vec<AtomicBool>,
    meals: Vec<AtomicU64>,
}

/// From two philosophers on.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "philosophers",
    Threads::Few { least: 2 },
    |contender, seats| table::maker(contender, Dinner { seats }),
    "dining philosophers, one per thread; a meal takes about 50 ns",
)
.with("meal_ns=50")
.catches(&[Fault::NoWait, Fault::LoseUpdate])];

impl OnTable for Dinner {
    fn trial<T: Table>(self) -> Box<dyn Trial> {
        Box::new(DinnerTrial {
            table: T::new(self.seats),
            eating: (0..self.seats).map(|_| AtomicBool::new(false)).collect(),
            meals: (0..self.seats).map(|_| AtomicU64::new(0)).collect(),
        })
    }
}

impl<T: Table> DinnerTrial<T> {
    /// A meal; says if a neighbour was eating at the same time.
    fn eat(&self, seat: usize) -> bool {
        let seats = self.eating.len();
        let neighbours = [(seat + 1) % seats, (seat + seats - 1) % seats];
        // SeqCst, partner: the neighbour's. Of two that eat at once, one sees the other.
        self.eating[seat].store(true, Ordering::SeqCst);
        let crowded = neighbours.iter().any(|other| self.eating[*other].load(Ordering::SeqCst));
        let mut taste = seat as u64;
        for _ in 0..32 {
            taste = black_box(taste.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        }
        // Relaxed: read when all threads have been joined.
        self.meals[seat].fetch_add(1, Ordering::Relaxed);
        self.eating[seat].store(false, Ordering::Release);
        crowded
    }
}

impl<T: Table> Trial for DinnerTrial<T> {
    fn kinds(&self) -> &'static [&'static str] {
        &["meal"]
    }

    fn work(&self, seat: &mut Seat<'_>) {
        let me = seat.index;
        let (mut meals, mut crowded) = (0, false);
        seat.repeat(0, |_| {
            meals += u64::from(self.table.dine(me, &mut || crowded |= self.eat(me)));
        });
        seat.ever[0] = meals;
        if crowded {
            seat.violation(format!("philosopher {me} and a neighbour ate at the same time"));
        }
    }

    fn release(&self) {
        self.table.close();
    }

    fn check(&self, done: &[Vec<u64>]) -> Result<(), Violation> {
        for (seat, (kinds, meals)) in done.iter().zip(&self.meals).enumerate() {
            let (told, eaten) = (kinds[0], meals.load(Ordering::Relaxed));
            Violation::unless(told == eaten, || {
                format!("philosopher {seat} was served {told} meals and ate {eaten}")
            })?;
        }
        Ok(())
    }
}
