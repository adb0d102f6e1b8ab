//! How long a row waits for its durable commit: 10,000 rows a second are counted by key, in an open loop.
//!
//! Ten rows are due every millisecond, whatever the query does; a row's latency is counted from when it was due to the commit of
//! its batch. Beside it a probe does what no such commit can do without, on the same disk, for something that is due every 20 ms;
//! it is an open loop, too: when the disk stands still, all that was due meanwhile waited for it, and not one call alone.
//! Prints one JSON object: `batches`, `cores` (CPU seconds per second), `other_cores` (those of all else on the machine: who
//! shares it waits for others' batches, and the probe, which needs hardly any CPU, does not show that), `p50_ms`, `p99_ms`, `max_ms`, the same of the probe
//! (`probe_p50_ms` ...) and of the load (`load_p99_ms`, `load_max_ms`: how late rows were offered that were due), and
//! `probe_call_p99_ms` (how long the probe's calls took). Arguments: `noop` or `parquet` (each batch is committed), seconds
//! (default 30). With a third argument it tells on stderr of each batch and call of the probe that took longer than so many ms.
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures the machine and prints")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use millstream::{Error, MemoryStream, QueryEvent, Result, Session, StreamingQueryListener, StreamingQueryProgress, Trigger};
use tokio::sync::mpsc;

const BURST_EVERY: Duration = Duration::from_millis(1);
const ROWS_PER_BURST: u64 = 10;
const N_KEYS: u64 = 1000;
const WARM_UP: Duration = Duration::from_secs(3);
const PROBE_EVERY: Duration = Duration::from_millis(20);
/// What a batch of this load leaves on the disk, about.
const PROBE_BYTES: usize = 4096;
const DAY_MS: f64 = 86_400_000.0;

struct Committed {
    batches: mpsc::UnboundedSender<Batch>,
    told_from_ms: f64,
}

/// A batch that has been committed.
struct Batch {
    n_rows: u64,
    /// Since midnight UTC.
    at_ms: f64,
}

impl StreamingQueryListener for Committed {
    fn on_event(&self, event: &QueryEvent) {
        if let QueryEvent::Progress(progress) = event {
            if progress.batch_duration as f64 > self.told_from_ms {
                eprintln!(
                    "{} batch {}: {} rows, {:?} ms",
                    progress.timestamp, progress.batch_id, progress.num_input_rows, progress.duration_ms
                );
            }
            let _ = self.batches.send(Batch { n_rows: progress.num_input_rows, at_ms: committed_at_ms(progress).min(now_ms()) });
        }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let is_file = args.next().as_deref() == Some("parquet");
    let seconds: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(30);
    let told_from_ms: f64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(f64::INFINITY);
    for folder in ["checkpoint", "out", "probe"] {
        let _ = std::fs::remove_dir_all(folder);
    }

    let session = Session::new()?;
    let schema = Arc::new(Schema::new(vec![Field::new("key", DataType::Int64, true)]));
    let stream = session.memory_stream("rows", Arc::clone(&schema))?;
    let (batches, mut committed) = mpsc::unbounded_channel();
    session.streams().add_listener(Arc::new(Committed { batches, told_from_ms }));
    let rows = session.read_stream().format("memory").option("stream", "rows").load().await?;
    let query = if is_file {
        // A deduplication that lets every row pass: append mode, as files ask for.
        let unique = rows.select_expr(["key"])?.drop_duplicates(["key"]);
        unique.write_stream().format("parquet").option("commitInterval", "0 seconds").option("path", "out")
    } else {
        rows.select_expr([&format!("key % {N_KEYS} AS key")])?.group_by(["key"]).count().write_stream().format("noop").output_mode("update")
    };
    let query = query.trigger(Trigger::AsSoonAsPossible).checkpoint("checkpoint").start().await?;

    let is_over = Arc::new(AtomicBool::new(false));
    let probe = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || probe(is_file, &is_over, told_from_ms)
    });
    let n_bursts = (WARM_UP + Duration::from_secs(seconds)).as_millis() as u64;
    let (cpu_from, machine_from) = (cpu_time(), machine_time());
    let start_ms = now_ms();
    let load = std::thread::spawn(move || offer(&stream, &schema, n_bursts));
    let mut offered = load.join().map_err(|_| Error::internal("the load died"))??;
    let (cpu, machine) = (cpu_time().saturating_sub(cpu_from), machine_time().saturating_sub(machine_from));
    query.process_all_available().await?;
    is_over.store(true, Ordering::Relaxed);
    query.stop().await;

    // Rows are committed in the order in which they were due.
    let (mut n_done, mut n_batches, mut latencies) = (0, 0, Vec::new());
    while let Some(batch) = committed.recv().await {
        n_batches += 1;
        for burst in n_done / ROWS_PER_BURST..(n_done + batch.n_rows) / ROWS_PER_BURST {
            let due_ms = start_ms + (BURST_EVERY * u32::try_from(burst).unwrap_or(u32::MAX)).as_secs_f64() * 1000.0;
            if burst >= WARM_UP.as_millis() as u64 {
                latencies.push((batch.at_ms - due_ms).rem_euclid(DAY_MS));
            }
        }
        n_done += batch.n_rows;
        if n_done >= n_bursts * ROWS_PER_BURST {
            break;
        }
    }
    let Probed { mut waited, mut called } =
        probe.join().map_err(|_| Error::internal("the probe died"))?.map_err(|e| Error::unavailable(format!("probe: {e}")))?;
    let wall_s = (n_bursts as f64 * BURST_EVERY.as_secs_f64()).max(1e-9);
    println!(
        "{{\"batches\":{n_batches},\"cores\":{:.3},\"other_cores\":{:.3},\"p50_ms\":{:.2},\"p99_ms\":{:.2},\"max_ms\":{:.2},\"probe_p50_ms\":{:.2},\"probe_p99_ms\":{:.2},\"probe_max_ms\":{:.2},\"probe_call_p99_ms\":{:.2},\"load_p99_ms\":{:.2},\"load_max_ms\":{:.2}}}",
        cpu.as_secs_f64() / wall_s,
        machine.saturating_sub(cpu).as_secs_f64() / wall_s,
        quantile(&mut latencies, 0.5),
        quantile(&mut latencies, 0.99),
        quantile(&mut latencies, 1.0),
        quantile(&mut waited, 0.5),
        quantile(&mut waited, 0.99),
        quantile(&mut waited, 1.0),
        quantile(&mut called, 0.99),
        quantile(&mut offered, 0.99),
        quantile(&mut offered, 1.0),
    );
    Ok(())
}

/// Adds each burst when it is due, or as soon after that as it can: how late each came after the warm-up, in milliseconds.
fn offer(stream: &MemoryStream, schema: &Arc<Schema>, n_bursts: u64) -> Result<Vec<f64>> {
    let (start, mut late) = (Instant::now(), Vec::new());
    for burst in 0..n_bursts {
        let due = start + BURST_EVERY * u32::try_from(burst).unwrap_or(u32::MAX);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if due >= start + WARM_UP {
            late.push(due.elapsed().as_secs_f64() * 1000.0);
        }
        let first = i64::try_from(burst * ROWS_PER_BURST).unwrap_or(0);
        let keys = Int64Array::from_iter_values(first..first + ROWS_PER_BURST as i64);
        stream.add(RecordBatch::try_new(Arc::clone(schema), vec![Arc::new(keys)])?)?;
    }
    Ok(late)
}

/// What the probe found, in milliseconds.
struct Probed {
    /// From when something was due to the end of the call that made it durable.
    waited: Vec<f64>,
    /// How long each call took.
    called: Vec<f64>,
}

/// Does the least that a commit does, for all that is due.
fn probe(is_file: bool, is_over: &AtomicBool, told_from_ms: f64) -> std::io::Result<Probed> {
    let (dir, bytes) = (Path::new("probe"), [0x5a; PROBE_BYTES]);
    std::fs::create_dir_all(dir)?;
    let mut log = OpenOptions::new().create(true).append(true).open(dir.join("log"))?;
    let (mut waited, mut called) = (Vec::new(), Vec::new());
    let start = Instant::now();
    let mut due = start + WARM_UP;
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let from = Instant::now();
        if is_file {
            let staged = dir.join("staged");
            let mut file = File::create(&staged)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            log.write_all(&bytes)?;
            log.sync_data()?;
            std::fs::rename(&staged, dir.join(format!("file-{}", called.len())))?;
            File::open(dir)?.sync_all()?;
        } else {
            log.write_all(&bytes)?;
            log.sync_data()?;
        }
        let took_ms = from.elapsed().as_secs_f64() * 1000.0;
        if took_ms > told_from_ms {
            eprintln!("the probe's call that ended at {:.0} ms of the day took {took_ms:.0} ms", now_ms());
        }
        called.push(took_ms);
        while due <= from {
            waited.push(due.elapsed().as_secs_f64() * 1000.0);
            due += PROBE_EVERY;
        }
    }
    Ok(Probed { waited, called })
}

/// When a batch was committed, by its own progress, rounded up: the listener hears of it only when the next one has run.
fn committed_at_ms(progress: &StreamingQueryProgress) -> f64 {
    let number = |from: usize, to: usize| progress.timestamp.get(from..to).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    let began_ms = ((number(11, 13) * 60.0 + number(14, 16)) * 60.0 + number(17, 19)) * 1000.0 + number(20, 23);
    began_ms + progress.batch_duration as f64 + 2.0
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0 % DAY_MS
}

fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let position = (values.len() as f64 * share) as usize;
    values.get(position.min(values.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// User and system time of this process, by ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks: u64 = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Time that the machine's CPUs were busy, or taken away from it, by ticks of 10 ms.
fn machine_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks = fields.filter_map(|field| field.parse::<u64>().ok());
    // user, nice, system, idle, iowait, irq, softirq, steal; what follows is counted within them.
    Duration::from_millis(ticks.take(8).enumerate().filter(|(idx, _)| ![3, 4].contains(idx)).map(|(_, ticks)| ticks * 10).sum())
}
