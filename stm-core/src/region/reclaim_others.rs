//! A full region: taking over what living processes hold and do not use.
//!
//! A thread that is between two transactions may hold retired blocks and superblocks with free blocks, and
//! perhaps it never comes again. A thread that finds no room ends the epoch for which that thread has them (`epoch` in
//! `contempo-alloc`), retires the blocks anew as its own, and gives the superblocks up. A thread that is inside
//! a transaction meanwhile keeps what it has. When it begins the next one, it finds that its epoch has ended, and
//! does the same itself.
//!
//! No thread waits for another here, and one that dies or stops half-way leaves each block with one of the two.

use crate::domain::Domain;
use crate::region::memory::FormerRetirer;
use crate::region::search;
use crate::region::session::Session;
use contempo_alloc::reclaim::barrier;
use contempo_alloc::region::epoch::OwnershipEpoch;
use contempo_sched::descriptor::table::Descriptors;
use contempo_sched::primitives::Ordering;
use contempo_sched::primitives::fault::{Fault, planted};

/// Takes over what inactive threads hold. True if there are active ones: they may give something up soon.
/// To be called outside a transaction. Linear in what they hold, and in the number of superblocks.
#[cold]
pub(crate) fn take_over(session: &Session) -> bool {
    let domain = session.domain();
    let _work = session.memory.work(domain);
    // 1. End the epoch of every other slot that is taken.
    let mut ended = Vec::new();
    for (slot, _) in domain.table().each() {
        let Some(record) = domain.map.slot(slot) else { break };
        if slot != session.slot && record.process.load(Ordering::Relaxed) != 0 {
            ended.push(record.epoch.end(slot));
        }
    }
    // 2. After the barrier a thread is seen to be active, or sees that its epoch has ended.
    // Pairs with `light` in `announcement::begin` and `Memory::work`: see `epoch`.
    if ended.is_empty() || !barrier::heavy_everywhere() {
        return false;
    }
    let before = ended.len();
    // 3. Leave the active ones what they have: they find the end of their epoch when they begin next.
    // Acquire, partner: the release in `announcement::end`: what the thread has done with its memory happens
    // before what we do with it.
    let is_active = |ended: &OwnershipEpoch| {
        domain.table().descriptor(ended.slot()).is_active(Ordering::Acquire)
            && !planted(Fault::TakenFromTheActive)
    };
    ended.retain(|ended| !is_active(ended));
    let some_are_active = ended.len() < before;
    let slots: Vec<u32> = ended.iter().map(|ended| ended.slot()).collect();
    let is_ours = |epoch: OwnershipEpoch| {
        ended.binary_search_by_key(&epoch.slot(), |it| it.slot()).is_ok_and(|at| ended[at] == epoch)
    };
    // 4. Retire anew what the inactive ones had retired, and give up their superblocks.
    let given_up = session.memory.announced(domain, || {
        search::blocks_of(domain, &slots, is_ours, |found| {
            if let Some(retirer) = found.meta.retirer().filter(|retirer| is_ours(*retirer)) {
                // SAFETY: retired by a slot of which we have ended the epoch; its thread was inactive after that.
                unsafe {
                    session.memory.take_over(
                        domain,
                        FormerRetirer::EndedEpoch(retirer),
                        found.block,
                    )
                };
            }
        })
    });
    for (superblock, owner) in given_up {
        superblock.give_up(owner);
    }
    some_are_active
}
