//! A process, one instruction at a time.

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use std::path::Path;
use std::process::{Child, Command};

pub(crate) type Failed = Box<dyn std::error::Error>;

/// A victim that stands at its first stop.
pub(crate) struct Victim {
    child: Child,
    pid: Pid,
}

/// Where stepping has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// After as many steps as were asked for.
    There,
    /// At its second stop, after fewer.
    AtTheEnd(u64),
}

impl Victim {
    pub(crate) fn start(
        path: &Path,
        kind: &str,
        seed: u64,
        fault: Option<&str>,
    ) -> Result<Self, Failed> {
        let child = command(path, kind, seed, fault)?.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id())?);
        match waitpid(pid, None)? {
            WaitStatus::Stopped(_, Signal::SIGSTOP) => Ok(Victim { child, pid }),
            other => Err(format!("the victim did not come to its first stop: {other:?}").into()),
        }
    }

    /// Goes on for so many instructions, or to the second stop. Calls `each` before every one.
    pub(crate) fn step(
        &self,
        steps: u64,
        mut each: impl FnMut(u64, Pid) -> Result<(), Failed>,
    ) -> Result<Ended, Failed> {
        for step in 0..steps {
            each(step, self.pid)?;
            ptrace::step(self.pid, None)?;
            match waitpid(self.pid, None)? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
                WaitStatus::Stopped(_, Signal::SIGSTOP) => return Ok(Ended::AtTheEnd(step)),
                other => return Err(format!("the victim ended by itself: {other:?}").into()),
            }
        }
        Ok(Ended::There)
    }

    /// Goes on for so many stops before and after system calls, or to the second stop.
    pub(crate) fn call(&self, stops: u64) -> Result<Ended, Failed> {
        for stop in 0..stops {
            ptrace::syscall(self.pid, None)?;
            match waitpid(self.pid, None)? {
                WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
                WaitStatus::Stopped(_, Signal::SIGSTOP) => return Ok(Ended::AtTheEnd(stop)),
                other => return Err(format!("the victim ended by itself: {other:?}").into()),
            }
        }
        Ok(Ended::There)
    }

    pub(crate) fn kill(mut self) -> Result<(), Failed> {
        kill(self.pid, Signal::SIGKILL)?;
        self.child.wait()?;
        Ok(())
    }
}

/// The command for a victim.
pub(crate) fn command(
    path: &Path,
    kind: &str,
    seed: u64,
    fault: Option<&str>,
) -> Result<Command, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(fault) = fault {
        command.args(["--fault", fault]);
    }
    command.arg("victim").arg(path).arg(kind).arg(seed.to_string());
    Ok(command)
}
