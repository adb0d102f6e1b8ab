//! The Kafka examples, run as a reader would: what they print is what the guide shows.
//!
//! With `MILLSTREAM_GUIDE=accept` the guide is given what came out.

use std::process::Command;

use super::command::text;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide/kafka.md");

/// What an example prints; `None` without a broker or a Python, told on stderr.
fn printed(example: &str) -> Option<Vec<String>> {
    for variable in ["MILLSTREAM_TEST_KAFKA", "MILLSTREAM_TEST_PYTHON"] {
        if std::env::var_os(variable).is_none() {
            eprintln!("SKIPPED: {variable} is not set; `cargo xtask test` sets it");
            return None;
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(format!("{ROOT}/examples/{example}/run"));
    let output = command.current_dir(dir.path()).env("MILLSTREAM", env!("CARGO_BIN_EXE_millstream")).env("TZ", "UTC").output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    Some(String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
}

/// The rows of each table in order: which task gives its rows first hangs on the number of cores.
fn ordered(mut lines: Vec<String>) -> Vec<String> {
    lines.chunk_by_mut(|a, b| a.starts_with('|') && b.starts_with('|')).for_each(<[String]>::sort_unstable);
    lines
}

fn check(example: &str) {
    let Some(printed) = printed(example) else { return };
    let guide = std::fs::read_to_string(GUIDE).unwrap();
    let (before, behind) = guide.split_once(&format!("```text {example}\n")).unwrap();
    let (shown, behind) = behind.split_once("```").unwrap();
    let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
    if ordered(shown.clone()) != ordered(printed.clone()) && std::env::var("MILLSTREAM_GUIDE").is_ok_and(|told| told == "accept") {
        std::fs::write(GUIDE, format!("{before}```text {example}\n{}\n```{behind}", printed.join("\n"))).unwrap();
        return;
    }
    assert_eq!(ordered(printed), ordered(shown));
}

#[test]
fn topics_are_counted_and_a_second_run_shows_what_changes() {
    check("kafka-topic-counts");
}

#[test]
fn views_become_counts_of_campaigns_in_another_topic() {
    check("kafka-campaigns");
}

#[test]
fn log_lines_become_a_table() {
    check("kafka-logs");
}
