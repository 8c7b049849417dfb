//! Reading a cell that is claimed by a transaction which has stopped: nobody waits for it for ever, and
//! everybody reads the value that its state word says.

use super::*;
use crate::local::domain::Native;
use crate::local::frozen::{OLD, Stopped, THEIRS, Thread, cell};
use contempo_sched::clock::Clock;
use contempo_sched::words::StateWord;

/// How `at` stands towards `bound` if the stamp in its descriptor is 100, and its state word after that.
fn seen(at: Stopped, bound: u64) -> (Standing, StateWord) {
    let domain = Native::new();
    let thread = Thread::new(&domain);
    let descriptor = thread.descriptor();
    descriptor.state.store(at.state(7), Ordering::Relaxed);
    descriptor.stamp.store(100, Ordering::Relaxed);
    let standing = standing(&domain, Owner { slot: thread.slot, serial: 7 }, bound);
    (standing, descriptor.state.load(Ordering::Relaxed))
}

#[test]
fn an_owner_that_has_stopped_is_made_to_decide_later_or_never() {
    for bound in [99, 100, 101] {
        // Nothing that they draw can be at or below the bound.
        for at in [Stopped::Active, Stopped::Bumped, Stopped::Aborted] {
            assert_eq!(seen(at, bound), (Standing::Later, at.state(7)), "{at:?}, {bound}");
        }
        let committed = (Standing::Committed(100), Stopped::Committed.state(7));
        assert_eq!(seen(Stopped::Committed, bound), committed);
        for (at, made) in [
            (Stopped::Deciding, Stopped::Bumped),
            (Stopped::Drawn, Stopped::Bumped),
            (Stopped::Firm, Stopped::Aborted),
        ] {
            // Its stamp is above the bound already, and the next one will be; or else it must be.
            let after = if bound < 100 { at } else { made };
            assert_eq!(seen(at, bound), (Standing::Later, after.state(7)), "{at:?}, {bound}");
        }
    }
}

#[test]
fn an_owner_that_has_gone_on_is_gone() {
    let domain = Native::new();
    let thread = Thread::new(&domain);
    for at in Stopped::ALL {
        thread.descriptor().state.store(at.state(8), Ordering::Relaxed);
        let owner = Owner { slot: thread.slot, serial: 7 };
        assert_eq!(standing(&domain, owner, u64::MAX >> 1), Standing::Gone, "{at:?}");
        assert_eq!(thread.descriptor().state.load(Ordering::Relaxed), at.state(8));
    }
}

#[test]
fn a_cell_can_be_read_wherever_its_owner_has_stopped() {
    for at in Stopped::ALL {
        let domain = Native::new();
        let (reader, owner, cell) = (Thread::new(&domain), Thread::new(&domain), cell(&domain));
        let before = domain.clock().now();
        let old = cell.value.load(Ordering::Relaxed);
        owner.stop(at, &cell);
        assert_eq!(reader.read_at(&cell, before), OLD, "{at:?}: it committed later");
        let committed = at == Stopped::Committed;
        let expected = if committed { THEIRS } else { OLD };
        assert_eq!(reader.read(&cell), expected, "{at:?}");
        // SAFETY: versions live for ever here.
        unsafe {
            assert_eq!(is_current(&domain, &cell, old), !committed, "{at:?}");
            let replaced =
                |bound| replaced_at(&domain, &cell, old, bound, VersionTag::committed(0));
            let stamp = owner.descriptor().stamp.load(Ordering::Relaxed);
            assert_eq!(replaced(domain.clock().now()), committed.then_some(stamp), "{at:?}");
            assert_eq!(replaced(before), None, "{at:?}");
        }
    }
}
