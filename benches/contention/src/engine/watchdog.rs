//! Notices a trial that does not end: a contender that deadlocks must not take the results of all
//! others with it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is expected to have ended by when.
type Expectation = Arc<Mutex<Option<(Instant, String)>>>;

/// Watches one trial at a time.
pub(crate) struct Watchdog(Expectation);

impl Watchdog {
    /// Calls `on_hang` with the name of a trial that has not ended in time. The process cannot
    /// go on after that: the threads of that trial never give back what they use.
    pub(crate) fn start(on_hang: impl Fn(&str) + Send + 'static) -> Self {
        let expectation = Expectation::default();
        let watched = Arc::downgrade(&expectation);
        std::thread::spawn(move || {
            while let Some(expectation) = watched.upgrade() {
                let late = expectation.lock().expect("nobody panics with it").clone();
                if let Some((deadline, what)) = late
                    && Instant::now() > deadline
                {
                    on_hang(&what);
                    return;
                }
                drop(expectation);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Watchdog(expectation)
    }

    /// A trial begins that should end within this time.
    pub(crate) fn expect(&self, within: Duration, what: String) {
        *self.0.lock().expect("nobody panics with it") = Some((Instant::now() + within, what));
    }

    /// It has ended.
    pub(crate) fn ended(&self) {
        *self.0.lock().expect("nobody panics with it") = None;
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
