//! A checkpoint with state that an earlier build wrote is read. `MILLSTREAM_WRITE_STATE_FIXTURE` names a folder to write one to, for a
//! new format version; what is there is never edited.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use millstream_core::BatchId;
use millstream_state::checkpoint::read_state;
use millstream_state::store::{KeyedMultiTable, KeyedTable, load};
use millstream_state::{Checkpoint, CheckpointOptions, OsFileSystem};
use millstream_testkit::ManualClock;

use super::job::{Memory, job_memory, memory_of, operator, specs, store_id, tables_of, tasks};
use super::model::{Key, Row, schema};
use crate::support::{CountedIds, local, prepared, start_record};

fn keys(keys: &[(Option<f64>, Option<&str>)]) -> Vec<ArrayRef> {
    vec![Arc::new(keys.iter().map(|(f, _)| *f).collect::<Float64Array>()), Arc::new(keys.iter().map(|(_, s)| *s).collect::<StringArray>())]
}

fn values(values: &[(i64, Option<&str>)]) -> Vec<ArrayRef> {
    vec![
        Arc::new(values.iter().map(|(n, _)| Some(*n)).collect::<Int64Array>()),
        Arc::new(values.iter().map(|(_, t)| *t).collect::<StringArray>()),
    ]
}

/// Two batches with deltas and a snapshot between them. The second removes, expires and changes rows.
async fn write(folder: &Path) {
    let (ids, clock) = (CountedIds::default(), ManualClock::new(1_704_067_200_000));
    let location = local(&OsFileSystem, folder);
    let (mut checkpoint, opened) = Checkpoint::open_with(location, &ids, &clock, CheckpointOptions::default()).await.unwrap();
    let mut start = start_record(1);
    start.operators.insert("op-1".into(), operator());
    let recovered = checkpoint.start(start, opened).await.unwrap();
    let mut log = checkpoint.open_state(&recovered).await.unwrap();
    let (mut rows, mut lists) = (KeyedTable::new(schema()).unwrap(), KeyedMultiTable::new(schema()).unwrap());
    for batch in 0..2 {
        if batch == 0 {
            let four = keys(&[(Some(-0.0), Some("zero")), (Some(f64::NAN), None), (None, Some("gone")), (None, Some("late"))]);
            let expiry = Int64Array::from(vec![None, Some(2_000), None, Some(500)]);
            rows.upsert(&four, Some(&expiry), &values(&[(1, Some("one")), (2, None), (3, Some("")), (4, None)])).unwrap();
            lists.append(&keys(&[(None, None), (Some(1.5), Some("a"))]), None, &values(&[(10, None), (11, Some("x"))])).unwrap();
        } else {
            rows.discard_expired(1_000).unwrap();
            rows.remove(&keys(&[(None, Some("gone"))])).unwrap();
            rows.upsert(&keys(&[(Some(0.0), Some("zero"))]), None, &values(&[(5, Some("five"))])).unwrap();
            let expiry = Int64Array::from(vec![9_000]);
            lists.append(&keys(&[(None, None)]), Some(&expiry), &values(&[(12, None)])).unwrap();
        }
        let deltas = [("rows", rows.take_delta()), ("lists", lists.take_delta())];
        let deltas = deltas.into_iter().filter_map(|(store, delta)| Some((store_id(store), delta.unwrap()?))).collect();
        let mut record = prepared(batch, 0);
        record.state_delta = log.write(BatchId(batch), deltas).await.unwrap();
        record.state.insert("op-1".into(), batch);
        checkpoint.append(record).await.unwrap();
        if batch == 0 {
            log.snapshot(BatchId(0), vec![(store_id("rows"), rows.freeze()), (store_id("lists"), lists.freeze())]).unwrap();
        }
    }
    log.close().await;
    checkpoint.close().await;
    std::fs::remove_file(folder.join("LOCK")).unwrap();
}

fn row(expiry: Option<i64>, n: i64, text: Option<&str>) -> Row {
    (expiry, n, text.map(str::to_owned))
}

fn key(f: Option<&str>, s: Option<&str>) -> Key {
    (f.map(str::to_owned), s.map(str::to_owned))
}

#[tokio::test]
async fn state_of_v1_is_read_as_it_was_written() {
    if let Ok(folder) = std::env::var("MILLSTREAM_WRITE_STATE_FIXTURE") {
        write(Path::new(&folder)).await;
    }
    let location = local(&OsFileSystem, &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1/stateful"));
    let (query_id, state) = read_state(&location).await.unwrap();
    assert_eq!(state.operators["op-1"], operator());
    assert_eq!(state.deltas.len(), 2);
    let lists = [
        (key(None, None), vec![row(None, 10, None), row(Some(9_000), 12, None)]),
        (key(Some("1.5"), Some("a")), vec![row(None, 11, Some("x"))]),
    ];
    let zero = key(Some("0"), Some("zero"));
    let nan = (key(Some("NaN"), None), row(Some(2_000), 2, None));
    let after_1 = Memory { rows: [(zero.clone(), row(None, 5, Some("five"))), nan.clone()].into(), lists: lists.clone().into() };
    let mut after_0 = after_1.clone();
    after_0.rows.insert(zero, row(None, 1, Some("one")));
    after_0.rows.insert(key(None, Some("gone")), row(None, 3, Some("")));
    after_0.rows.insert(key(None, Some("late")), row(Some(500), 4, None));
    after_0.lists.insert(key(None, None), vec![row(None, 10, None)]);
    for (version, expected) in [(None, Memory::default()), (Some(BatchId(0)), after_0), (Some(BatchId(1)), after_1)] {
        for parallelism in [1, 5] {
            let loaded = load(&location, query_id, &state, version, &specs(), tasks(parallelism), &job_memory(parallelism)).await.unwrap();
            assert_eq!((loaded.snapshot, loaded.damaged.len()), (version.map(|_| BatchId(0)), 0));
            assert_eq!(memory_of(&tables_of(loaded)), expected, "after {version:?}");
        }
    }
}
