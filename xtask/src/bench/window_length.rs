//! `window-length`: what a row costs with windows a hundred times as long at the same slide.
//!
//! The same job in append mode over windows of one slide and of a hundred, to the noop sink, with few keys: so what windows give, which is
//! excluded, is little beside what comes in. Another run of each writes Parquet, which DuckDB compares.

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

/// So many times the CPU of short windows may long ones cost.
const FACTOR_AT_MOST: f64 = 1.5;

/// The windows of the job, by the names of `benches/windows.py`.
const LENGTHS: [(&str, &str); 2] = [("window-length-x1", "'5 seconds'"), ("window-length-x100", "'500 seconds', '5 seconds'")];

/// Runs, checks and prints both.
pub fn run(wish: &Wish) -> Outcome {
    let (n_files, n_rows) = wish.files_and_rows(FILES, ROWS);
    let python = tools::python()?;
    let program = millstream(wish)?;
    let full = data(&python, "window-length", wish.seed, n_files, n_rows)?;
    let tiny = data(&python, "window-length", wish.seed, 1, START_UP_ROWS)?;
    let mut all = LENGTHS.map(|(name, _)| Runs::of(name));
    let mut checks = Vec::new();
    for (name, windows) in LENGTHS {
        let folder = prepared(name, &full, windows, "parquet LOCATION 'out'")?;
        measure(&python, &folder, None, &program, &["run", "job.sql"])?;
        checks.push(check(&python, name, &full, &folder.join("out"))?);
    }
    // Interleaved, so that a noisy minute hits both.
    for rep in 1..=wish.reps {
        for (runs, (name, windows)) in all.iter_mut().zip(LENGTHS) {
            let one = |data: &Path| measure(&python, &prepared(name, data, windows, "noop")?, None, &program, &["run", "job.sql"]);
            runs.add(rep, wish.reps, one(&tiny)?, one(&full)?);
        }
    }
    print(&all, n_rows, wish);
    for (runs, said) in all.iter().zip(&checks) {
        println!("check of {}: {said}", runs.name);
    }
    Ok(())
}

/// A working directory with the job for these windows and this sink.
fn prepared(name: &str, data: &Path, windows: &str, sink: &str) -> Outcome<PathBuf> {
    let folder = workdir(name, Some(data))?;
    let sql = root().join("benches/jobs/window-length.sql");
    let text = fs::read_to_string(&sql).map_err(|e| format!("cannot read {}: {e}", sql.display()))?;
    let text = text.replace(LENGTHS[1].1, windows).replace("USING noop", &format!("USING {sink}"));
    fs::write(folder.join("job.sql"), text).map_err(|e| format!("cannot write to {}: {e}", folder.display()))?;
    Ok(folder)
}

fn check(python: &Path, name: &str, data: &Path, out: &Path) -> Outcome<String> {
    verdict(Command::new(python).arg(root().join("benches/windows.py")).arg(name).arg(data).arg(out))
}

fn print(all: &[Runs; 2], n_rows: u64, wish: &Wish) {
    #[expect(clippy::cast_precision_loss, reason = "a count of rows, shown with four digits")]
    let rows = n_rows as f64;
    let mut table =
        Table::new(&["windows", "rows", "CPU-s", "start-up CPU-s", "CPU ns per row, net", "rows/CPU-s net", "peak RSS MB", "wall s"]);
    for runs in all {
        table.row(&[
            runs.name.trim_start_matches("window-length-").to_owned(),
            grouped(rows),
            format!("{:.2}", runs.cpu_s()),
            format!("{:.2}", runs.start_up_cpu_s()),
            format!("{:.0}", runs.net_cpu_s() * 1e9 / rows),
            grouped(rows / runs.net_cpu_s()),
            format!("{:.0}", runs.peak_rss_mb()),
            format!("{:.1}", runs.wall_s()),
        ]);
    }
    println!("\nwindow-length (seed {}, median of {} runs)\n\n{table}", wish.seed, wish.reps);
    let [short, long] = all;
    at_most("CPU per row of windows of a hundred slides, in that of one", long.net_cpu_s() / short.net_cpu_s(), FACTOR_AT_MOST);
}
