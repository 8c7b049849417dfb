//! Which processes are attached to a region, and what they hold: for people to read.

use crate::region::domain::RegionDomain;
use crate::region::liveness::is_dead;
use crate::region::recovered::Recovered;
use contempo_alloc::region::layout::Incarnation;
use contempo_sched::clock::Clock;
use contempo_sched::descriptor::Descriptor;
use contempo_sched::descriptor::statistics::Statistics;
use contempo_sched::primitives::Ordering;
use contempo_sched::words::Phase;
use std::fmt;

/// A momentary view of a region.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// The region's own random number.
    pub instance: u64,
    /// Bytes that the file has.
    pub bytes: u64,
    /// Bytes that it may have.
    pub most_bytes: u64,
    /// The newest stamp.
    pub stamp: u64,
    /// Slots that processes have, dead ones included.
    pub attached: Vec<Attached>,
    /// Slots of dead processes that were recovered since the region was made.
    pub recoveries: u64,
    /// Undecided transactions of theirs that were aborted.
    pub aborted: u64,
    /// Blocks of theirs that were taken back.
    pub blocks: u64,
    /// What this process has recovered when it opened the region.
    pub recovered_at_open: Recovered,
    /// What all slots have done since the region was made.
    pub statistics: Statistics,
}

/// One thread's slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Attached {
    /// The slot.
    pub slot: u32,
    /// The number of its process.
    pub process: u32,
    /// Is that alive?
    pub alive: bool,
    /// Is the thread inside a transaction?
    pub active: bool,
    /// Has it claims out, or may have?
    pub claims: bool,
    /// The stamp from which on it holds memory back.
    pub holds_from: Option<u64>,
}

/// Looks at a region.
pub fn inspect(domain: &RegionDomain) -> Inspection {
    let (identity, shared) = (domain.map.identity(), domain.map.shared());
    let mut attached = Vec::new();
    for slot in 0..shared.high_water.load(Ordering::SeqCst).min(identity.slots) {
        let Some(record) = domain.map.slot(slot) else { break };
        let descriptor = &record.descriptor;
        let owner = Incarnation::from_bits(record.process.load(Ordering::Acquire));
        let Some(owner) = owner.filter(|owner| owner.record < identity.processes) else { continue };
        let announced = descriptor.announced.load(Ordering::Relaxed);
        let phase = descriptor.state.load(Ordering::Acquire).phase();
        attached.push(Attached {
            slot,
            process: domain.map.process(owner.record).process.load(Ordering::Relaxed),
            alive: !is_dead(domain, owner).unwrap_or(false),
            active: descriptor.is_active(Ordering::Relaxed),
            claims: matches!(phase, Phase::Active | Phase::Deciding),
            holds_from: (announced & Descriptor::NOTHING_ANNOUNCED == 0).then_some(announced),
        });
    }
    Inspection {
        instance: identity.instance,
        bytes: domain.map.length().unwrap_or(0),
        most_bytes: identity.most,
        stamp: crate::domain::Domain::clock(domain).now(),
        attached,
        recoveries: shared.recoveries.load(Ordering::Relaxed),
        aborted: shared.recovered_aborted.load(Ordering::Relaxed),
        blocks: shared.recovered_blocks.load(Ordering::Relaxed),
        recovered_at_open: domain.recovered_at_open.get().copied().unwrap_or_default(),
        statistics: domain.statistics(),
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "region      {:016x}", self.instance)?;
        writeln!(f, "bytes       {} of at most {}", self.bytes, self.most_bytes)?;
        writeln!(f, "stamp       {}", self.stamp)?;
        writeln!(
            f,
            "recovered   {} slots, {} transactions aborted, {} blocks",
            self.recoveries, self.aborted, self.blocks
        )?;
        if self.recovered_at_open.slots > 0 {
            writeln!(f, "at opening  {}", self.recovered_at_open)?;
        }
        write!(f, "attached    {}", self.attached.len())?;
        for slot in &self.attached {
            write!(f, "\n  slot {:3}  process {:7}", slot.slot, slot.process)?;
            write!(f, "  {}", if slot.alive { "alive" } else { "DEAD " })?;
            write!(f, "  {}", if slot.active { "in a transaction" } else { "idle" })?;
            if slot.claims {
                write!(f, ", committing")?;
            }
            if let Some(from) = slot.holds_from {
                write!(f, ", holds what was replaced from stamp {from} on")?;
            }
        }
        Ok(())
    }
}
