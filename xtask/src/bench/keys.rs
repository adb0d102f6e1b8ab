//! `keys`: what a row costs over many keys, beside what it costs over few.
//!
//! The same rows twice, but for their keys, in update mode to the noop sink. A third run of each prints what it gives, and DuckDB
//! compares that batch by batch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::runs::Runs;
use super::table::{Table, grouped};
use super::{Wish, at_most, data, measure, millstream, verdict, workdir};
use crate::run::{Outcome, root};
use crate::tools;

const FILES: u64 = 10;
const ROWS: u64 = 5_000_000;
const START_UP_ROWS: u64 = 100;

/// The kinds of data in `benches/gen.py`.
const FEW: &str = "keys-10k";
const MANY: &str = "keys-1m";

/// So many times the CPU of few keys may many keys cost.
const FACTOR_AT_MOST: f64 = 3.0;
const PEAK_RSS_MB_AT_MOST: f64 = 300.0;

/// Runs, checks and prints both.
pub fn run(wish: &Wish) -> Outcome {
    let (n_files, n_rows) = wish.files_and_rows(FILES, ROWS);
    let python = tools::python()?;
    let program = millstream(wish)?;
    let sql = root().join("benches/jobs/keys.sql");
    let mut both = Vec::new();
    let mut checks = Vec::new();
    for kind in [FEW, MANY] {
        let (full, tiny) = (data(&python, kind, wish.seed, n_files, n_rows)?, data(&python, kind, wish.seed, 1, START_UP_ROWS)?);
        checks.push(check(&python, &program, &sql, &full)?);
        both.push((full, tiny));
    }
    let mut all = [FEW, MANY].map(Runs::of);
    // Interleaved, so that a noisy minute hits both.
    for rep in 1..=wish.reps {
        for (runs, (full, tiny)) in all.iter_mut().zip(&both) {
            let one = |data: &Path| measure(&python, &workdir("keys", Some(data))?, None, &program, &["run", &sql.to_string_lossy()]);
            runs.add(rep, wish.reps, one(tiny)?, one(full)?);
        }
    }
    print(&all, n_rows, wish);
    for (runs, said) in all.iter().zip(&checks) {
        println!("check of {}: {said}", runs.name);
    }
    Ok(())
}

/// A run that prints its rows, which DuckDB looks at.
fn check(python: &Path, program: &Path, sql: &Path, data: &Path) -> Outcome<String> {
    let folder = workdir("keys-checked", Some(data))?;
    let text = fs::read_to_string(sql).map_err(|e| format!("cannot read {}: {e}", sql.display()))?;
    let job: PathBuf = folder.join("job.sql");
    fs::write(&job, text.replace("USING noop", "USING console")).map_err(|e| format!("cannot write {}: {e}", job.display()))?;
    measure(python, &folder, None, program, &["run", "job.sql"])?;
    verdict(Command::new(python).arg(root().join("benches/keys.py")).arg(data).arg(folder.join("log")))
}

fn print(all: &[Runs; 2], n_rows: u64, wish: &Wish) {
    #[expect(clippy::cast_precision_loss, reason = "a count of rows, shown with four digits")]
    let rows = n_rows as f64;
    let mut table =
        Table::new(&["data", "rows", "CPU-s", "start-up CPU-s", "CPU ns per row, net", "rows/CPU-s net", "peak RSS MB", "wall s"]);
    for runs in all {
        table.row(&[
            runs.name.to_owned(),
            grouped(rows),
            format!("{:.2}", runs.cpu_s()),
            format!("{:.2}", runs.start_up_cpu_s()),
            format!("{:.0}", runs.net_cpu_s() * 1e9 / rows),
            grouped(rows / runs.net_cpu_s()),
            format!("{:.0}", runs.peak_rss_mb()),
            format!("{:.1}", runs.wall_s()),
        ]);
    }
    println!("\nkeys (seed {}, median of {} runs)\n\n{table}", wish.seed, wish.reps);
    let [few, many] = all;
    at_most("CPU per row of 1 M keys, in that of 10 k", many.net_cpu_s() / few.net_cpu_s(), FACTOR_AT_MOST);
    at_most("peak RSS in MB", many.peak_rss_mb().max(few.peak_rss_mb()), PEAK_RSS_MB_AT_MOST);
}
