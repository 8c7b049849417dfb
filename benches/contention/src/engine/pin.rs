//! Which thread runs on which core.

use core_affinity::CoreId;

/// The cores that this process may use, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cores(Vec<CoreId>);

impl Cores {
    /// Asks the platform. Empty where it cannot say: then nothing is pinned.
    pub(crate) fn find() -> Self {
        Cores(core_affinity::get_core_ids().unwrap_or_default())
    }

    /// No pinning.
    pub(crate) fn none() -> Self {
        Cores::default()
    }

    /// Are threads bound to cores?
    pub(crate) fn pins(&self) -> bool {
        !self.0.is_empty()
    }

    /// Binds the calling thread to the core of this seat: seats go round the cores in turn.
    pub(crate) fn bind(&self, seat: usize) {
        if let Some(core) = self.0.get(seat % self.0.len().max(1)) {
            core_affinity::set_for_current(*core);
        }
    }
}

/// How many cores there are.
pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
