//! How a running job looks on a terminal: one line per dataset, redrawn in place, and a summary at the end.

use std::fmt;
use std::time::Duration;

use millstream::job::{DatasetState, DatasetStatus};
use millstream::{JobRun, Result, StreamingQueryProgress};

use crate::print::{line, told};
use crate::totals::{Total, Totals};

/// How often the live view is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// Draws a line per dataset until the job ends.
pub async fn watch(running: &mut JobRun, totals: &Totals) -> Result<()> {
    let mut n_drawn = 0;
    loop {
        let ended = tokio::time::timeout(REDRAW, running.wait()).await;
        let lines: Vec<String> = running.statuses().iter().map(|status| live_line(status, &totals.of(&status.name))).collect();
        draw(&lines, &mut n_drawn);
        if let Ok(ended) = ended {
            return ended;
        }
    }
}

/// Says of every dataset how it ended and what it did.
pub fn summary(statuses: &[DatasetStatus], totals: &Totals) {
    for status in statuses {
        let total = totals.of(&status.name);
        let state = match &status.state {
            DatasetState::Running => "stopped",
            DatasetState::Failed(_) => "failed",
            _ => "ended",
        };
        match status.n_rows {
            _ if matches!(status.state, DatasetState::Waiting) => line(&format!("{}: did not start", status.name)),
            Some(n_rows) => line(&format!("{}: {state}, {}", status.name, counted(n_rows, ROWS))),
            None => line(&format!(
                "{}: {state}, {}, {} in, {} out",
                status.name,
                counted(total.n_batches, ("batch", "batches")),
                counted(total.n_rows_in, ROWS),
                counted(total.n_rows_out, ROWS)
            )),
        }
    }
}

/// How many there are, of one and of many.
const ROWS: (&str, &str) = ("row", "rows");

fn counted(n: u64, (one, many): (&str, &str)) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

fn draw(lines: &[String], n_drawn: &mut usize) {
    let up = if *n_drawn > 0 { format!("\x1b[{n_drawn}A") } else { String::new() };
    let drawn: String = lines.iter().map(|line| format!("\x1b[2K{line}\n")).collect();
    told(&(up + &drawn));
    *n_drawn = lines.len();
}

fn live_line(status: &DatasetStatus, total: &Total) -> String {
    let state = match &status.state {
        DatasetState::Waiting => "waiting".to_owned(),
        DatasetState::Ended => "ended".to_owned(),
        DatasetState::Failed(_) => "failed".to_owned(),
        _ => status.query.as_ref().map_or_else(|| "running".to_owned(), |query| query.status().message),
    };
    match (&total.last, status.n_rows) {
        (Some(last), _) => {
            // The lag is that of now: an idle query knows it better than its last batch.
            let now = status.query.as_ref().and_then(|query| query.last_progress());
            let standing = Standing::of(last, now.as_ref().unwrap_or(last));
            let (rows_in, rows_out) = (counted(total.n_rows_in, ROWS), counted(total.n_rows_out, ROWS));
            format!("{}: {standing}, {rows_in} in, {rows_out} out ({state})", status.name)
        }
        (None, Some(n_rows)) => format!("{}: {} ({state})", status.name, counted(n_rows, ROWS)),
        (None, None) => format!("{}: {state}", status.name),
    }
}

/// How far a query is: `batch 7, 1200 rows/s, lag 3 files (1.5 MB), watermark -`.
#[derive(Debug, Default, PartialEq)]
struct Standing {
    batch_id: u64,
    rows_per_second: f64,
    /// Files listed and not yet taken, and their bytes; `None` for sources without files.
    lag: Option<(u64, u64)>,
    watermark: Option<String>,
}

impl Standing {
    fn of(last_batch: &StreamingQueryProgress, now: &StreamingQueryProgress) -> Self {
        let outstanding = |name: &str| {
            let values = now.sources.iter().filter_map(|source| source.metrics.get(name)?.parse::<u64>().ok());
            values.reduce(u64::saturating_add)
        };
        Self {
            batch_id: last_batch.batch_id,
            rows_per_second: last_batch.processed_rows_per_second,
            lag: outstanding("numFilesOutstanding").map(|n_files| (n_files, outstanding("numBytesOutstanding").unwrap_or(0))),
            watermark: now.event_time.get("watermark").cloned(),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch {}, {:.0} rows/s, lag ", self.batch_id, self.rows_per_second)?;
        match self.lag {
            None => write!(f, "-")?,
            Some((0, _)) => write!(f, "0 files")?,
            Some((1, bytes)) => write!(f, "1 file ({})", size(bytes))?,
            Some((n_files, bytes)) => write!(f, "{n_files} files ({})", size(bytes))?,
        }
        write!(f, ", watermark {}", self.watermark.as_deref().unwrap_or("-"))
    }
}

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests;
