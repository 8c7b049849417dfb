//! At which instructions a process writes to the region, or calls the system.
//!
//! Between two of these nothing changes that others could see, so a death at any instruction between them
//! is the same death.

use crate::steps::{Ended, Failed, Victim};
use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess};
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

/// The numbers of the instructions, from a victim's first stop on, that write to the region's mapping or
/// call the system. The victim is killed at its second stop.
pub(crate) fn writes(path: &Path, kind: &str, fault: Option<&str>) -> Result<Vec<u64>, Failed> {
    let victim = Victim::start(path, kind, 0, fault)?;
    let name = path.to_string_lossy().into_owned();
    let (mut found, mut info) = (Vec::new(), InstructionInfoFactory::new());
    let (mut code, mut mapped) = (HashMap::<u64, Instruction>::new(), None);
    let ended = victim.step(u64::MAX, |step, process| {
        let registers = ptrace::getregs(process)?;
        let instruction = match code.entry(registers.rip) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(entry) => *entry.insert(single_step::decode(process, registers.rip)?),
        };
        if instruction.mnemonic() == Mnemonic::Syscall {
            found.push(step);
            mapped = None; // It may be the one that maps the region.
            return Ok(());
        }
        let uses = info.info(&instruction);
        let writes = uses.used_memory().iter().filter(|memory| {
            !matches!(
                memory.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::None | OpAccess::NoMemAccess
            )
        });
        for memory in writes {
            let address = memory
                .virtual_address(0, |register, _, _| single_step::value_of(&registers, register));
            let place = *mapped.get_or_insert_with(|| mapping(process, &name));
            if address.is_some_and(|address| place.0 <= address && address < place.1) {
                found.push(step);
            }
        }
        Ok(())
    })?;
    victim.kill()?;
    match ended {
        Ended::AtTheEnd(_) => Ok(found),
        Ended::There => Err("the victim did not come to its end".into()),
    }
}

/// Where the process has the file mapped; nowhere if it has not.
fn mapping(process: Pid, name: &str) -> (u64, u64) {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let line = maps.lines().find(|line| line.trim_end().ends_with(name));
    let range = line.and_then(|line| line.split_whitespace().next()?.split_once('-'));
    let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
    range.map_or((0, 0), |(from, to)| (number(from), number(to)))
}
