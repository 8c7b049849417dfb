//! Decides whether a recorded history is opaque and strictly serializable.
//!
//! Nodes are attempts, also those that were aborted (with their reads only), and a chain of time
//! nodes, one for each end of an attempt. An edge says "must come before":
//!
//! | edge | from | to |
//! | --- | --- | --- |
//! | write–read | the writer of a version | its reader |
//! | write–write | the writer of a version | the one that replaced it |
//! | read–write | the reader of a version | the one that replaced it |
//! | real time | one that had ended | one that began later, along the time nodes |
//!
//! Versions have unique names and every write names the one that it replaced, so the order of
//! versions is known. The history is good if the graph has no cycle: then any topological order is
//! a serial execution in which every attempt, aborted or not, sees what it saw.

use petgraph::algo::{kosaraju_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::Write as _;

/// The name of a version: unique in its history.
pub type Version = u64;

/// One attempt as its thread recorded it.
#[derive(Clone, Debug, Default)]
pub struct Attempt {
    /// Which thread.
    pub thread: usize,
    /// What kind of transaction, for people.
    pub kind: &'static str,
    /// A reading of the event counter before the attempt began.
    pub begin: u64,
    /// A reading of the event counter after it had ended.
    pub end: u64,
    /// Did it commit?
    pub committed: bool,
    /// Cells and the versions of others that were found in them.
    pub reads: Vec<(usize, Version)>,
    /// Cells, the version that was replaced, and the new one. Empty if aborted.
    pub writes: Vec<(usize, Version, Version)>,
}

/// A whole history.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The versions that the cells began with.
    pub first: Vec<Version>,
    /// The versions that they ended with.
    pub last: Vec<Version>,
    /// All attempts, in any order.
    pub attempts: Vec<Attempt>,
}

#[derive(Clone, Copy, Debug)]
enum Why {
    WriteRead(usize, Version),
    WriteWrite(usize, Version),
    ReadWrite(usize, Version),
    RealTime,
}

type Graph = DiGraph<Option<usize>, Why, u32>;

/// Judges a history: gives a serial order of its attempts, which agrees with real time. What `more` says
/// of an attempt is added where a counterexample names it.
///
/// # Errors
/// The counterexample, to be read by people.
pub fn check(history: &History, more: impl Fn(usize) -> String) -> Result<Vec<usize>, String> {
    let writers = writers(history)?;
    let replacers = replacers(history)?;
    check_chains(history, &writers, &replacers)?;
    let mut graph = Graph::with_capacity(2 * history.attempts.len(), 8 * history.attempts.len());
    let nodes: Vec<NodeIndex> =
        (0..history.attempts.len()).map(|attempt| graph.add_node(Some(attempt))).collect();
    for (at, attempt) in history.attempts.iter().enumerate() {
        for &(cell, version) in &attempt.reads {
            if version != history.first[cell] {
                let Some(&writer) = writers.get(&(cell, version)) else {
                    return Err(format!(
                        "a version was read that no committed attempt wrote:\n{}",
                        describe(history, at)
                    ));
                };
                if writer != at {
                    graph.add_edge(nodes[writer], nodes[at], Why::WriteRead(cell, version));
                }
            }
            if let Some(&next) = replacers.get(&(cell, version))
                && next != at
            {
                graph.add_edge(nodes[at], nodes[next], Why::ReadWrite(cell, version));
            }
        }
        for &(cell, replaced, _) in &attempt.writes {
            if let Some(&before) = writers.get(&(cell, replaced))
                && before != at
            {
                graph.add_edge(nodes[before], nodes[at], Why::WriteWrite(cell, replaced));
            }
        }
    }
    add_real_time(history, &mut graph, &nodes);
    // Not `is_cyclic_directed`: it recurses, and histories are long.
    match toposort(&graph, None) {
        Ok(order) => Ok(order.into_iter().filter_map(|node| graph[node]).collect()),
        Err(_) => Err(counterexample(history, &graph, more)),
    }
}

/// The transaction that committed each version.
fn writers(history: &History) -> Result<HashMap<(usize, Version), usize>, String> {
    let mut writers = HashMap::new();
    for (at, attempt) in history.attempts.iter().enumerate() {
        assert!(attempt.committed || attempt.writes.is_empty(), "an aborted attempt wrote");
        assert!(attempt.begin < attempt.end, "an attempt ended before it began");
        for &(cell, _, version) in &attempt.writes {
            if let Some(other) = writers.insert((cell, version), at) {
                return Err(format!("a name was used twice, by attempts {other} and {at}"));
            }
        }
    }
    Ok(writers)
}

/// The transaction that replaced each version.
fn replacers(history: &History) -> Result<HashMap<(usize, Version), usize>, String> {
    let mut replacers = HashMap::new();
    for (at, attempt) in history.attempts.iter().enumerate() {
        for &(cell, replaced, _) in &attempt.writes {
            if let Some(other) = replacers.insert((cell, replaced), at) {
                return Err(format!(
                    "lost update: two commits replaced the same version of cell {cell}\n{}{}",
                    describe(history, other),
                    describe(history, at)
                ));
            }
        }
    }
    Ok(replacers)
}

/// Do the committed writes of each cell form one chain from its first to its last version?
fn check_chains(
    history: &History,
    writers: &HashMap<(usize, Version), usize>,
    replacers: &HashMap<(usize, Version), usize>,
) -> Result<(), String> {
    let mut reached = 0;
    for (cell, (&first, &last)) in history.first.iter().zip(&history.last).enumerate() {
        let mut version = first;
        while let Some(&at) = replacers.get(&(cell, version)) {
            let write = history.attempts[at]
                .writes
                .iter()
                .find(|write| write.0 == cell && write.1 == version)
                .expect("it is in the map");
            version = write.2;
            reached += 1;
            if reached > writers.len() {
                return Err(format!("the versions of cell {cell} form a ring"));
            }
        }
        if version != last {
            return Err(format!(
                "the final state is not the last commit's: cell {cell} holds {last:#x}, not \
                 {version:#x}"
            ));
        }
    }
    if reached == writers.len() {
        Ok(())
    } else {
        Err(format!("{} committed writes replaced nothing", writers.len() - reached))
    }
}

/// What ended before another began comes first: a chain of time nodes keeps this linear.
fn add_real_time(history: &History, graph: &mut Graph, nodes: &[NodeIndex]) {
    let mut ends: Vec<(u64, usize)> =
        history.attempts.iter().enumerate().map(|(at, attempt)| (attempt.end, at)).collect();
    ends.sort_unstable();
    let mut times = Vec::with_capacity(ends.len());
    for &(end, at) in &ends {
        let time = graph.add_node(None);
        graph.add_edge(nodes[at], time, Why::RealTime);
        if let Some(&(_, before)) = times.last() {
            graph.add_edge(before, time, Why::RealTime);
        }
        times.push((end, time));
    }
    for (at, attempt) in history.attempts.iter().enumerate() {
        let earlier = times.partition_point(|&(end, _)| end < attempt.begin);
        if let Some(&(_, time)) = earlier.checked_sub(1).and_then(|last| times.get(last)) {
            graph.add_edge(time, nodes[at], Why::RealTime);
        }
    }
}

/// A short cycle, written for people.
fn counterexample(history: &History, graph: &Graph, more: impl Fn(usize) -> String) -> String {
    let Some(knot) =
        kosaraju_scc(graph).into_iter().filter(|scc| scc.len() > 1).min_by_key(Vec::len)
    else {
        return String::from("a cycle that is nowhere");
    };
    let within: HashSet<NodeIndex> = knot.iter().copied().collect();
    // Shortest from a few starts, fewer in large knots: any cycle will do.
    let starts = (200_000 / knot.len()).clamp(3, 200);
    let cycle = knot
        .iter()
        .filter(|node| graph[**node].is_some())
        .take(starts)
        .filter_map(|&start| shortest_cycle(graph, &within, start))
        .min_by_key(Vec::len)
        .unwrap_or_default();
    let mut text = format!("not serializable: a cycle of {} steps\n", cycle.len());
    for (from, why, to) in cycle {
        let name = |node: NodeIndex| {
            graph[node]
                .map_or_else(|| String::from("(later)"), |at| describe(history, at) + &more(at))
        };
        let why = match why {
            Why::WriteRead(cell, version) => format!("wrote cell {cell}={version:#x}, read by"),
            Why::WriteWrite(cell, version) => {
                format!("wrote cell {cell}={version:#x}, replaced by")
            }
            Why::ReadWrite(cell, version) => format!("read cell {cell}={version:#x}, replaced by"),
            Why::RealTime => String::from("had ended before"),
        };
        let _ = writeln!(text, "{}  {why}\n{}", name(from), name(to));
    }
    text
}

fn shortest_cycle(
    graph: &Graph,
    within: &HashSet<NodeIndex>,
    start: NodeIndex,
) -> Option<Vec<(NodeIndex, Why, NodeIndex)>> {
    let mut came_from: HashMap<NodeIndex, (NodeIndex, Why)> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for edge in graph.edges(node).filter(|edge| within.contains(&edge.target())) {
            let next = edge.target();
            if next != start && came_from.contains_key(&next) {
                continue;
            }
            came_from.insert(next, (node, *edge.weight()));
            if next != start {
                queue.push_back(next);
                continue;
            }
            let mut cycle = Vec::new();
            let mut at = start;
            loop {
                let (before, why) = came_from[&at];
                cycle.push((before, why, at));
                at = before;
                if at == start {
                    cycle.reverse();
                    return Some(cycle);
                }
            }
        }
    }
    None
}

fn describe(history: &History, at: usize) -> String {
    let attempt = &history.attempts[at];
    let mut text = format!(
        "  attempt {at} (thread {}, {}, {}, events {}..{})",
        attempt.thread,
        attempt.kind,
        if attempt.committed { "committed" } else { "aborted" },
        attempt.begin,
        attempt.end
    );
    for (cell, version) in &attempt.reads {
        let _ = write!(text, " r{cell}={version:#x}");
    }
    for (cell, replaced, version) in &attempt.writes {
        let _ = write!(text, " w{cell}:{replaced:#x}->{version:#x}");
    }
    text.push('\n');
    text
}
