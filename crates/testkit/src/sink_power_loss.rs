//! A sink and a checkpoint on one disk, under power loss: every decided batch is visible once, nothing else ever is.
//!
//! Runs the commit protocol of the engine through the traits alone: write and stage, prepare, record, commit. A life ends
//! by a power cut at a random operation, by a failing disk, by a kill, or well; then what a foreign reader sees is compared
//! with the records, and the next life rolls forward. The seed replays a case.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use millstream_core::sink::WriteAttempt;
use millstream_core::{BatchId, ErrorKind, Position, RandomIds, Result, RunId, Sink, SinkContext, SourceRange, SystemClock, TaskId};
use millstream_state::{Checkpoint, Location, Record, RecordKind, Recovered, SourceEntry};
use serde_json::json;
use uuid::Uuid;

use crate::power_loss::{Fault, PowerLossFs};
use crate::rng::Rng;
use crate::rows::sorted_row_texts;
use crate::sink_contract::SinkHarness;

const LIVES: u64 = 3;
const SINK: &str = "main";
const SOURCE: &str = "numbers";

/// Runs one case in the folder `root`. `harness` makes the sink under test over the given file layer, always over the
/// same place within `root`; its [`SinkHarness::visible`] reads the real files. Gives the number of decided batches.
pub async fn check_case(root: &Path, seed: u64, harness: &dyn Fn(&PowerLossFs) -> Box<dyn SinkHarness>) -> Result<u64> {
    let mut rng = Rng::new(seed);
    let mut fs = PowerLossFs::new();
    for life in 0..LIVES {
        let at = fs.n_ops() + rng.below(150);
        match rng.below(6) {
            0 => {}
            1 => fs.fail_at(at, Fault::NoSpace),
            2 => fs.fail_at(at, Fault::Io),
            _ => fs.fail_at(at, Fault::PowerLoss),
        }
        let ended = live(root, &fs, harness(&fs).as_ref(), &mut rng).await;
        if let Err(error) = &ended {
            let is_ours = matches!(error.kind(), ErrorKind::Data | ErrorKind::Internal | ErrorKind::Fenced);
            assert!(!is_ours, "seed {seed}, life {life}: {error:?}");
        }
        let report = if fs.is_off() || rng.one_in(2) {
            let report = fs.crash(rng.next_u64())?;
            fs = PowerLossFs::new();
            report
        } else {
            fs.fail_at(u64::MAX, Fault::Io);
            vec!["killed".to_owned()]
        };
        // A reader comes before the next run does.
        let (_, recovered) = open(root, &PowerLossFs::new()).await?;
        let decided = rows_of(harness(&fs).as_ref(), &recovered)?;
        let visible = sorted_row_texts(&harness(&fs).visible().await?)?;
        let distinct: BTreeSet<&String> = visible.iter().collect();
        assert_eq!(distinct.len(), visible.len(), "seed {seed}, life {life}: a row is visible twice: {report:#?}");
        assert!(
            distinct.iter().all(|row| decided.contains(*row)),
            "seed {seed}, life {life}: rows of undecided batches are visible: {report:#?}"
        );
    }
    fs.fail_at(u64::MAX, Fault::Io);
    let harness = harness(&fs);
    let (checkpoint, _, recovered) = start(root, &fs, harness.as_ref()).await?;
    checkpoint.close().await;
    let decided: Vec<String> = rows_of(harness.as_ref(), &recovered)?.into_iter().collect();
    assert_eq!(sorted_row_texts(&harness.visible().await?)?, decided, "seed {seed}: visible rows at the end");
    Ok(recovered.last_prepared.and_then(|record| record.batch).map_or(0, |batch| batch.0 + 1))
}

async fn open(root: &Path, fs: &PowerLossFs) -> Result<(Checkpoint, Recovered)> {
    let location = Location::local(Arc::new(fs.clone()), root.join("checkpoint"))?;
    Checkpoint::open(location, &RandomIds, &SystemClock::default()).await
}

/// A run up to where new batches begin.
async fn start(root: &Path, fs: &PowerLossFs, harness: &dyn SinkHarness) -> Result<(Checkpoint, Arc<dyn Sink>, Recovered)> {
    let (mut checkpoint, recovered) = open(root, fs).await?;
    let recovered = checkpoint.start(Record::start(RunId(Uuid::nil()), 0, json!(null)), recovered).await?;
    let sink = harness.sink().await?;
    let ctx = SinkContext { query_id: recovered.query_id, epoch: recovered.epoch };
    sink.start(&ctx, recovered.last_prepared.as_ref().and_then(|record| record.batch)).await?;
    for record in &recovered.uncommitted {
        if let (Some(batch), Some(prepared)) = (record.batch, record.sinks.get(SINK)) {
            sink.commit(batch, prepared).await?;
        }
    }
    Ok((checkpoint, sink, recovered))
}

async fn live(root: &Path, fs: &PowerLossFs, harness: &dyn SinkHarness, rng: &mut Rng) -> Result<()> {
    let (mut checkpoint, sink, recovered) = start(root, fs, harness).await?;
    let mut batch = recovered.last_prepared.as_ref().and_then(|record| record.batch).map_or(BatchId(0), BatchId::next);
    let mut row = rows_end(&recovered);
    for attempt in 0..rng.below(6) {
        let first = row;
        let mut outputs = Vec::new();
        for task in 0..1 + rng.below(2) {
            let attempt = WriteAttempt {
                query_id: recovered.query_id,
                epoch: recovered.epoch,
                batch_id: batch,
                attempt: u32::try_from(attempt).unwrap_or(0),
                task_id: TaskId(u32::try_from(task).unwrap_or(0)),
            };
            let mut writer = harness.registry().writer(&sink.writer())?.open(attempt).await?;
            let n_rows = rng.index(4);
            if n_rows > 0 {
                writer.write(harness.rows(row, n_rows)?).await?;
                row += n_rows;
            }
            outputs.push(writer.finish().await?);
        }
        if rng.one_in(8) {
            sink.abandon(batch, outputs).await?;
            row = first;
            continue;
        }
        let mut record = Record::prepared(batch, 0);
        let range = SourceRange { start: Position(json!(first)), end: Position(json!(row)), detail: json!(null) };
        record.sources.insert(SOURCE.to_owned(), SourceEntry::new(range));
        record.sinks.insert(SINK.to_owned(), sink.prepare(batch, outputs).await?);
        record.committed = batch.0.checked_sub(1).map(BatchId);
        let prepared = record.sinks.get(SINK).cloned().unwrap_or_default();
        checkpoint.append(record).await?;
        sink.commit(batch, &prepared).await?;
        batch = batch.next();
    }
    if rng.one_in(2) {
        sink.stop().await?;
        if let Some(last) = batch.0.checked_sub(1).map(BatchId) {
            checkpoint.append(Record::fact(last, 0)).await?;
        }
        checkpoint.close().await;
    }
    Ok(())
}

fn rows_end(recovered: &Recovered) -> usize {
    let ranges = recovered.sources.get(SOURCE).map(|source| source.ranges.as_slice()).unwrap_or_default();
    ranges.last().map_or(0, |(_, range)| row_number(&range.end))
}

fn row_number(position: &Position) -> usize {
    position.0.as_u64().and_then(|row| usize::try_from(row).ok()).unwrap_or(0)
}

/// The rows of all decided batches: their ranges follow each other.
fn rows_of(harness: &dyn SinkHarness, recovered: &Recovered) -> Result<BTreeSet<String>> {
    debug_assert!(recovered.last_prepared.as_ref().is_none_or(|record| record.kind == RecordKind::Prepared));
    let end = rows_end(recovered);
    let rows = if end == 0 { Vec::new() } else { sorted_row_texts(&[harness.rows(0, end)?])? };
    Ok(rows.into_iter().collect())
}
