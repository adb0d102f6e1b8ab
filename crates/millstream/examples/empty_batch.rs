//! What one micro-batch of one row costs: memory stream, filter and projection, noop sink, checkpoint on a local disk.
//!
//! Prints one JSON object: `batches`, `cpu_ms_per_batch` (user + system time of the process), and the latency from the
//! row's arrival to its commit: `p50_ms`, `p90_ms`, `p99_ms`; `peak_rss_mb` of the process. Arguments: number of batches (default 1000), checkpoint folder.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures the machine and prints")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use millstream::{BatchId, QueryEvent, Result, Session, StreamingQueryListener, Trigger};
use tokio::sync::mpsc;

const WARM_UP: usize = 100;

struct Committed(mpsc::UnboundedSender<(BatchId, Instant)>);

impl StreamingQueryListener for Committed {
    fn on_event(&self, event: &QueryEvent) {
        if let QueryEvent::Progress(progress) = event {
            let _ = self.0.send((BatchId(progress.batch_id), Instant::now()));
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let n_batches: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let checkpoint = args.next().unwrap_or_else(|| "target/empty-batch-checkpoint".to_owned());
    let _ = std::fs::remove_dir_all(&checkpoint);

    let session = Session::new()?;
    let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Int64, true)]));
    let stream = session.memory_stream("rows", Arc::clone(&schema))?;
    let (sender, mut committed) = mpsc::unbounded_channel();
    session.streams().add_listener(Arc::new(Committed(sender)));
    let frame = session.read_stream().format("memory").option("stream", "rows").load().await?;
    let frame = frame.filter_expr("value >= 0")?.select_expr(["value * 2 AS doubled", "current_timestamp() AS at"])?;
    let query = frame.write_stream().format("noop").trigger(Trigger::AsSoonAsPossible).checkpoint(&checkpoint).start().await?;

    let mut latencies = Vec::with_capacity(n_batches);
    let mut cpu_from = cpu_time();
    for n in 0..WARM_UP + n_batches {
        if n == WARM_UP {
            cpu_from = cpu_time();
        }
        let row = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![n as i64]))])?;
        let arrived = Instant::now();
        stream.add(row)?;
        if let Some((_, at)) = committed.recv().await
            && n >= WARM_UP
        {
            latencies.push(at.saturating_duration_since(arrived));
        }
    }
    let cpu = cpu_time().saturating_sub(cpu_from);
    query.stop().await;
    latencies.sort();
    let quantile = |share: f64| {
        let position = (latencies.len() as f64 * share) as usize;
        latencies.get(position.min(latencies.len().saturating_sub(1))).map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
    };
    println!(
        "{{\"batches\":{n_batches},\"cpu_ms_per_batch\":{:.3},\"p50_ms\":{:.3},\"p90_ms\":{:.3},\"p99_ms\":{:.3},\"peak_rss_mb\":{:.1}}}",
        cpu.as_secs_f64() * 1000.0 / n_batches as f64,
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        peak_rss_mb()
    );
    Ok(())
}

/// User and system time of this process, by ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The most memory this process has had.
fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(f64::NAN) / 1024.0
}
