//! A checkpoint gives back what was appended, in order, and refuses what is out of order.

use std::path::Path;

use millstream_core::{ErrorKind, Position, RandomIds, RunId, SystemClock};
use serde_json::json;

use super::*;
use crate::fs::OsFileSystem;

fn at(path: &Path) -> Location {
    Location::local(Arc::new(OsFileSystem), path).unwrap()
}

async fn open(path: &Path) -> Result<(Checkpoint, Recovered)> {
    Checkpoint::open(at(path), &RandomIds, &SystemClock::default()).await
}

async fn run(path: &Path) -> (Checkpoint, Recovered) {
    let (mut checkpoint, recovered) = open(path).await.unwrap();
    let recovered = checkpoint.start(start_record(), recovered).await.unwrap();
    (checkpoint, recovered)
}

fn start_record() -> Record {
    Record::start(RunId(RandomIds.new_uuid()), 1, json!({"sql": "select 1"}))
}

fn prepared(batch: u64) -> Record {
    let mut record = Record::prepared(BatchId(batch), 1_000 + batch as i64);
    let range = SourceRange { start: Position(json!(batch)), end: Position(json!(batch + 1)), detail: json!(null) };
    record.sources.insert("in".into(), SourceEntry::new(range));
    record.sinks.insert("out".into(), json!({"files": [batch]}));
    record
}

#[tokio::test]
async fn what_was_appended_is_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let (mut checkpoint, recovered) = run(dir.path()).await;
    assert!(recovered.is_new && recovered.last_prepared.is_none());
    checkpoint.append(prepared(0)).await.unwrap();
    let mut second = prepared(1);
    second.committed = Some(BatchId(0));
    checkpoint.append(second.clone()).await.unwrap();
    let mut intent = prepared(2);
    intent.kind = RecordKind::Intent;
    checkpoint.append(intent).await.unwrap();
    let query_id = checkpoint.query_id();
    checkpoint.close().await;

    let (checkpoint, recovered) = run(dir.path()).await;
    assert_eq!((recovered.query_id, recovered.is_new, recovered.epoch), (query_id, false, RunEpoch(1)));
    assert_eq!(recovered.committed, Some(BatchId(0)));
    assert_eq!(recovered.uncommitted.iter().map(|record| record.batch).collect::<Vec<_>>(), [Some(BatchId(1))]);
    assert_eq!(recovered.last_prepared.unwrap().sinks, second.sinks);
    assert_eq!(recovered.last_intent.unwrap().batch, Some(BatchId(2)));
    assert_eq!(recovered.last_start.unwrap().job, Some(json!({"sql": "select 1"})));
    let source = &recovered.sources["in"];
    assert_eq!(source.ranges.iter().map(|(batch, _)| batch.0).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(checkpoint.epoch(), RunEpoch(1));
}

#[tokio::test]
async fn a_proposed_batch_is_decided_by_a_later_run_as_it_was_proposed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut checkpoint, _) = run(dir.path()).await;
    checkpoint.append(prepared(0)).await.unwrap();
    checkpoint.append(Record { committed: Some(BatchId(0)), ..Record::proposed_from(&prepared(1)) }).await.unwrap();
    assert_eq!(checkpoint.prepared(), Some(BatchId(0)), "a proposal decides nothing");
    checkpoint.close().await;

    let (mut checkpoint, recovered) = run(dir.path()).await;
    assert_eq!(recovered.last_prepared.unwrap().batch, Some(BatchId(0)));
    assert_eq!(recovered.last_intent.map(|last| (last.kind, last.batch)), Some((RecordKind::Proposed, Some(BatchId(1)))));
    let recovered = checkpoint.decide_proposed().await.unwrap();
    let last = recovered.last_prepared.unwrap();
    assert_eq!((last.batch, &last.sinks), (Some(BatchId(1)), &prepared(1).sinks));
    assert_eq!((recovered.last_intent, recovered.committed), (None, Some(BatchId(0))));
    assert_eq!(recovered.sources["in"].ranges.len(), 2);
    // The state is that of the run which proposed it.
    assert_eq!(recovered.state.runs, [(RunEpoch(0), BatchId(1))]);
    assert_eq!(checkpoint.decide_proposed().await.unwrap_err().kind(), ErrorKind::Internal);
    checkpoint.append(Record { committed: Some(BatchId(1)), ..prepared(2) }).await.unwrap();
    checkpoint.close().await;
    let (_, recovered) = run(dir.path()).await;
    assert_eq!(recovered.last_prepared.unwrap().batch, Some(BatchId(2)));
    assert_eq!(recovered.state.runs, [(RunEpoch(0), BatchId(1)), (RunEpoch(1), BatchId(2))]);
}

#[tokio::test]
async fn a_proposed_batch_is_run_again_with_the_same_input() {
    let dir = tempfile::tempdir().unwrap();
    let (mut checkpoint, _) = run(dir.path()).await;
    checkpoint.append(Record::proposed_from(&prepared(0))).await.unwrap();
    checkpoint.close().await;
    let (mut checkpoint, _) = run(dir.path()).await;
    let other_clock = Record { clock_us: 7, ..prepared(0) };
    let intent = Record { kind: RecordKind::Intent, ..prepared(0) };
    for wrong in [Record::proposed_from(&other_clock), other_clock, Record::proposed_from(&prepared(1)), prepared(1), intent] {
        assert_eq!(checkpoint.append(wrong).await.unwrap_err().kind(), ErrorKind::Internal);
    }
    let mut again = Record::proposed_from(&prepared(0));
    again.sinks.insert("out".into(), json!("written again"));
    checkpoint.append(again.clone()).await.unwrap();
    checkpoint.append(Record::prepared_from(&again)).await.unwrap();
    assert_eq!(checkpoint.decide_proposed().await.unwrap_err().kind(), ErrorKind::Internal);
    checkpoint.close().await;
    let (_, recovered) = run(dir.path()).await;
    assert_eq!((recovered.last_prepared.unwrap().sinks, recovered.last_intent), (again.sinks, None));
}

#[test]
fn watermarks_are_recorded_in_milliseconds_by_node() {
    let mut record = prepared(3);
    let nodes = [("ts@a", Some(90), false), ("ts@b", None, true)];
    let nodes = nodes.map(|(name, watermark_ms, is_idle)| (name.to_owned(), NodeWatermark { watermark_ms, is_idle }));
    let marks = RecordedWatermarks { late_ms: -5, current_ms: 60, next_ms: Some(90), nodes: nodes.into(), ..RecordedWatermarks::default() };
    record.watermarks = Some(marks);
    let json = serde_json::to_value(&record).unwrap();
    let want = json!({"late_ms": -5, "current_ms": 60, "next_ms": 90, "nodes": {"ts@a": {"watermark_ms": 90}, "ts@b": {"is_idle": true}}});
    assert_eq!(json["watermarks"], want);
    assert_eq!(serde_json::from_value::<Record>(json).unwrap(), record);
    let text = record.to_string();
    let want = "watermark 1970-01-01T00:00:00.060Z, late at 1969-12-31T23:59:59.995Z, then 1970-01-01T00:00:00.090Z";
    assert!(text.contains(want) && text.contains("watermark of ts@b: none, idle"), "{text}");
}

#[tokio::test]
async fn a_batch_is_not_prepared_under_other_watermarks_than_its_intent() {
    let dir = tempfile::tempdir().unwrap();
    let (mut checkpoint, _) = run(dir.path()).await;
    let mut intent = prepared(0);
    intent.kind = RecordKind::Intent;
    intent.watermarks = Some(RecordedWatermarks { current_ms: 60, ..RecordedWatermarks::default() });
    checkpoint.append(intent.clone()).await.unwrap();
    let mut other = Record::prepared_from(&intent);
    other.watermarks = Some(RecordedWatermarks { current_ms: 61, next_ms: Some(90), ..RecordedWatermarks::default() });
    let error = checkpoint.append(other).await.unwrap_err();
    assert!(error.message().contains("watermarks"), "{error}");
    let mut same = Record::prepared_from(&intent);
    same.watermarks = Some(RecordedWatermarks { current_ms: 60, next_ms: Some(90), ..RecordedWatermarks::default() });
    checkpoint.append(same).await.unwrap();
}

#[tokio::test]
async fn records_out_of_order_are_refused_and_write_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut checkpoint, recovered) = open(dir.path()).await.unwrap();
    assert_eq!(checkpoint.append(prepared(0)).await.unwrap_err().kind(), ErrorKind::Internal);
    checkpoint.start(start_record(), recovered).await.unwrap();
    for wrong in [prepared(1), Record::fact(BatchId(0), 0), start_record()] {
        assert_eq!(checkpoint.append(wrong).await.unwrap_err().kind(), ErrorKind::Internal);
    }
    let mut intent = prepared(0);
    intent.kind = RecordKind::Intent;
    checkpoint.append(intent.clone()).await.unwrap();
    let mut other = prepared(0);
    other.clock_us += 1;
    for wrong in [other, intent.clone(), prepared(1)] {
        assert_eq!(checkpoint.append(wrong).await.unwrap_err().kind(), ErrorKind::Internal);
    }
    checkpoint.append(Record::prepared_from(&intent)).await.unwrap();
    checkpoint.append(Record::fact(BatchId(0), 0)).await.unwrap();
    assert_eq!(checkpoint.committed(), Some(BatchId(0)));
}

#[tokio::test]
async fn a_second_run_on_a_local_checkpoint_is_refused_with_the_pid() {
    let dir = tempfile::tempdir().unwrap();
    let (_checkpoint, _) = run(dir.path()).await;
    let error = open(dir.path()).await.unwrap_err();
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
}

#[tokio::test]
async fn memory_is_bounded_by_retention() {
    let location = Location::parse("memory://bounded/c", &millstream_core::Options::new()).unwrap();
    let (mut checkpoint, recovered) = Checkpoint::open(location, &RandomIds, &SystemClock::default()).await.unwrap();
    checkpoint.start(start_record(), recovered).await.unwrap();
    for batch in 0..2_000 {
        let mut record = prepared(batch);
        record.committed = batch.checked_sub(1).map(BatchId);
        checkpoint.append(record).await.unwrap();
        checkpoint.retain(&Retention { n_batches_min: 10, keep_from: None, remembering: &[] });
        tokio::task::yield_now().await;
    }
    assert_eq!(checkpoint.order.batches.len(), 10);
    assert!(checkpoint.order.batches.capacity() < 100);
    let Some(LogWriter::Object(log)) = &checkpoint.writer else { unreachable!() };
    assert!(log.n_present() < 30, "{}", log.n_present());
    assert!(checkpoint.background.len() < 3);
}

#[tokio::test]
async fn positions_without_a_batch_are_kept_for_as_long_as_no_batch_leaves_them() {
    let dir = tempfile::tempdir().unwrap();
    let (mut checkpoint, _) = run(dir.path()).await;
    let positions = [("in".to_owned(), Position(json!("begin"))), ("quiet".to_owned(), Position(json!(7)))];
    checkpoint.append(Record::positions(positions, 5)).await.unwrap();
    checkpoint.close().await;

    let (mut checkpoint, recovered) = run(dir.path()).await;
    let started = |recovered: &Recovered, name: &str| match recovered.sources[name].start() {
        SourceStart::At(position) => position.0,
        other => json!(format!("{other:?}")),
    };
    assert_eq!((started(&recovered, "in"), started(&recovered, "quiet")), (json!("begin"), json!(7)));
    assert_eq!(recovered.sources["in"].batch_before(), None);
    // The record itself is dropped; what it says of the silent source is not.
    for batch in 0..5_u64 {
        checkpoint.append(Record { committed: batch.checked_sub(1).map(BatchId), ..prepared(batch) }).await.unwrap();
        checkpoint.retain(&Retention { n_batches_min: 1, keep_from: None, remembering: &[] });
    }
    checkpoint.close().await;
    let (mut checkpoint, recovered) = run(dir.path()).await;
    assert_eq!(started(&recovered, "quiet"), json!(7));
    assert_eq!(recovered.sources["quiet"].batch_before(), None);
    let in_source = &recovered.sources["in"];
    assert!(matches!(in_source.start(), SourceStart::Resume { .. }) && in_source.ranges.last().unwrap().1.end.0 == json!(5));

    // A position that was set goes before the end of the last range, until a batch leaves it.
    checkpoint.append(Record::positions([("in".to_owned(), Position(json!(2)))], 6)).await.unwrap();
    checkpoint.close().await;
    let (mut checkpoint, recovered) = run(dir.path()).await;
    assert_eq!(started(&recovered, "in"), json!(2));
    assert!(recovered.sources["in"].batch_before().is_some());
    checkpoint.append(Record { committed: Some(BatchId(4)), ..prepared(5) }).await.unwrap();
    checkpoint.close().await;
    let (mut checkpoint, recovered) = run(dir.path()).await;
    assert!(matches!(recovered.sources["in"].start(), SourceStart::Resume { .. }));
    assert_eq!(checkpoint.append(Record::positions([], 7)).await.unwrap_err().kind(), ErrorKind::Internal, "it says nothing");
}
