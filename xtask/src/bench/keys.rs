//! `keys`: what a row costs over many keys, beside what it costs over few.
//!
//! The same rows twice, but for their keys, in update mode to the noop sink. A third run of each prints what it gives, and DuckDB
//! compares that batch by batch.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::table::{Table, grouped};
use super::{Cost, Wish, data, measure, median, millstream, workdir};
use crate::run::{Outcome, root, shown};
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

/// What the runs over one kind of data cost.
struct Runs {
    kind: &'static str,
    full: Vec<Cost>,
    start_up_cpu_s: f64,
}

impl Runs {
    fn net_cpu_s(&self) -> f64 {
        self.cpu_s() - self.start_up_cpu_s
    }

    fn cpu_s(&self) -> f64 {
        median(self.full.iter().map(|cost| cost.cpu_s))
    }

    fn peak_rss_mb(&self) -> f64 {
        median(self.full.iter().map(|cost| cost.peak_rss_mb))
    }
}

/// Runs, checks and prints both.
pub fn run(wish: &Wish) -> Outcome {
    if wish.spark || wish.kills.is_some() {
        return Err("keys compares us with ourselves: it has no peer and no kills".to_owned());
    }
    let n_files = wish.files.unwrap_or(FILES);
    let n_rows = wish.rows.unwrap_or(ROWS) / n_files.max(1) * n_files;
    let python = tools::python()?;
    let program = millstream(wish)?;
    let sql = root().join("benches/jobs/keys.sql");
    let mut both = Vec::new();
    let mut checks = Vec::new();
    for kind in [FEW, MANY] {
        let (full, tiny) = (data(&python, kind, wish.seed, n_files, n_rows)?, data(&python, kind, wish.seed, 1, START_UP_ROWS)?);
        checks.push(check(&python, &program, &sql, &full)?);
        both.push((kind, full, tiny));
    }
    let mut all: Vec<Runs> = both.iter().map(|(kind, ..)| Runs { kind, full: Vec::new(), start_up_cpu_s: f64::NAN }).collect();
    let mut start_ups = Vec::new();
    // Interleaved, so that a noisy minute hits both.
    for rep in 1..=wish.reps {
        for (runs, (kind, full, tiny)) in all.iter_mut().zip(&both) {
            let one = |data: &Path| measure(&python, &workdir("keys", Some(data))?, None, &program, &["run", &sql.to_string_lossy()]);
            start_ups.push(one(tiny)?.cpu_s);
            let cost = one(full)?;
            println!(
                "{kind} run {rep} of {}: {:.2} CPU-s, {:.2} s wall, {:.0} MB, {:.1} CPU-s of other processes meanwhile",
                wish.reps, cost.cpu_s, cost.wall_s, cost.peak_rss_mb, cost.foreign_cpu_s
            );
            runs.full.push(cost);
        }
    }
    let start_up = median(start_ups);
    all.iter_mut().for_each(|runs| runs.start_up_cpu_s = start_up);
    print(&all, n_rows, wish);
    for (runs, said) in all.iter().zip(&checks) {
        println!("check of {}: {said}", runs.kind);
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
    let mut compare = Command::new(python);
    compare.arg(root().join("benches/keys.py")).arg(data).arg(folder.join("log"));
    let verdict = compare.output().map_err(|e| format!("cannot start {}: {e}", shown(&compare)))?;
    let said = String::from_utf8_lossy(&verdict.stdout).trim().to_owned();
    if verdict.status.success() {
        Ok(said)
    } else {
        Err(format!("the rows are not right: {said} {}", String::from_utf8_lossy(&verdict.stderr)))
    }
}

fn print(all: &[Runs], n_rows: u64, wish: &Wish) {
    #[expect(clippy::cast_precision_loss, reason = "a count of rows, shown with four digits")]
    let rows = n_rows as f64;
    let mut table =
        Table::new(&["data", "rows", "CPU-s", "start-up CPU-s", "CPU ns per row, net", "rows/CPU-s net", "peak RSS MB", "wall s"]);
    for runs in all {
        table.row(&[
            runs.kind.to_owned(),
            grouped(rows),
            format!("{:.2}", runs.cpu_s()),
            format!("{:.2}", runs.start_up_cpu_s),
            format!("{:.0}", runs.net_cpu_s() * 1e9 / rows),
            grouped(rows / runs.net_cpu_s()),
            format!("{:.0}", runs.peak_rss_mb()),
            format!("{:.1}", median(runs.full.iter().map(|cost| cost.wall_s))),
        ]);
    }
    println!("\nkeys (seed {}, median of {} runs)\n\n{table}", wish.seed, wish.reps);
    let [few, many] = all else { return };
    for (what, value, at_most) in [
        ("CPU per row of 1 M keys, in that of 10 k", many.net_cpu_s() / few.net_cpu_s(), FACTOR_AT_MOST),
        ("peak RSS in MB", many.peak_rss_mb().max(few.peak_rss_mb()), PEAK_RSS_MB_AT_MOST),
    ] {
        println!("{what}: {value:.2}, at most {at_most}: {}", if value <= at_most { "reached" } else { "MISSED" });
    }
}
