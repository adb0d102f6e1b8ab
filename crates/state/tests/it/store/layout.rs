//! A store whose query was changed: files of both kinds of columns are one state, from every place to begin with. The checkpoint is a
//! fixture, too: `MILLSTREAM_WRITE_LAYOUT_FIXTURE` names a folder to write one to; what is there is never edited.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int32Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type};
use millstream_core::{BatchId, ErrorKind, RunEpoch};
use millstream_state::checkpoint::{read_state, verify};
use millstream_state::store::{
    EarlierLayout, KEY_GROUPS, KeyedMultiTable, KeyedTable, OPERATOR_VERSION_WITH_PAST, OperatorState, StateLog, StateMemory,
    StoreDescription, StoreId, StoreKind, StoreRows, StoreScan, StoreSchema, load,
};
use millstream_state::{Checkpoint, CheckpointOptions, OsFileSystem};
use millstream_testkit::ManualClock;

use super::job::tasks;
use crate::support::{CountedIds, local, prepared, scratch_dir, start_record};

/// k; number, text, gone.
fn narrow() -> StoreSchema {
    let values =
        vec![Field::new("n", DataType::Int32, false), Field::new("t", DataType::Utf8, true), Field::new("gone", DataType::Int32, true)];
    StoreSchema::new(vec![Field::new("k", DataType::Int32, false)], values).unwrap()
}

/// k; text, new, number.
fn wide() -> StoreSchema {
    let values =
        vec![Field::new("t", DataType::Utf8, true), Field::new("new", DataType::Float64, true), Field::new("n", DataType::Int64, false)];
    StoreSchema::new(vec![Field::new("k", DataType::Int64, false)], values).unwrap()
}

fn id(store: &str) -> StoreId {
    StoreId { operator: "op".into(), store: store.into() }
}

fn operator(schema: &StoreSchema) -> OperatorState {
    let store = |name: &str, kind| StoreDescription { name: name.into(), kind, schema: schema.clone() };
    OperatorState::new("test", KEY_GROUPS, vec![store("rows", StoreKind::Single), store("lists", StoreKind::Multi)])
}

fn migrated() -> OperatorState {
    let mut operator = operator(&wide());
    let layout = EarlierLayout { before: RunEpoch(1), columns: vec![Some(0), Some(2), None, Some(1)] };
    operator.v = OPERATOR_VERSION_WITH_PAST;
    operator.earlier = [("rows".to_owned(), vec![layout.clone()]), ("lists".to_owned(), vec![layout])].into();
    operator
}

fn narrow_rows(rows: &[(i32, i32, Option<&str>)]) -> (Vec<ArrayRef>, Vec<ArrayRef>) {
    let texts: StringArray = rows.iter().map(|row| row.2).collect();
    let gone: ArrayRef = Arc::new(Int32Array::from_value(9, rows.len()));
    let number =
        |of: fn(&(i32, i32, Option<&str>)) -> i32| Arc::new(rows.iter().map(|row| Some(of(row))).collect::<Int32Array>()) as ArrayRef;
    (vec![number(|row| row.0)], vec![number(|row| row.1), Arc::new(texts), gone])
}

fn wide_rows(rows: &[(i64, i64, Option<&str>)]) -> (Vec<ArrayRef>, Vec<ArrayRef>) {
    let texts: StringArray = rows.iter().map(|row| row.2).collect();
    let new: Float64Array = rows.iter().map(|_| Some(0.5)).collect();
    let number =
        |of: fn(&(i64, i64, Option<&str>)) -> i64| Arc::new(rows.iter().map(|row| Some(of(row))).collect::<Int64Array>()) as ArrayRef;
    (vec![number(|row| row.0)], vec![Arc::new(texts), Arc::new(new), number(|row| row.1)])
}

/// k, n, t, new: of wide rows.
type Row = (i64, i64, Option<String>, Option<String>);

fn read(rows: &StoreRows) -> Vec<Row> {
    let (k, n) = (rows.keys[0].as_primitive::<Int64Type>(), rows.values[2].as_primitive::<Int64Type>());
    let (t, new) = (rows.values[0].as_string::<i32>(), rows.values[1].as_primitive::<Float64Type>());
    let text = |at: usize| t.is_valid(at).then(|| t.value(at).to_owned());
    (0..rows.n_rows).map(|at| (k.value(at), n.value(at), text(at), new.is_valid(at).then(|| new.value(at).to_string()))).collect()
}

async fn commit(checkpoint: &mut Checkpoint, log: &mut StateLog, batch: u64, rows: &mut KeyedTable, lists: &mut KeyedMultiTable) {
    let deltas = [("rows", rows.take_delta()), ("lists", lists.take_delta())];
    let deltas = deltas.into_iter().filter_map(|(store, delta)| Some((id(store), delta.unwrap()?))).collect();
    let mut record = prepared(batch, 0);
    record.state_delta = log.write(BatchId(batch), deltas).await.unwrap();
    record.state.insert("op".into(), batch);
    checkpoint.append(record).await.unwrap();
}

/// Batches 0 (with a snapshot) and 1 of the narrow query, 2 and 3 (with a snapshot) of the wide one.
async fn write(folder: &Path) {
    let (ids, clock) = (CountedIds::default(), ManualClock::new(1_704_067_200_000));
    for epoch in 0..2_u64 {
        let location = local(&OsFileSystem, folder);
        let (mut checkpoint, opened) = Checkpoint::open_with(location, &ids, &clock, CheckpointOptions::default()).await.unwrap();
        assert_eq!(checkpoint.epoch(), RunEpoch(epoch));
        let described = if epoch == 0 { operator(&narrow()) } else { migrated() };
        let mut start = start_record(epoch);
        start.operators.insert("op".into(), described.clone());
        let recovered = checkpoint.start(start, opened).await.unwrap();
        let mut log = checkpoint.open_state(&recovered).await.unwrap();
        let mut loaded = log.recover(&described.specs("op"), tasks(1), &StateMemory::unlimited()).await.unwrap();
        let mut rows = loaded.tables.remove(&id("rows")).unwrap().remove(0);
        let lists = loaded.tables.remove(&id("lists")).unwrap().remove(0);
        let mut lists = KeyedMultiTable::recover(described.stores[1].schema.clone(), lists).unwrap();
        for batch in [epoch * 2, epoch * 2 + 1] {
            match batch {
                0 => {
                    let (keys, values) = narrow_rows(&[(1, 10, Some("one")), (2, 20, None), (3, 30, Some("three")), (4, 40, None)]);
                    let expiry = Int64Array::from(vec![None, None, None, Some(500)]);
                    rows.upsert(&keys, Some(&expiry), &values).unwrap();
                    lists.append(&keys, None, &values).unwrap();
                }
                1 => {
                    rows.remove(&narrow_rows(&[(3, 0, None)]).0).unwrap();
                    let (keys, values) = narrow_rows(&[(1, 11, Some("one again"))]);
                    lists.append(&keys, None, &values).unwrap();
                }
                2 => {
                    rows.discard_expired(1_000).unwrap();
                    let (keys, values) = wide_rows(&[(2, 5_000_000_000, Some("two")), (6_000_000_000, 60, None)]);
                    rows.upsert(&keys, None, &values).unwrap();
                    lists.append(&keys, None, &values).unwrap();
                }
                _ => {
                    rows.remove(&wide_rows(&[(1, 0, None)]).0).unwrap();
                    lists.remove(&wide_rows(&[(3, 0, None)]).0).unwrap();
                }
            }
            commit(&mut checkpoint, &mut log, batch, &mut rows, &mut lists).await;
            if batch == 0 || batch == 3 {
                log.snapshot(BatchId(batch), vec![(id("rows"), rows.freeze()), (id("lists"), lists.freeze())]).unwrap();
            }
        }
        log.close().await;
        checkpoint.close().await;
    }
    std::fs::remove_file(folder.join("LOCK")).unwrap();
}

fn row(k: i64, n: i64, t: Option<&str>, new: Option<&str>) -> Row {
    (k, n, t.map(str::to_owned), new.map(str::to_owned))
}

/// What the stores hold after the batches of the wide query.
fn expected(version: u64) -> [(&'static str, Vec<Row>); 2] {
    let (two, six) = (row(2, 5_000_000_000, Some("two"), Some("0.5")), row(6_000_000_000, 60, None, Some("0.5")));
    let one = row(1, 10, Some("one"), None);
    let mut rows = vec![two.clone(), six.clone()];
    let mut lists = vec![one.clone(), row(1, 11, Some("one again"), None), row(2, 20, None, None), two];
    if version == 2 {
        rows.insert(0, one);
        lists.push(row(3, 30, Some("three"), None));
    }
    lists.extend([row(4, 40, None, None), six]);
    [("rows", rows), ("lists", lists)]
}

async fn check(folder: &Path) {
    let location = local(&OsFileSystem, folder);
    let (query_id, state) = read_state(&location).await.unwrap();
    assert_eq!(state.operators["op"], migrated());
    assert_eq!(state.runs, [(RunEpoch(0), BatchId(1)), (RunEpoch(1), BatchId(3))]);
    for version in [2, 3] {
        for parallelism in [1, 2, 3] {
            let memory = if parallelism == 2 { StateMemory::unlimited() } else { StateMemory::limited(1, &std::env::temp_dir()) };
            let specs = migrated().specs("op");
            let loaded = load(&location, query_id, &state, Some(BatchId(version)), &specs, tasks(parallelism), &memory).await.unwrap();
            for (store, expected) in expected(version) {
                let mut found: Vec<Row> = loaded.tables[&id(store)]
                    .iter()
                    .flat_map(|table| table.scan().flat_map(|rows| read(&rows.unwrap())).collect::<Vec<_>>())
                    .collect();
                found.sort();
                assert_eq!(found, expected, "{store} after {version}, snapshot {:?}", loaded.snapshot);
            }
        }
        for (store, expected) in expected(version) {
            let mut scan = StoreScan::open(&location, BatchId(version), &id(store)).await.unwrap();
            let mut found = Vec::new();
            while let Some(rows) = scan.next().await.unwrap() {
                found.extend(read(&rows.rows));
            }
            found.sort();
            assert_eq!(found, expected, "{store} after {version}");
        }
    }
    // As the narrow query left it, in the columns of now.
    let mut scan = StoreScan::open(&location, BatchId(1), &id("rows")).await.unwrap();
    assert_eq!(*scan.schema(), wide());
    let mut found = Vec::new();
    while let Some(rows) = scan.next().await.unwrap() {
        found.extend(read(&rows.rows));
    }
    found.sort();
    assert_eq!(found, [row(1, 10, Some("one"), None), row(2, 20, None, None), row(4, 40, None, None)]);
    // Who does not know of the change is told, and gives no row.
    let mut unaware = migrated();
    unaware.earlier.clear();
    let memory = StateMemory::unlimited();
    let error = load(&location, query_id, &state, Some(BatchId(2)), &unaware.specs("op"), tasks(1), &memory).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.message().contains("it was written with the columns k Int32"), "{error}");
    // A store that began with the second run owns nothing of the first.
    let mut afresh = operator(&wide());
    afresh.since = Some(RunEpoch(1));
    let loaded = load(&location, query_id, &state, Some(BatchId(2)), &afresh.specs("op"), tasks(1), &memory).await.unwrap();
    assert_eq!(loaded.tables[&id("rows")][0].n_rows(), 2);
}

#[tokio::test]
async fn files_of_both_layouts_are_one_state() {
    let dir = scratch_dir();
    write(dir.path()).await;
    check(dir.path()).await;
    // Also by way of the older snapshot, when the newer is damaged.
    let newest = dir.path().join("state/00000000000000000003-0000000000000001.snap");
    std::fs::write(&newest, b"").unwrap();
    check(dir.path()).await;
    std::fs::remove_file(newest).unwrap();
    check(dir.path()).await;
}

#[tokio::test]
async fn a_changed_store_of_v1_is_read_as_it_was_written() {
    if let Ok(folder) = std::env::var("MILLSTREAM_WRITE_LAYOUT_FIXTURE") {
        write(Path::new(&folder)).await;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1/layouts");
    check(&folder).await;
    assert!(verify(&local(&OsFileSystem, &folder)).await.unwrap().is_ok());
}

/// Every byte of every file of a state with two layouts: what is read is right, or the file is named.
#[tokio::test]
async fn a_changed_byte_of_either_layout_is_seen_or_harmless() {
    let dir = scratch_dir();
    write(dir.path()).await;
    let location = local(&OsFileSystem, dir.path());
    let (mut n_seen, mut n_harmless) = (0, 0);
    for entry in std::fs::read_dir(dir.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        let (name, content) = (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&path).unwrap());
        for at in (0..content.len()).step_by(17) {
            let mut bytes = content.clone();
            bytes[at] ^= 0x41;
            std::fs::write(&path, bytes).unwrap();
            let (query_id, state) = read_state(&location).await.unwrap();
            let (specs, memory) = (migrated().specs("op"), StateMemory::unlimited());
            match load(&location, query_id, &state, Some(BatchId(3)), &specs, tasks(1), &memory).await {
                Ok(loaded) => {
                    for (store, expected) in expected(3) {
                        let mut found: Vec<Row> = loaded.tables[&id(store)][0].scan().flat_map(|rows| read(&rows.unwrap())).collect();
                        found.sort();
                        assert_eq!(found, expected, "{name}, byte {at}");
                    }
                    n_harmless += 1;
                }
                Err(error) => {
                    assert!(error.kind() == ErrorKind::Data && error.to_string().contains(&name), "{name}, byte {at}: {error}");
                    n_seen += 1;
                }
            }
        }
        std::fs::write(&path, content).unwrap();
    }
    assert!(n_seen + n_harmless > 50 && n_harmless > 10, "{n_seen} seen, {n_harmless} harmless");
}
