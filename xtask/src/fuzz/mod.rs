//! `cargo xtask fuzz-queries`: random stateful queries over random rows, where the stream must be the batch, and the batch
//! must be what DuckDB says.
//!
//! That the stream is the batch is asked of the product itself, `millstream verify`: the campaign tests what users run. A
//! mismatch is made smaller (fewer streams, fewer rows) before it is told; seed and number draw it again.

mod data;
mod duplicates;
mod groups;
mod joins;
mod query;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::json;

use crate::kill::debug_build;
use crate::kill::reader::Reader;
use crate::kill::rng::Rng;
use crate::run::{Outcome, target_dir};
use crate::tools;
use query::Query;

/// Streams of each query.
const RUNS: u64 = 2;
/// Tries to make a mismatch smaller.
const SHRINKS_MAX: u32 = 24;

/// What a user asked for.
pub struct Wish {
    pub n: u64,
    pub seed: u64,
    /// The first query.
    pub from: u64,
    /// A `millstream` that is built already; else the dev build is made.
    pub bin: Option<PathBuf>,
}

impl Wish {
    /// So many queries, with the standard seed.
    pub fn of(n: u64) -> Self {
        Self { n, seed: 1, from: 0, bin: None }
    }
}

/// Parses the arguments and runs the campaign.
pub fn run(args: &[String]) -> Outcome {
    let mut wish = Wish::of(50);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let value = args.next().ok_or(format!("{arg} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|e| format!("{arg} {value}: {e}"));
        match arg.as_str() {
            "--n" => wish.n = number()?,
            "--seed" => wish.seed = number()?,
            "--from" => wish.from = number()?,
            "--bin" => wish.bin = Some(std::env::current_dir().unwrap_or_default().join(value)),
            _ => return Err(format!("unknown argument {arg:?}")),
        }
    }
    campaign(&wish)
}

/// Runs the campaign: every query is tried, and every mismatch told.
pub fn campaign(wish: &Wish) -> Outcome {
    let bin = match &wish.bin {
        Some(bin) => bin.clone(),
        None => debug_build()?,
    };
    let mut campaign = Campaign { bin, reader: Reader::start(&tools::python()?, None, None)?, right: Vec::new(), n_rows: 0 };
    let start = Instant::now();
    let mut failed = Vec::new();
    for number in wish.from..wish.from + wish.n {
        let mut rng = Rng::new(wish.seed, number);
        let (query, lines) = (Query::draw(&mut rng), data::lines(&mut rng));
        campaign.right = data::lines(&mut rng);
        let folder = target_dir().join("fuzz").join(format!("seed{}-query{number}", wish.seed));
        match campaign.judge(&query, &lines, number, &folder) {
            Ok(()) => drop(fs::remove_dir_all(&folder)),
            Err(message) => {
                let (lines, message) = campaign.shrink(&query, lines, number, &folder, message);
                println!(
                    "query {number} (seed {}, {}, {:?} mode) MISMATCH over {} rows: {message}\n  ours: {}\n  DuckDB: {}\n  kept: {}",
                    wish.seed,
                    query.kind,
                    query.mode,
                    lines.len(),
                    query.select,
                    query.oracle,
                    folder.display()
                );
                for line in lines.iter().take(20) {
                    println!("  {line}");
                }
                failed.push(number);
            }
        }
    }
    println!(
        "fuzz-queries: {} queries (seed {}, from {}), {} rows of results, {} mismatches, {:.0} s",
        wish.n,
        wish.seed,
        wish.from,
        campaign.n_rows,
        failed.len(),
        start.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("mismatches: queries {failed:?}; repeat one with --seed {} --from QUERY --n 1", wish.seed))
    }
}

struct Campaign {
    bin: PathBuf,
    reader: Reader,
    /// The rows that joins join with.
    right: Vec<String>,
    n_rows: u64,
}

impl Campaign {
    /// One query over one input, from empty folder to verdict.
    fn judge(&mut self, query: &Query, lines: &[String], seed: u64, folder: &Path) -> Outcome {
        drop(fs::remove_dir_all(folder));
        let cannot = |e| format!("cannot write below {}: {e}", folder.display());
        for (table, lines) in [("src", lines), ("rhs", &self.right)] {
            let place = folder.join("in").join(table);
            fs::create_dir_all(&place).map_err(cannot)?;
            fs::write(place.join("rows.json"), lines.iter().map(|line| format!("{line}\n")).collect::<String>()).map_err(cannot)?;
        }
        fs::write(folder.join("job.sql"), query.job()).map_err(cannot)?;
        let mut verify = Command::new(&self.bin);
        verify.args(["verify", "job.sql", "--input", "in", "--keep", "kept", "--runs", &RUNS.to_string(), "--seed", &seed.to_string()]);
        let output = verify.current_dir(folder).stdin(Stdio::null()).output();
        let output = output.map_err(|e| format!("cannot start {}: {e}", self.bin.display()))?;
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return Err(format!("stream against batch: {}: {}{}", output.status, said.trim_end(), told.trim_end()));
        }
        let question = json!({
            "do": "compare",
            "output": {"url": folder.join("kept/result/batch").to_string_lossy(), "format": "parquet"},
            "columns": query.columns.iter().map(|column| json!([column, column])).collect::<Vec<_>>(),
            "oracle": query.oracle,
            "json_columns": "",
            "rows": null,
            "cwd": folder.to_string_lossy(),
        });
        let answer = self.reader.ask(&question).map_err(|e| format!("batch against DuckDB: {e}"))?;
        self.n_rows += answer.get("rows").and_then(serde_json::Value::as_u64).unwrap_or(0);
        Ok(())
    }

    /// The same mismatch with fewer rows, as far as that goes in a few tries. What is kept is the last one that failed.
    fn shrink(&mut self, query: &Query, mut lines: Vec<String>, seed: u64, folder: &Path, mut message: String) -> (Vec<String>, String) {
        let mut len = lines.len() / 2;
        let (mut from, mut tries) = (0, 0);
        while len > 0 && tries < SHRINKS_MAX {
            if from >= lines.len() {
                (from, len) = (0, len / 2);
                continue;
            }
            let fewer: Vec<String> =
                lines.iter().enumerate().filter(|(at, _)| *at < from || *at >= from + len).map(|(_, line)| line.clone()).collect();
            tries += 1;
            match self.judge(query, &fewer, seed, folder) {
                Ok(()) => from += len,
                Err(smaller) => (lines, message) = (fewer, smaller),
            }
        }
        // The folder shows the last try, which may have gone well.
        match self.judge(query, &lines, seed, folder) {
            Ok(()) => (lines, format!("{message} (not always: another try went well)")),
            Err(message) => (lines, message),
        }
    }
}
