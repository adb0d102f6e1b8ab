//! What several runs of one thing cost: over all rows, and over few, which is what starting costs.

use super::table::{Table, grouped};
use super::{Cost, median};

/// The runs so far.
pub struct Runs {
    pub name: &'static str,
    full: Vec<Cost>,
    start_up: Vec<Cost>,
}

impl Runs {
    pub fn of(name: &'static str) -> Self {
        Self { name, full: Vec::new(), start_up: Vec::new() }
    }

    /// One more of each, the `rep`th of `n_reps`.
    pub fn add(&mut self, rep: usize, n_reps: usize, start_up: Cost, full: Cost) {
        println!(
            "{} run {rep} of {n_reps}: {:.2} CPU-s, {:.2} s wall, {:.0} MB, {:.1} CPU-s of other processes meanwhile",
            self.name, full.cpu_s, full.wall_s, full.peak_rss_mb, full.foreign_cpu_s
        );
        self.start_up.push(start_up);
        self.full.push(full);
    }

    pub fn cpu_s(&self) -> f64 {
        self.of_full(|cost| cost.cpu_s)
    }

    pub fn start_up_cpu_s(&self) -> f64 {
        median(self.start_up.iter().map(|cost| cost.cpu_s))
    }

    /// Without what starting costs.
    pub fn net_cpu_s(&self) -> f64 {
        self.cpu_s() - self.start_up_cpu_s()
    }

    pub fn peak_rss_mb(&self) -> f64 {
        self.of_full(|cost| cost.peak_rss_mb)
    }

    pub fn wall_s(&self) -> f64 {
        self.of_full(|cost| cost.wall_s)
    }

    fn of_full(&self, figure: fn(&Cost) -> f64) -> f64 {
        median(self.full.iter().map(figure))
    }
}

/// The engines' runs over so many rows, for people and for docs/benchmarks.md.
pub fn table<'a>(rows: f64, engines: impl IntoIterator<Item = &'a Runs>) -> Table {
    let mut table = Table::new(&["engine", "rows", "CPU-s", "start-up CPU-s", "rows/CPU-s", "rows/CPU-s net", "peak RSS MB", "wall s"]);
    for runs in engines {
        table.row(&[
            runs.name.to_owned(),
            grouped(rows),
            format!("{:.2}", runs.cpu_s()),
            format!("{:.2}", runs.start_up_cpu_s()),
            grouped(rows / runs.cpu_s()),
            grouped(rows / runs.net_cpu_s()),
            format!("{:.0}", runs.peak_rss_mb()),
            format!("{:.1}", runs.wall_s()),
        ]);
    }
    table
}
