//! `latency`: from the moment a row was due to the durable commit of its batch, at 10,000 rows a second.
//!
//! The load is `crates/millstream/examples/latency.rs`: an open loop, so a batch that takes long makes the rows behind it late,
//! too. A probe beside it, in the same process and on the same disk, does what no commit can do without, and is an open loop as
//! well: a time in which the disk stands still counts for both by what was due in it. Its calls alone are shown beside that.

use std::process::Command;

use super::table::Table;
use super::{Wish, at_most, example, last_json, number, workdir};
use crate::run::Outcome;

/// By the argument of the example: what the probe does, and by how much its 99th percentile may be passed.
const SINKS: [(&str, &str); 2] =
    [("noop", "append + fdatasync"), ("parquet", "write + fsync a file, append + fdatasync, rename, fsync the folder")];
const MS_BEYOND_PROBE: f64 = 20.0;

/// Measures both sinks and prints them beside their probes.
pub fn run(wish: &Wish) -> Outcome {
    let program = example(wish, "latency")?;
    let figures = [
        ("cores", "cores"),
        ("others' cores", "other_cores"),
        ("p50 ms", "p50_ms"),
        ("p99 ms", "p99_ms"),
        ("max ms", "max_ms"),
        ("probe p50 ms", "probe_p50_ms"),
        ("probe p99 ms", "probe_p99_ms"),
        ("probe max ms", "probe_max_ms"),
        ("probe's calls p99 ms", "probe_call_p99_ms"),
        ("load late p99 ms", "load_p99_ms"),
    ];
    let mut table = Table::new(&[&["sink", "batches"][..], &figures.map(|(title, _)| title)].concat());
    let mut beyond = Vec::new();
    for (sink, probe) in SINKS {
        let runs = (0..wish.reps).map(|_| last_json(Command::new(&program).arg(sink).current_dir(workdir("latency", None)?)));
        let runs: Vec<_> = runs.collect::<Outcome<_>>()?;
        let median = |key: &str| super::median(runs.iter().map(|run| number(run, key)));
        let mut row = vec![sink.to_owned(), format!("{:.0}", median("batches"))];
        row.extend(figures.map(|(_, key)| format!("{:.2}", median(key))));
        table.row(&row);
        beyond.push((sink, probe, super::median(runs.iter().map(|run| number(run, "p99_ms") - number(run, "probe_p99_ms")))));
    }
    println!("\nlatency (10,000 rows a second, 1,000 keys counted, update mode; median of {} runs of 30 s)\n\n{table}", wish.reps);
    for (sink, probe, ms) in beyond {
        at_most(&format!("{sink}: ms of the 99th percentile beyond that of the probe ({probe})"), ms, MS_BEYOND_PROBE);
    }
    Ok(())
}
