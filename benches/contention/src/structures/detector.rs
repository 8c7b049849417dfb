//! The three stages of STAMP's `intruder`: capture a packet, put it with the others of its flow,
//! take a flow that is complete.

use super::skip_list::SkipList;
use crate::contenders::contempo::Contempo;
use crate::contenders::faults::{Breakage, Fault};
use crate::contenders::guards::{Guard, Unguarded};
use crate::contenders::peers::{AsyncStm, FastStm, RustStm};
use crate::contenders::transactional::{Access, Stm};
use crate::contenders::{Contender, Family};
use crate::engine::trial::{Maker, Trial};
use std::collections::{BTreeMap, VecDeque};

/// A packet: part of a flow.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) flow: u64,
    /// Which part of its flow, of how many.
    pub(crate) part: u32,
    pub(crate) parts: u32,
    pub(crate) data: Box<[u8]>,
}

/// The stages. Packets and flows are named by number.
pub(crate) trait Detector: Send + Sync + 'static {
    /// For so many packets, of so many flows.
    fn new(packets: usize, flows: usize) -> Self;

    /// The next packet; none if all have been captured.
    fn capture(&self) -> Option<u32>;

    /// Puts a packet with the others of its flow. If that completes the flow, its packets become a
    /// list to be taken.
    fn assemble(&self, number: u32, packet: &Packet);

    /// The packets of a complete flow, if there is one.
    fn take(&self) -> Option<Vec<u32>>;
}

/// A workload on a detector.
pub(crate) trait OnDetector {
    /// The trial for this detector.
    fn trial<D: Detector>(self) -> Box<dyn Trial>;
}

/// Variables: a counter, a sorted map, and a queue that never wraps.
pub(crate) struct Variables<S: Stm> {
    packets: usize,
    captured: S::Var<usize>,
    flows: SkipList<S, Vec<u32>>,
    complete: Vec<S::Var<Option<Vec<u32>>>>,
    head: S::Var<usize>,
    tail: S::Var<usize>,
}

impl<S: Stm> Detector for Variables<S> {
    fn new(packets: usize, flows: usize) -> Self {
        Variables {
            packets,
            captured: S::var(0),
            flows: SkipList::new(),
            complete: (0..flows).map(|_| S::var(None)).collect(),
            head: S::var(0),
            tail: S::var(0),
        }
    }

    fn capture(&self) -> Option<u32> {
        S::atomically(|tx| {
            let number = *tx.read(&self.captured)?;
            if number == self.packets {
                return Ok(None);
            }
            S::write(tx, &self.captured, number + 1)?;
            Ok(Some(number as u32))
        })
    }

    fn assemble(&self, number: u32, packet: &Packet) {
        S::atomically(|tx| {
            let parts = packet.parts as usize;
            let list = match self.flows.find(tx, packet.flow)? {
                Some(found) => {
                    let list: Vec<u32> =
                        tx.read(found.value())?.iter().copied().chain([number]).collect();
                    if list.len() < parts {
                        return S::write(tx, found.value(), list);
                    }
                    self.flows.remove(tx, packet.flow)?;
                    list
                }
                None if parts > 1 => {
                    return self.flows.insert(tx, packet.flow, vec![number]).map(|_| ());
                }
                None => vec![number],
            };
            let tail = *tx.read(&self.tail)?;
            S::write(tx, &self.complete[tail], Some(list))?;
            S::write(tx, &self.tail, tail + 1)
        });
    }

    fn take(&self) -> Option<Vec<u32>> {
        S::atomically(|tx| {
            let head = *tx.read(&self.head)?;
            let Some(slot) = self.complete.get(head) else { return Ok(None) };
            let list = tx.read(slot)?.clone();
            if list.is_some() {
                S::write(tx, slot, None)?;
                S::write(tx, &self.head, head + 1)?;
            }
            Ok(list)
        })
    }
}

/// Packets that wait for the rest of their flow, by flow.
type Incomplete = BTreeMap<u64, Vec<u32>>;

/// Adds a packet; gives the whole flow if it is the last one.
fn put(flows: &mut Incomplete, number: u32, packet: &Packet) -> Option<Vec<u32>> {
    let list = flows.entry(packet.flow).or_default();
    list.push(number);
    if list.len() < packet.parts as usize { None } else { flows.remove(&packet.flow) }
}

/// Plain data of all three stages.
#[derive(Clone, Default)]
pub(crate) struct Plain {
    captured: usize,
    flows: Incomplete,
    complete: VecDeque<Vec<u32>>,
}

/// One guard around all stages.
pub(crate) struct Guarded<G> {
    packets: usize,
    stages: G,
}

fn capture(captured: &mut usize, packets: usize) -> Option<u32> {
    let number = *captured;
    (number < packets).then(|| {
        *captured += 1;
        number as u32
    })
}

impl<G: Guard<Plain>> Detector for Guarded<G> {
    fn new(packets: usize, _flows: usize) -> Self {
        Guarded { packets, stages: G::guard(Plain::default()) }
    }

    fn capture(&self) -> Option<u32> {
        self.stages.write(|stages| capture(&mut stages.captured, self.packets))
    }

    fn assemble(&self, number: u32, packet: &Packet) {
        self.stages.write(|stages| {
            if let Some(list) = put(&mut stages.flows, number, packet) {
                stages.complete.push_back(list);
            }
        });
    }

    fn take(&self) -> Option<Vec<u32>> {
        self.stages.write(|stages| stages.complete.pop_front())
    }
}

/// A guard per stage.
pub(crate) struct Staged<C, F, Q> {
    packets: usize,
    captured: C,
    flows: F,
    complete: Q,
}

impl<C, F, Q> Detector for Staged<C, F, Q>
where
    C: Guard<usize>,
    F: Guard<Incomplete>,
    Q: Guard<VecDeque<Vec<u32>>>,
{
    fn new(packets: usize, _flows: usize) -> Self {
        Staged {
            packets,
            captured: C::guard(0),
            flows: F::guard(Incomplete::new()),
            complete: Q::guard(VecDeque::new()),
        }
    }

    fn capture(&self) -> Option<u32> {
        self.captured.write(|captured| capture(captured, self.packets))
    }

    fn assemble(&self, number: u32, packet: &Packet) {
        // A flow is complete once, and no other thread knows of it until it is in the queue: so one
        // lock after the other is enough.
        if let Some(list) = self.flows.write(|flows| put(flows, number, packet)) {
            let mut list = Some(list);
            self.complete.write(|complete| complete.extend(list.take()));
        }
    }

    fn take(&self) -> Option<Vec<u32>> {
        self.complete.write(VecDeque::pop_front)
    }
}

/// A detector that goes wrong.
pub(crate) struct Faulty {
    detector: Guarded<std::sync::Mutex<Plain>>,
    breakage: Breakage,
}

impl Detector for Faulty {
    fn new(packets: usize, flows: usize) -> Self {
        Faulty { detector: Detector::new(packets, flows), breakage: Breakage::planted() }
    }

    fn capture(&self) -> Option<u32> {
        self.detector.capture()
    }

    fn assemble(&self, number: u32, packet: &Packet) {
        if !self.breakage.strikes(Fault::LoseUpdate) {
            self.detector.assemble(number, packet);
        }
    }

    fn take(&self) -> Option<Vec<u32>> {
        let list = self.detector.take()?;
        if self.breakage.strikes(Fault::Twice) {
            self.detector.stages.write(|stages| stages.complete.push_back(list.clone()));
        }
        Some(list)
    }
}

fn later<D: Detector>(workload: impl OnDetector + 'static) -> Maker {
    Box::new(move || workload.trial::<D>())
}

/// Makes trials of a workload on a detector; none if this contender has none. No stage only reads,
/// and to copy them for each packet is hopeless: so no `RwLock` and no `arc-swap`.
pub(crate) fn maker(contender: &Contender, workload: impl OnDetector + 'static) -> Option<Maker> {
    use parking_lot::Mutex as ParkingLot;
    use std::sync::Mutex as Std;
    Some(match contender.family {
        Family::Contempo => later::<Variables<Contempo>>(workload),
        Family::RustStm => later::<Variables<RustStm>>(workload),
        Family::FastStm => later::<Variables<FastStm>>(workload),
        Family::AsyncStm => later::<Variables<AsyncStm>>(workload),
        Family::Sequential => later::<Guarded<Unguarded<_>>>(workload),
        Family::StdMutex => later::<Guarded<Std<_>>>(workload),
        Family::ParkingLotMutex => later::<Guarded<ParkingLot<_>>>(workload),
        Family::OrderedStd => later::<Staged<Std<_>, Std<_>, Std<_>>>(workload),
        Family::OrderedParkingLot => {
            later::<Staged<ParkingLot<_>, ParkingLot<_>, ParkingLot<_>>>(workload)
        }
        Family::Faulty => later::<Faulty>(workload),
        _ => return None,
    })
}
