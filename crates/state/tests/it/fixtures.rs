//! Checkpoints of format v1 as they were written when v1 was made. Never edited; today's build reads them, and still
//! writes the same bytes.
//!
//! To make the fixtures of a *new* version: run with `MILLSTREAM_WRITE_FIXTURES=<folder>`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_core::{BatchId, Position};
use millstream_state::checkpoint::IdleSource;
use millstream_state::wal::{WalPosition, read_range};
use millstream_state::{Checkpoint, CheckpointOptions, OsFileSystem, Record, Wal, WalOptions};
use millstream_testkit::{ManualClock, PowerLossFs};
use serde_json::json;

use crate::support::{CountedIds, intent, local, open, prepared, range, start_record};

fn v1() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)
        } else {
            std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap()
        }
    }
}

/// The program whose output the fixtures are: two runs with an intent, facts and a snapshot; a log of five rows.
async fn write(folder: &Path) {
    let (ids, clock) = (CountedIds::default(), ManualClock::new(1_704_067_200_000));
    let fs = PowerLossFs::new();
    for run in 0..2 {
        let options = CheckpointOptions::default();
        let (mut checkpoint, opened) = Checkpoint::open_with(local(&fs, &folder.join("local")), &ids, &clock, options).await.unwrap();
        checkpoint.start(start_record(run), opened).await.unwrap();
        if run == 0 {
            checkpoint.append(prepared(0, 10)).await.unwrap();
            checkpoint.append(intent(1, 20)).await.unwrap();
            let mut record = Record::prepared_from(&intent(1, 20));
            record.committed = Some(BatchId(0));
            record.state.insert("agg-1".into(), 2);
            checkpoint.append(record).await.unwrap();
            checkpoint.put_source_snapshot("in/put", BatchId(0), Bytes::from_static(b"snapshot")).unwrap();
        } else {
            checkpoint.append(Record::fact(BatchId(1), 1_704_067_200_000_000)).await.unwrap();
            checkpoint.append(prepared(2, 30)).await.unwrap();
        }
        checkpoint.close().await;
        clock.advance(Duration::from_secs(1));
    }
    let mut wal = Wal::open(Arc::new(fs), &folder.join("wal"), WalOptions::default()).unwrap();
    wal.append(&[(1_704_067_200_000_000, b"one"), (1_704_067_200_000_001, b"")]).unwrap();
    wal.append(&[(1_704_067_200_000_002, b"three"), (1_704_067_200_000_003, b"\xff\x00"), (1_704_067_200_000_004, b"five")]).unwrap();
}

/// Two runs with positions: where two sources begin, one of which gives a batch; where that one was set then.
async fn write_positions(folder: &Path) {
    let (ids, clock) = (CountedIds::default(), ManualClock::new(1_704_067_200_000));
    let fs = PowerLossFs::new();
    for run in 0..2 {
        let options = CheckpointOptions::default();
        let (mut checkpoint, opened) = Checkpoint::open_with(local(&fs, folder), &ids, &clock, options).await.unwrap();
        checkpoint.start(start_record(run), opened).await.unwrap();
        if run == 0 {
            let begin = [("in".to_owned(), Position(json!(0))), ("quiet".to_owned(), Position(json!({"t": {"0": 40}})))];
            checkpoint.append(Record::positions(begin, 1_704_067_200_000_000)).await.unwrap();
            checkpoint.append(prepared(0, 10)).await.unwrap();
        } else {
            checkpoint.append(Record::positions([("in".to_owned(), Position(json!(0)))], 1_704_067_201_000_000)).await.unwrap();
        }
        checkpoint.close().await;
        clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn v1_with_positions_is_read_as_it_was_written_and_written_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    write_positions(&dir.path().join("written")).await;
    if let Ok(folder) = std::env::var("MILLSTREAM_WRITE_FIXTURES") {
        write_positions(&Path::new(&folder).join("positions")).await;
        std::fs::remove_file(Path::new(&folder).join("positions/LOCK")).unwrap();
    }
    for name in ["log/0000000000000000-00000000.seg", "log/0000000000000001-00000000.seg", "metadata.json"] {
        let (then, now) =
            (std::fs::read(v1().join("positions").join(name)).unwrap(), std::fs::read(dir.path().join("written").join(name)).unwrap());
        assert_eq!(String::from_utf8_lossy(&now), String::from_utf8_lossy(&then), "{name}");
    }
    copy(&v1().join("positions"), &dir.path().join("copy"));
    let (_checkpoint, recovered) = open(local(&OsFileSystem, &dir.path().join("copy")), CheckpointOptions::default()).await.unwrap();
    let stands = |name: &str| recovered.sources[name].stands.clone();
    assert_eq!(stands("in"), Some(IdleSource { batch: Some(BatchId(0)), end: Position(json!(0)) }));
    assert_eq!(stands("quiet"), Some(IdleSource { batch: None, end: Position(json!({"t": {"0": 40}})) }));
    assert_eq!(recovered.sources["in"].ranges, [(BatchId(0), range(0, 10))]);
}

#[tokio::test]
async fn v1_is_read_as_it_was_written() {
    if let Ok(folder) = std::env::var("MILLSTREAM_WRITE_FIXTURES") {
        write(Path::new(&folder)).await;
        std::fs::remove_file(Path::new(&folder).join("local/LOCK")).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    copy(&v1(), dir.path());
    let (_checkpoint, recovered) = open(local(&OsFileSystem, &dir.path().join("local")), CheckpointOptions::default()).await.unwrap();
    assert_eq!(recovered.query_id.0.as_u128(), 1);
    assert_eq!((recovered.epoch.0, recovered.committed, recovered.last_intent), (2, Some(BatchId(1)), None));
    assert_eq!(recovered.last_start.unwrap().job, Some(json!({ "job": 1 })));
    assert_eq!(recovered.uncommitted.len(), 1);
    assert_eq!(recovered.last_prepared.unwrap().sinks, prepared(2, 30).sinks);
    assert_eq!(recovered.sources["in"].ranges, [(BatchId(0), range(0, 10)), (BatchId(1), range(1, 20)), (BatchId(2), range(2, 30))]);
    assert_eq!(recovered.sources["in/put"].snapshot, Some((BatchId(0), Bytes::from_static(b"snapshot"))));

    let (from, to) = (WalPosition { segment: 0, row: 1 }, WalPosition { segment: 0, row: 5 });
    let rows = read_range(Arc::new(OsFileSystem), &dir.path().join("wal"), from, to).unwrap();
    let rows: Vec<_> = rows.map(|row| row.unwrap()).map(|row| (row.received_us - 1_704_067_200_000_000, row.bytes.to_vec())).collect();
    assert_eq!(rows, [(1, vec![]), (2, b"three".to_vec()), (3, b"\xff\x00".to_vec()), (4, b"five".to_vec())]);
}

#[tokio::test]
async fn v1_is_written_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path()).await;
    let names = [
        "local/log/0000000000000000-00000000.seg",
        "local/log/0000000000000001-00000000.seg",
        "local/sources/in~2fput/00000000000000000000.snap",
        "wal/0000000000000000.wal",
    ];
    for name in names {
        let (then, now) = (std::fs::read(v1().join(name)).unwrap(), std::fs::read(dir.path().join(name)).unwrap());
        assert_eq!(String::from_utf8_lossy(&now), String::from_utf8_lossy(&then), "{name}");
    }
}
