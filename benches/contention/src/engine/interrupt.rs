//! Ctrl-C: what was measured is kept.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C asks the run to end early; a second one ends the process at once.
pub(crate) fn listen() {
    let handler = || {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nstopping; what was measured is kept (Ctrl-C again: stop at once)");
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("warning: Ctrl-C will end this program at once: {error}");
    }
}

/// Has the user asked to stop?
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
