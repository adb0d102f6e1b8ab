//! What the state store does per second, and what it takes: keys of 16 bytes, in calls of 8,192 rows.
//!
//! `cargo run --release -p millstream-state --example store_bench [-- N_KEYS]`. The figures are of one core but for recovery.
//! `... -- spill N_KEYS uniform|zipf [PART]`: read, add, write back in batches of 65,536 rows, all in memory, or in a PARTth of what
//! that takes; rates are per second of CPU (Linux).
//! `... -- evict N_KEYS`: a thousand keys go as a thousand come, 10,000 times; one line of JSON.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, FixedSizeBinaryArray, Int64Array};
use arrow::datatypes::{DataType, Field, Int64Type};
use millstream_core::{BatchId, RandomIds, Result, RunId, SystemClock};
use millstream_state::store::{KEY_GROUPS, KeyedTable, StateMemory, StoreHistory, StoreId, StoreKind, StoreSchema, StoreSpec, Tasks};
use millstream_state::{Checkpoint, Location, OsFileSystem, Record};

const ROWS_PER_CALL: u64 = 8192;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if let ["spill", n_keys, keys, rest @ ..] = args.as_slice() {
        let part = rest.first().map(|part| part.parse().unwrap_or(4));
        return spill(n_keys.parse().unwrap_or(1_000_000), *keys == "zipf", part);
    }
    if let ["evict", n_keys] = args.as_slice() {
        return evict(n_keys.parse().unwrap_or(10_000_000));
    }
    let n_keys = args.first().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    dedup(n_keys)?;
    let table = update(n_keys)?;
    recover(table).await
}

/// Keys only, with an expiry: insert, look up, expire few, expire all.
fn dedup(n_keys: u64) -> Result<()> {
    let mut table = KeyedTable::new(StoreSchema::new(vec![key_field()], Vec::<Field>::new())?)?;
    let calls: Vec<(ArrayRef, Int64Array)> =
        ranges(n_keys).map(|(from, to)| (keys(from..to), (from as i64..to as i64).collect())).collect();
    measure("insert_new, distinct keys with expiries", n_keys, || {
        calls.iter().try_for_each(|(keys, expiry)| table.insert_new(&[Arc::clone(keys)], Some(expiry), &[]).map(drop))
    })?;
    table.take_delta()?;
    println!("{:<50} {:>8.1} bytes a key beyond the key", "memory with an expiry", table.memory_bytes() as f64 / n_keys as f64 - 16.0);
    measure("insert_new, all known", n_keys, || {
        calls.iter().try_for_each(|(keys, expiry)| table.insert_new(&[Arc::clone(keys)], Some(expiry), &[]).map(drop))
    })?;
    measure("lookup, in another order", n_keys, || {
        ranges(n_keys).try_for_each(|(from, to)| table.lookup(&[keys((from..to).map(|n| n * 7919 % n_keys))]).map(drop))
    })?;
    let mut worst = 0.0_f64;
    for t in 1..=100 {
        let begin = Instant::now();
        table.discard_expired(t * 1000 - 1)?;
        worst = worst.max(begin.elapsed().as_secs_f64());
    }
    println!("{:<50} {:>8.3} ms at worst of 100", format!("expire 1,000 of {n_keys}"), worst * 1e3);
    measure("expire the rest", n_keys, || table.discard_expired(i64::MAX).map(drop))
}

/// A sum per key: upsert, and upsert again.
fn update(n_keys: u64) -> Result<KeyedTable> {
    let mut table = KeyedTable::new(StoreSchema::new(vec![key_field()], vec![Field::new("sum", DataType::Int64, true)])?)?;
    for name in ["upsert, distinct keys", "upsert, all known"] {
        let calls: Vec<(ArrayRef, ArrayRef)> = ranges(n_keys)
            .map(|(from, to)| (keys(from..to), Arc::new((from as i64..to as i64).collect::<Int64Array>()) as ArrayRef))
            .collect();
        measure(name, n_keys, || calls.iter().try_for_each(|(keys, sums)| table.upsert(&[Arc::clone(keys)], None, &[Arc::clone(sums)])))?;
    }
    println!("{:<50} {:>8.1} bytes a key", "memory with a sum", table.memory_bytes() as f64 / n_keys as f64);
    measure("take_delta of everything", n_keys, || table.take_delta().map(drop))?;
    measure("freeze", n_keys, || {
        std::hint::black_box(table.freeze());
        Ok(())
    })?;
    Ok(table)
}

/// A sum per key, read and written back: in memory, or in a part of the memory that it takes.
fn spill(n_keys: u64, is_zipf: bool, part: Option<usize>) -> Result<()> {
    const BYTES_PER_KEY: usize = 66;
    let dir = std::env::temp_dir();
    let memory = match part {
        Some(part) => StateMemory::limited(n_keys as usize * BYTES_PER_KEY / part, &dir),
        None => StateMemory::unlimited(),
    };
    let schema = StoreSchema::new(vec![key_field()], vec![Field::new("sum", DataType::Int64, true)])?;
    let mut table = KeyedTable::within(schema, &memory)?;
    let name = format!(
        "{} of {n_keys} keys{}",
        if is_zipf { "zipf 1.0" } else { "uniform" },
        part.map_or(String::new(), |n| format!(", 1/{n} in memory"))
    );
    let mut used_max = 0;
    let mut load = 0.0;
    for (from, to) in ranges(n_keys) {
        let (keys, sums) = (keys(from..to), Arc::new(Int64Array::from_value(0, (to - from) as usize)) as ArrayRef);
        let began = cpu_seconds();
        table.upsert(&[keys], None, &[sums])?;
        if to.is_multiple_of(65_536) || to == n_keys {
            table.take_delta()?;
        }
        load += cpu_seconds() - began;
        used_max = used_max.max(memory.used_bytes());
    }
    println!("{:<60} {:>8.2} M rows/CPU-s", format!("load, {name}"), n_keys as f64 / load / 1e6);
    let (mut state, mut spent, mut half) = (0x2545_f491_4f6c_dd1d_u64, 0.0, 0.0);
    // As many rows as keys, after as many that are not measured, so that there is a steady state.
    let n_batches = n_keys.div_ceil(65_536) * 2;
    for batch in 0..n_batches {
        for _ in 0..8 {
            let mut random = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 11) as f64 / (1_u64 << 53) as f64
            };
            let rank = |x: f64| if is_zipf { ((n_keys as f64).powf(x) as u64).min(n_keys - 1) } else { (x * n_keys as f64) as u64 };
            let ids: Vec<u64> = (0..ROWS_PER_CALL).map(|_| rank(random()).wrapping_mul(7919) % n_keys).collect();
            let keys = [keys(ids.into_iter())];
            let began = cpu_seconds();
            let slots: Vec<_> = table.lookup(&keys)?.into_iter().flatten().collect();
            assert_eq!(slots.len(), ROWS_PER_CALL as usize);
            let sums = table.gather(&slots)?;
            let sums = sums.iter().map(|sums| sums.as_primitive::<Int64Type>().unary::<_, Int64Type>(|sum| sum + 1));
            let sums: Vec<ArrayRef> = sums.map(|sums| Arc::new(sums) as ArrayRef).collect();
            table.upsert(&keys, None, &sums)?;
            spent += cpu_seconds() - began;
            used_max = used_max.max(memory.used_bytes());
        }
        let began = cpu_seconds();
        table.take_delta()?;
        spent += cpu_seconds() - began;
        if batch + 1 == n_batches / 2 {
            half = std::mem::take(&mut spent);
        }
    }
    let n_rows = (n_batches - n_batches / 2) * 65_536;
    println!("{:<60} {:>8.2} M rows/CPU-s (before: {:.2})", name, n_rows as f64 / spent / 1e6, n_rows as f64 / half / 1e6);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("?").trim().to_owned();
    let budget = part.map_or(String::new(), |part| format!(", budget {} kB", n_keys as usize * BYTES_PER_KEY / part / 1024));
    println!("    table {} kB by account, all state at most {} kB, peak RSS {peak}{budget}", table.memory_bytes() / 1024, used_max / 1024);
    table.spilled().into_iter().for_each(|spilled| println!("    {spilled:?}"));
    Ok(())
}

/// Keys that live for as long as it takes to replace them all: a thousand a second of event time.
fn evict(n_keys: u64) -> Result<()> {
    const N_STEPS: u64 = 10_000;
    const PER_STEP: u64 = 1000;
    const T0_MS: i64 = 1_700_000_000_000;
    let without_expiry = {
        let mut table = KeyedTable::new(StoreSchema::new(vec![key_field()], Vec::<Field>::new())?)?;
        for (from, to) in ranges(n_keys) {
            table.insert_new(&[keys(from..to)], None, &[])?;
            table.take_delta()?;
        }
        table.memory_bytes()
    };
    let rss_before = status_kb("VmRSS:");
    let mut table = KeyedTable::new(StoreSchema::new(vec![key_field()], Vec::<Field>::new())?)?;
    let add = |table: &mut KeyedTable, from: u64, to: u64| {
        let expiry: Int64Array = (from..to).map(|n| T0_MS + n as i64).collect();
        table.insert_new(&[keys(from..to)], Some(&expiry), &[])?;
        table.take_delta().map(drop)
    };
    ranges(n_keys).try_for_each(|(from, to)| add(&mut table, from, to))?;
    let (by_account, by_rss) = (table.memory_bytes(), (status_kb("VmRSS:") - rss_before) * 1024.0);
    let mut took_ms = Vec::new();
    for step in 0..N_STEPS {
        let from = step * PER_STEP;
        let begin = Instant::now();
        let n_gone = table.discard_expired(T0_MS + (from + PER_STEP) as i64 - 1)?;
        took_ms.push(begin.elapsed().as_secs_f64() * 1e3);
        assert_eq!(n_gone, PER_STEP as usize);
        add(&mut table, n_keys + from, n_keys + from + PER_STEP)?;
    }
    took_ms.sort_by(f64::total_cmp);
    let at = |share: f64| took_ms.get((took_ms.len() as f64 * share) as usize).or(took_ms.last()).copied().unwrap_or(f64::NAN);
    let beyond_key = |bytes: f64| bytes / n_keys as f64 - 16.0;
    println!(
        "{{\"n_keys\":{n_keys},\"evict_ms_p50\":{:.4},\"evict_ms_p99\":{:.4},\"evict_ms_max\":{:.4},\"bytes_beyond_key\":{:.1},\"rss_beyond_key\":{:.1},\"bytes_beyond_key_without_expiry\":{:.1}}}",
        at(0.5),
        at(0.99),
        at(1.0),
        beyond_key(by_account as f64),
        beyond_key(by_rss),
        beyond_key(without_expiry as f64)
    );
    Ok(())
}

/// A figure of this process, by its name with a colon.
fn status_kb(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(f64::NAN)
}

/// CPU time of this thread.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// A snapshot to disk and back, for two tasks.
async fn recover(table: KeyedTable) -> Result<()> {
    let dir = std::env::temp_dir().join(format!("millstream-store-bench-{}", std::process::id()));
    let location = Location::local(Arc::new(OsFileSystem), &dir)?;
    let id = StoreId { operator: "bench".into(), store: "sums".into() };
    let spec = StoreSpec { id: id.clone(), kind: StoreKind::Single, schema: table.schema().clone(), history: StoreHistory::default() };
    for is_first in [true, false] {
        let (mut checkpoint, opened) = Checkpoint::open(location.clone(), &RandomIds, &SystemClock::default()).await?;
        let start = Record::start(RunId(opened.query_id.0), 0, serde_json::Value::Null);
        let recovered = checkpoint.start(start, opened).await?;
        let mut log = checkpoint.open_state(&recovered).await?;
        let begin = Instant::now();
        if is_first {
            checkpoint.append(Record::prepared(BatchId(0), 0)).await?;
            log.snapshot(BatchId(0), vec![(id.clone(), table.freeze())])?;
        } else {
            log.recover(std::slice::from_ref(&spec), Tasks { n_key_groups: KEY_GROUPS, parallelism: 2 }, &StateMemory::unlimited()).await?;
        }
        log.close().await;
        report(if is_first { "snapshot" } else { "recover" }, table.n_rows() as u64, begin);
        checkpoint.close().await;
    }
    millstream_state::checkpoint::remove(&location).await
}

fn measure(name: &str, n_rows: u64, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let begin = Instant::now();
    work()?;
    report(name, n_rows, begin);
    Ok(())
}

fn report(name: &str, n_rows: u64, begin: Instant) {
    let seconds = begin.elapsed().as_secs_f64();
    println!("{name:<50} {:>8.2} M rows/s {:>10.2} ms", n_rows as f64 / seconds / 1e6, seconds * 1e3);
}

fn key_field() -> Field {
    Field::new("id", DataType::FixedSizeBinary(16), false)
}

fn ranges(n_keys: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..n_keys).step_by(ROWS_PER_CALL as usize).map(move |from| (from, n_keys.min(from + ROWS_PER_CALL)))
}

fn keys(numbers: impl Iterator<Item = u64>) -> ArrayRef {
    let bytes: Vec<u8> = numbers.flat_map(|n| [n.to_be_bytes(), n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()].concat()).collect();
    Arc::new(FixedSizeBinaryArray::new(16, bytes.into(), None))
}
