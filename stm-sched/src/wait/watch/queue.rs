//! Which waiters sleep for one cell, and which of them is woken when: the rules of `docs/scheduling.md`,
//! "Waking few", without threads and locks. Every method runs under the lock of the cell's bucket.

use super::exchange::{Change, Duty, Left, Outcome, Rouse, WakeToken};
use super::learned::{Learned, MOST_EAGER, PARTNER};
use super::nodes::{Id, Links, NONE, Nodes, State, Wake, Why};
use crate::primitives::CHECKED;
use crate::primitives::fault::{Fault, planted};
use crate::primitives::waiter::Waiter;
use crate::wait::few::Few;
use std::time::Duration;

/// The timer's first interval, and how often it may double.
const INTERVAL: Duration = Duration::from_micros(250);
const DOUBLINGS: u32 = 4;

/// A walk along a list stops after so many steps, and does with what it has found: no operation may
/// take time in proportion to the number of sleepers.
const STEPS: u32 = 16;

/// So many tasks are woken at most beside the two that a sleeper wakes which goes on.
const GATE: u32 = if CHECKED { 1 } else { 14 };

/// The sleepers of one cell.
///
/// Those asleep form two lists. One is by age: since when their transaction has been blocked. The
/// other is as they came, after their last look at the cell:
///
/// ```text
/// first ──► owed … ──► group ──► owed … ──► fresh ──► … ──► last
/// ```
///
/// From `fresh` on they have seen the newest change; a change begins a new *era*. All before it are
/// *owed* a look at the cell. Those from `group` on had seen the state that was replaced last.
///
/// While a sleeper is owed, one is on duty: a thread that is the timer, or, where only tasks are owed, what keeps
/// time for tasks. (The checkers make do with a token, so that they find out if one is lost.) A task is no
/// timer: it keeps no time, and may be polled late or never.
#[derive(Debug)]
pub(super) struct Queue {
    /// All sleepers, by age: the oldest.
    head: Id,
    tail: Id,
    asleep: u32,
    /// Every sleeper before this one in the list by age is fresh.
    cursor: Id,
    /// All sleepers, as they came: the one whose last look was longest ago.
    first: Id,
    last: Id,
    /// The first of those that have seen the newest change.
    fresh: Id,
    fresh_count: u32,
    /// The first of those that had seen the state before.
    group: Id,
    /// One of the owed, a thread, which sleeps with a time limit.
    timer: Id,
    /// Does something keep time for the tasks, in place of a timer?
    kept: bool,
    /// How many have enlisted and are not asleep yet.
    rising: u32,
    /// How many have been woken and have not come back.
    on_the_way: u32,
    /// Of those, the ones that look for themselves ([`Why::Gate`]): they will pass nothing on, unless the cell changes.
    looking: u32,
    /// Those on the way, and the tokens that are out.
    out: u32,
    /// Counts the changes.
    era: u64,
    /// The newest change that the queue knows of, the one before it, and the slot that made it.
    changed: u64,
    before: u64,
    by: u32,
    /// Did a woken thread make it? And the one before it?
    woken: bool,
    woken_before: bool,
    /// How many have been woken since.
    hops: u32,
    /// Has a thread been woken in vain since? And as many as are woken at once?
    rejected: bool,
    exhausted: bool,
    /// Had a thread been woken in vain for the state before?
    rejected_before: bool,
    /// Changes for which no thread was woken because one was on the way.
    pending: u32,
    /// Changes by others than woken threads for which a sleeper was woken.
    firsts: u32,
    pub(super) learned: Learned,
}

impl Queue {
    pub(super) const fn new(learned: Learned) -> Self {
        Queue {
            head: NONE,
            tail: NONE,
            asleep: 0,
            cursor: NONE,
            first: NONE,
            last: NONE,
            fresh: NONE,
            fresh_count: 0,
            group: NONE,
            timer: NONE,
            kept: false,
            rising: 0,
            on_the_way: 0,
            looking: 0,
            out: 0,
            era: 0,
            changed: 0,
            before: 0,
            by: u32::MAX,
            woken: false,
            woken_before: false,
            hops: 0,
            rejected: false,
            exhausted: false,
            rejected_before: false,
            pending: 0,
            firsts: 0,
            learned,
        }
    }

    /// Does no thread sleep, or intend to? Then commits need not come here.
    pub(super) fn is_deserted(&self) -> bool {
        self.asleep == 0 && self.rising == 0
    }

    /// Does no thread refer to this queue any more, not even by a token?
    pub(super) fn is_empty(&self) -> bool {
        self.is_deserted() && self.out == 0
    }

    fn owed(&self) -> u32 {
        self.asleep - self.fresh_count
    }

    /// The oldest of the owed, if there are any.
    fn oldest(&mut self, nodes: &Nodes) -> Id {
        // The cursor passes over each sleeper once in an era: constant time for each, on average.
        while self.cursor != NONE && nodes[self.cursor].era == self.era {
            self.cursor = nodes[self.cursor].all.next;
        }
        self.cursor
    }

    /// Puts a fresh sleeper into the lists, according to its age as far as that is soon found: threads
    /// that have just blocked for the first time belong to the end, threads that have been woken in vain
    /// to the front.
    fn link(&mut self, nodes: &mut Nodes, id: Id) {
        debug_assert_eq!(nodes[id].state, State::Asleep, "only what sleeps is in the lists");
        // Looks for its place by age from both ends at once, a bounded number of steps; where they stop, it goes in.
        let since = nodes[id].sleeper.since;
        let (mut next, mut previous) = (self.head, self.tail);
        for _ in 0..STEPS {
            if previous == NONE || nodes[previous].sleeper.since <= since {
                next = if previous == NONE { self.head } else { nodes[previous].all.next };
                break;
            }
            if nodes[next].sleeper.since > since {
                break;
            }
            (next, previous) = (nodes[next].all.next, nodes[previous].all.previous);
        }
        // The list by age: the neighbours, or the ends of the list, refer to it.
        let previous = if next == NONE { self.tail } else { nodes[next].all.previous };
        nodes[id].all = Links { previous, next };
        match previous {
            NONE => self.head = id,
            previous => nodes[previous].all.next = id,
        }
        match next {
            NONE => self.tail = id,
            next => nodes[next].all.previous = id,
        }
        // The list as they came: it has just looked at the cell, so it is the last, and fresh.
        nodes[id].era = self.era;
        nodes[id].came = Links { previous: self.last, next: NONE };
        match self.last {
            NONE => self.first = id,
            last => nodes[last].came.next = id,
        }
        self.last = id;
        if self.fresh == NONE {
            self.fresh = id;
        }
        self.asleep += 1;
        self.fresh_count += 1;
        debug_assert!(self.ends_fit(), "the lists, their marks and their counts disagree");
    }

    /// Takes a sleeper out of both lists, and moves on whatever of the queue referred to it.
    fn unlink(&mut self, nodes: &mut Nodes, id: Id) {
        debug_assert_eq!(nodes[id].state, State::Asleep, "only what sleeps is in the lists");
        // The list by age, with the cursor: what is before it stays fresh.
        let Links { previous, next } = nodes[id].all;
        match previous {
            NONE => self.head = next,
            previous => nodes[previous].all.next = next,
        }
        match next {
            NONE => self.tail = previous,
            next => nodes[next].all.previous = previous,
        }
        if self.cursor == id {
            self.cursor = next;
        }
        // The list as they came, with the places where the fresh and the group begin.
        let Links { previous, next } = nodes[id].came;
        match previous {
            NONE => self.first = next,
            previous => nodes[previous].came.next = next,
        }
        match next {
            NONE => self.last = previous,
            next => nodes[next].came.previous = previous,
        }
        if self.fresh == id {
            self.fresh = next;
        }
        // The group ends where the fresh begin.
        if self.group == id {
            self.group = if next == self.fresh { NONE } else { next };
        }
        // The caller finds another timer, if one is needed (`ensure_duty`).
        if self.timer == id {
            self.timer = NONE;
        }
        self.asleep -= 1;
        self.fresh_count -= u32::from(nodes[id].era == self.era);
        debug_assert!(self.ends_fit(), "the lists, their marks and their counts disagree");
    }

    /// Takes a sleeper off the list, to be woken.
    fn wake(&mut self, nodes: &mut Nodes, id: Id, why: Why) -> Option<Waiter> {
        // If it is both the oldest and the first of the group, or neither, its success teaches nothing about which
        // to prefer.
        let (oldest, group) = (id == self.cursor, id == self.group);
        let group = (oldest != group).then_some(group);
        self.unlink(nodes, id);
        nodes[id].state = State::Woken(Wake { hop: self.hops, why, group });
        nodes[id].era = self.era; // What it will look at, unless that changes once more.
        self.hops += 1;
        self.on_the_way += 1;
        self.looking += u32::from(why == Why::Gate);
        self.out += 1;
        nodes[id].waiter.take()
    }

    /// A woken sleeper goes on, and has changed nothing: wakes two others, which may each do the same. The more have done
    /// so, the more tasks besides, up to [`GATE`]: these have no tokens, as the two pass on what they find, and need not
    /// come here when they go on. (Threads are not woken so: to wake one is a system call, and this thread has its own
    /// work.)
    fn open(&mut self, nodes: &mut Nodes, wakes: &mut Few<Waiter>) {
        for _ in 0..2 {
            wakes.extend(self.wake_next(nodes, Why::Chain));
        }
        for _ in 0..self.learned.gate {
            let next = self.first;
            if self.owed() == 0
                || nodes[next].waiter.as_ref().is_none_or(|it| it.thread().is_some())
            {
                break;
            }
            wakes.extend(self.wake(nodes, next, Why::Gate));
        }
        self.learned.gate = (self.learned.gate + 1).min(GATE);
    }

    /// Wakes the next of the owed: the oldest, or the first of the group, which saw the state that was
    /// replaced last. Mostly the one that has been right lately.
    fn wake_next(&mut self, nodes: &mut Nodes, why: Why) -> Option<Waiter> {
        if self.owed() == 0 {
            return None;
        }
        // What was right lately for changes of this kind; for the second that is woken, and each fourth after it, the
        // other, so that both are tried.
        let mut prefer_group = self.learned.group_first[usize::from(self.woken)];
        if self.hops % 4 == 1 {
            prefer_group = !prefer_group;
        } else if self.hops == 0 && !self.woken {
            // Once in eight first wake-ups the oldest, so that the backlog does not wait behind two threads that hand
            // the cell to each other.
            self.firsts = self.firsts.wrapping_add(1);
            prefer_group &= !self.firsts.is_multiple_of(8);
        }
        let oldest = self.oldest(nodes);
        let id = if prefer_group && self.group != NONE { self.group } else { oldest };
        self.wake(nodes, id, why)
    }

    /// A transaction enlists: it intends to sleep, so commits come here from now on.
    pub(super) fn rise(&mut self) {
        self.rising += 1;
    }

    /// An enlisted transaction is about to sleep, and to be woken by this waiter, which is taken. False if the cell
    /// has changed: it must look again.
    pub(super) fn lie_down(
        &mut self,
        nodes: &mut Nodes,
        id: Id,
        waiter: &mut Option<Waiter>,
    ) -> bool {
        debug_assert_eq!(nodes[id].state, State::Rising);
        if nodes[id].sleeper.seen < self.changed && !planted(Fault::SleepOnWithoutLooking) {
            return false;
        }
        self.rising -= 1;
        nodes[id].state = State::Asleep;
        nodes[id].waiter = waiter.take();
        self.link(nodes, id);
        true
    }

    /// The cell has changed.
    pub(super) fn change(&mut self, nodes: &mut Nodes, change: Change) -> Rouse {
        let mut rouse = Rouse::default();
        if change.stamp < self.changed {
            return rouse; // A later commit has been here first, and did what was to be done.
        }
        // A new era begins: what was learned of the state before is kept for one change, and all are owed.
        self.before = std::mem::replace(&mut self.changed, change.stamp);
        self.by = change.by;
        self.woken_before = std::mem::replace(&mut self.woken, change.woken);
        self.hops = 0;
        self.rejected_before = std::mem::take(&mut self.rejected);
        self.exhausted = false;
        self.era += 1;
        self.looking = 0; // They are to pass this change on.
        self.cursor = self.head;
        // Not owed are the last sleepers that have seen this change already: it was decided before its commit came
        // here, so they could read it. A bounded walk; one that is missed is woken for nothing, and sleeps again.
        let (mut fresh, mut count, mut at) = (NONE, 0, self.last);
        while at != NONE && count < STEPS && nodes[at].sleeper.seen >= change.stamp {
            nodes[at].era = self.era;
            (fresh, count, at) = (at, count + 1, nodes[at].came.previous);
        }
        // Those that were fresh, and are not any more, are the group: they saw the state that was replaced.
        let replaced_was_seen = self.fresh != fresh;
        if replaced_was_seen {
            self.group = self.fresh;
        }
        (self.fresh, self.fresh_count) = (fresh, count);
        debug_assert!(self.ends_fit(), "the lists, their marks and their counts disagree");
        // A thread that is on the way will see this state: the change only counts as pending. Else the next is woken,
        // at once for a change from outside; for one by a woken thread if the sleeper is alone, if its partner may wait
        // for just that, or if it was worth while lately.
        if self.on_the_way > 0 {
            self.pending = self.pending.saturating_add(u32::from(!change.woken));
        } else {
            let alone = self.asleep == 1;
            let pending = std::mem::take(&mut self.pending);
            let partner = replaced_was_seen && self.learned.relay > PARTNER;
            if !change.woken || pending > 0 {
                rouse.wakes.extend(self.wake_next(nodes, Why::Change));
            } else if alone || partner || self.learned.relay > 0 {
                rouse.wakes.extend(self.wake_next(nodes, Why::Chain));
            }
            if change.woken {
                self.pending = pending.saturating_sub(1);
            }
        }
        rouse.duty = self.ensure_duty(nodes);
        rouse
    }

    /// If a sleeper is owed and none is on duty, makes one of the last of the owed the timer: a thread, which is to
    /// be nudged, since it sleeps without a time limit yet. If these are all tasks, something else is to keep time.
    fn ensure_duty(&mut self, nodes: &Nodes) -> Option<Duty> {
        let on_duty = self.timer != NONE || self.kept || (CHECKED && self.out > 0);
        if self.owed() == 0 || on_duty || planted(Fault::NoWakeTimer) {
            return None;
        }
        let mut at = if self.fresh == NONE { self.last } else { nodes[self.fresh].came.previous };
        // A bounded walk: threads that are missed are as well looked after by the keeper.
        for _ in 0..STEPS {
            if at == NONE {
                break;
            }
            if let Some(parker) = nodes[at].waiter.as_ref().and_then(Waiter::thread) {
                self.timer = at;
                return Some(Duty::Timer(parker));
            }
            at = nodes[at].came.previous;
        }
        self.kept = true;
        Some(Duty::Keeper(self.pause()))
    }

    /// For how long the timer is to sleep.
    fn pause(&self) -> Duration {
        INTERVAL * (1 << self.learned.calm)
    }

    /// If `id` is the timer: how long it is to sleep.
    pub(super) fn interval(&self, id: Id) -> Option<Duration> {
        (self.timer == id).then(|| self.pause())
    }

    /// The timer's time is up: wakes the one of the owed whose last look was longest ago, so that all
    /// have their turn, however fast changes come. If that is the timer itself, it needs a successor.
    pub(super) fn pace(&mut self, nodes: &mut Nodes, id: Id) -> Rouse {
        if self.timer != id {
            return Rouse::default();
        }
        if self.owed() == 0 || CHECKED {
            self.timer = NONE; // Under the checkers the token is the duty from now on.
        }
        self.pace_next(nodes)
    }

    /// As [`pace`](Self::pace), by what keeps time for tasks.
    pub(super) fn pace_for_tasks(&mut self, nodes: &mut Nodes) -> Rouse {
        // It may be an alarm of a queue that was given up since.
        if !std::mem::take(&mut self.kept) {
            return Rouse::default();
        }
        self.pace_next(nodes)
    }

    fn pace_next(&mut self, nodes: &mut Nodes) -> Rouse {
        let mut rouse = Rouse::default();
        if self.owed() == 0 {
            return rouse;
        }
        // The owed come before the fresh, so the first of all looked longest ago. Each wake-up makes the interval
        // longer, until one was of use (`learn`).
        let next = self.first;
        self.learned.calm = (self.learned.calm + 1).min(DOUBLINGS);
        rouse.wakes.extend(self.wake(nodes, next, Why::Paced));
        rouse.duty = self.ensure_duty(nodes);
        rouse
    }

    /// The waiter of this entry is awake and goes. If it was woken for this cell while others are owed, it gets a
    /// token.
    pub(super) fn leave(&mut self, nodes: &mut Nodes, id: Id) -> Left {
        let node = &nodes[id];
        let mut token = None;
        match node.state {
            State::Rising => self.rising -= 1,
            State::Asleep => self.unlink(nodes, id),
            State::Woken(wake) => {
                self.on_the_way -= 1;
                let looks_for_itself = wake.why == Why::Gate && node.era == self.era;
                self.looking -= u32::from(looks_for_itself);
                if wake.why != Why::Change && !looks_for_itself {
                    // It takes what came while it was on the way, if anything did.
                    self.pending = self.pending.saturating_sub(1);
                }
                // It is to pass on what it cannot use, if there is a thread to pass it to; else the wake-up ends with
                // it.
                if self.owed() > 0 && !looks_for_itself {
                    token = Some(WakeToken { key: node.key, seen: self.changed, wake });
                } else {
                    self.out -= 1;
                    self.pending = if looks_for_itself { self.pending } else { 0 };
                }
            }
        }
        let waiter = nodes[id].waiter.take();
        debug_assert!(self.ends_fit(), "the lists, their marks and their counts disagree");
        nodes.free(id);
        if planted(Fault::WakeTimerGoesSilently) {
            return Left { token, duty: None, waiter };
        }
        Left { token, duty: self.ensure_duty(nodes), waiter }
    }

    /// A token comes back: its holder has ended its transaction, or sleeps again. Passes the wake-up on if it was of
    /// no use, and learns if it was.
    pub(super) fn pass(&mut self, nodes: &mut Nodes, token: WakeToken, outcome: Outcome) -> Rouse {
        let mut rouse = Rouse::default();
        self.out -= 1;
        match outcome {
            // It has seen the newest state, and could not use it: the next may. Had the cell changed since, the
            // committer would have had the duty.
            Outcome::Blocked(seen) if self.changed <= seen => {
                self.learned.gate = 0;
                rouse.wakes.extend(self.hop(nodes));
            }
            Outcome::Left if planted(Fault::LeaverHandsOnNothing) => {}
            Outcome::WentOn(_) | Outcome::Left if self.changed <= token.seen => {
                // It sleeps no more, and leaves everything as it was: others, perhaps, have waited for the same.
                // That it was an error for this one says nothing about the next: "shut down" is one for all.
                self.hops = 0;
                self.open(nodes, &mut rouse.wakes);
            }
            Outcome::WentOn(by) if self.by == by => self.learn(token),
            Outcome::Blocked(_) | Outcome::Left | Outcome::WentOn(_) => {}
        }
        rouse.duty = self.ensure_duty(nodes);
        rouse
    }

    /// The holder of a token could not use the newest state: wakes the next, within limits.
    fn hop(&mut self, nodes: &mut Nodes) -> Option<Waiter> {
        self.pending = 0;
        if self.on_the_way > self.looking {
            return None; // The thread that is on the way will see this state, and pass it on.
        }
        self.hops = self.hops.max(1); // It counts, although it was woken for an earlier state.
        let at_once = !self.woken || self.learned.relay > 0;
        // That a wake-up for a woken thread's change was in vain counts against doing so, once for each state.
        if !std::mem::replace(&mut self.rejected, true) && self.woken {
            self.learned.relay_by(-1);
        }
        if at_once && self.hops < self.learned.eager {
            return self.wake_next(nodes, Why::Chain);
        }
        // All that are woken at once were woken in vain: fewer next time. The rest is the timer's.
        if at_once && !std::mem::replace(&mut self.exhausted, true) {
            let eager = self.learned.eager;
            self.learned.eager = (eager - eager.div_ceil(4)).max(1);
        }
        None
    }

    /// The holder of this token has used it.
    fn learn(&mut self, token: WakeToken) {
        if self.before != token.seen {
            return; // Something came between the state that it was woken for and its own change.
        }
        let paced = token.wake.why == Why::Paced;
        // The one that was woken was right: prefer its kind the next time.
        if let Some(group) = token.wake.group {
            self.learned.group_first[usize::from(self.woken_before)] = group;
        }
        if self.rejected_before {
            // It was worth while to wake more than the first.
            let hops = token.wake.hop.saturating_add(1).saturating_mul(2);
            self.learned.eager = self.learned.eager.max(hops.min(MOST_EAGER));
        }
        if self.woken_before {
            // A sleeper should be woken at once for what a woken thread leaves behind.
            let relay = self.learned.relay;
            self.learned.relay_by(if paced { (1 - relay).max(2) } else { 2 });
        }
        // The timer has found work that waited for it: its interval is short again.
        if paced && (self.rejected_before || self.woken_before) {
            self.learned.calm = 0;
        }
    }
}

mod checks;
