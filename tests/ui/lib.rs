//! What the compiler says about the common mistakes: see `tests/mistakes.rs`, and the programs in `mistakes`.
