//! A queue without bounds: lanes one after the other, each with twice as many slots as the one before.
//!
//! One slot of a lane stays empty. When a push would fill that, it closes it instead, and goes on in the next lane; a pop
//! that comes to the closed slot does so, too. So whether a lane is the last one is said by the very slot that a push
//! changes, and a push alone still changes one cell.

use super::lane::{Found, Lane, State};
use super::reader::Reader;
use super::ring::{self, End, Look as _, Ring as _, Span};
use contempo_core::{StmResult, TVar, Transaction, atomically};
use once_cell::race::OnceBox;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many slots the first lane has.
const FEW: usize = 8;
/// So many lanes have more slots than memory has bytes.
const MOST: usize = 48;

pub(super) struct Lanes<T: Send + Sync + 'static> {
    lanes: [OnceBox<Lane<T>>; MOST],
    front: LaneOf,
    back: LaneOf,
    name: Option<Box<str>>,
}

/// In which lane an end is.
struct LaneOf {
    cell: TVar<usize>,
    /// All lanes below are passed: a fact, which stays true. Learnt from what has committed.
    fact: AtomicUsize,
}

impl LaneOf {
    fn first() -> Self {
        LaneOf { cell: TVar::new(0), fact: AtomicUsize::new(0) }
    }

    fn reached(&self) -> usize {
        // Acquire, partner: the store in `learn`: what made it true happens before what this thread begins next.
        self.fact.load(Ordering::Acquire)
    }

    fn learn(&self, lane: usize) {
        // Release, partner: the load in `reached`. An earlier fact that is written over a later one is true, too.
        self.fact.store(lane, Ordering::Release);
    }
}

impl<T: Send + Sync + 'static> Lanes<T> {
    pub(super) fn new(name: Option<Box<str>>) -> Self {
        Lanes {
            lanes: [const { OnceBox::new() }; MOST],
            front: LaneOf::first(),
            back: LaneOf::first(),
            name,
        }
    }

    /// A lane, made if need be: cells that nothing was written to are no effect.
    fn lane(&self, number: usize) -> &Lane<T> {
        self.lanes[number].get_or_init(|| {
            let lane = Lane::new(FEW << number);
            if let Some(name) = &self.name {
                lane.set_name(name);
            }
            Box::new(lane)
        })
    }

    /// Adds an item at the back.
    pub(super) fn push(&self, tx: &Transaction<'_>, value: T) -> StmResult<()> {
        self.with_room(tx)?;
        let lane = self.lane(*tx.read(&self.back.cell)?);
        let position = tx.end(lane, End::Back)?;
        lane.fill(tx, position, value)?;
        lane.set_end(tx, End::Back, position + 1)
    }

    /// Goes on in the next lane if there is but one empty slot in this.
    fn with_room(&self, tx: &Transaction<'_>) -> StmResult<()> {
        let number = *tx.read(&self.back.cell)?;
        let lane = self.lane(number);
        let position = tx.end(lane, End::Back)?;
        if lane.has_more_room(position)
            || !matches!(tx.read(lane.cell(position + 1))?.state, State::Full(_))
        {
            return Ok(());
        }
        lane.close_at(tx, position)?;
        tx.write(&self.back.cell, number + 1)
    }

    /// Takes the item at the front, if there is one.
    pub(super) fn try_pop<'tx>(&self, tx: &Transaction<'tx>) -> StmResult<Option<&'tx T>> {
        loop {
            let number = *tx.read(&self.front.cell)?;
            let lane = self.lane(number);
            let position = tx.end(lane, End::Front)?;
            match &tx.read(lane.cell(position))?.state {
                State::Full(item) => {
                    lane.vacate(tx, position)?;
                    lane.set_end(tx, End::Front, position + 1)?;
                    return Ok(Some(item));
                }
                State::Empty => return Ok(None),
                State::Closed => tx.write(&self.front.cell, number + 1)?,
            }
        }
    }

    /// Adds an item at the back, in a transaction of its own: of one cell, but where a lane ends.
    #[track_caller]
    pub(super) fn push_alone(&self, mut value: T) {
        loop {
            let number = self.back.reached();
            let lane = self.lane(number);
            let may = |position| {
                lane.has_more_room(position)
                    || lane.cell(position + 1).with(|slot| !matches!(slot.state, State::Full(_)))
            };
            let (found, back) = lane.push_alone(value, may);
            let Some(back) = back else { return };
            value = back;
            match found {
                Found::Closed => self.back.learn(number + 1),
                Found::Nothing | Found::Done(()) => {
                    atomically(|tx| self.with_room(tx));
                    self.back.learn(self.back.cell.load());
                }
            }
        }
    }

    /// Takes the item at the front, if there is one, in a transaction of its own: of one cell, but where a lane ends.
    #[track_caller]
    pub(super) fn pop_alone(&self) -> Option<T>
    where
        T: Clone,
    {
        loop {
            let number = self.front.reached();
            match self.lane(number).pop_alone() {
                Found::Done(item) => return Some(item),
                Found::Nothing => return None,
                Found::Closed => {
                    // All items of that lane are taken, and no more will come.
                    self.front.cell.update(|lane| (number + 1).max(*lane));
                    self.front.learn(number + 1);
                }
            }
        }
    }

    /// The item at the front.
    pub(super) fn peek<'a, R: Reader<'a>>(&self, at: &R) -> Result<Option<&'a T>, R::Error> {
        let mut number = *at.cell(&self.front.cell)?;
        loop {
            let lane = self.lane(number);
            let position = at.end(lane, End::Front)?;
            match &at.cell(lane.cell(position))?.state {
                State::Full(item) => return Ok(Some(item)),
                State::Empty => return Ok(None),
                State::Closed => number += 1,
            }
        }
    }

    pub(super) fn len<'a, R: Reader<'a>>(&self, at: &R) -> Result<usize, R::Error> {
        let (front, back) = (*at.cell(&self.front.cell)?, *at.cell(&self.back.cell)?);
        (front..=back).map(|number| ring::len(self.lane(number), at)).sum()
    }

    /// Takes all items.
    pub(super) fn clear(&self, tx: &Transaction<'_>) -> StmResult<()> {
        let (front, back) = (*tx.read(&self.front.cell)?, *tx.read(&self.back.cell)?);
        (front..=back).try_for_each(|number| ring::clear(self.lane(number), tx))?;
        if front < back { tx.write(&self.front.cell, back) } else { Ok(()) }
    }
}

/// All items, from the front on. After an error there are no more.
pub(super) fn items<'r, 'a, R: Reader<'a>, T: Send + Sync + 'static>(
    lanes: Arc<Lanes<T>>,
    at: &'r R,
) -> impl Iterator<Item = Result<&'a T, R::Error>> + use<'r, 'a, R, T> {
    let (mut lane, mut span, mut ended) = (None, Span::ALL, false);
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut next = || loop {
            let number = match lane {
                Some(number) => number,
                None => *at.cell(&lanes.front.cell)?,
            };
            if let Some(item) = span.step(lanes.lane(number), at, End::Front)? {
                lane = Some(number);
                return Ok(Some(item));
            }
            if number >= *at.cell(&lanes.back.cell)? {
                return Ok(None);
            }
            (lane, span) = (Some(number + 1), Span::ALL);
        };
        let item = next().transpose();
        ended = !matches!(item, Some(Ok(_)));
        item
    })
}
