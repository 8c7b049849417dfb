//! What a region's file may look like, and what is made of that.
#![cfg(all(target_os = "linux", not(any(contempo_loom, contempo_shuttle))))]

use contempo_alloc::region::clean_shutdown;
use contempo_alloc::region::error::{NoBlock, OpenError, Unusable};
use contempo_alloc::region::handle::Handle;
use contempo_alloc::region::layout::{Identity, SUPERBLOCK};
use contempo_alloc::region::map::Map;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::Ordering;

const LAYOUT: u64 = 77;

/// A file for a region, which goes when this does.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        Place(std::env::temp_dir().join(format!("contempo-map-{name}-{}", std::process::id())))
    }

    fn file(&self) -> File {
        File::options().read(true).write(true).create(true).truncate(false).open(&self.0).unwrap()
    }

    fn make(&self, most: u64) -> Map {
        let identity = Identity::new(1, LAYOUT, 2, 2, most);
        let map = Map::create(self.file(), identity, 0).unwrap();
        map.complete(Handle::NULL, (0, 0));
        map
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Makers of old made a region at its place. A process that came meanwhile was to find it half-made, or whole.
#[test]
fn a_region_that_is_opened_while_it_is_completed_is_half_made_or_whole() {
    let place = Place::new("completed");
    let map = place.make(1 << 20);
    let (barrier, mut wrong) = (Barrier::new(2), None);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3000 {
                map.shared().ready.store(0, Ordering::Release);
                // SAFETY: the header is mapped, and no thread has a reference to it; others read the file.
                unsafe { map.base().cast::<[u8; size_of::<Identity>()]>().write_bytes(0, 1) };
                barrier.wait();
                barrier.wait();
                map.complete(Handle::NULL, (0, 0));
                barrier.wait();
            }
        });
        for _ in 0..3000 {
            barrier.wait();
            // The other thread waits for us, whatever is found.
            let before = Map::open(place.file(), LAYOUT).err();
            if !matches!(before, Some(OpenError::Unusable(Unusable::HalfCreated))) {
                wrong = Some(format!("before it is completed: {before:?}"));
            }
            barrier.wait();
            loop {
                match Map::open(place.file(), LAYOUT) {
                    Ok(_) => break,
                    Err(OpenError::Unusable(Unusable::HalfCreated)) => {}
                    Err(why) => {
                        wrong = Some(format!("while it is completed: {why:?}"));
                        break;
                    }
                }
            }
            barrier.wait();
        }
    });
    assert_eq!(wrong, None);
}

#[test]
fn what_others_append_to_the_file_is_allocated_before_it_is_used() {
    let place = Place::new("appended");
    let map = place.make(8 << 20);
    let before: Vec<usize> = map.superblocks().collect();
    let allocated = || std::os::unix::fs::MetadataExt::blocks(&place.file().metadata().unwrap());
    let blocks = allocated();
    place.file().set_len(8 << 20).unwrap();
    assert_eq!(map.superblocks().collect::<Vec<_>>(), before);
    let again = Map::open(place.file(), LAYOUT).unwrap();
    assert_eq!(again.superblocks().collect::<Vec<_>>(), before);
    assert!(map.meta_at(before.last().unwrap() + SUPERBLOCK).is_none());
    assert_eq!(allocated(), blocks, "nothing was touched");
    map.grow().unwrap();
    assert!(map.superblocks().count() > before.len());
    assert_eq!(again.superblocks().count(), map.superblocks().count(), "the other sees it too");
    // 512 bytes each. The last superblock is allocated, and not used.
    let end = map.superblocks().last().unwrap() + 2 * SUPERBLOCK;
    assert!(allocated() * 512 >= end as u64, "used, and not allocated");
    while map.grow().is_ok() {}
    assert!(matches!(map.grow(), Err(NoBlock::AtItsLimit { .. })));
    assert!(allocated() * 512 >= 8 << 20);
}

#[test]
fn a_length_that_makes_no_sense_is_damage() {
    let place = Place::new("length");
    let map = place.make(8 << 20);
    map.shared().length.store(SUPERBLOCK as u64, Ordering::Relaxed);
    let opened = Map::open(place.file(), LAYOUT);
    assert!(matches!(opened, Err(OpenError::Unusable(Unusable::Damaged))), "{opened:?}");
    // More than the region may have.
    map.shared().length.store(u64::MAX, Ordering::Relaxed);
    let opened = Map::open(place.file(), LAYOUT);
    assert!(matches!(opened, Err(OpenError::Unusable(Unusable::Damaged))), "{opened:?}");
    // More than the file has: it was cut off.
    let found = map.length().unwrap();
    map.shared().length.store(found + 1, Ordering::Relaxed);
    let opened = Map::open(place.file(), LAYOUT).map(drop);
    let Err(OpenError::Unusable(Unusable::Truncated { expected, found: said })) = opened else {
        panic!("{opened:?}");
    };
    assert_eq!((expected, said), (found + 1, found));
}

#[test]
fn a_region_of_another_boot_is_used_only_if_everybody_had_left_it() {
    let place = Place::new("power");
    let map = place.make(1 << 20);
    let shared = map.shared();
    if clean_shutdown::boot() == [0; 2] {
        println!("skipped: the system does not say which boot this is");
        return;
    }
    let check = |map: &Map| clean_shutdown::check(map, || false);
    let other_boot = || shared.boot.iter().for_each(|half| half.store(5, Ordering::Relaxed));
    assert!(check(&map).is_ok(), "no process has used it");
    clean_shutdown::attach(&map).unwrap();
    assert!(check(&map).is_ok(), "in use, in this boot");
    other_boot();
    assert!(matches!(check(&map), Err(Unusable::NotLeftCleanly)));
    assert!(clean_shutdown::check(&map, || true).is_ok(), "the same boot by another name");
    // As it is when another is attached still.
    clean_shutdown::attach(&map).unwrap();
    clean_shutdown::leave(&map, || false);
    other_boot();
    assert!(matches!(check(&map), Err(Unusable::NotLeftCleanly)));
    clean_shutdown::leave(&map, || true);
    assert!(check(&map).is_ok(), "left, and written back");
    // A process comes while the last one leaves.
    clean_shutdown::attach(&map).unwrap();
    clean_shutdown::leave(&map, || {
        clean_shutdown::attach(&map).unwrap();
        true
    });
    other_boot();
    assert!(matches!(check(&map), Err(Unusable::NotLeftCleanly)));
    // What the system does not say is no reason.
    shared.boot.iter().for_each(|half| half.store(0, Ordering::Relaxed));
    assert!(check(&map).is_ok());
}
