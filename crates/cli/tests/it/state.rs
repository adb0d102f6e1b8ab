//! `millstream state show` and `export` over the checkpoint of a job.

use std::path::Path;
use std::process::Output;

use super::command::{millstream, text, write};

const JOB: &str = "CREATE TABLE clicks (page STRING, ms INT) USING json OPTIONS (path 'in', maxFilesPerTrigger '1');
CREATE STREAMING TABLE pages USING console OPTIONS (checkpointLocation 'checkpoint', outputMode 'update')
  AS SELECT page, count(*) AS n, collect_list(ms) AS all FROM STREAM clicks GROUP BY page;
";

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(&dir.path().join("job.sql"), JOB);
    write(&dir.path().join("in/a.json"), "{\"page\":\"a\",\"ms\":1}\n{\"page\":\"a\",\"ms\":2}\n");
    write(&dir.path().join("in/b.json"), "{\"page\":\"b\",\"ms\":3}\n");
    ends(&run(dir.path(), &["run", "job.sql", "--trigger", "available-now"]), 0);
    dir
}

fn run(dir: &Path, args: &[&str]) -> Output {
    millstream().current_dir(dir).args(args).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
    assert!(!text(output).contains("panicked"), "{}", text(output));
}

#[test]
fn state_is_shown_in_three_formats_at_any_version() {
    let dir = folder();
    let shown = run(dir.path(), &["state", "show", "checkpoint", "--format", "csv"]);
    ends(&shown, 0);
    let mut lines: Vec<&str> = stdout(&shown).lines().collect();
    let header = lines.remove(0);
    assert_eq!(header, "key.page,value.count(1),value.collect_list(ms),partition_id,expiry");
    lines.sort_unstable();
    assert!(lines.len() == 2 && lines[0].starts_with("a,2,\"[1,2]\",") && lines[1].starts_with("b,1,[3],"), "{lines:?}");
    let json = run(dir.path(), &["state", "show", "checkpoint", "--operator", "0", "--version", "0", "--format", "json"]);
    ends(&json, 0);
    let row: serde_json::Value = serde_json::from_str(stdout(&json)).unwrap();
    assert_eq!(row["key"], serde_json::json!({ "page": "a" }));
    assert_eq!(row["value"], serde_json::json!({ "count(1)": 2, "collect_list(ms)": [1, 2] }));
    let table = run(dir.path(), &["state", "show", "checkpoint", "--operator", "aggregate-page", "--limit", "1"]);
    ends(&table, 0);
    assert!(stdout(&table).contains("|key|value   |partition_id|expiry|") || stdout(&table).lines().count() == 5, "{}", stdout(&table));

    let unknown = run(dir.path(), &["state", "show", "checkpoint", "--operator", "other"]);
    ends(&unknown, 2);
    assert!(text(&unknown).contains("no stateful operator 'other'") && text(&unknown).contains("0 'aggregate-page'"), "{}", text(&unknown));
    let version = run(dir.path(), &["state", "show", "checkpoint", "--version", "9"]);
    ends(&version, 2);
    assert!(text(&version).contains("that after batches 0 to 1 is"), "{}", text(&version));
    ends(&run(dir.path(), &["state", "show", "in"]), 2);
}

#[test]
fn state_is_exported_into_one_file_that_appears_when_it_is_whole() {
    let dir = folder();
    for (file, format) in [("state.parquet", "parquet"), ("state.json", "json"), ("state.csv", "csv")] {
        let exported = run(dir.path(), &["state", "export", "checkpoint", "--operator", "aggregate-page", "--output", file]);
        ends(&exported, 0);
        assert!(text(&exported).contains(&format!("{file}: 2 rows")), "{}", text(&exported));
        let query = match format {
            "csv" => format!("SELECT sum(`_c1`) AS n FROM csv.`{file}` WHERE `_c0` <> 'key.page'"),
            _ => format!("SELECT sum(value.`count(1)`) AS n FROM {format}.`{file}`"),
        };
        let sum = run(dir.path(), &["sql", &query, "--format", "csv"]);
        ends(&sum, 0);
        assert!(stdout(&sum).trim_end().trim_end_matches(".0").ends_with("n\n3"), "{file}: {}", stdout(&sum));
        // What is there is not written over.
        ends(&run(dir.path(), &["state", "export", "checkpoint", "--output", file]), 2);
    }
    let odd = run(dir.path(), &["state", "export", "checkpoint", "--output", "state.xml"]);
    ends(&odd, 2);
    assert!(text(&odd).contains(".parquet, .json or .csv"), "{}", text(&odd));
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with(".state-export")), "{left:?}");
}

#[test]
fn a_checkpoint_that_a_flush_has_closed_says_so_before_a_start_does() {
    let dir = folder();
    let against = || run(dir.path(), &["check", "job.sql", "--against", "checkpoint"]);
    let start = || run(dir.path(), &["run", "job.sql", "--trigger", "available-now"]);
    assert_eq!(stdout(&against()), "kept      aggregate-page\nok\n");
    write(&dir.path().join("job.sql"), JOB.replace("outputMode", "flush 'true', outputMode"));
    ends(&start(), 0);
    write(&dir.path().join("job.sql"), JOB);
    let closed = against();
    ends(&closed, 0);
    let says = "the checkpoint was closed by a flush, behind which every row is late";
    let lines = format!("kept      aggregate-page\nclosed    {says}: a start is refused if a source has new input\nok\n");
    assert_eq!(stdout(&closed), lines);
    ends(&start(), 0);
    write(&dir.path().join("in/c.json"), "{\"page\":\"c\",\"ms\":4}\n");
    let refused = start();
    assert!(
        refused.status.code() != Some(0) && text(&refused).contains(&format!("{says}, and source 'clicks' has new input")),
        "{}",
        text(&refused)
    );
}

#[test]
fn a_changed_job_is_compared_with_its_checkpoint_and_an_operator_may_begin_afresh() {
    let dir = folder();
    let against = |job: &str, more: &[&str]| {
        write(&dir.path().join("changed.sql"), job);
        run(dir.path(), &[&["check", "changed.sql", "--against", "checkpoint"], more].concat())
    };
    let same = against(JOB, &[]);
    ends(&same, 0);
    assert_eq!(stdout(&same), "kept      aggregate-page\nok\n");
    let wider = JOB.replace("all FROM", "all, count(*) * 2 AS twice FROM").replace("ms INT", "ms BIGINT");
    let wider = against(&wider, &[]);
    ends(&wider, 2);
    assert!(
        stdout(&wider).starts_with("refused   aggregate-page: collect_list(ms) was of (Int32) and is of (Int64)"),
        "{}",
        stdout(&wider)
    );
    let more = JOB.replace("all FROM", "all, count(*) * 2 AS twice FROM");
    ends(&against(&more, &[]), 0);
    let new = JOB.replace("all FROM", "all, max(ms) AS high FROM");
    let refused = against(&new, &[]);
    ends(&refused, 2);
    assert!(stdout(&refused).starts_with("refused   aggregate-page: max(ms) is new"), "{}", stdout(&refused));
    assert!(text(&refused).contains("--allow-state-drop aggregate-page, or"), "{}", text(&refused));
    let allowed = against(&new, &["--allow-state-drop", "aggregate-page"]);
    ends(&allowed, 0);
    assert!(stdout(&allowed).starts_with("dropped   aggregate-page: max(ms) is new"), "{}", stdout(&allowed));
    let refused = against(&new, &["--dataset", "pages"]);
    assert!(text(&refused).contains("--allow-state-drop pages:aggregate-page, or"), "{}", text(&refused));
    let of_table = against(&new, &["--dataset", "pages", "--allow-state-drop", "pages:aggregate-page"]);
    ends(&of_table, 0);
    ends(&against(&new, &["--dataset", "other"]), 2);
    ends(&against(&new, &["--allow-state-drop", "other:aggregate-page"]), 2);
    // Nothing of this has changed the checkpoint.
    ends(&run(dir.path(), &["run", "job.sql", "--trigger", "available-now"]), 0);
    write(&dir.path().join("in/c.json"), "{\"page\":\"a\",\"ms\":9}\n");
    ends(&run(dir.path(), &["run", "changed.sql", "--trigger", "available-now"]), 2);
    ends(&run(dir.path(), &["run", "changed.sql", "--trigger", "available-now", "--allow-state-drop", "aggregate-page"]), 0);
    let shown = run(dir.path(), &["state", "show", "checkpoint", "--format", "json"]);
    let row: serde_json::Value = serde_json::from_str(stdout(&shown)).unwrap();
    assert_eq!((&row["value"]["count(1)"], &row["value"]["max(ms)"]), (&1.into(), &9.into()));
}

#[test]
fn operators_that_take_changes_of_each_other_are_compared_as_a_start_does_it() {
    let dir = folder();
    let job = JOB.replace("'checkpoint', outputMode 'update'", "'chain', outputMode 'complete'");
    let job = |calls: &str| {
        let rows = "(SELECT page, count(*) AS n FROM STREAM clicks GROUP BY page) GROUP BY n;\n";
        let (head, _) = job.split_once("  AS ").unwrap();
        write(&dir.path().join("job.sql"), format!("{head}  AS SELECT n, {calls} FROM {rows}"));
    };
    let run = |args: &[&str]| run(dir.path(), args);
    job("count(*) AS pages");
    ends(&run(&["run", "job.sql", "--trigger", "available-now"]), 0);
    write(&dir.path().join("in/c.json"), "{\"page\":\"b\",\"ms\":1}\n");
    job("count(*) AS pages, max(page) AS last");
    let none = run(&["check", "job.sql", "--against", "chain"]);
    ends(&none, 2);
    assert!(stdout(&none).starts_with("refused   aggregate-n: "), "{}", text(&none));
    assert!(text(&none).contains("begin afresh with --allow-state-drop aggregate-n,aggregate-page, or"), "{}", text(&none));
    let alone = run(&["check", "job.sql", "--against", "chain", "--allow-state-drop", "aggregate-n"]);
    ends(&alone, 2);
    let why = "refused   aggregate-page: it gives changes to 'aggregate-n': they begin afresh together or not at all\n";
    assert!(stdout(&alone).starts_with("dropped   aggregate-n: ") && stdout(&alone).ends_with(why), "{}", text(&alone));
    let started = run(&["run", "job.sql", "--trigger", "available-now", "--allow-state-drop", "aggregate-n"]);
    ends(&started, 2);
    assert!(text(&started).contains("'aggregate-page': it gives changes to 'aggregate-n'"), "{}", text(&started));
    let both = ["job.sql", "--allow-state-drop", "aggregate-n,aggregate-page"];
    let allowed = run(&[&["check", "--against", "chain"], &both[..]].concat());
    ends(&allowed, 0);
    assert!(stdout(&allowed).contains("\ndropped   aggregate-page: it gives changes to 'aggregate-n'"), "{}", text(&allowed));
    let ended = run(&[&["run", "--trigger", "available-now"], &both[..]].concat());
    ends(&ended, 0);
    assert!(text(&ended).contains("|  1|    1|   b|"), "{}", text(&ended));
}
