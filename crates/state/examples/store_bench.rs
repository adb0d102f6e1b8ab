//! What the state store does per second, and what it takes: keys of 16 bytes, in calls of 8,192 rows.
//!
//! `cargo run --release -p millstream-state --example store_bench [-- N_KEYS]`. The figures are of one core but for recovery.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, Int64Array};
use arrow::datatypes::{DataType, Field};
use millstream_core::{BatchId, RandomIds, Result, RunId, SystemClock};
use millstream_state::store::{KEY_GROUPS, KeyedTable, StoreHistory, StoreId, StoreKind, StoreSchema, StoreSpec, Tasks};
use millstream_state::{Checkpoint, Location, OsFileSystem, Record};

const ROWS_PER_CALL: u64 = 8192;

#[tokio::main]
async fn main() -> Result<()> {
    let n_keys = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
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
            log.recover(std::slice::from_ref(&spec), Tasks { n_key_groups: KEY_GROUPS, parallelism: 2 }).await?;
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
