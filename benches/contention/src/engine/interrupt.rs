//! Ctrl-C: what was measured is kept.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C asks the run to end early; a second one ends the process at once.
pub(crate) fn listen() {
    listen_and(|| eprintln!("\nstopping; what was measured is kept (Ctrl-C again: stop at once)"));
}

/// The same, in a process that was started by one that [listens](listen) and speaks for both.
pub(crate) fn listen_quietly() {
    listen_and(|| {});
}

fn listen_and(tell: impl Fn() + Send + 'static) {
    let handler = move || {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        tell();
    };
    if let Err(error) = ctrlc::set_handler(handler) {
        eprintln!("warning: Ctrl-C will end this program at once: {error}");
    }
}

/// Has the user asked to stop?
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
