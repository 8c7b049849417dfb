//! What is measured, how often and how long.

use crate::contenders::{self, Contender};
use crate::engine::pin;
use crate::engine::trial::{Timing, Trial};
use crate::external;
use crate::options::Options;
use crate::workloads::{self, Threads, Workload};
use std::fmt;
use std::time::Duration;

/// One entry of the results: a workload with so many threads, by one contender.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) workload: &'static Workload,
    pub(crate) threads: usize,
    pub(crate) contender: &'static Contender,
    pub(crate) timing: Timing,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = if self.threads == 1 { "thread" } else { "threads" };
        let Case { workload, contender, .. } = self;
        write!(f, "{} with {} {threads} by {}", workload.name, self.threads, contender.name)
    }
}

impl Case {
    /// A new trial of it.
    pub(crate) fn trial(&self) -> Box<dyn Trial> {
        (self.workload.build)(self.contender, self.threads).expect("it was planned, so it exists")()
    }

    /// How long a trial takes, about.
    pub(crate) fn expected(&self) -> Duration {
        let Workload { windows, overhead, samples, .. } = self.workload;
        (self.timing.warm_up + self.timing.window * *windows + *overhead) * *samples
    }
}

/// Everything that a run will measure.
pub(crate) struct Plan {
    /// Contenders of the same workload and number of threads follow one another.
    pub(crate) cases: Vec<Case>,
    /// At most so many rounds.
    pub(crate) rounds: usize,
    /// No round begins, and none goes on, when so much time has passed.
    pub(crate) budget: Duration,
}

/// A thread that waits for its core runs again after about so long, for each thread before it.
const TURN: Duration = Duration::from_millis(4);

/// How long runs are by default.
struct Length {
    budget: Duration,
    /// One window, of a workload of weight 1.
    window: Duration,
    /// How many turns a thread should have in a window, so that its share tells something.
    turns: u32,
    /// So many rounds should fit: else windows are shortened.
    least_rounds: u32,
    most_rounds: usize,
}

const QUICK: Length = Length {
    budget: Duration::from_secs(50),
    window: Duration::from_millis(40),
    turns: 5,
    least_rounds: 3,
    most_rounds: 5,
};

const FULL: Length = Length {
    budget: Duration::from_secs(19 * 60),
    window: Duration::from_millis(250),
    turns: 10,
    least_rounds: 5,
    most_rounds: 9,
};

impl Plan {
    /// From the command line.
    ///
    /// # Errors
    /// If an external contender does not say what it can do.
    pub(crate) fn new(options: &Options, external: &[&'static Contender]) -> Result<Self, String> {
        let length = if options.quick { QUICK } else { FULL };
        let rounds = options.rounds.map_or(length.most_rounds, usize::from);
        // A caller that says how long and how often, gets it.
        let budget = match (options.seconds, options.rounds) {
            (None, None) => length.budget,
            _ => Duration::MAX,
        };
        let window = options.seconds.map_or(length.window, Duration::from_secs_f64);
        let mut plan =
            Plan { cases: choose(options, external, window, length.turns)?, rounds, budget };
        if options.seconds.is_none() {
            let wanted = plan.once() * length.least_rounds.min(rounds as u32);
            let factor = length.budget.as_secs_f64() / wanted.as_secs_f64();
            if factor < 1.0 {
                plan.cases = choose(options, external, window.mul_f64(factor), length.turns)?;
            }
        }
        Ok(plan)
    }

    /// How long one round takes, about.
    fn once(&self) -> Duration {
        self.cases.iter().map(Case::expected).sum()
    }

    /// How long all rounds take, about.
    pub(crate) fn expected(&self) -> Duration {
        (self.once() * self.rounds as u32).min(self.budget)
    }

    /// In which order the cases of a round are measured. Contenders change places, so that it is
    /// not always the same one that comes after a certain other.
    pub(crate) fn order(&self, round: usize) -> Vec<usize> {
        let same = |one: &Case, other: &Case| {
            one.workload.name == other.workload.name && one.threads == other.threads
        };
        let (mut order, mut first) = (Vec::new(), 0);
        for group in self.cases.chunk_by(same) {
            if round == 0 || !group[0].workload.once {
                order.extend((0..group.len()).map(|at| first + (at + round) % group.len()));
            }
            first += group.len();
        }
        order
    }

    /// Is the time up? The first round is always finished, unless it takes far too long.
    pub(crate) fn is_spent(&self, elapsed: Duration, round: usize) -> bool {
        let reserve = if round == 0 { Duration::ZERO } else { self.budget / 50 };
        elapsed + reserve >= self.budget
    }
}

/// The cases that the options ask for, with windows of this length.
fn choose(
    options: &Options,
    external: &[&'static Contender],
    window: Duration,
    turns: u32,
) -> Result<Vec<Case>, String> {
    let workloads: Vec<&Workload> = if options.only.is_empty() {
        workloads::all().filter(|workload| !options.quick || workload.quick).collect()
    } else {
        options.only.iter().flat_map(|rows| rows.0.iter().copied()).collect()
    };
    let contenders: Vec<&Contender> = if options.contenders.is_empty() {
        contenders::ALL.iter().filter(|contender| !options.quick || contender.quick).collect()
    } else {
        options.contenders.clone()
    };
    let mut cases = Vec::new();
    for workload in workloads {
        let mut able: Vec<&Contender> = Vec::new();
        for &contender in external {
            if external::can(contender, workload)? {
                able.push(contender);
            }
        }
        let counts = match workload.threads {
            Threads::Exactly(threads) => vec![threads],
            Threads::Sweep { least } => sweep(options, least),
            Threads::Few { least } => few(options, least),
            Threads::Beside { writers } => beside(options, writers),
        };
        for threads in counts {
            let timing = timing(workload, threads, window, turns);
            let here = contenders.iter().copied().filter(|contender| {
                contender.suits(threads) && (workload.build)(contender, threads).is_some()
            });
            let case = |contender| Case { workload, threads, contender, timing };
            cases.extend(here.chain(able.iter().copied()).map(case));
        }
    }
    Ok(cases)
}

/// 1, 2, 4, … up to 16 times the cores; fewer of them in a quick run.
fn sweep(options: &Options, least: usize) -> Vec<usize> {
    if !options.threads.is_empty() {
        return chosen(options, least);
    }
    let most = 16 * pin::count();
    let all = std::iter::successors(Some(1), |threads| Some(threads * 2));
    let all = all.take_while(|threads| *threads <= most).filter(|threads| *threads >= least);
    if options.quick {
        all.filter(|threads| [1, 2, 8, 32].contains(threads)).collect()
    } else {
        all.collect()
    }
}

/// One thread, one per core, four per core; one per core in a quick run.
fn few(options: &Options, least: usize) -> Vec<usize> {
    if !options.threads.is_empty() {
        return chosen(options, least);
    }
    let cores = pin::count();
    let mut counts = if options.quick { vec![cores] } else { vec![1, cores, 4 * cores] };
    counts.iter_mut().for_each(|threads| *threads = least.max(*threads));
    counts.dedup();
    counts
}

/// One more than each of these numbers; one of them in a quick run.
fn beside(options: &Options, writers: &[usize]) -> Vec<usize> {
    if !options.threads.is_empty() {
        return chosen(options, 2);
    }
    let all = writers.iter().filter(|writers| !options.quick || **writers == 2 * pin::count());
    let all: Vec<usize> = all.map(|writers| 1 + writers).collect();
    if all.is_empty() { vec![1 + writers[writers.len() / 2]] } else { all }
}

fn chosen(options: &Options, least: usize) -> Vec<usize> {
    options.threads.iter().map(|&threads| threads.into()).filter(|it| *it >= least).collect()
}

/// Long enough that each thread gets its core several times.
fn timing(workload: &Workload, threads: usize, window: Duration, turns: u32) -> Timing {
    let turn = TURN * threads.div_ceil(pin::count()) as u32;
    let (warm_up, least) = if workload.stretched { (turn, turn * turns) } else { (TURN, TURN) };
    let window = window.mul_f64(workload.weight).max(least);
    Timing { warm_up: (window / 5).max(warm_up), window }
}
