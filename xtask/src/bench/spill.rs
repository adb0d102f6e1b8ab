//! `spill`: what a row costs when there is four times as much state as `state.memoryLimit`, beside all of it in memory.
//!
//! Counts and sums per key, in update mode to the noop sink, over keys that come equally often and over keys by Zipf's law. The
//! run in memory says how much state there is; a quarter of that is the limit of the other run. What both remember in the end
//! must be the same, and as much as DuckDB finds in the input.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::progress::state_bytes;
use super::table::{Table, grouped};
use super::{Cost, Wish, at_most, data, measure, median, millstream, target, workdir};
use crate::run::{Outcome, root, stdout};
use crate::tools;

const FILES: u64 = 400;
const ROWS: u64 = 80_000_000;

/// The state, in limits.
const TIMES_THE_LIMIT: f64 = 4.0;
/// Resident memory of the process, in limits.
const RSS_AT_MOST: f64 = 1.2;
/// What `benches/gen.py` makes, and the share of the rate in memory that must be left.
const KINDS: [(&str, f64); 2] = [("keys-uniform", 0.1), ("keys-zipf", 0.4)];

/// What there is in the checkpoint, in one row.
const REMEMBERED: &str = "SELECT count(*) AS keys, sum(n) AS n, sum(n * n) AS squares, sum(total) AS total \
    FROM (SELECT value.`count(1)` AS n, value.`sum(v)[sum]` AS total FROM read_state('checkpoint'))";

/// The two runs over one kind of keys.
struct Pair {
    state_bytes: f64,
    limit_bytes: f64,
    in_memory: Cost,
    beyond: Cost,
    remembered: String,
}

/// Runs, checks and prints both kinds.
pub fn run(wish: &Wish) -> Outcome {
    let (n_files, n_rows) = wish.files_and_rows(FILES, ROWS);
    let python = tools::python()?;
    let program = millstream(wish)?;
    #[expect(clippy::cast_precision_loss, reason = "a count of rows, shown with four digits")]
    let rows = n_rows as f64;
    let mut table =
        Table::new(&["keys", "state MB", "limit MB", "rows/CPU-s in memory", "rows/CPU-s beyond", "ratio", "peak RSS MB", "in limits"]);
    let mut reached = Vec::new();
    for (kind, at_least) in KINDS {
        let input = data(&python, kind, wish.seed, n_files, n_rows)?;
        let pairs: Vec<Pair> = (0..wish.reps).map(|_| pair(&python, &program, &input)).collect::<Outcome<_>>()?;
        let of = |figure: fn(&Pair) -> f64| median(pairs.iter().map(figure));
        let (in_memory, beyond) = (rows / of(|pair| pair.in_memory.cpu_s), rows / of(|pair| pair.beyond.cpu_s));
        let (ratio, rss) = (beyond / in_memory, of(|pair| pair.beyond.peak_rss_mb * 1e6 / pair.limit_bytes));
        table.row(&[
            kind.trim_start_matches("keys-").to_owned(),
            format!("{:.0}", of(|pair| pair.state_bytes) / 1e6),
            format!("{:.0}", of(|pair| pair.limit_bytes) / 1e6),
            grouped(in_memory),
            grouped(beyond),
            format!("{ratio:.2}"),
            format!("{:.0}", of(|pair| pair.beyond.peak_rss_mb)),
            format!("{rss:.2}"),
        ]);
        reached.push((kind, ratio, at_least, rss, pairs.into_iter().map(|pair| pair.remembered).next_back().unwrap_or_default()));
    }
    println!("\nspill (seed {}, {} rows, median of {} runs)\n\n{table}", wish.seed, grouped(rows), wish.reps);
    for (kind, ratio, at_least, rss, remembered) in reached {
        target(&format!("{kind}: percent of the rate in memory"), 100.0 * ratio, 100.0 * at_least);
        at_most(&format!("{kind}: peak RSS in limits"), rss, RSS_AT_MOST);
        println!("{kind}: both remember what DuckDB finds: {remembered}");
    }
    Ok(())
}

fn pair(python: &Path, program: &Path, input: &Path) -> Outcome<Pair> {
    let (in_memory, state_bytes, kept) = one(python, program, input, None)?;
    let limit_bytes = (state_bytes / TIMES_THE_LIMIT).floor();
    let (beyond, _, spilled) = one(python, program, input, Some(limit_bytes))?;
    let remembered = expected(python, input)?;
    if kept != remembered || spilled != remembered {
        return Err(format!("in memory {kept}, beyond the limit {spilled}, in the input {remembered}"));
    }
    Ok(Pair { state_bytes, limit_bytes, in_memory, beyond, remembered })
}

/// What a run costs, the bytes of state at its end, and what it remembers.
fn one(python: &Path, program: &Path, input: &Path, limit_bytes: Option<f64>) -> Outcome<(Cost, f64, String)> {
    let folder = workdir("spill", Some(input))?;
    let (job, limit) = (root().join("benches/jobs/spill.sql"), limit_bytes.map(|bytes| format!("state.memoryLimit={bytes}")));
    let mut args = vec!["run".to_owned(), job.to_string_lossy().into_owned(), "--progress-file".to_owned(), "progress.jsonl".to_owned()];
    args.extend(limit.into_iter().chain(limit_bytes.map(|_| "state.spillDir=spill".to_owned())).flat_map(|set| ["--set".to_owned(), set]));
    let cost = measure(python, &folder, None, program, &args.iter().map(String::as_str).collect::<Vec<_>>())?;
    println!(
        "{}: {:.2} CPU-s, {:.0} MB, {:.1} CPU-s of other processes meanwhile",
        args.join(" "),
        cost.cpu_s,
        cost.peak_rss_mb,
        cost.foreign_cpu_s
    );
    let bytes = state_bytes(&folder.join("progress.jsonl")).ok_or("the progress tells no state")?;
    let said = stdout(Command::new(program).args(["sql", REMEMBERED, "--format", "json"]).current_dir(&folder))?;
    Ok((cost, bytes, numbers(&said)?))
}

/// What is to be remembered of the input.
fn expected(python: &Path, input: &Path) -> Outcome<String> {
    let query = format!(
        "select count(*)::bigint as keys, sum(n)::bigint as n, sum(n * n)::bigint as squares, sum(total)::bigint as total \
         from (select key, count(*) as n, sum(v) as total from read_parquet('{}/*.parquet') group by key)",
        input.display()
    );
    let script = "import duckdb, json, sys; r = duckdb.sql(sys.argv[1]); print(json.dumps(dict(zip(r.columns, r.fetchall()[0]))))";
    numbers(&stdout(Command::new(python).args(["-c", script, &query]))?)
}

/// A line of JSON, as one writes it.
fn numbers(said: &str) -> Outcome<String> {
    let line = said.lines().next_back().unwrap_or_default();
    let row: Value = serde_json::from_str(line).map_err(|e| format!("not a row of JSON: {line}: {e}"))?;
    Ok(row.to_string())
}
