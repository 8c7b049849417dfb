//! Notices a trial that does not end: a contender that deadlocks must not take the results of all
//! others with it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often it looks.
const TICK: Duration = Duration::from_millis(100);

/// What is expected to end, and how many more looks it has.
type Expectation = Arc<Mutex<Option<(u32, String)>>>;

/// Watches one trial at a time.
///
/// It counts its own looks, not time: while the whole process is stopped (Ctrl-Z, a lid that is
/// closed), nothing can end.
pub(crate) struct Watchdog(Expectation);

impl Watchdog {
    /// Calls `on_hang` with the name of a trial that has not ended in time. The process cannot
    /// go on after that: the threads of that trial never give back what they use.
    pub(crate) fn start(on_hang: impl Fn(&str) + Send + 'static) -> Self {
        let expectation = Expectation::default();
        let watched = Arc::downgrade(&expectation);
        std::thread::spawn(move || {
            while let Some(expectation) = watched.upgrade() {
                let late = {
                    let mut expected = expectation.lock().expect("no thread panics with it");
                    expected.as_mut().and_then(|(looks, what)| {
                        *looks = looks.saturating_sub(1);
                        (*looks == 0).then(|| what.clone())
                    })
                };
                if let Some(what) = late {
                    on_hang(&what);
                    return;
                }
                drop(expectation);
                std::thread::sleep(TICK);
            }
        });
        Watchdog(expectation)
    }

    /// A trial begins that should end within this time.
    pub(crate) fn expect(&self, within: Duration, what: String) {
        let looks = (within.as_millis() / TICK.as_millis()).max(1) as u32 + 1;
        *self.0.lock().expect("no thread panics with it") = Some((looks, what));
    }

    /// It has ended.
    pub(crate) fn ended(&self) {
        *self.0.lock().expect("no thread panics with it") = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn it_tells_what_hangs_and_nothing_else() {
        let (tell, told) = channel();
        let watchdog = Watchdog::start(move |what| tell.send(what.to_owned()).expect("it waits"));
        watchdog.expect(Duration::from_millis(1), "quick".into());
        watchdog.ended();
        watchdog.expect(Duration::from_millis(1), "slow".into());
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok("slow".to_owned()));
    }
}
