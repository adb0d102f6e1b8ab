//! The first command of the README: the example job gives what the README shows, and reads nothing twice.

use std::path::Path;

use super::command::{millstream, text};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// What the README shows behind the command, without blank lines.
fn shown() -> Vec<String> {
    let readme = std::fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let (_, behind) = readme.split_once("$ cargo run -- run examples/cloudtrail/job.sql\n").unwrap();
    let (block, _) = behind.split_once("```").unwrap();
    block.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The command in a folder; standard output without blank lines, then standard error.
fn run(dir: &Path, args: &[&str]) -> Vec<String> {
    let output = millstream().current_dir(dir).args(args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    text(&output).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_example_job_gives_what_the_readme_shows_and_reads_nothing_twice() {
    let tmp = tempfile::tempdir().unwrap();
    let (dir, example) = (tmp.path(), Path::new(ROOT).join("examples/cloudtrail"));
    let data = dir.join("examples/cloudtrail/data");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::copy(example.join("job.sql"), dir.join("examples/cloudtrail/job.sql")).unwrap();
    for file in std::fs::read_dir(example.join("data")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), data.join(file.file_name())).unwrap();
    }
    let job = ["run", "examples/cloudtrail/job.sql"];
    let shown = shown();
    assert_eq!(run(dir, &job), shown);
    let (summary, table) = (shown.len() - 2, &shown[..shown.len() - 2]);
    let again = run(dir, &job);
    assert_eq!(again[..summary], *table, "nothing is read twice");
    assert_eq!(again[summary], "events_by_day: ended, 0 batches, 0 rows in, 0 rows out");

    std::fs::copy(data.join("trail-00000.json.gz"), data.join("more.json.gz")).unwrap();
    let more = run(dir, &job);
    assert_eq!(more[summary], "events_by_day: ended, 1 batch, 1 row in, 60 rows out", "only the new file is read");
    // As in the README, but counted: the table is there for any reader, one folder per day.
    let rows = run(dir, &["sql", "--format", "csv", "SELECT count(*) AS n, count(DISTINCT day) AS days FROM parquet.`out/events`"]);
    assert_eq!(rows, ["n,days", "780,5"]);
    assert!(dir.join("out/events/day=2023-11-14").is_dir());
}
