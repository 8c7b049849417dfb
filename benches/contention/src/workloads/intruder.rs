//! STAMP's `intruder`: packets of many flows arrive in disorder, are put together, and searched for
//! signatures. Written anew from its published description (Minh et al., IISWC 2008) with the
//! parameter set `-a10 -l16 -n4096`.

use super::{Threads, Workload};
use crate::contenders::faults::Fault;
use crate::engine::control::Control;
use crate::engine::interrupt;
use crate::engine::seat::Seat;
use crate::engine::trial::{Timing, Trial, Violation, Window};
use crate::structures::detector::{self, Detector, OnDetector, Packet};
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// STAMP's `-a`: so many percent of flows are attacks.
const ATTACKS: u32 = 10;
/// STAMP's `-l`: a flow that is none has at most so many bytes.
const LENGTH: usize = 16;
/// STAMP's `-n`.
const FLOWS: u64 = 4_096;

/// What attacks look like.
const SIGNATURES: &[&str] = &[
    "/etc/passwd",
    "/bin/sh",
    "cmd.exe",
    "<script>",
    "union select",
    "../../",
    "\u{1}\u{1}root",
    "xp_cmdshell",
    "wget http",
    "base64_decode",
    "; rm -rf",
    "%n%n%n",
    "powershell -e",
    "0x90909090",
    "document.cookie",
    "or 1=1--",
];

/// All flows, or one kind of them.
pub(super) const ALL: &[Workload] = &[Workload::new(
    "intruder",
    Threads::Few { least: 1 },
    |contender, _| detector::maker(contender, Network),
    "STAMP: detects intrusions in a stream of packets, -a10 -l16 -n4096",
)
.with("attacks=10 length=16 flows=4096")
.catches(&[Fault::LoseUpdate, Fault::Twice])
.windows(1, Duration::from_millis(20))];

/// The same packets for all contenders and rounds.
#[derive(Clone, Copy)]
struct Network;

struct Traffic {
    packets: Vec<Packet>,
    attacks: u64,
}

static TRAFFIC: LazyLock<Arc<Traffic>> = LazyLock::new(|| Arc::new(Traffic::generate()));

/// Is there a signature in it?
fn is_attack(data: &[u8]) -> bool {
    SIGNATURES
        .iter()
        .any(|signature| data.windows(signature.len()).any(|window| window == signature.as_bytes()))
}

impl Traffic {
    fn generate() -> Self {
        let mut random = SmallRng::seed_from_u64(1);
        let (mut packets, mut attacks) = (Vec::new(), 0);
        for flow in 0..FLOWS {
            let data: Vec<u8> = if random.random_range(0..100) < ATTACKS {
                SIGNATURES.choose(&mut random).expect("there are some").bytes().collect()
            } else {
                let length = random.random_range(1..=LENGTH);
                (0..length).map(|_| random.random_range(b' '..=b'~')).collect()
            };
            attacks += u64::from(is_attack(&data));
            let parts = random.random_range(1..=data.len());
            packets.extend(
                data.chunks(data.len().div_ceil(parts)).zip(0..).map(|(data, part)| Packet {
                    flow,
                    part,
                    parts: 0,
                    data: data.into(),
                }),
            );
            let parts = packets.iter().rev().take_while(|packet| packet.flow == flow).count();
            packets.iter_mut().rev().take(parts).for_each(|packet| packet.parts = parts as u32);
        }
        packets.shuffle(&mut random);
        Traffic { packets, attacks }
    }

    /// What a flow's packets say, put in order.
    fn put_together(&self, mut numbers: Vec<u32>) -> Vec<u8> {
        numbers.sort_unstable_by_key(|number| self.packets[*number as usize].part);
        let parts = numbers.iter().map(|number| &self.packets[*number as usize].data);
        parts.flatten().copied().collect()
    }
}

struct IntruderTrial<D> {
    detector: D,
    traffic: Arc<Traffic>,
    /// Flows that were complete, and attacks among them.
    found: Mutex<(u64, u64)>,
}

impl OnDetector for Network {
    fn trial<D: Detector>(self) -> Box<dyn Trial> {
        let traffic = Arc::clone(&TRAFFIC);
        Box::new(IntruderTrial {
            detector: D::new(traffic.packets.len(), FLOWS as usize),
            traffic,
            found: Mutex::new((0, 0)),
        })
    }
}

impl<D: Detector> Trial for IntruderTrial<D> {
    fn kinds(&self) -> &'static [&'static str] {
        &["packet"]
    }

    fn work(&self, seat: &mut Seat<'_>) {
        seat.wait_for_window();
        let (mut flows, mut attacks, mut more) = (0, 0, true);
        while more && seat.goes_on() {
            more = seat.timed(0, |_| {
                let Some(number) = self.detector.capture() else { return false };
                self.detector.assemble(number, &self.traffic.packets[number as usize]);
                if let Some(numbers) = self.detector.take() {
                    flows += 1;
                    attacks += u64::from(is_attack(&self.traffic.put_together(numbers)));
                }
                true
            });
        }
        let mut found = self.found.lock().expect("no thread panics with it");
        *found = (found.0 + flows, found.1 + attacks);
    }

    fn shares_work(&self) -> bool {
        true
    }

    fn conduct(&self, control: &Control, _timing: Timing) -> Vec<Window> {
        vec![control.until_done(0)]
    }

    fn check(&self, _done: &[Vec<u64>]) -> Result<(), Violation> {
        let found = *self.found.lock().expect("no thread panics with it");
        let expected = (FLOWS, self.traffic.attacks);
        Violation::unless(found == expected || interrupt::requested(), || {
            format!("of {expected:?} flows and attacks, {found:?} were found")
        })
    }
}
