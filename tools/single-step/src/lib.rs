//! The next instruction of a thread that another process has stopped, and what its registers hold: for those that
//! watch instruction by instruction (`tests/kills`, `benches/contention`). Linux on x86-64.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use iced_x86::{Decoder, DecoderOptions, Instruction, Register};
use nix::libc::user_regs_struct;
use nix::sys::ptrace;
use nix::unistd::Pid;

/// The instruction at this address of a stopped thread.
///
/// # Errors
/// If its memory cannot be read there.
///
/// ```no_run
/// let thread = nix::unistd::Pid::from_raw(1234); // stopped by us
/// let registers = nix::sys::ptrace::getregs(thread)?;
/// println!("{:?}", single_step::decode(thread, registers.rip)?.mnemonic());
/// # Ok::<(), nix::Error>(())
/// ```
pub fn decode(thread: Pid, at: u64) -> nix::Result<Instruction> {
    let mut bytes = [0_u8; 16];
    let (first, second) = bytes.split_at_mut(8);
    first.copy_from_slice(&ptrace::read(thread, at as ptrace::AddressType)?.to_le_bytes());
    // This one may lie beyond the end of the code.
    let word = ptrace::read(thread, (at + 8) as ptrace::AddressType);
    second.copy_from_slice(&word.unwrap_or(0).to_le_bytes());
    Ok(Decoder::with_ip(64, &bytes, at, DecoderOptions::NONE).decode())
}

/// The value of a register. What is not here (vector registers as indexes) is not followed.
///
/// ```
/// use iced_x86::Register;
/// // SAFETY: registers are integers.
/// let mut registers: nix::libc::user_regs_struct = unsafe { std::mem::zeroed() };
/// registers.rax = 0x1122_3344_5566_7788;
/// assert_eq!(single_step::value_of(&registers, Register::RAX), Some(0x1122_3344_5566_7788));
/// assert_eq!(single_step::value_of(&registers, Register::EAX), Some(0x5566_7788));
/// assert_eq!(single_step::value_of(&registers, Register::XMM0), None);
/// ```
pub fn value_of(registers: &user_regs_struct, register: Register) -> Option<u64> {
    let full = register.full_register();
    let value = match full {
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
        Register::CS | Register::DS | Register::ES | Register::SS => 0,
        _ => return None,
    };
    let bits = 8 * register.size().min(8) as u32;
    Some(if register == full || bits == 64 { value } else { value & ((1 << bits) - 1) })
}
