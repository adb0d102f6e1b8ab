//! State comes back as it was after the last decided batch, whatever the parallelism, wherever it is, however a run ends.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use millstream_core::{BatchId, ErrorKind, Options};
use millstream_state::checkpoint::{read_state, verify};
use millstream_state::store::{KEY_GROUPS, KeyedTable, StateMemory, StoreHistory, StoreId, StoreKind, StoreSchema, StoreSpec, load};
use millstream_state::{CheckpointOptions, Location};
use millstream_testkit::{Fault, FaultyStore, PowerLossFs, Rng};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;

use super::job::{Job, Memory, begin, memory_of, specs, tables_of, tasks};
use super::model::Replay;
use super::table::{dedup_schema, sixteen_bytes};
use crate::fencing::on_s3;
use crate::support::{SMALL, local, open, scratch_dir};

fn n_cases() -> u64 {
    std::env::var("MILLSTREAM_TEST_POWER_LOSS_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}

/// What tests know: the memory after each batch that was decided, or may have been.
#[derive(Default)]
struct Known {
    after: BTreeMap<u64, Memory>,
    decided: Option<u64>,
    now: i64,
}

/// One run, on whatever `location` is; ends by itself or with the error of the disk.
async fn live(location: Location, known: &mut Known, rng: &mut Rng, n_batches: u64) -> millstream_core::Result<()> {
    let parallelism = 1 + rng.below(4) as u32;
    let mut job = Job::start(location.clone(), SMALL, parallelism, known.now).await?;
    let last = job.recovered.last_batch.map(|batch| batch.0);
    assert!(
        last == known.decided
            || (last == known.decided.map_or(Some(0), |batch| Some(batch + 1)) && known.after.contains_key(&last.unwrap()))
    );
    known.decided = last;
    let expected = last.and_then(|last| known.after.get(&last)).cloned().unwrap_or_default();
    assert_eq!(job.memory, expected, "after batch {last:?} with {parallelism} tasks");
    for _ in 0..n_batches {
        job.change(rng);
        known.now = job.now;
        known.after.insert(job.next_batch, job.memory.clone());
        job.commit().await?;
        known.decided = Some(job.next_batch - 1);
        if rng.one_in(4) {
            job.snapshot()?;
        }
        if rng.one_in(3) {
            job.retain();
        }
    }
    if let (Some(version), true) = (known.decided, rng.one_in(3)) {
        // Any version that is kept is there.
        let (query_id, state) = (job.checkpoint.query_id(), job.recovered.clone());
        let version = version.min(state.last_batch.map_or(0, |last| last.0));
        if state.last_batch.is_some() {
            match load(&location, query_id, &state, Some(BatchId(version)), &specs(), tasks(2), &StateMemory::unlimited()).await {
                Ok(loaded) => assert_eq!(memory_of(&tables_of(loaded)), known.after[&version]),
                // The store does not answer, or retention of this run has removed it.
                Err(error) => assert!(error.kind() == ErrorKind::Unavailable || job.next_batch > version + 1, "{error}"),
            }
        }
    }
    if rng.one_in(2) {
        job.close().await;
    }
    Ok(())
}

#[test]
fn state_survives_power_loss_and_changes_of_parallelism() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(2).enable_all().build().unwrap();
    let (mut n_batches, mut n_crashes, mut n_errors) = (0, 0, 0);
    for seed in 0..n_cases() {
        let replay = Replay(seed);
        let mut rng = Rng::new(seed);
        let dir = scratch_dir();
        let root = dir.path().join("checkpoint");
        let mut known = Known { now: 1_000, ..Known::default() };
        let mut fs = PowerLossFs::new();
        for _ in 0..4 {
            let at = fs.n_ops() + rng.below(150);
            match rng.below(6) {
                0 => {}
                1 => fs.fail_at(at, Fault::NoSpace),
                2 => fs.fail_at(at, Fault::Io),
                _ => fs.fail_at(at, Fault::PowerLoss),
            }
            let n = rng.below(16);
            let ended = runtime.block_on(live(local(&fs, &root), &mut known, &mut rng, n));
            n_errors += u64::from(ended.is_err());
            if let Err(error) = &ended {
                assert!(!matches!(error.kind(), ErrorKind::Data | ErrorKind::Internal), "{error}");
            }
            if fs.is_off() || rng.one_in(2) {
                let crash_seed = rng.next_u64();
                fs.crash(crash_seed).unwrap();
                fs = PowerLossFs::new();
                n_crashes += 1;
            } else {
                fs.fail_at(u64::MAX, Fault::Io);
            }
        }
        runtime.block_on(live(local(&PowerLossFs::new(), &root), &mut known, &mut rng, 0)).unwrap();
        n_batches += known.decided.map_or(0, |last| last + 1);
        std::mem::forget(replay);
    }
    assert!(n_batches > 3 * n_cases() && n_crashes > n_cases() && n_errors > n_cases() / 2, "{n_batches} {n_crashes} {n_errors}");
}

/// A power cut at every operation of a short run with two snapshots, and another one within the recovery from it.
#[test]
fn a_crash_at_every_operation_and_one_more_in_recovery() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let script = async |fs: &PowerLossFs, root: &Path, after: &mut Vec<Memory>, n_decided: &mut usize| -> millstream_core::Result<()> {
        let mut rng = Rng::new(11);
        let mut job = Job::start(local(fs, root), SMALL, 2, 1_000).await?;
        for batch in 0..5 {
            job.change(&mut rng);
            after.push(job.memory.clone());
            job.commit().await?;
            *n_decided += 1;
            if batch == 1 || batch == 3 {
                job.snapshot()?;
                while job.log.is_writing_snapshot() {
                    tokio::task::yield_now().await;
                }
            }
            job.retain();
        }
        job.close().await;
        Ok(())
    };
    let mut n_pairs = 0;
    for first in 0_u64.. {
        let mut is_ended = false;
        for second in 0.. {
            let dir = scratch_dir();
            let root = dir.path().join("c");
            let (mut after, mut n_decided) = (vec![Memory::default()], 0);
            let fs = PowerLossFs::with_fault(first, Fault::PowerLoss);
            is_ended = runtime.block_on(script(&fs, &root, &mut after, &mut n_decided)).is_ok() && !fs.is_off();
            fs.crash(first * 1_000 + second).unwrap();
            let fs = PowerLossFs::with_fault(second, Fault::PowerLoss);
            let is_whole = runtime.block_on(Job::start(local(&fs, &root), SMALL, 3, 1_000)).is_ok() && !fs.is_off();
            fs.crash(second).unwrap();
            let job = runtime.block_on(Job::start(local(&PowerLossFs::new(), &root), SMALL, 1, 1_000)).unwrap();
            let what = format!("power loss at {first}, then at {second}");
            let last = job.recovered.last_batch.map_or(0, |last| last.0 as usize + 1);
            assert!((n_decided..=n_decided + 1).contains(&last), "{what}: {last} of {n_decided}");
            assert_eq!(job.memory, after[last], "{what}");
            n_pairs += 1;
            if is_whole {
                break;
            }
        }
        if is_ended {
            break;
        }
    }
    assert!(n_pairs > 600, "{n_pairs}");
}

#[tokio::test]
async fn state_on_an_object_store_comes_back_too() {
    for seed in 0..40 {
        let replay = Replay(seed);
        let mut rng = Rng::new(seed);
        let location = Location::parse(&format!("memory://state-{seed}/checkpoint"), &Options::new()).unwrap();
        let mut known = Known { now: 1_000, ..Known::default() };
        for _ in 0..4 {
            let n = rng.below(12);
            live(location.clone(), &mut known, &mut rng, n).await.unwrap();
        }
        std::mem::forget(replay);
    }
}

/// On a real server, when the environment names one (see [`crate::fencing`]); with snapshots of several uploaded pieces.
#[tokio::test]
async fn state_on_s3_comes_back_too() {
    let Some(location) = on_s3() else { return };
    let mut known = Known { now: 1_000, ..Known::default() };
    let mut rng = Rng::new(1);
    for _ in 0..3 {
        live(location.clone(), &mut known, &mut rng, 12).await.unwrap();
    }
    let location = on_s3().unwrap();
    let (mut checkpoint, recovered) = begin(location.clone(), SMALL).await.unwrap();
    let mut log = checkpoint.open_state(&recovered).await.unwrap();
    let mut table = KeyedTable::new(dedup_schema()).unwrap();
    table.upsert(&[sixteen_bytes(0..700_000)], None, &[]).unwrap();
    let mut record = crate::support::prepared(0, 0);
    let id = StoreId { operator: "op-1".into(), store: "dedup".into() };
    record.state_delta = log.write(BatchId(0), vec![(id.clone(), table.take_delta().unwrap().unwrap())]).await.unwrap();
    checkpoint.append(record).await.unwrap();
    log.snapshot(BatchId(0), vec![(id.clone(), table.freeze())]).unwrap();
    log.close().await;
    let (query_id, state) = read_state(&location).await.unwrap();
    let spec = StoreSpec { id: id.clone(), kind: StoreKind::Single, schema: dedup_schema(), history: StoreHistory::default() };
    let loaded = load(&location, query_id, &state, Some(BatchId(0)), &[spec], tasks(2), &StateMemory::unlimited()).await.unwrap();
    assert_eq!(loaded.snapshot, Some(BatchId(0)));
    assert_eq!(loaded.tables[&id].iter().map(KeyedTable::n_rows).sum::<usize>(), 700_000);
    assert!(verify(&location).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_store_that_loses_requests_and_answers_loses_no_state() {
    let (mut n_faults, mut n_errors) = (0, 0);
    for seed in 0..60 {
        let replay = Replay(seed);
        let mut rng = Rng::new(seed);
        let store = FaultyStore::new(Arc::new(InMemory::new()));
        let location = Location::object(Arc::new(store.clone()), "memory://test", ObjectPath::from("checkpoint"));
        let mut known = Known { now: 1_000, ..Known::default() };
        for _ in 0..4 {
            store.fail_one_in(3 + rng.below(40), rng.next_u64());
            let n = rng.below(12);
            n_errors += u64::from(live(location.clone(), &mut known, &mut rng, n).await.is_err());
            store.fail_one_in(0, 0);
            store.deliver_late().await;
        }
        live(location, &mut known, &mut rng, 0).await.unwrap();
        n_faults += store.n_faults();
        std::mem::forget(replay);
    }
    assert!(n_faults > 150 && n_errors > 50, "{n_faults} faults, {n_errors} errors");
}

fn files(root: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(root.join("state")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn old_files_go_and_two_snapshots_stay() {
    let dir = scratch_dir();
    let fs = PowerLossFs::new();
    let mut rng = Rng::new(1);
    let (mut n_files_max, mut memory) = (0, Memory::default());
    for parallelism in 1..4 {
        let mut job = Job::start(local(&fs, dir.path()), SMALL, parallelism, 1_000).await.unwrap();
        assert_eq!(job.memory, memory);
        for batch in 0..100 {
            job.change(&mut rng);
            job.commit().await.unwrap();
            if batch % 10 == 9 {
                job.snapshot().unwrap();
            }
            job.retain();
            tokio::task::yield_now().await;
            n_files_max = n_files_max.max(files(dir.path()).len());
        }
        memory = job.memory.clone();
        job.close().await;
        let names = files(dir.path());
        assert_eq!(names.iter().filter(|name| name.ends_with(".snap")).count(), 2, "{names:?}");
    }
    // Without retention there would be some hundred segments.
    assert!(n_files_max < 60, "{n_files_max}");
    let (checkpoint, recovered) = open(local(&fs, dir.path()), SMALL).await.unwrap();
    assert!(recovered.state.deltas.len() < 40, "{}", recovered.state.deltas.len());
    let last = recovered.state.last_batch.unwrap().0;
    assert!(recovered.state.first_batch.unwrap().0 > last - 40);
    // What is not kept any more is refused by name.
    let (specs, memory) = (specs(), StateMemory::unlimited());
    let loaded = load(checkpoint.location(), recovered.query_id, &recovered.state, Some(BatchId(3)), &specs, tasks(1), &memory);
    let error = loaded.await.unwrap_err();
    assert!(error.message().contains("the state after batch 3 is not kept any more"), "{error}");
}

#[tokio::test]
async fn what_abandoned_attempts_and_dead_runs_left_is_removed() {
    let dir = scratch_dir();
    let fs = PowerLossFs::new();
    let mut rng = Rng::new(3);
    let mut job = Job::start(local(&fs, dir.path()), SMALL, 2, 1_000).await.unwrap();
    while files(dir.path()).is_empty() {
        job.change(&mut rng);
        job.write().await.unwrap();
    }
    // No record refers to it.
    job.close().await;
    std::fs::write(dir.path().join("state/00000000000000000007-0000000000000000.snap.tmp"), b"half").unwrap();
    std::fs::write(dir.path().join("state/notes.txt"), b"not ours").unwrap();
    let job = Job::start(local(&fs, dir.path()), SMALL, 2, 1_000).await.unwrap();
    assert_eq!(job.memory, Memory::default());
    job.close().await;
    assert_eq!(files(dir.path()), ["notes.txt"]);
}

#[tokio::test]
async fn an_attempt_that_was_written_twice_counts_once() {
    let dir = scratch_dir();
    let fs = PowerLossFs::new();
    let mut rng = Rng::new(5);
    let mut job = Job::start(local(&fs, dir.path()), SMALL, 2, 1_000).await.unwrap();
    for _ in 0..20 {
        job.change(&mut rng);
        job.commit().await.unwrap();
    }
    let before = job.memory.clone();
    // The attempt's changes are durable, and then it fails: the tables are loaded again, as the engine does.
    job.change(&mut rng);
    job.write().await.unwrap();
    job.close().await;
    let mut job = Job::start(local(&fs, dir.path()), SMALL, 3, 1_000).await.unwrap();
    assert_eq!(job.memory, before);
    job.change(&mut rng);
    job.commit().await.unwrap();
    let after = job.memory.clone();
    job.close().await;
    assert_eq!(Job::start(local(&fs, dir.path()), SMALL, 1, 1_000).await.unwrap().memory, after);
}

#[tokio::test]
async fn a_batch_costs_what_it_changed_and_nothing_writes_nothing() {
    let dir = scratch_dir();
    let (checkpoint, recovered) = begin(local(&PowerLossFs::new(), dir.path()), CheckpointOptions::default()).await.unwrap();
    let mut log = checkpoint.open_state(&recovered).await.unwrap();
    let id = |store: &str| StoreId { operator: "op-1".into(), store: store.into() };
    assert_eq!(log.write(BatchId(0), Vec::new()).await.unwrap(), None);
    assert!(files(dir.path()).is_empty());
    let schema = StoreSchema::new(
        vec![Field::new("id", arrow::datatypes::DataType::FixedSizeBinary(16), false)],
        vec![Field::new("sum", arrow::datatypes::DataType::Int64, true)],
    );
    let schema = schema.unwrap();
    let mut tables: Vec<KeyedTable> = (0..16).map(|_| KeyedTable::new(schema.clone()).unwrap()).collect();
    for (batch, n_rows) in [(0_u64, 1_u64), (1, 100), (2, 10_000)] {
        let mut deltas = Vec::new();
        for (task, table) in tables.iter_mut().enumerate() {
            let sums: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![7; n_rows as usize]));
            table.upsert(&[sixteen_bytes((0..n_rows).map(|n| n * 16 + task as u64))], None, &[sums]).unwrap();
            deltas.extend(table.take_delta().unwrap().map(|delta| (id("agg"), delta)));
        }
        let reference = log.write(BatchId(batch), deltas).await.unwrap().unwrap();
        let changed = n_rows * 16 * 24;
        assert!(reference.length <= changed * 13 / 10 + 4096, "{} for {changed}", reference.length);
        assert_eq!(files(dir.path()).len(), 1);
    }
    // What expired is one number, whatever the number of rows.
    let mut table = KeyedTable::new(dedup_schema()).unwrap();
    let expiry = arrow::array::Int64Array::from(vec![5; 10_000]);
    table.upsert(&[sixteen_bytes(0..10_000)], Some(&expiry), &[]).unwrap();
    table.take_delta().unwrap();
    table.discard_expired(5).unwrap();
    let delta = table.take_delta().unwrap().unwrap();
    let reference = log.write(BatchId(3), vec![(id("dedup"), delta)]).await.unwrap().unwrap();
    assert!(reference.length < 1_000, "{}", reference.length);
}

#[tokio::test]
async fn a_snapshot_is_wanted_when_deltas_outweigh_the_last_and_only_of_decided_batches() {
    let dir = scratch_dir();
    let (mut checkpoint, recovered) = begin(local(&PowerLossFs::new(), dir.path()), CheckpointOptions::default()).await.unwrap();
    let mut log = checkpoint.open_state(&recovered).await.unwrap();
    let id = StoreId { operator: "op-1".into(), store: "dedup".into() };
    let mut table = KeyedTable::new(dedup_schema()).unwrap();
    let mut wanted = Vec::new();
    for batch in 0..40_u64 {
        table.upsert(&[sixteen_bytes(batch * 10_000..(batch + 1) * 10_000)], None, &[]).unwrap();
        let delta = table.take_delta().unwrap().unwrap();
        let mut record = crate::support::prepared(batch, 0);
        record.state_delta = log.write(BatchId(batch), vec![(id.clone(), delta)]).await.unwrap();
        let frozen = vec![(id.clone(), table.freeze())];
        assert_eq!(log.snapshot(BatchId(batch), frozen.clone()).unwrap_err().kind(), ErrorKind::Internal);
        checkpoint.append(record).await.unwrap();
        if log.wants_snapshot() {
            wanted.push(batch);
            log.snapshot(BatchId(batch), frozen).unwrap();
            assert!(!log.wants_snapshot());
            while !files(dir.path()).contains(&format!("{batch:020}-{:016}.snap", 0)) {
                tokio::task::yield_now().await;
            }
            // The file has its name a moment before the log knows.
            tokio::time::timeout(std::time::Duration::from_secs(20), async {
                while log.is_writing_snapshot() {
                    tokio::task::yield_now().await
                }
            })
            .await
            .unwrap();
        }
    }
    // Each when as much was written again as the last one has: at 1 MiB, then doubling.
    assert_eq!(wanted.len(), 3, "{wanted:?}");
    assert!(wanted.windows(2).all(|pair| pair[1] + 1 >= 2 * (pair[0] + 1)), "{wanted:?}");
    log.close().await;
    checkpoint.close().await;
    let (checkpoint, recovered) = begin(local(&PowerLossFs::new(), dir.path()), CheckpointOptions::default()).await.unwrap();
    let log = checkpoint.open_state(&recovered).await.unwrap();
    let spec = StoreSpec { id: id.clone(), kind: StoreKind::Single, schema: dedup_schema(), history: StoreHistory::default() };
    let loaded = log.recover(&[spec], tasks(KEY_GROUPS), &StateMemory::unlimited()).await.unwrap();
    assert_eq!(loaded.snapshot, Some(BatchId(*wanted.last().unwrap())));
    assert_eq!(loaded.tables[&id].iter().map(KeyedTable::n_rows).sum::<usize>(), 400_000);
}

#[tokio::test]
async fn what_does_not_fit_the_stored_columns_is_refused() {
    let dir = scratch_dir();
    let fs = PowerLossFs::new();
    let mut rng = Rng::new(2);
    let mut job = Job::start(local(&fs, dir.path()), SMALL, 2, 1_000).await.unwrap();
    for _ in 0..6 {
        job.change(&mut rng);
        job.commit().await.unwrap();
    }
    job.close().await;
    let (checkpoint, recovered) = begin(local(&fs, dir.path()), SMALL).await.unwrap();
    assert_eq!(recovered.state.operators["op-1"], super::job::operator());
    let log = checkpoint.open_state(&recovered).await.unwrap();
    let mut other = specs();
    other[0].schema = dedup_schema();
    let error = log.recover(&other, tasks(1), &StateMemory::unlimited()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("f Float64, s Utf8, n Int64, t Utf8 and is read with id FixedSizeBinary(16)"), "{error}");
}
