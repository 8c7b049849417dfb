//! At which instructions a process writes to the region, or calls the system.
//!
//! Between two of these nothing changes that others could see, so a death at any instruction between them
//! is the same death.

use crate::steps::{Ended, Failed, Victim};
use iced_x86::{
    Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register,
};
use nix::libc::user_regs_struct;
use nix::sys::ptrace;
use nix::unistd::Pid;
use std::collections::HashMap;
use std::path::Path;

/// The numbers of the instructions, from a victim's first stop on, that write to the region's mapping or
/// call the system. The victim is killed at its second stop.
pub(crate) fn writes(path: &Path, kind: &str, fault: Option<&str>) -> Result<Vec<u64>, Failed> {
    let victim = Victim::start(path, kind, 0, fault)?;
    let name = path.to_string_lossy().into_owned();
    let (mut found, mut info) = (Vec::new(), InstructionInfoFactory::new());
    let (mut code, mut mapped) = (HashMap::new(), None);
    let ended = victim.step(u64::MAX, |step, process| {
        let registers = ptrace::getregs(process)?;
        let instruction =
            *code.entry(registers.rip).or_insert_with(|| decode(process, registers.rip));
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
            let address =
                memory.virtual_address(0, |register, _, _| Some(value(register, &registers)));
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

fn decode(process: Pid, at: u64) -> Instruction {
    let mut bytes = [0_u8; 16];
    for (place, word) in bytes.chunks_mut(8).zip([at, at + 8]) {
        // The second word may lie beyond the end of the code.
        let read = ptrace::read(process, word as ptrace::AddressType);
        place.copy_from_slice(&read.unwrap_or(0).to_le_bytes());
    }
    Decoder::with_ip(64, &bytes, at, DecoderOptions::NONE).decode()
}

/// Where the process has the file mapped; nowhere if it has not.
fn mapping(process: Pid, name: &str) -> (u64, u64) {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).unwrap_or_default();
    let line = maps.lines().find(|line| line.trim_end().ends_with(name));
    let range = line.and_then(|line| line.split_whitespace().next()?.split_once('-'));
    let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
    range.map_or((0, 0), |(from, to)| (number(from), number(to)))
}

fn value(register: Register, registers: &user_regs_struct) -> u64 {
    match register.full_register() {
        Register::RAX => registers.rax,
        Register::RBX => registers.rbx,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::RBP => registers.rbp,
        Register::RSP => registers.rsp,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        Register::FS => registers.fs_base,
        Register::GS => registers.gs_base,
        _ => 0,
    }
}
