//! The full consistency check: every block is what its meta word says, and nothing is lost.
//!
//! The check looks at one block after the other, and changes nothing. What it says is exact while no thread is at work.
//! Else it may see a block half-way, so it believes nothing that it has seen once:
//!
//! - each verdict on a block counts only if the block's meta word is the same after it. A thread that frees a cell
//!   frees its last version first; so if the check finds the cell of a version gone, the version shows as freed by
//!   then;
//! - what looks wrong is looked at again, after the pass, a few times if a thread is at work.
//!
//! What the dead have left is judged as it will be after recovery (`judge`).

use crate::domain::Domain;
use crate::region::domain::RegionDomain;
use contempo_alloc::region::handle::{Handle, Kind};
use contempo_alloc::region::superblock::{SIZES, Superblock};
use contempo_sched::clock::{Clock, GENESIS};
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::Ordering;
use judge::{Judge, Verdict};
use std::collections::HashSet;
use std::time::Duration;

mod judge;
mod reach;
mod report;

pub use report::{Problem, Report, Wrong};

/// How often what looks wrong is looked at while threads are at work, and how long the check waits in between.
const LOOKS: u32 = 16;
const PAUSE: Duration = Duration::from_millis(1);

/// Checks every block of the region.
pub fn verify(domain: &RegionDomain) -> Report {
    if let Ok(Some(end)) = domain.map.shortened_to() {
        // Nothing that leads beyond that may be followed.
        let problem = Problem { offset: end as usize, what: Wrong::Truncated };
        return Report { problems: vec![problem], ..Report::default() };
    }
    let mut report = Report { at_work: at_work(domain), ..Report::default() };
    // What would recovery do? Blocks are judged as they would be after it.
    let judge = Judge::new(domain);
    report.dead = judge.dead();
    // One pass over all blocks: count them, and note what looks wrong.
    let (mut cells, mut suspects) = (HashSet::new(), Vec::new());
    for superblock in Superblock::all(&domain.map) {
        let Some(class) = superblock.state().class() else {
            report.fresh += 1;
            continue;
        };
        report.superblocks += 1;
        report.free_bytes += superblock.fresh_bytes();
        for block in superblock.blocks() {
            let Some((meta, verdict)) = judge.look(&superblock, block) else { continue };
            if meta.kind() == Kind::Free {
                report.free_bytes += SIZES[class];
            } else {
                report.used_bytes += SIZES[class];
                match (meta.kind(), meta.retirer()) {
                    _ if verdict == Verdict::Taken => {}
                    (_, Some(_)) => report.retired += 1,
                    (Kind::Version, None) => report.versions += 1,
                    (Kind::Cell, None) => {
                        report.cells += 1;
                        cells.insert(Handle::new(block, meta).bits());
                    }
                    _ => {}
                }
            }
            match verdict {
                Verdict::Good => {}
                Verdict::ToRecover | Verdict::Taken => report.to_recover += 1,
                Verdict::Wrong(what) => suspects.push(Problem { offset: block, what }),
            }
        }
    }
    // What was seen half-way looks good the next time; what is reported was wrong each time.
    report.problems.extend(confirm(domain, suspects, &mut report.at_work));
    report.problems.extend(check_header(domain));
    report.unreachable = reach::unreachable(domain, cells);
    report
}

/// Threads that are at work just now: of living processes, or of slots that no process has.
fn at_work(domain: &RegionDomain) -> usize {
    domain.table().each().filter(|(_, it)| it.is_active(Ordering::Relaxed)).count()
}

/// Looks at what looked wrong again, until no thread was at work before a look, or for a while.
fn confirm(
    domain: &RegionDomain,
    mut suspects: Vec<Problem>,
    most_at_work: &mut usize,
) -> Vec<Problem> {
    for look in 0..LOOKS {
        if suspects.is_empty() {
            break;
        }
        if look > 0 {
            std::thread::sleep(PAUSE);
        }
        let busy = at_work(domain);
        *most_at_work = busy.max(*most_at_work);
        // Processes may have taken slots, and died, since.
        let judge = Judge::new(domain);
        suspects.retain_mut(|suspect| {
            let superblock = Superblock::at(&domain.map, suspect.offset);
            let again = superblock.and_then(|it| judge.look(&it, suspect.offset));
            let Some((_, Verdict::Wrong(what))) = again else { return false };
            suspect.what = what;
            true
        });
        if busy == 0 {
            break;
        }
    }
    suspects
}

/// Clock and slots.
fn check_header(domain: &RegionDomain) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut add = |place: usize, what| {
        problems.push(Problem { offset: place - domain.map.base().addr(), what });
    };
    // A clock that says what no clock says.
    let clock = domain.clock();
    if !(GENESIS..=crate::region::session::LAST_STAMP).contains(&clock.now()) {
        add(std::ptr::from_ref(clock).addr(), Wrong::BadClock);
    }
    // Slots with a stamp that was never drawn, and slots that are taken where a search for the dead does not come.
    let counted = domain.map.shared().high_water.load(Ordering::SeqCst);
    for slot in 0..domain.map.identity().slots {
        let Some(record) = domain.map.slot(slot) else { break };
        // Acquire, partner: the owner's store: it has drawn the stamp before.
        if record.descriptor.stamp.load(Ordering::Acquire) > clock.now() {
            add(std::ptr::from_ref(&record.descriptor.stamp).addr(), Wrong::StampAboveClock);
        }
        if slot >= counted && record.process.load(Ordering::Acquire) != 0 {
            add(std::ptr::from_ref(record).addr(), Wrong::UncountedSlot);
        }
    }
    problems
}

#[cfg(all(test, not(any(contempo_loom, contempo_shuttle))))]
pub(crate) use judge::tests::set_interlude;
