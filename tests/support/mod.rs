//! What the black-box tests share: counted values, interference on demand, hang guards.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of this")]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, mpsc};
use std::thread;

#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
pub(crate) mod collections;
pub(crate) mod configured;
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
pub(crate) mod crowd;
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
pub(crate) mod overwrites;
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
pub(crate) mod region;
#[cfg(all(feature = "shared", target_os = "linux", target_pointer_width = "64"))]
pub(crate) mod reuse;

pub(crate) use contempo_verify::canary;
pub(crate) use contempo_verify::settle::{HANG, settle, wait_until};

/// Runs `f` on another thread and waits for it: interference at exactly this point.
pub(crate) fn elsewhere<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| match scope.spawn(f).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// Runs `f` on another thread; fails if it does not end. A thread that hangs is left behind.
pub(crate) fn guarded<R: Send + 'static>(what: &str, f: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // The receiver is gone only if it has given up on us.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(f)));
    });
    match receiver.recv_timeout(HANG) {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(_) => panic!("{what}: still not finished after {HANG:?}"),
    }
}

/// The message that `f` panics with.
pub(crate) fn message_of<R>(f: impl FnOnce() -> R) -> String {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(_) => panic!("it should have panicked"),
        Err(panic) => text(panic.as_ref()),
    }
}

fn text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => String::from("(not a text)"),
    }
}

/// Tests that look at the process's statistics take turns.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
