use super::*;
use contempo_sched::clock::CounterClock;
use contempo_sched::descriptor::table::DescriptorTable;

const OWN: u32 = 0;
const RENEWAL: u64 = CounterClock::RENEWAL;
const OVERDUE: u64 = overdue::<CounterClock>();

fn oldest(table: &DescriptorTable, own: u32, now: u64, idle: Idle) -> (u64, bool) {
    super::oldest::<CounterClock>(table, own, now, idle, || false)
}

fn revoke_idle(
    table: &DescriptorTable,
    own: u32,
    now: u64,
    idle: Idle,
    heavy: impl FnOnce() -> bool,
) -> bool {
    super::revoke_idle::<CounterClock>(table, own, now, idle, heavy)
}

/// A table whose slots from 1 on have announced these stamps, and run nothing.
fn announced(stamps: &[u64]) -> DescriptorTable {
    let table = DescriptorTable::new();
    assert_eq!(table.take().unwrap().0, OWN);
    for &stamp in stamps {
        table.take().unwrap().1.announced.store(stamp, Ordering::Relaxed);
    }
    table
}

fn announcements(table: &DescriptorTable) -> Vec<u64> {
    table.each().map(|(_, one)| one.announced.load(Ordering::Relaxed)).collect()
}

#[test]
fn an_announcement_is_renewed_when_it_is_old_and_not_before() {
    let (clock, recent, one) = (CounterClock::new(), Cell::new(7), Descriptor::new());
    let announcement = || one.announced.load(Ordering::Relaxed);
    let first = begin(&one, &clock, false, &recent, || 0);
    assert!(one.is_active(Ordering::Relaxed));
    assert_eq!((first, announcement(), recent.get()), (clock.now(), first, first));
    end(&one);
    assert!(!one.is_active(Ordering::Relaxed));
    assert_eq!(announcement(), first, "it stays");
    let last = clock.draw(RENEWAL - 1);
    assert_eq!((begin(&one, &clock, false, &recent, || 0), announcement()), (last, first));
    assert_eq!(recent.get(), first, "nothing was announced");
    let old = clock.draw(1);
    assert_eq!((begin(&one, &clock, false, &recent, || 0), announcement()), (old, old));
    assert_eq!(recent.get(), old);
    // One that is being revoked, and none, are renewed at once.
    one.announced.store(old | MARK, Ordering::Relaxed);
    let now = clock.draw(1);
    assert_eq!((begin(&one, &clock, false, &recent, || 0), announcement()), (now, now));
    withdraw(&one);
    assert_eq!(announcement(), NOTHING);
    assert_eq!((begin(&one, &clock, false, &recent, || 0), announcement()), (now, now));
}

#[test]
fn a_recent_bound_is_kept_while_its_announcement_is_young() {
    let (clock, one) = (CounterClock::new(), Descriptor::new());
    let recent = Cell::new(clock.now());
    let announcement = || one.announced.load(Ordering::Relaxed);
    let first = begin_at(&one, &clock, false, &recent, || 0);
    assert!(one.is_active(Ordering::Relaxed));
    assert_eq!((first, announcement(), recent.get()), (clock.now(), first, first));
    // Whatever the clock says, the bound is what this thread has drawn.
    recent.set(first + 3);
    clock.draw(2 * RENEWAL);
    assert_eq!((begin_at(&one, &clock, false, &recent, || 0), announcement()), (first + 3, first));
    recent.set(first + RENEWAL - 1);
    assert_eq!(begin_at(&one, &clock, false, &recent, || 0), recent.get());
    recent.set(first + RENEWAL);
    let renewed = begin_at(&one, &clock, false, &recent, || 0);
    assert_eq!((renewed, announcement(), recent.get()), (clock.now(), renewed, renewed));
    // Below what is announced: what it would read there may have been freed.
    recent.set(renewed - 1);
    clock.draw(1);
    assert_eq!(begin_at(&one, &clock, false, &recent, || 0), clock.now());
    withdraw(&one);
    recent.set(renewed);
    assert_eq!(begin_at(&one, &clock, false, &recent, || 0), clock.now(), "nothing is announced");
}

#[test]
fn the_oldest_is_that_of_others_marked_or_not() {
    let (now, look) = (OVERDUE + 100, Idle::Overdue);
    let table = announced(&[]);
    table.get(OWN).announced.store(5, Ordering::Relaxed);
    assert_eq!(oldest(&table, OWN, now, look), (u64::MAX, false), "one's own does not count");
    let table = announced(&[NOTHING, NOTHING]);
    assert_eq!(oldest(&table, OWN, now, Idle::Inactive), (u64::MAX, false));
    for stamps in [[20, 10, 30], [20, 10 | MARK, NOTHING], [10 | MARK, 20 | MARK, 30]] {
        let table = announced(&stamps);
        assert_eq!(oldest(&table, OWN, now, look), (10, true), "{stamps:?}");
    }
}

#[test]
fn which_threads_are_idle_depends_on_the_look() {
    for (stamp, overdue) in [(100, true), (101, false), (OVERDUE + 200, false)] {
        for marked in [stamp, stamp | MARK] {
            let table = announced(&[marked]);
            let seen = |idle| oldest(&table, OWN, OVERDUE + 100, idle);
            assert_eq!(seen(Idle::Overdue), (stamp, overdue));
            assert_eq!(seen(Idle::Inactive), (stamp, true));
            table.get(1).session.store(Descriptor::WORKING, Ordering::Relaxed);
            assert_eq!(seen(Idle::Overdue), (stamp, false), "it runs");
            assert_eq!(seen(Idle::Inactive), (stamp, false), "it runs");
        }
    }
    // One that is idle is enough.
    let table = announced(&[100, 101]);
    assert_eq!(oldest(&table, OWN, OVERDUE + 100, Idle::Overdue), (100, true));
}

#[test]
fn idle_threads_lose_their_announcements() {
    let stamps = [100, 100 | MARK, 101, 101 | MARK, 100, NOTHING];
    let table = announced(&stamps);
    table.get(OWN).announced.store(100, Ordering::Relaxed);
    table.get(5).session.store(Descriptor::WORKING, Ordering::Relaxed);
    let now = OVERDUE + 100;
    let during = Cell::new(Vec::new());
    let heavy = || {
        during.set(announcements(&table));
        true
    };
    assert!(revoke_idle(&table, OWN, now, Idle::Overdue, heavy));
    let marked = [100, 100 | MARK, 100 | MARK, 101, 101 | MARK, 100, NOTHING];
    assert_eq!(during.take(), marked, "marked before the barrier");
    let after = [100, NOTHING, NOTHING, 101, 101 | MARK, 100, NOTHING];
    assert_eq!(announcements(&table), after);
    assert!(revoke_idle(&table, OWN, now, Idle::Inactive, || true));
    let after = [100, NOTHING, NOTHING, NOTHING, NOTHING, 100, NOTHING];
    assert_eq!(announcements(&table), after, "a thread that runs keeps it");
    let no_thread = || panic!("a barrier for no thread");
    assert!(!revoke_idle(&table, OWN, now, Idle::Inactive, no_thread));
}

#[test]
fn a_thread_that_begins_before_the_barrier_keeps_its_announcement() {
    let table = announced(&[100, 100, 100, 100]);
    let heavy = || {
        // Begins, and has looked at its announcement before that was marked.
        table.get(1).session.store(Descriptor::WORKING, Ordering::Relaxed);
        // Announces anew, and has ended again.
        table.get(2).announced.store(150, Ordering::Relaxed);
        withdraw(table.get(3));
        true
    };
    assert!(revoke_idle(&table, OWN, 200, Idle::Inactive, heavy));
    assert_eq!(announcements(&table), [NOTHING, 100 | MARK, 150, NOTHING, NOTHING]);
}

#[test]
fn without_a_barrier_nothing_is_revoked() {
    let table = announced(&[100]);
    assert!(!revoke_idle(&table, OWN, 200, Idle::Inactive, || false));
    assert_eq!(announcements(&table), [NOTHING, 100 | MARK], "it holds as before");
    assert_eq!(oldest(&table, OWN, 200, Idle::Overdue).0, 100);
}

#[test]
fn one_revokes_at_a_time() {
    let revoking = Revoking::new();
    let first = revoking.begin();
    assert!(first.is_some() && revoking.begin().is_none(), "another is at it");
    drop(first);
    assert!(revoking.begin().is_some() && revoking.begin().is_some(), "each has let go");
}
