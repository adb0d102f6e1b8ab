//! The sink on a disk that forgets what was not synced, fills up, or fails: every operation once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use millstream_core::sink::WriteAttempt;
use millstream_core::{BatchId, ConnectorRegistry, ErrorKind, QueryId, Result, RunEpoch, SinkContext, TaskId};
use millstream_testkit::rows::sorted_row_texts;
use millstream_testkit::{Fault, PowerLossFs};
use tempfile::TempDir;
use uuid::Uuid;

use super::sink::foreign_rows;
use super::{read_all, rows};
use crate::file::FileConnector;
use crate::harness::{id_name_rows, id_name_schema, sink, sink_request};

const N_BATCHES: u64 = 2;

/// What the checkpoint would hold: it is taken to be durable as soon as `prepare` has answered.
#[derive(Default)]
struct Log {
    prepared: BTreeMap<BatchId, serde_json::Value>,
    epoch: u64,
}

fn query_id() -> QueryId {
    QueryId(Uuid::from_u128(77))
}

fn rows_of(batch: BatchId, task: u32) -> RecordBatch {
    id_name_rows((batch.0 * 100 + u64::from(task) * 10) as usize, 4)
}

/// A run from the start or from what the log says, to the last batch.
async fn run(fs: &PowerLossFs, dir: &Path, log: &mut Log) -> Result<()> {
    let mut registry = ConnectorRegistry::default();
    registry.register(Arc::new(FileConnector::new(Arc::new(fs.clone()))));
    let mut request = sink_request("parquet", &[("path", dir.to_str().unwrap())], id_name_schema());
    request.partition_by = vec!["name".to_owned()];
    let sink = sink(&registry, request).await?;
    log.epoch += 1;
    let epoch = RunEpoch(log.epoch);
    let decided = log.prepared.keys().next_back().copied();
    sink.start(&SinkContext { query_id: query_id(), epoch }, decided).await?;
    if let Some(decided) = decided {
        sink.commit(decided, &log.prepared[&decided]).await?;
    }
    for batch_id in (decided.map_or(0, |decided| decided.0 + 1)..N_BATCHES).map(BatchId) {
        let mut outputs = Vec::new();
        for task in 0..2 {
            let attempt = WriteAttempt { query_id: query_id(), epoch, batch_id, attempt: 0, task_id: TaskId(task) };
            let mut writer = registry.writer(&sink.writer())?.open(attempt).await?;
            writer.write(rows_of(batch_id, task)).await?;
            outputs.push(writer.finish().await?);
        }
        let prepared = sink.prepare(batch_id, outputs).await?;
        log.prepared.insert(batch_id, prepared.clone());
        sink.commit(batch_id, &prepared).await?;
    }
    sink.stop().await
}

fn expected(n_batches: u64) -> Vec<String> {
    let batches: Vec<RecordBatch> = (0..n_batches).flat_map(|batch| [0, 1].map(|task| rows_of(BatchId(batch), task))).collect();
    let ids: Vec<RecordBatch> = batches.iter().map(|batch| batch.project(&[0]).unwrap()).collect();
    sorted_row_texts(&ids).unwrap()
}

fn ids(batches: &[RecordBatch]) -> Vec<String> {
    let ids: Vec<RecordBatch> = batches.iter().map(|batch| batch.project(&[batch.schema().index_of("id").unwrap()]).unwrap()).collect();
    sorted_row_texts(&ids).unwrap()
}

async fn ours(dir: &Path) -> Vec<String> {
    match read_all("parquet", &[("path", dir.to_str().unwrap())], Some(id_name_schema())).await {
        Ok((_, chunks)) => ids(&rows(&chunks)),
        Err(_) => Vec::new(),
    }
}

/// Every reader, at any moment: no torn file, no row twice; ours: whole batches.
async fn check_readers(dir: &Path, what: &str) {
    if !dir.exists() {
        return;
    }
    let foreign = ids(&foreign_rows(dir));
    let mut unique = foreign.clone();
    unique.dedup();
    assert_eq!(foreign, unique, "{what}: no row twice");
    let ours = ours(dir).await;
    assert!((0..=N_BATCHES).any(|n| ours == expected(n)), "{what}: we see whole batches, not {ours:?}");
}

async fn with_fault(n_op: u64, fault: Fault, seed: u64) -> bool {
    let tmp = TempDir::new().unwrap();
    let dir = tmp.path().join("out");
    let what = format!("{fault:?} at operation {n_op}, seed {seed}");
    let fs = PowerLossFs::with_fault(n_op, fault);
    let mut log = Log::default();
    let first = run(&fs, &dir, &mut log).await;
    let hit = first.is_err();
    if let Err(error) = &first {
        if fault == Fault::NoSpace {
            assert_eq!(error.kind(), ErrorKind::Exhausted, "{what}: {error}");
        }
        check_readers(&dir, &what).await;
        if fault == Fault::PowerLoss {
            fs.crash(seed).unwrap();
            check_readers(&dir, &format!("{what}, after the crash")).await;
        }
        // The power is back: the same disk behind a new layer.
        let fs = if fault == Fault::PowerLoss { PowerLossFs::new() } else { fs };
        run(&fs, &dir, &mut log).await.unwrap_or_else(|error| panic!("{what}: recovery failed: {error}"));
    } else if fault == Fault::PowerLoss {
        // Everything was committed: none of it may be lost now.
        fs.crash(seed).unwrap();
    }
    assert_eq!(ids(&foreign_rows(&dir)), expected(N_BATCHES), "{what}: each row once, to any reader");
    assert_eq!(ours(&dir).await, expected(N_BATCHES), "{what}: each row once, to us");
    hit
}

#[tokio::test]
async fn power_loss_at_every_operation_loses_and_doubles_nothing() {
    // A long run: MILLSTREAM_TEST_POWER_SEEDS=20.
    let n_seeds: u64 = std::env::var("MILLSTREAM_TEST_POWER_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for seed in 0..n_seeds {
        let mut n_op = 1;
        while with_fault(n_op, Fault::PowerLoss, seed * 1000 + n_op).await {
            n_op += 1;
        }
        assert!(n_op > 50, "{n_op} operations were tried");
    }
}

#[tokio::test]
async fn a_full_disk_stops_the_sink_and_loses_nothing() {
    let mut n_op = 1;
    while with_fault(n_op, Fault::NoSpace, n_op).await {
        n_op += 2;
    }
    assert!(n_op > 20, "{n_op} operations were tried");
}

/// One batch write over what is there.
async fn overwrite(fs: &PowerLossFs, dir: &Path, query: u128, first: usize) -> Result<()> {
    let mut registry = ConnectorRegistry::default();
    registry.register(Arc::new(FileConnector::new(Arc::new(fs.clone()))));
    let options = [("path", dir.to_str().unwrap()), ("mode", "overwrite")];
    let mut request = sink_request("parquet", &options, id_name_schema());
    request.partition_by = vec!["name".to_owned()];
    let sink = sink(&registry, request).await?;
    let ctx = SinkContext { query_id: QueryId(Uuid::from_u128(query)), epoch: RunEpoch(1) };
    sink.start(&ctx, None).await?;
    let attempt = WriteAttempt { query_id: ctx.query_id, epoch: ctx.epoch, batch_id: BatchId(0), attempt: 0, task_id: TaskId(0) };
    let mut writer = registry.writer(&sink.writer())?.open(attempt).await?;
    writer.write(id_name_rows(first, 3)).await?;
    let prepared = sink.prepare(BatchId(0), vec![writer.finish().await?]).await?;
    sink.commit(BatchId(0), &prepared).await
}

#[tokio::test]
async fn an_overwrite_that_is_cut_off_anywhere_leaves_the_old_or_the_new() {
    let of = |first: usize| ids(&[id_name_rows(first, 3)]);
    let mut n_op = 1;
    for fault in [Fault::PowerLoss, Fault::NoSpace] {
        n_op = 1;
        loop {
            let tmp = TempDir::new().unwrap();
            let dir = tmp.path().join("out");
            overwrite(&PowerLossFs::new(), &dir, 1, 0).await.unwrap();
            let fs = PowerLossFs::with_fault(n_op, fault);
            let written = overwrite(&fs, &dir, 2, 3).await;
            if written.is_err() && fault == Fault::PowerLoss {
                fs.crash(n_op).unwrap();
            }
            let what = format!("{fault:?} at operation {n_op}");
            let (seen, foreign) = (ours(&dir).await, ids(&foreign_rows(&dir)));
            assert!(seen == of(0) || seen == of(3), "{what}: we see {seen:?}");
            let holds = |rows: &[String]| rows.iter().all(|row| foreign.contains(row));
            assert!(holds(&of(0)) || holds(&of(3)), "{what}: others see {foreign:?}");
            // The next one clears up.
            overwrite(&PowerLossFs::new(), &dir, 3, 6).await.unwrap();
            assert_eq!((ours(&dir).await, ids(&foreign_rows(&dir))), (of(6), of(6)), "{what}");
            if written.is_ok() {
                assert_eq!(seen, of(3), "{what}");
                break;
            }
            n_op += 1;
        }
    }
    assert!(n_op > 20, "{n_op} operations were tried");
}
