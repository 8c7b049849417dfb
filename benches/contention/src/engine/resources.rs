//! What the system says of this process and its threads, where it tells it (Linux; processor time and
//! sleeps on every Unix).

use std::fs::File;
use std::time::Duration;

/// Bytes of this process that lie in memory, counted exactly.
pub(crate) fn resident() -> Option<u64> {
    // Not `statm`: each processor keeps some pages of those counts to itself.
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// How long the calling thread has waited for a core although it could have run. Opened once, since
/// it is asked often.
pub(crate) struct RunQueue(Option<File>);

impl RunQueue {
    /// That of the calling thread.
    pub(crate) fn of_this_thread() -> Self {
        RunQueue(File::open("/proc/thread-self/schedstat").ok())
    }

    /// The delay so far; none where the system does not tell it.
    pub(crate) fn delay(&self) -> Option<Duration> {
        let mut text = [0; 96];
        let length = read_at_start(self.0.as_ref()?, &mut text)?;
        // Time on a core, time waiting for one, in nanoseconds; how often it got one.
        let text = std::str::from_utf8(&text[..length]).ok()?;
        let delay = text.split_whitespace().nth(1)?.parse().ok()?;
        Some(Duration::from_nanos(delay))
    }
}

#[cfg(unix)]
fn read_at_start(file: &File, text: &mut [u8]) -> Option<usize> {
    std::os::unix::fs::FileExt::read_at(file, text, 0).ok()
}

#[cfg(not(unix))]
fn read_at_start(_file: &File, _text: &mut [u8]) -> Option<usize> {
    None
}

/// What this process has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Processor time of all its threads.
    pub(crate) processor: Duration,
    /// How often one of its threads went to sleep.
    pub(crate) sleeps: u64,
}

impl Usage {
    /// Until now.
    #[cfg(unix)]
    pub(crate) fn now() -> Option<Self> {
        use nix::sys::resource::{UsageWho, getrusage};
        use nix::sys::time::TimeValLike;
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
        Some(Usage {
            processor: Duration::from_micros(microseconds.unsigned_abs()),
            sleeps: usage.voluntary_context_switches().unsigned_abs(),
        })
    }

    /// Until now.
    #[cfg(not(unix))]
    pub(crate) fn now() -> Option<Self> {
        None
    }

    /// Processor time since an earlier look, if that told it.
    pub(crate) fn since(earlier: Option<Self>) -> Option<Duration> {
        Usage::now().zip(earlier).map(|looks| Usage::between(looks).processor)
    }

    /// What was used between two looks, the later of which comes first.
    pub(crate) fn between((later, earlier): (Self, Self)) -> Self {
        Usage {
            processor: later.processor.saturating_sub(earlier.processor),
            sleeps: later.sleeps.saturating_sub(earlier.sleeps),
        }
    }
}

/// Processor time that the calling thread has had; or just the time, where the system does not tell
/// it.
pub(crate) fn thread_time() -> Duration {
    #[cfg(unix)]
    {
        use nix::time::{ClockId, clock_gettime};
        if let Ok(time) = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID) {
            return time.into();
        }
    }
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_touched_is_resident() {
        let block = std::hint::black_box(vec![1_u8; 64 << 20]);
        // Other tests of this process have more, and come and go.
        let all = resident().expect("Linux tells it");
        assert!(all >= block.len() as u64, "{all} bytes");
    }

    #[test]
    fn delays_and_usage_only_grow() {
        let queue = RunQueue::of_this_thread();
        let (delay, usage) = (queue.delay(), Usage::now().expect("Linux tells it"));
        std::thread::sleep(Duration::from_millis(1));
        let later = Usage::now().expect("Linux tells it");
        assert!(later.sleeps > usage.sleeps && later.processor >= usage.processor);
        assert!(queue.delay() >= delay);
    }
}
