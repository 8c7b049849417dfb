//! The tool, as a user sees it.
#![cfg(all(target_os = "linux", target_pointer_width = "64"))]

use contempo::shared::{Options, Shared, liveness_path};
use std::path::Path;
use std::process::{Command, Output};

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
