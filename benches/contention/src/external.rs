//! External contenders: programs in any language that do a workload by themselves and tell what
//! came of it. `README.md` describes the protocol.

use crate::contenders::{Contender, Family};
use crate::engine::sample::{Part, Sample};
use crate::engine::tally::histogram;
use crate::engine::trial::Violation;
use crate::plan::Case;
use crate::workloads::Workload;
use hdrhistogram::Histogram;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// The version of the protocol.
const VERSION: &str = "1";
/// How long an answer may take that needs no measurement.
const PATIENCE: Duration = Duration::from_secs(10);

/// All programs of this run, by the name of their contender.
static PROGRAMS: OnceLock<HashMap<&'static str, Mutex<Program>>> = OnceLock::new();

/// A program that runs, and talks.
struct Program {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

/// As the user names it: `NAME=COMMAND`.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    name: String,
    command: String,
}

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not NAME=COMMAND, as in ghc=./stm-bench");
        let (name, command) = text.split_once('=').ok_or_else(wrong)?;
        let name = name.trim();
        if name.is_empty() || command.trim().is_empty() {
            return Err(wrong());
        }
        if crate::contenders::find(name).is_some() {
            return Err(format!("there is a contender {name:?} already: choose another name"));
        }
        Ok(Named { name: name.to_owned(), command: command.to_owned() })
    }
}

/// Starts these programs, and gives a contender for each.
///
/// # Errors
/// If one does not start, or does not greet.
pub(crate) fn start(named: &[Named]) -> Result<Vec<&'static Contender>, String> {
    let mut programs = HashMap::new();
    let mut contenders = Vec::new();
    for Named { name, command } in named {
        // They last as long as the process, as do those that are compiled in.
        let name: &'static str = Box::leak(name.clone().into_boxed_str());
        let about: &'static str = Box::leak(format!("external: {command}").into_boxed_str());
        if programs.insert(name, Mutex::new(Program::start(name, command)?)).is_some() {
            return Err(format!("two external contenders are called {name:?}"));
        }
        let contender = Contender::new(name, Family::External, about);
        contenders.push(&*Box::leak(Box::new(contender)));
    }
    PROGRAMS.set(programs).map_err(|_| "external contenders are started once".to_owned())?;
    Ok(contenders)
}

/// Tells all of them to end, and ends those that do not.
pub(crate) fn stop() {
    for program in PROGRAMS.get().into_iter().flat_map(HashMap::values) {
        program.lock().expect("no thread panics with it").stop();
    }
}

fn program(contender: &Contender) -> &'static Mutex<Program> {
    let programs = PROGRAMS.get().expect("external contenders have been started");
    programs.get(contender.name).expect("each has its program")
}

/// Can it do this workload?
///
/// # Errors
/// If it does not answer, or not as it should.
pub(crate) fn can(contender: &Contender, workload: &Workload) -> Result<bool, String> {
    let mut program = program(contender).lock().expect("no thread panics with it");
    program.say(&format!("can {} {}", workload.name, workload.parameters))?;
    match program.hear(PATIENCE)?.trim() {
        "yes" => Ok(true),
        "no" => Ok(false),
        other => Err(program.unexpected(other, "yes or no")),
    }
}

/// Lets it do a trial of this case.
///
/// # Errors
/// If its invariant did not hold, or if it does not answer as it should.
pub(crate) fn measure(case: &Case, seed: u64) -> Result<Sample, Violation> {
    let mut program = program(case.contender).lock().expect("no thread panics with it");
    program.run(case, seed).map_err(Violation)
}

impl Program {
    fn start(name: &'static str, command: &str) -> Result<Self, String> {
        let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
        let mut child = Command::new(shell)
            .args([flag, command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("external contender {name}: cannot start it: {error}"))?;
        let input = child.stdin.take().expect("it was asked for");
        let output = child.stdout.take().expect("it was asked for");
        let (tell, lines) = channel();
        // A thread of its own, so that waiting for a line can end without one.
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        let mut program = Program { name, child, input, lines };
        // One that does not listen may have said something that tells more.
        let asked = program.say(&format!("contention {VERSION}"));
        let greeting = program.hear(PATIENCE).map_err(|silent| asked.err().unwrap_or(silent))?;
        if greeting.trim() == format!("ready {VERSION}") {
            Ok(program)
        } else {
            Err(program.unexpected(&greeting, &format!("ready {VERSION}")))
        }
    }

    fn say(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.input, "{}", line.trim_end())
            .and_then(|()| self.input.flush())
            .map_err(|error| format!("external contender {} does not listen: {error}", self.name))
    }

    fn hear(&mut self, patience: Duration) -> Result<String, String> {
        self.lines.recv_timeout(patience).map_err(|error| {
            let state = match error {
                RecvTimeoutError::Disconnected => "has ended, or closed its output".to_owned(),
                RecvTimeoutError::Timeout => {
                    format!("said nothing for {} s", patience.as_secs())
                }
            };
            format!("external contender {} {state}", self.name)
        })
    }

    fn stop(&mut self) {
        // It may have ended already; then there is nothing to tell.
        let _ = self.say("quit");
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn unexpected(&self, line: &str, instead: &str) -> String {
        format!("external contender {} said {line:?}, not {instead}", self.name)
    }

    fn run(&mut self, case: &Case, seed: u64) -> Result<Sample, String> {
        let timing = case.timing;
        self.say(&format!(
            "run {} threads={} warm_up_us={} window_us={} seed={seed} {}",
            case.workload.name,
            case.threads,
            timing.warm_up.as_micros(),
            timing.window.as_micros(),
            case.workload.parameters
        ))?;
        let patience = case.expected() * 20 + PATIENCE;
        let (mut parts, mut checks) = (Vec::<Part>::new(), 0);
        loop {
            let line = self.hear(patience)?;
            let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            match word {
                "part" => {
                    let part = part(rest).ok_or_else(|| self.unexpected(&line, PART))?;
                    parts.push(part);
                }
                "latency" => {
                    let known = latency(rest, &mut parts);
                    known.ok_or_else(|| self.unexpected(&line, LATENCY))?;
                }
                "check" => {
                    let (name, found, expected) =
                        check(rest).ok_or_else(|| self.unexpected(&line, CHECK))?;
                    if found != expected {
                        return Err(format!("{name} should be {expected}, is {found}"));
                    }
                    checks += 1;
                }
                "violation" => return Err(rest.to_owned()),
                "done" if checks == 0 => {
                    return Err(format!(
                        "external contender {} has checked nothing: say {CHECK} before done",
                        self.name
                    ));
                }
                "done" => return Ok(Sample::external(parts)),
                _ => return Err(self.unexpected(&line, "part, latency, check, violation or done")),
            }
        }
    }
}

const PART: &str = "part NAME operations=N seconds=S [attempts=N] [slowest=N fastest=N] \
                    [busy_seconds=S] [worst_ns=N]";
const LATENCY: &str = "latency NAME NANOSECONDS COUNT, of a part that was told before";
const CHECK: &str = "check NAME FOUND EXPECTED";

/// The names of parts have no spaces on the line; here they have.
fn name_of(word: &str) -> String {
    word.replace('_', " ")
}

fn part(text: &str) -> Option<Part> {
    let mut words = text.split_whitespace();
    let name = name_of(words.next()?);
    let mut figures = HashMap::new();
    for word in words {
        let (key, value) = word.split_once('=')?;
        let value: f64 = value.parse().ok()?;
        if !value.is_finite() || value < 0.0 {
            return None;
        }
        figures.insert(key, value);
    }
    let count = |key: &str| figures.get(key).map(|value| *value as u64);
    let fairness = match (figures.get("slowest"), figures.get("fastest")) {
        (Some(slowest), Some(fastest)) if *fastest > 0.0 => Some(slowest / fastest),
        _ => None,
    };
    Some(Part {
        processor: None,
        name,
        operations: count("operations")?,
        seconds: *figures.get("seconds")?,
        busy: figures.get("busy_seconds").copied().unwrap_or(0.0),
        attempts: count("attempts").unwrap_or(0),
        fairness,
        worst_ns: figures.get("worst_ns").copied().unwrap_or(0.0),
        latency: histogram(),
    })
}

fn latency(text: &str, parts: &mut [Part]) -> Option<()> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [name, ns, count] = words[..] else { return None };
    let name = name_of(name);
    let part = parts.iter_mut().find(|part| part.name == name)?;
    let histogram: &mut Histogram<u64> = &mut part.latency;
    let ns: u64 = ns.parse().ok()?;
    part.worst_ns = part.worst_ns.max(ns as f64);
    histogram.record_n(ns.max(1), count.parse().ok()?).ok()
}

fn check(text: &str) -> Option<(&str, i128, i128)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [name, found, expected] = words[..] else { return None };
    Some((name, found.parse().ok()?, expected.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        let told = "update_before operations=10 seconds=0.5 attempts=12 slowest=2 fastest=8";
        let mut parts = vec![part(told).expect("a part")];
        assert_eq!(parts[0].name, "update before");
        assert_eq!((parts[0].rate(), parts[0].attempts()), (20.0, Some(1.2)));
        assert_eq!(parts[0].fairness, Some(0.25));
        assert_eq!(latency("update_before 1000 7", &mut parts), Some(()));
        assert_eq!(parts[0].latency.len(), 7);
        assert_eq!(check("sum 10 -1"), Some(("sum", 10, -1)));
    }

    #[test]
    fn nonsense_is_not() {
        assert!(part("").is_none());
        assert!(part("update operations=ten seconds=1").is_none());
        assert!(part("update operations=1 seconds=inf").is_none());
        assert!(part("update seconds=1").is_none());
        assert!(latency("unknown 10 1", &mut []).is_none());
        assert!(check("sum 1").is_none());
        assert!("std-mutex=x".parse::<Named>().is_err());
        assert!("nothing".parse::<Named>().is_err());
    }
}
