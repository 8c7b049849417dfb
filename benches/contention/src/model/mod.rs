//! How cost grows with cores, from what operations do to memory: counted, not timed.
//!
//! A process runs operations of some threads, which take turns, and is watched
//! instruction by instruction. So it is known which cache lines each operation reads, writes and
//! changes atomically. A simple model of coherent caches then plays the operations of many cores,
//! in turns, and counts how often a line has to move. From that follows what bounds the rate:
//! either each core's own work, or the line that moves most.
//!
//! | module | job |
//! | --- | --- |
//! | [`load`] | what is run |
//! | [`trace`] | what it did to memory |
//! | [`coherence`] | which lines have to move |

mod coherence;
pub(crate) mod load;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod steps;
pub(crate) mod trace;

use crate::contenders::{self, Contender};
use crate::options::Options;
use crate::report::table::short;
use coherence::Coherence;
use comfy_table::{CellAlignment, Table, presets};
use load::Load;
use std::fmt::Write as _;
use trace::Trace;

/// For how many cores.
const CORES: [usize; 8] = [1, 2, 4, 8, 16, 32, 64, 128];

/// What the model takes for granted. Not measured here: typical orders of magnitude.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Costs {
    /// Nanoseconds per instruction, when lines are where they are needed.
    instruction: f64,
    /// Nanoseconds for an atomic change of a line that is where it is needed.
    atomic: f64,
    /// Nanoseconds until a line has moved from one core to another.
    transfer: f64,
}

/// What bounds the rate.
struct Bound {
    /// Operations per second, all cores together.
    rate: f64,
    /// Is it the line that moves most? Else it is the cores' own work.
    by_a_line: bool,
}

impl Costs {
    fn bound(&self, trace: &Trace, coherence: &Coherence) -> Bound {
        let own = trace.instructions * self.instruction + trace.atomics * self.atomic;
        let one_core = own + coherence.transfers * self.transfer;
        let by_work = coherence.cores as f64 * 1e9 / one_core;
        let by_line = 1e9 / (coherence.hottest * self.transfer);
        Bound { rate: by_work.min(by_line), by_a_line: by_line < by_work }
    }
}

/// Runs the model for what the options ask for: all loads if none are named.
///
/// # Errors
/// If this platform cannot watch a process, or what was watched failed.
pub(crate) fn run(options: &Options, loads: &[Load]) -> Result<String, String> {
    let loads = if loads.is_empty() { Load::ALL } else { loads };
    let costs = Costs { instruction: 0.25, atomic: 5.0, transfer: options.transfer_ns };
    let chosen: Vec<&Contender> = if options.contenders.is_empty() {
        contenders::ALL.iter().filter(|contender| load::is_modelled(contender)).collect()
    } else {
        options.contenders.clone()
    };
    let mut text = String::from(EXPLANATION);
    let mut add = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("a string takes everything");
    };
    add(format_args!(
        "Taken for granted: {} ns per instruction, {} ns more for an atomic one, {} ns until a \
         line has moved\n(--transfer-ns).\n",
        costs.instruction, costs.atomic, costs.transfer
    ));
    for load in loads {
        let mut counts = table(&COUNTS);
        let columns: Vec<String> = CORES
            .iter()
            .map(|cores| format!("{cores} core{}", if *cores == 1 { "" } else { "s" }))
            .collect();
        let columns: Vec<&str> =
            [""].into_iter().chain(columns.iter().map(String::as_str)).collect();
        let (mut transfers, mut rates) = (table(&columns), table(&columns));
        for contender in &chosen {
            let Some(trace) = trace::of(contender, *load, options.watched.into())? else {
                continue;
            };
            counts.add_row(count_row(contender, &trace));
            let played = CORES.map(|cores| coherence::play(&trace, cores));
            let name = || std::iter::once(contender.name.to_owned());
            let cell = |it: &Coherence| format!("{} ({})", short(it.transfers), short(it.hottest));
            transfers.add_row(name().chain(played.iter().map(cell)));
            rates.add_row(name().chain(played.iter().map(|it| {
                let Bound { rate, by_a_line } = costs.bound(&trace, it);
                format!("{}{}", short(rate / 1e6), if by_a_line { "*" } else { "" })
            })));
        }
        add(format_args!("\n{}: {}\n", load.name(), load.about()));
        add(format_args!("\nper operation, counted\n{counts}\n"));
        add(format_args!("\nlines moved per operation (of these, the line that moves most)\n"));
        add(format_args!("{transfers}\n"));
        add(format_args!(
            "\nat most so many million operations per second (*: bound by one line)\n"
        ));
        add(format_args!("{rates}\n"));
    }
    Ok(text)
}

const EXPLANATION: &str = "\
How cost grows with cores, from counted accesses to memory. Each operation was watched instruction
by instruction; nothing was timed. Caches are as large as need be, every core has one, a line that
another core has written must move before it is used, and cores take turns operation by operation.
Conflicts, aborts and waiting are not modelled: these are bounds that hold even without them.
";

const COUNTS: [&str; 8] = [
    "",
    "instructions",
    "loads",
    "stores",
    "atomics",
    "fences",
    "shared lines read",
    "shared lines written",
];

fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn count_row(contender: &Contender, trace: &Trace) -> [String; 8] {
    [
        contender.name.to_owned(),
        short(trace.instructions),
        short(trace.loads),
        short(trace.stores),
        short(trace.atomics),
        short(trace.fences),
        short(trace.shared_read()),
        short(trace.shared_written()),
    ]
}
