//! What weighs: when it goes, and to where it is left.

use super::*;

#[test]
fn what_weighs_is_due_at_once_and_goes_unless_it_is_held() {
    let world = World::new();
    let own = world.reclaimer();
    let now = world.clock.draw(10);
    (1..=2).for_each(|number| retire(own, now - 1, number, MEDIUM));
    retire(own, now - 1, 3, PLAIN);
    assert!(!own.is_due());
    retire(own, now - 1, 4, MEDIUM);
    assert!(own.is_due() && !own.tidy(), "no batch");
    assert_eq!((destroyed(), own.retired.len(), own.is_due()), (vec![1, 2, 4], 1, false));
    retire(own, now - 1, 5, WEIGHTY);
    assert!(own.is_due());
    own.tidy();
    assert_eq!((destroyed(), own.is_due(), barriers(own)), (vec![5], false, 0));
    // Now and then it is time for what is done once in a batch.
    let batches = (0..5 * BATCH).filter(|_| {
        retire(own, now - 1, 6, WEIGHTY);
        own.tidy()
    });
    assert_eq!(batches.count(), 5);
    assert_eq!(destroyed().len(), 5 * BATCH);
}

#[test]
fn what_weighs_and_is_held_is_left_to_the_thread_that_ends_next() {
    let world = World::new();
    let (own, other, reader) = (world.reclaimer(), world.reclaimer(), world.reclaimer());
    let now = world.clock.draw(10);
    reader.enter();
    retire(own, now, 1, WEIGHTY);
    world.clock.draw(1);
    own.tidy();
    assert_eq!((destroyed(), own.weighty.len(), barriers(own)), (vec![], 0, 1));
    assert_eq!(own.descriptor.announced.load(Ordering::Relaxed), NOTHING);
    assert!([own, other, reader].into_iter().all(Reclaimer::is_due));
    other.collect();
    assert!(other.is_due(), "it waits as before");
    reader.exit();
    reader.tidy(); // It has not looked in vain before.
    assert_eq!((destroyed(), reclaimed(reader)), (vec![1], 1));
    assert!(![own, other, reader].into_iter().any(Reclaimer::is_due));
    // What does not weigh is looked at once.
    reader.enter();
    retire(other, world.clock.draw(1), 2, PLAIN);
    other.hand_over();
    assert!(own.is_due());
    own.collect();
    assert!(!own.is_due() && world.domain.leftovers.oldest().all() < u64::MAX);
}

#[test]
fn a_thread_that_has_looked_in_vain_leaves_what_weighs_without_a_look() {
    let world = World::new();
    let own = world.reclaimer();
    let now = world.clock.draw(10);
    let reader = world.running(now);
    retire(own, now, 1, WEIGHTY);
    own.tidy();
    announcement::withdraw(reader); // It has missed that something waits.
    own.pace.has_just_looked();
    retire(own, now, 2, WEIGHTY);
    own.tidy();
    assert_eq!((destroyed(), own.weighty.len(), own.weight.get()), (vec![], 0, 0));
    assert_eq!(world.domain.leftovers.oldest().weighty, now);
    own.collect();
    assert_eq!((destroyed(), own.is_due()), (vec![1, 2], false));
}

#[test]
fn what_weighs_goes_at_once_with_what_its_destructor_retires() {
    for several in [false, true] {
        let world = World::new();
        let own = world.reclaimer();
        let now = world.clock.draw(10);
        const LOUD_AND_WEIGHTY: &BlockKind =
            &BlockKind { destroy: Some(run_what_is_due), ..*WEIGHTY };
        ON_DESTROY.set(Some(Box::new(move || {
            retire(own, now, 3, WEIGHTY);
            assert!(own.is_due() && !own.tidy(), "whoever runs this comes round to it");
        })));
        retire(own, now, 1, LOUD_AND_WEIGHTY);
        if several {
            retire(own, now, 2, WEIGHTY);
        }
        assert!(!own.tidy());
        let expected = if several { vec![1, 2, 3] } else { vec![1, 3] };
        assert_eq!((destroyed(), own.weighty.len(), own.is_due()), (expected, 0, false));
        assert_eq!(reclaimed(own), if several { 3 } else { 2 });
        // One that gives away what is left: that goes with the next look, and not by the old one.
        let domain = world.domain;
        ON_DESTROY.set(Some(Box::new(move || {
            world.running(now);
            own.hand_over();
        })));
        retire(own, now, 4, LOUD_AND_WEIGHTY);
        retire(own, now, 5, WEIGHTY);
        own.tidy();
        assert_eq!(destroyed(), [4], "a reader holds the other");
        assert_eq!(domain.leftovers.oldest().weighty, now);
    }
}
