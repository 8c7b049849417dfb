//! The program as a user runs it: command line, files, exit codes, external contenders.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of its own for each test, inside of the target folder.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    std::fs::create_dir_all(&folder).expect("a writable target folder");
    folder
}

/// Runs it for a moment, with its files in `folder`.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_contention"))
        .args(["--seconds", "0.005", "--rounds", "2"])
        .arg("--json")
        .arg(folder.join("results.json"))
        .arg("--html")
        .arg(folder.join("results.html"))
        .args(arguments)
        .output()
        .expect("it starts")
}

fn results(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("results.json")).expect("it was written");
    serde_json::from_str(&text).expect("it is JSON")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_run_leaves_a_table_results_and_a_page() {
    let folder = folder("run");
    let arguments = ["--only", "counter,rmw-10", "--threads", "1,2"];
    let output = run(&folder, &[&arguments[..], &["--contenders", "contempo,std-mutex"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for part in ["counter: all threads", "rmw-10", "× std-mutex", "calibration loop"] {
        assert!(table.contains(part), "{part} is missing in:\n{table}");
    }
    let results = results(&folder);
    let cases = results["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 8, "two workloads, two numbers of threads, two contenders");
    for case in cases {
        assert_eq!(case["parts"][0]["rate"].as_array().expect("rates").len(), 2, "two rounds");
    }
    let page = std::fs::read_to_string(folder.join("results.html")).expect("it was written");
    assert!(page.contains("<svg") && page.ends_with("</html>\n"));
    let elsewhere = ["src=\"http", "href=\"http", "@import", "<script"];
    assert!(elsewhere.iter().all(|it| !page.contains(it)), "the page needs something else");
}

#[test]
fn results_are_shown_again_and_compared() {
    let folder = folder("compare");
    let output = run(&folder, &["--only", "counter", "--threads", "1"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let file = folder.join("results.json").display().to_string();
    let shown = run(&folder, &["--show", &file]);
    assert!(text(&shown.stdout).contains("counter: all threads"), "{}", text(&shown.stderr));
    let same = run(&folder, &["--compare", &file, &file]);
    assert!(same.status.success());
    assert!(text(&same.stdout).contains("are the same within the spread"));

    // A run in which contempo was twice as fast as it is now.
    let mut faster = results(&folder);
    for case in faster["cases"].as_array_mut().expect("cases") {
        if case["contender"] == "contempo" {
            for rate in case["parts"][0]["rate"].as_array_mut().expect("rates") {
                *rate = (rate.as_f64().expect("a number") * 100.0).into();
            }
        }
    }
    let old = folder.join("old.json");
    std::fs::write(&old, faster.to_string()).expect("a writable folder");
    let slower = run(&folder, &["--compare", &old.display().to_string(), &file]);
    assert_eq!(slower.status.code(), Some(1));
    let table = text(&slower.stdout);
    assert!(table.contains("SLOWER") && table.contains("contempo: increment"), "{table}");
}

#[test]
fn a_broken_contender_is_caught_and_the_others_are_measured() {
    let folder = folder("broken");
    let contenders = "fault-half-update,std-mutex";
    let output =
        run(&folder, &["--only", "transfers", "--threads", "2", "--contenders", contenders]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("VIOLATION: transfers with 2 threads by fault-half-update"), "{told}");
    let results = results(&folder);
    let cases = results["cases"].as_array().expect("cases");
    let of = |name: &str| cases.iter().find(|case| case["contender"] == name).expect("a case");
    assert!(of("fault-half-update")["violation"].is_string());
    assert_eq!(of("std-mutex")["parts"][0]["rate"].as_array().expect("rates").len(), 2);
}

#[test]
fn a_case_is_measured_in_a_process_of_its_own() {
    let folder = folder("apart");
    let contenders = "contempo,std-mutex,fault-torn-read";
    let output = run(&folder, &["--only", "lag-worst", "--contenders", contenders]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let told = text(&output.stderr);
    assert!(told.contains("VIOLATION: lag-worst with 5 threads by fault-torn-read"), "{told}");
    let results = results(&folder);
    let cases = results["cases"].as_array().expect("cases");
    let own = cases.iter().find(|case| case["contender"] == "contempo").expect("a case");
    assert_eq!(own["figures"]["worst ms"].as_array().expect("a figure").len(), 2, "two rounds");
    assert!(own["parts"][0]["latency"]["p50"].as_f64().expect("a number") > 0.0);
    assert!(own["counters"]["commits"].as_u64().expect("a count") > 0);
    let page = std::fs::read_to_string(folder.join("results.html")).expect("it was written");
    assert!(page.contains(">worst ms</text>") || page.contains("worst ms\n"), "a plot of it");
}

#[test]
fn the_beginning_of_a_name_stands_for_all_rows() {
    let folder = folder("rows");
    let output = run(&folder, &["--only", "declared", "--contenders", "contempo"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let results = results(&folder);
    let cases = results["cases"].as_array().expect("cases");
    let names: Vec<&str> = cases.iter().filter_map(|case| case["workload"].as_str()).collect();
    assert_eq!(names, ["declared-0", "declared-1", "declared-4", "declared-16"]);
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = folder("errors");
    let cases: [(&[&str], &str); 6] = [
        (&["--only", "nonsense"], "no such workload"),
        (&["--contenders", "nonsense"], "no such contender"),
        (&["--only", "ping-pong", "--contenders", "atomic"], "none of these contenders"),
        (&["--compare", "no-such-file", "no-such-file"], "cannot read no-such-file"),
        (&["--threads", "0"], "0 is not in 1..=1024"),
        (&["--external", "nonsense"], "NAME=COMMAND"),
    ];
    for (arguments, expected) in cases {
        let output = run(&folder, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn the_model_counts_what_a_mutex_moves() {
    let arguments = ["--model", "own-1", "--contenders", "std-mutex"];
    let output = run(&folder("model"), &arguments);
    let told = text(&output.stderr);
    if told.contains("cannot be watched") {
        eprintln!("skipped: this system does not let processes be watched");
        return;
    }
    assert!(output.status.success(), "{told}");
    let table = text(&output.stdout);
    let moved = table.split("lines moved per operation").nth(1).expect("a second table");
    let row = moved.lines().find(|line| line.starts_with("std-mutex")).expect("a row");
    // Alone, nothing moves; from two cores on, the line of the mutex in each operation at least.
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words[1..3], ["0.00", "(0.00)"], "{table}");
    assert!(words[3].parse::<f64>().expect("a number") >= 1.0, "{table}");
}

#[test]
fn everything_is_listed() {
    let output = run(&folder("list"), &["--list"]);
    let list = text(&output.stdout);
    for name in ["transfers-zipf", "vacation-high", "async-stm", "fault-torn-read"] {
        assert!(list.contains(name), "{name} is missing in:\n{list}");
    }
}

#[cfg(unix)]
mod external {
    use super::*;

    /// A contender in a few lines of shell. `$1` is what it says of its sum.
    const SCRIPT: &str = r#"
while read -r word workload rest; do
    case $word in
    contention) echo "ready 1" ;;
    can) if [ "$workload" = counter ]; then echo yes; else echo no; fi ;;
    run)
        echo "part increment operations=1000 seconds=0.005 attempts=1500 slowest=400 fastest=600"
        echo "latency increment 90 990"
        echo "latency increment 20000 10"
        echo "check sum $SUM 1000"
        echo "done"
        ;;
    quit) exit ;;
    esac
done
"#;

    fn run_with(test: &str, sum: &str) -> (PathBuf, Output) {
        let folder = folder(test);
        let script = folder.join("contender.sh");
        std::fs::write(&script, SCRIPT).expect("a writable folder");
        let external = format!("toy=SUM={sum} sh {}", script.display());
        let only = ["--only", "counter,transfers", "--threads", "2", "--contenders", "std-mutex"];
        let output = run(&folder, &[&only[..], &["--external", &external]].concat());
        (folder, output)
    }

    #[test]
    fn an_external_contender_takes_part() {
        let (folder, output) = run_with("external", "1000");
        assert!(output.status.success(), "{}", text(&output.stderr));
        let results = results(&folder);
        let cases = results["cases"].as_array().expect("cases");
        let toys: Vec<_> = cases.iter().filter(|case| case["contender"] == "toy").collect();
        assert_eq!(toys.len(), 1, "it said that it cannot do transfers");
        let part = &toys[0]["parts"][0];
        assert_eq!(part["rate"], serde_json::json!([200_000.0, 200_000.0]));
        assert_eq!(part["attempts"], serde_json::json!([1.5, 1.5]));
        assert!(part["latency"]["p999"].as_f64().expect("a number") >= 20_000.0);
    }

    #[test]
    fn its_invariant_counts_too() {
        let (_, output) = run_with("external-wrong", "999");
        assert_eq!(output.status.code(), Some(1));
        let told = text(&output.stderr);
        assert!(told.contains("by toy: sum should be 1000, is 999"), "{told}");
    }

    #[test]
    fn one_that_does_not_speak_the_protocol_is_refused() {
        let folder = folder("external-dumb");
        for (command, expected) in [
            ("dumb=echo hello", "said \"hello\", not ready 1"),
            ("dumb=true", "does not listen|has ended"),
        ] {
            let output = run(&folder, &["--only", "counter", "--external", command]);
            assert_eq!(output.status.code(), Some(2));
            let told = text(&output.stderr);
            assert!(expected.split('|').any(|it| told.contains(it)), "{told}");
        }
    }
}
