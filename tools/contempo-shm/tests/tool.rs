//! The tool, as a user sees it.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

use contempo::shared::{Options, Shared, liveness_path};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

fn tool(command: &str, region: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_contempo-shm")).arg(command).arg(region).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn it_tells_what_there_is() {
    let path = std::env::temp_dir().join(format!("contempo-shm-test-{}", std::process::id()));
    let shared = Shared::create(&path, &Options::new()).unwrap();
    let cell = shared.root("a root", 1_u64).unwrap();
    shared.atomically(|tx| tx.write(cell, &2)).unwrap();
    let inspected = said(&tool("inspect", &path));
    let line = format!("process {:7}  alive", std::process::id());
    assert!(inspected.contains(&line) && inspected.contains("a root"), "{inspected}");
    let stat = said(&tool("stat", &path));
    assert!(stat.contains("commits     2\n"), "{stat}");
    let reaped = tool("reap", &path);
    assert!(reaped.status.success() && said(&reaped).starts_with("so far: 0 slots"), "{reaped:?}");
    let checked = tool("verify", &path);
    assert!(checked.status.success() && said(&checked).ends_with("sound\n"), "{checked:?}");

    let other = path.with_extension("other");
    std::fs::write(&other, "no region").unwrap();
    let refused = tool("verify", &other);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not a contempo region"));
    for file in [&path, &liveness_path(&path), &other] {
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn it_says_what_it_has_recovered() {
    let name = "it_says_what_it_has_recovered";
    if let Some(path) = std::env::var_os("CONTEMPO_SHM_DIES") {
        let shared = Shared::open(path).unwrap();
        let cell = shared.root("cell", 0_u64).unwrap();
        let _ = shared.atomically(|tx| -> Result<(), _> {
            tx.write(cell, &1)?;
            std::process::abort()
        });
    }
    let path = std::env::temp_dir().join(format!("contempo-shm-dead-{}", std::process::id()));
    let shared = Shared::create(&path, &Options::new()).unwrap();
    for command in ["verify", "inspect"] {
        let mut dies = Command::new(std::env::current_exe().unwrap());
        dies.args(["--exact", name]).env("CONTEMPO_SHM_DIES", &path);
        assert!(!dies.output().unwrap().status.success());
        let report = shared.verify();
        assert!(report.is_sound() && report.dead == 1 && report.to_recover > 0, "{report}");
        let output = tool(command, &path);
        let all = said(&output);
        assert!(output.status.success(), "{all}");
        assert!(all.contains("at opening  1 slots of dead processes"), "{all}");
        assert_eq!(shared.verify().dead, 0);
    }
    for file in [&path, &liveness_path(&path)] {
        std::fs::remove_file(file).unwrap();
    }
}

/// A region, a thread that sleeps there, and one that has met another at a cell.
fn busy(name: &str, look: impl FnOnce(&Path)) {
    let path = std::env::temp_dir().join(format!("contempo-shm-{name}-{}", std::process::id()));
    let shared = Shared::create(&path, &Options::new()).unwrap();
    let (gate, hot) = (shared.root("gate", 0_u64).unwrap(), shared.root("hot", 0_u64).unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            let wait = shared.builder().label("waits for the gate");
            wait.run(|tx| tx.check(tx.read(gate)? == 1)).unwrap();
        });
        let mut failed = false;
        shared
            .atomically(|tx| {
                let seen = tx.read(hot)?;
                if !std::mem::replace(&mut failed, true) {
                    let store = || shared.atomically(|tx| tx.write(hot, &7)).unwrap();
                    thread::scope(|inner| inner.spawn(store).join().unwrap());
                }
                tx.write(hot, &(seen + 1))
            })
            .unwrap();
        let mut opened = false;
        // It ends whatever is found.
        let _open = Opens(|| {
            if !std::mem::replace(&mut opened, true) {
                shared.atomically(|tx| tx.write(gate, &1)).unwrap();
            }
        });
        while shared.activity(1).report.sleepers.is_empty() {
            thread::yield_now();
        }
        look(&path);
    });
    for file in [&path, &liveness_path(&path)] {
        std::fs::remove_file(file).unwrap();
    }
}

struct Opens<F: FnMut()>(F);

impl<F: FnMut()> Drop for Opens<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

fn top(region: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_contempo-shm"));
    command.arg("top").arg(region).args(["--interval", "0.1"]).args(options).output().unwrap()
}

#[test]
fn top_tells_of_other_processes_what_they_do() {
    busy("top", |path| {
        let text = said(&top(path, &["--once"]));
        let line = |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or("");
        let sleeper = line("waits for the gate");
        let process = std::process::id().to_string();
        assert!(sleeper.contains("asleep") && sleeper.contains(&process), "{text}");
        assert!(sleeper.ends_with("gate"), "what it waits for: {text}");
        assert!(
            line("hot").split_whitespace().nth(1) == Some("1"),
            "one attempt has failed: {text}"
        );
        assert!(line("aborts by cause").contains("changed 0/s"), "{text}");
        // The tool's own thread is one of them, and idle.
        assert!(line("idle").contains("idle"), "{text}");
        assert!(line("stamp").contains("2 processes"), "{text}");

        let output = top(path, &["--json", "--once", "--sort", "waiting"]);
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let first = &json["threads"][0];
        assert_eq!(first["waits"]["label"], "waits for the gate", "sorted: {json}");
        assert_eq!(
            (&first["doing"], &first["waits"]["cells"][0]),
            (&"asleep".into(), &"gate".into())
        );
        assert_eq!(
            (&json["cells"][0]["name"], json["seconds"].as_f64() > Some(0.09)),
            (&"hot".into(), true)
        );
        // Without a terminal it says what to do.
        let refused = top(path, &[]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--once"), "{refused:?}");
    });
}

#[test]
fn top_shows_a_screen_and_leaves_the_terminal_as_it_was() {
    busy("screen", |path| {
        for quits in ["q", "\x1b", "\x03"] {
            let pty = openpty(
                Some(&Winsize { ws_row: 30, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }),
                None,
            );
            let pty = pty.unwrap();
            let before = tcgetattr(&pty.slave).unwrap();
            let side = || Stdio::from(pty.slave.try_clone().unwrap());
            let mut tool = Command::new(env!("CARGO_BIN_EXE_contempo-shm"));
            tool.arg("top").arg(path).args(["--interval", "0.1"]).env("TERM", "xterm");
            let mut tool = tool.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
            let mut screen = Screen { from: File::from(pty.master), seen: String::new() };
            screen.wait_for("q quit");
            assert!(
                screen.seen.contains("waits for th") && screen.seen.contains("hot"),
                "{}",
                screen.seen
            );
            // While it is shown, keys are not echoed; a pause says so.
            assert!(!tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ECHO));
            screen.from.write_all(b"p").unwrap();
            screen.wait_for("PAUSED");
            screen.from.write_all(quits.as_bytes()).unwrap();
            screen.wait_for("\x1b[?1049l");
            assert!(tool.wait().unwrap().success());
            assert_eq!(tcgetattr(&pty.slave).unwrap(), before, "the terminal is as it was");
        }
    });
}

/// What was written to a terminal.
struct Screen {
    from: File,
    seen: String,
}

impl Screen {
    fn wait_for(&mut self, text: &str) {
        let mut part = [0; 4096];
        while !self.seen.contains(text) {
            let length = self.from.read(&mut part).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(&part[..length]));
        }
    }
}
