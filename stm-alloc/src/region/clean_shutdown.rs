//! Has the machine gone down while the region was in use?
//!
//! The death of a process does no harm: what it has written, the others see. When the *machine* goes down, a
//! region on a disk is whatever the system had written back by then, pages of different moments. So the header
//! has the boot of its users, a count of attachments, and what that count was when the region was left: no process was
//! attached any more, and everything had been written back. A region of another boot is opened only if the two
//! counts are equal.
//!
//! | step | what the disk may have after a crash |
//! | --- | --- |
//! | a process attaches: boot, then count, then the header is written back; then everything else | either the old header, and nothing has changed; or a count that is not `clean` |
//! | the last one leaves: everything is written back, then `clean`, then the header is | a count that is not `clean`; or all of it |
//!
//! The last process to leave reads the count first and then looks whether any other has a liveness lock. A process
//! that attaches takes its liveness lock first and then counts. So if the count that is said to be clean is the present
//! one, no process has come since.

use crate::region::error::{OpenError, Unusable, system};
use crate::region::map::Map;
use std::sync::atomic::Ordering;

/// The boot of the machine that this process runs in; 0 if the system does not say.
pub fn boot() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).unwrap_or(0);
    [(number >> 64) as u64, number as u64]
}

/// May this region be opened? `is_in_use` says whether a process has a liveness lock: then the machine has not gone
/// down since, whatever the boot is called. (Containers may each have a name of their own for it.)
///
/// # Errors
/// [`Unusable::NotLeftCleanly`]. Nothing was written to it.
pub fn check(map: &Map, is_in_use: impl FnOnce() -> bool) -> Result<(), Unusable> {
    let shared = map.shared();
    // Acquire, partner: the release in `attach`: with a new count we see the boot of the process that has counted.
    let count = shared.attachments.load(Ordering::Acquire);
    let clean = shared.clean.load(Ordering::Relaxed) == count;
    let known = [0, 1].map(|half| shared.boot[half].load(Ordering::Relaxed));
    let own = boot();
    let told = own != [0; 2] && known != [0; 2];
    if told && known != own && !clean && !is_in_use() {
        return Err(Unusable::NotLeftCleanly);
    }
    Ok(())
}

/// This process attaches. It has its liveness lock already, and has changed nothing else yet.
///
/// # Errors
/// If the header cannot be written back.
pub fn attach(map: &Map) -> Result<(), OpenError> {
    let shared = map.shared();
    for (half, bits) in shared.boot.iter().zip(boot()) {
        half.store(bits, Ordering::Relaxed);
    }
    // Release, partner: the acquire in `check`. SeqCst: counted after the liveness lock was taken (module docs).
    shared.attachments.fetch_add(1, Ordering::SeqCst);
    map.write_header_back().map_err(system("write the region's header back"))
}

/// This process has left, and has given its liveness lock up. `is_left` says whether no process has a liveness lock.
pub fn leave(map: &Map, is_left: impl FnOnce() -> bool) {
    let shared = map.shared();
    // SeqCst, partner: `attach`. Before the look at the liveness locks (module docs).
    let count = shared.attachments.load(Ordering::SeqCst);
    if count == 0 {
        return; // It has not come to its place yet.
    }
    // If something fails, the region counts as not left.
    if is_left() && map.write_back().is_ok() {
        // The larger count: another may have left after us, and been faster. Release: see the write-back.
        shared.clean.fetch_max(count, Ordering::Release);
        let _ = map.write_header_back();
    }
}
