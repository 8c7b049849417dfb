//! Shared objects between Python processes, on regions of contempo: see `docs/decisions/python.md`.

mod attempts;
mod dict;
mod errors;
mod opened;
mod region;
mod values;

use pyo3::prelude::*;

/// What the package `contempo` is made of.
#[pymodule]
mod _contempo {
    #[pymodule_export]
    use crate::dict::Dict;
    #[pymodule_export]
    use crate::errors::{
        Conflict, Damaged, Error, Forked, RegionFull, StaleReference, UnusableRegion,
    };
    #[pymodule_export]
    use crate::region::{Region, Snapshot, open, remove};
}
