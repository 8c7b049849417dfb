//! Watching a process instruction by instruction: Linux on x86-64.

use super::load::{Load, MARK};
use super::trace::{Access, Step, Thread, Use};
use crate::contenders::Contender;
use iced_x86::{InstructionInfoFactory, Mnemonic, OpAccess};
use nix::libc::user_regs_struct;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use single_step::value_of;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// A thread that stops raises it; the watcher never delivers it.
const STOP: Signal = Signal::SIGUSR2;
const LINE: u64 = 64;

/// From now on, this process stops where it says.
///
/// # Errors
/// If the system does not allow it.
pub(super) fn let_be_watched() -> Result<(), String> {
    ptrace::traceme().map_err(|error| format!("cannot be watched: {error}"))?;
    stop();
    Ok(())
}

/// Stops until the watcher goes on.
pub(super) fn stop() {
    raise(STOP).expect("a thread can signal itself");
}

/// Watches a process that runs this load.
///
/// # Errors
/// If it cannot be watched, or does what it should not.
pub(super) fn watch(
    contender: &Contender,
    load: Load,
    threads: usize,
) -> Result<Vec<Thread>, String> {
    let what = || format!("{} at {}", contender.name, load.name());
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .args(["--watched", &threads.to_string(), "--be-watched", contender.name, load.name()])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: cannot start it: {error}", what()))?;
    let output = child.stdout.take().expect("it was asked for");
    let process = Pid::from_raw(child.id().cast_signed());
    let mut watcher = Watcher::new(process);
    let threads = watcher.run(|| {
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).ok();
        line.trim().parse().unwrap_or(0)
    });
    if threads.is_err() {
        // Its threads are ours to wait for, as long as they are watched.
        let _ = child.kill();
        while waitpid(None, Some(WaitPidFlag::__WALL)).is_ok() {}
    }
    threads.map_err(|error| format!("{}: {error}", what()))
}

/// What is known of an instruction, wherever it is executed.
struct Known {
    /// Which of its operands in memory are used how.
    uses: Vec<(iced_x86::UsedMemory, Use)>,
    is_fence: bool,
}

struct Watcher {
    process: Pid,
    known: HashMap<u64, Known>,
    info: InstructionInfoFactory,
}

impl Watcher {
    fn new(process: Pid) -> Self {
        Watcher { process, known: HashMap::new(), info: InstructionInfoFactory::new() }
    }

    /// Until the process has ended. `mark` reads where operations end, once the process is there.
    fn run(&mut self, mark: impl FnOnce() -> u64) -> nix::Result<Vec<Thread>> {
        let mut threads = Vec::<(Pid, Thread)>::new();
        let mut mark = Some(mark);
        let mut at = 0;
        loop {
            match waitpid(None, Some(WaitPidFlag::__WALL))? {
                WaitStatus::Stopped(thread, signal) if signal == STOP => {
                    if thread == self.process {
                        // Its first stop. What it will print, it has not printed yet.
                        let options = Options::PTRACE_O_TRACECLONE | Options::PTRACE_O_EXITKILL;
                        ptrace::setoptions(thread, options)?;
                        ptrace::cont(thread, None)?;
                    } else {
                        at = mark.take().map_or(at, |mark| mark());
                        let seen = self.follow(thread, at)?;
                        match threads.iter_mut().find(|(known, _)| *known == thread) {
                            Some((_, before)) => before.extend(seen),
                            None => threads.push((thread, seen)),
                        }
                        ptrace::cont(thread, None)?;
                    }
                }
                // A new thread, and one that has made a new thread.
                WaitStatus::Stopped(thread, Signal::SIGSTOP)
                | WaitStatus::PtraceEvent(thread, ..) => ptrace::cont(thread, None)?,
                WaitStatus::Stopped(thread, signal) => ptrace::cont(thread, Some(signal))?,
                WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..)
                    if thread == self.process =>
                {
                    return Ok(threads.into_iter().map(|(_, seen)| seen).collect());
                }
                _ => {}
            }
        }
    }

    /// Step by step, until the thread stops by itself again.
    fn follow(&mut self, thread: Pid, mark: u64) -> nix::Result<Thread> {
        let mut seen = Thread::default();
        let mut current = Step::default();
        loop {
            let registers = ptrace::getregs(thread)?;
            if self.note(thread, &registers, mark, &mut current)? {
                seen.push(std::mem::take(&mut current));
            }
            ptrace::step(thread, None)?;
            match waitpid(thread, Some(WaitPidFlag::__WALL))? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
                WaitStatus::Stopped(_, signal) if signal == STOP => break,
                WaitStatus::Stopped(_, signal) => ptrace::step(thread, Some(signal))?,
                _ => break,
            }
        }
        // What comes after the last operation's end is the way to the next stop. So is what comes
        // before the first one's.
        seen.remove(0);
        Ok(seen)
    }

    /// What the instruction that comes next will do. True if it ends an operation.
    fn note(
        &mut self,
        thread: Pid,
        registers: &user_regs_struct,
        mark: u64,
        seen: &mut Step,
    ) -> nix::Result<bool> {
        let known = match self.known.entry(registers.rip) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(decode(thread, registers.rip, &mut self.info)?)
            }
        };
        seen.instructions += 1;
        seen.fences += u64::from(known.is_fence);
        let value = |register, _, _| value_of(registers, register);
        for (memory, how) in &known.uses {
            let Some(address) = memory.virtual_address(0, value) else { continue };
            if *how == Use::Store && address == mark {
                return Ok(true);
            }
            let size = memory.memory_size().size().max(1) as u64;
            for line in address / LINE..=(address + size - 1) / LINE {
                seen.accesses.push(Access { line, how: *how });
            }
        }
        Ok(false)
    }
}

fn decode(thread: Pid, at: u64, info: &mut InstructionInfoFactory) -> nix::Result<Known> {
    let instruction = single_step::decode(thread, at)?;
    let exchanges = instruction.mnemonic() == Mnemonic::Xchg;
    let mut uses = Vec::new();
    for memory in info.info(&instruction).used_memory() {
        let atomic = instruction.has_lock_prefix() || exchanges;
        let how = match memory.access() {
            OpAccess::Read | OpAccess::CondRead => Some(Use::Load),
            OpAccess::None | OpAccess::NoMemAccess => None,
            _ if atomic => Some(Use::Atomic),
            OpAccess::Write | OpAccess::CondWrite => Some(Use::Store),
            _ => {
                // Read and written, but not in one step.
                uses.push((*memory, Use::Load));
                Some(Use::Store)
            }
        };
        uses.extend(how.map(|how| (*memory, how)));
    }
    let is_fence = matches!(instruction.mnemonic(), Mnemonic::Mfence);
    Ok(Known { uses, is_fence })
}

/// Nothing here needs the mark's value; its address is what counts.
const _: () = assert!(align_of_val(&MARK) >= LINE as usize);
