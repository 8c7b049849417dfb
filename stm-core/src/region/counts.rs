//! What the transactions of a region have done: of all processes, and of this one.
//!
//! Each slot has counters, which lie in the region and go on counting from one owner to the next: so all slots together
//! have what all processes have done, those that have ended included. What this process has done is what its threads
//! have added to the counters of the slots that they had.

use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::statistics::Statistics;
use contempo_sched::descriptor::table::Descriptors;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the threads of this process have done in a region.
#[derive(Debug, Default)]
pub(crate) struct ProcessCounts(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// Of threads that have ended.
    ended: Statistics,
    /// The slots of the others, and what had been counted there when they took them.
    begun: Vec<(u32, Statistics)>,
}

fn counted(descriptor: &Descriptor) -> Statistics {
    let mut counted = Statistics::default();
    descriptor.counters.add_to(&mut counted);
    counted
}

impl ProcessCounts {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread of this process has taken a slot.
    pub(crate) fn begin(&self, slot: u32, descriptor: &Descriptor) {
        self.counts().begun.push((slot, counted(descriptor)));
    }

    /// It is about to give the slot up.
    pub(crate) fn end(&self, slot: u32, descriptor: &Descriptor) {
        let mut counts = self.counts();
        if let Some(at) = counts.begun.iter().position(|(begun, _)| *begun == slot) {
            let (_, before) = counts.begun.swap_remove(at);
            counts.ended = counts.ended.plus(&counted(descriptor).since(&before));
        }
    }

    /// All that they have done, by the counters in `table`.
    pub(crate) fn total(&self, table: &impl Descriptors) -> Statistics {
        let counts = self.counts();
        counts.begun.iter().fold(counts.ended, |sum, (slot, before)| {
            sum.plus(&counted(table.descriptor(*slot)).since(before))
        })
    }
}
