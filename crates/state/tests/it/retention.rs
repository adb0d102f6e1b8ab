//! The log stays as small as what is needed, and what is needed stays.

use std::path::Path;

use bytes::Bytes;
use millstream_core::BatchId;
use millstream_state::checkpoint::{IdleSource, verify};
use millstream_state::{Checkpoint, CheckpointOptions, Location, Retention, SourceEntry};
use millstream_testkit::PowerLossFs;

use crate::support::{SMALL, local, open, prepared, range, run};

const KEEP_FIVE: Retention<'_> = Retention { n_batches_min: 5, keep_from: None, remembering: &[] };

async fn append(checkpoint: &mut Checkpoint, batches: std::ops::Range<u64>, retention: &Retention<'_>) {
    for batch in batches {
        let mut record = prepared(batch, 1);
        record.committed = batch.checked_sub(1).map(BatchId);
        checkpoint.append(record).await.unwrap();
        checkpoint.retain(retention);
    }
}

fn n_segments(root: &Path) -> usize {
    std::fs::read_dir(root.join("log")).unwrap().count()
}

#[tokio::test]
async fn old_segments_go_and_the_last_batches_stay() {
    let dir = tempfile::tempdir().unwrap();
    let fs = PowerLossFs::new();
    let (mut checkpoint, _) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    append(&mut checkpoint, 0..500, &KEEP_FIVE).await;
    checkpoint.close().await;
    // The start's, the current one, and those of the last five batches.
    assert!(n_segments(dir.path()) <= 5, "{}", n_segments(dir.path()));
    let (checkpoint, recovered) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    assert_eq!(recovered.last_prepared.unwrap().batch, Some(BatchId(499)));
    assert!(recovered.last_start.unwrap().job.is_some());
    let ranges = &recovered.sources["in"].ranges;
    assert!((5..50).contains(&ranges.len()), "{}", ranges.len());
    drop(checkpoint);
    let report = verify(&local(&fs, dir.path())).await.unwrap();
    assert!(report.is_ok(), "{report}");
}

#[tokio::test]
async fn batches_that_are_not_committed_or_not_in_a_snapshot_stay() {
    let dir = tempfile::tempdir().unwrap();
    let fs = PowerLossFs::new();
    let (mut checkpoint, _) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    for batch in 0..40 {
        checkpoint.append(prepared(batch, 1)).await.unwrap();
        checkpoint.retain(&KEEP_FIVE);
    }
    checkpoint.close().await;
    let (mut checkpoint, recovered) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    assert_eq!(recovered.uncommitted.len(), 40);
    let remembering = Retention { remembering: &["in"], ..KEEP_FIVE };
    append(&mut checkpoint, 40..80, &remembering).await;
    checkpoint.close().await;
    let (mut checkpoint, recovered) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    assert_eq!(recovered.sources["in"].ranges.len(), 80);
    checkpoint.put_source_snapshot("in", BatchId(69), Bytes::from_static(b"all up to 69")).unwrap();
    checkpoint.close().await;
    let (mut checkpoint, recovered) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    assert_eq!(recovered.sources["in"].snapshot, Some((BatchId(69), Bytes::from_static(b"all up to 69"))));
    assert_eq!(recovered.sources["in"].ranges.iter().map(|(batch, _)| batch.0).collect::<Vec<_>>(), (70..80).collect::<Vec<_>>());
    append(&mut checkpoint, 80..90, &KEEP_FIVE).await;
    checkpoint.close().await;
    let (_checkpoint, recovered) = open(local(&fs, dir.path()), SMALL).await.unwrap();
    assert_eq!(recovered.sources["in"].ranges.len(), 20);
    assert!(n_segments(dir.path()) < 12, "{}", n_segments(dir.path()));
}

#[tokio::test]
async fn objects_go_as_segments_do() {
    let location = Location::parse("memory://retention/checkpoint", &millstream_core::Options::new()).unwrap();
    let (mut checkpoint, _) = run(location.clone(), CheckpointOptions::default()).await.unwrap();
    append(&mut checkpoint, 0..300, &KEEP_FIVE).await;
    checkpoint.close().await;
    let (mut checkpoint, recovered) = run(location.clone(), CheckpointOptions::default()).await.unwrap();
    assert_eq!(recovered.sources["in"].ranges.len(), 6);
    assert!(recovered.last_start.is_some());
    append(&mut checkpoint, 300..310, &KEEP_FIVE).await;
    checkpoint.close().await;
    let report = verify(&location).await.unwrap();
    // The start, the five batches that were to be kept when the last record was written, and that one.
    assert!(report.is_ok() && report.n_records == 6, "{report}");
}

#[tokio::test]
async fn a_source_that_gives_nothing_for_long_is_not_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let fs = PowerLossFs::new();
    let (mut checkpoint, _) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    let mut first = prepared(0, 1);
    first.sources.insert("quiet".into(), SourceEntry::new(range(41, 1)));
    checkpoint.append(first).await.unwrap();
    append(&mut checkpoint, 1..100, &KEEP_FIVE).await;
    for run_number in 0..3_u64 {
        checkpoint.close().await;
        let recovered;
        (checkpoint, recovered) = run(local(&fs, dir.path()), SMALL).await.unwrap();
        let quiet = &recovered.sources["quiet"];
        assert_eq!(quiet.stands, Some(IdleSource { batch: Some(BatchId(0)), end: range(41, 1).end }));
        let first = 100 + run_number * 50;
        append(&mut checkpoint, first..first + 50, &KEEP_FIVE).await;
    }
}
