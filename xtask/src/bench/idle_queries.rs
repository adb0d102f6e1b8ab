//! `idle-queries`: what a hundred stateful queries cost that have nothing to do, in one process.
//!
//! They are those of `crates/millstream/examples/idle_queries.rs`, over memory streams or folders of files. It prints one line of
//! JSON: cpu_ms_per_s, rss_mb.

use std::process::Command;

use super::table::Table;
use super::{Wish, at_most, example, last_json, number, workdir};
use crate::run::Outcome;

/// Measures both kinds of sources.
pub fn run(wish: &Wish) -> Outcome {
    let program = example(wish, "idle_queries")?;
    let mut table = Table::new(&["sources", "queries", "CPU ms per second", "RSS MB"]);
    let mut found = Vec::new();
    for source in ["memory", "files"] {
        let runs = (0..wish.reps).map(|_| last_json(Command::new(&program).arg(source).current_dir(workdir("idle-queries", None)?)));
        let runs: Vec<_> = runs.collect::<Outcome<_>>()?;
        let median = |key: &str| super::median(runs.iter().map(|run| number(run, key)));
        let (cpu_ms, rss_mb) = (median("cpu_ms_per_s"), median("rss_mb"));
        table.row(&[source.to_owned(), format!("{:.0}", median("queries")), format!("{cpu_ms:.2}"), format!("{rss_mb:.0}")]);
        found.push((source, cpu_ms, rss_mb));
    }
    println!(
        "\nidle-queries (100 queries that have counted 1,000 rows each, then 30 s without input; median of {} runs)\n\n{table}",
        wish.reps
    );
    for (source, cpu_ms, rss_mb) in found {
        at_most(&format!("{source}: CPU ms per second, all together"), cpu_ms, 2.0);
        at_most(&format!("{source}: RSS in MB"), rss_mb, 400.0);
    }
    Ok(())
}
