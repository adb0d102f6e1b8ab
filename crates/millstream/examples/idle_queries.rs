//! What queries with state cost that have nothing to do: a hundred in one process, each with a thousand rows counted by key.
//!
//! Prints one JSON object: `queries`, `cpu_ms_per_s` (all threads together), `rss_mb`. Arguments: `memory` (streams that tell
//! of new rows) or `files` (folders that must be looked at), number of queries (default 100), seconds (default 30).
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures the machine and prints")]

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use millstream::{Error, Result, Session, StreamingQuery, Trigger, parse_schema};

const N_ROWS: u64 = 1000;
/// Until what the last batches left behind is written, and the threads that wrote it have ended, whose time is not seen any more then.
const CALM_AFTER: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let is_file = args.next().as_deref() == Some("files");
    let n_queries: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(100);
    let seconds: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(30);
    for folder in ["checkpoints", "data"] {
        let _ = std::fs::remove_dir_all(folder);
    }

    let session = Session::new()?;
    let mut queries = Vec::new();
    for n in 0..n_queries {
        queries.push(start(&session, n, is_file).await?);
    }
    for query in &queries {
        query.process_all_available().await?;
    }
    tokio::time::sleep(CALM_AFTER).await;
    let from_ns = cpu_ns();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let cpu_ms = cpu_ns().saturating_sub(from_ns) as f64 / 1e6;
    println!("{{\"queries\":{n_queries},\"cpu_ms_per_s\":{:.3},\"rss_mb\":{:.1}}}", cpu_ms / seconds.max(1) as f64, rss_mb());
    for query in &queries {
        query.stop().await;
    }
    Ok(())
}

/// A query that counts by key, with its input.
async fn start(session: &Session, n: usize, is_file: bool) -> Result<StreamingQuery> {
    let schema = parse_schema("key BIGINT")?;
    let rows = if is_file {
        let folder = Path::new("data").join(n.to_string());
        write_rows(&folder).map_err(|error| Error::unavailable("the rows could not be written").caused_by(error))?;
        session.read_stream().arrow_schema(schema).json(folder).await?
    } else {
        let name = format!("rows{n}");
        let keys = Int64Array::from_iter_values(0..N_ROWS as i64);
        let stream = session.memory_stream(&name, Arc::clone(&schema))?;
        stream.add(RecordBatch::try_new(schema, vec![Arc::new(keys)])?)?;
        session.read_stream().format("memory").option("stream", &name).load().await?
    };
    let counts = rows.group_by(["key"]).count().write_stream().format("noop").output_mode("update");
    counts.trigger(Trigger::AsSoonAsPossible).checkpoint(Path::new("checkpoints").join(n.to_string())).start().await
}

fn write_rows(folder: &Path) -> std::io::Result<()> {
    let mut lines = String::new();
    for key in 0..N_ROWS {
        let _ = writeln!(lines, "{{\"key\":{key}}}");
    }
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("rows.json"), lines)
}

/// CPU time of all threads, in nanoseconds. A thread that has ended is not counted any more; idle ones live on.
fn cpu_ns() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_thread = |thread: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(of_thread).sum()
}

fn rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(f64::NAN) / 1024.0
}
