//! Sizes of what lies in a region.

/// Blocks begin at multiples of this.
pub const GRAIN: usize = 16;
/// Superblocks begin at multiples of this.
pub const SUPERBLOCK: usize = 64 * 1024;
/// Where the part of a superblock that holds blocks begins.
pub const SUPERBLOCK_HEADER: usize = 512;
/// The most threads that a region can have room for.
pub const MOST_SLOTS: u32 = 4096;

/// Sizes of blocks. The last two are those of the reserve of a full region (`reserve`).
pub const SIZES: [usize; 23] = [
    32, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192,
    16256, 32512, 48, 4096,
];
/// The first class of the reserve.
pub const RESERVE: usize = SIZES.len() - 2;
/// The largest block.
pub const LARGEST: usize = SIZES[RESERVE - 1];

const _: () = {
    let mut at = 0;
    while at < SIZES.len() {
        let grows = at == 0 || at == RESERVE || SIZES[at] > SIZES[at - 1];
        assert!(SIZES[at].is_multiple_of(GRAIN) && grows);
        at += 1;
    }
};
