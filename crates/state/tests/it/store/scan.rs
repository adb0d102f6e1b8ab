//! A store read as a table: any version that is kept, while the query runs, whatever becomes of its files.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::Array;
use millstream_core::{BatchId, ErrorKind, Result};
use millstream_state::Location;
use millstream_state::checkpoint::read_state;
use millstream_state::store::{KEY_GROUPS, KeptVersions, KeyHasher, StateMemory, StoreScan, key_group, load};
use millstream_testkit::{PowerLossFs, Rng};
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;

use super::damage::{files, small_state, write};
use super::job::{Job, Memory, memory_of, specs, store_id, tables_of, tasks};
use super::model::{Key, Row, read, schema};
use crate::support::{SMALL, local, scratch_dir};

/// All rows of a store in order, each checked to be in its key group.
async fn scanned(location: &Location, version: u64, store: &str) -> Result<Vec<(Key, Row)>> {
    let mut scan = StoreScan::open(location, BatchId(version), &store_id(store)).await?;
    assert_eq!(*scan.schema(), schema());
    let hasher = KeyHasher::new(schema().keys()).unwrap();
    let mut all = Vec::new();
    while let Some(found) = scan.next().await? {
        let groups = hasher.hashes(&found.rows.keys).unwrap().into_iter().map(|hash| key_group(hash, KEY_GROUPS) as i32);
        assert_eq!(found.key_groups.values().to_vec(), groups.collect::<Vec<_>>());
        assert!(found.rows.n_rows > 0 && found.rows.keys.iter().all(|column| column.len() == found.rows.n_rows));
        all.extend(read(&found.rows));
    }
    all.sort();
    Ok(all)
}

fn rows_of(memory: &Memory) -> [(&'static str, Vec<(Key, Row)>); 2] {
    let mut lists: Vec<_> = memory.lists.iter().flat_map(|(key, rows)| rows.iter().map(|row| (key.clone(), row.clone()))).collect();
    lists.sort();
    [("rows", memory.rows.clone().into_iter().collect()), ("lists", lists)]
}

#[tokio::test]
async fn every_kept_version_is_read_while_the_query_runs_and_others_are_refused_by_name() {
    for seed in 0..12 {
        let dir = scratch_dir();
        let store = Arc::new(InMemory::new());
        let location = match seed % 3 {
            0 => Location::object(store, "memory://scan", ObjectPath::from("ckpt")),
            _ => local(&PowerLossFs::new(), dir.path()),
        };
        let mut rng = Rng::new(seed);
        let mut job = Job::start(location.clone(), SMALL, 1 + (seed as u32) % 4, 1_000).await.unwrap();
        let mut after: BTreeMap<u64, Memory> = BTreeMap::new();
        for batch in 0..40 {
            job.change(&mut rng);
            job.commit().await.unwrap();
            after.insert(batch, job.memory.clone());
            if rng.one_in(6) {
                job.snapshot().unwrap();
                while job.log.is_writing_snapshot() {
                    tokio::task::yield_now().await;
                }
            }
            if rng.one_in(3) {
                job.retain();
            }
            if batch % 9 != 8 {
                continue;
            }
            let (query_id, state) = read_state(&location).await.unwrap();
            let kept = KeptVersions::of(&location, &state).await.unwrap().unwrap();
            assert_eq!(kept.last, BatchId(batch));
            for version in 0..=batch + 1 {
                if (kept.first.0..=batch).contains(&version) {
                    for (name, expected) in rows_of(&after[&version]) {
                        assert_eq!(scanned(&location, version, name).await.unwrap(), expected, "seed {seed}, after {version}, {name}");
                    }
                    let loaded = load(&location, query_id, &state, Some(BatchId(version)), &specs(), tasks(3), &StateMemory::unlimited())
                        .await
                        .unwrap();
                    assert_eq!(memory_of(&tables_of(loaded)), after[&version]);
                } else {
                    let loaded = load(&location, query_id, &state, Some(BatchId(version)), &specs(), tasks(1), &StateMemory::unlimited())
                        .await
                        .unwrap_err();
                    let scanned = scanned(&location, version, "rows").await.unwrap_err();
                    for error in [loaded, scanned] {
                        assert_eq!((error.kind(), error.error_class()), (ErrorKind::Invalid, Some("STDS_COMMITTED_BATCH_UNAVAILABLE")));
                        let what = if version > batch { "is not there yet" } else { "is not kept any more" };
                        let which =
                            if kept.first == kept.last { format!("batch {batch} is") } else { format!("{} to {batch}", kept.first) };
                        assert!(error.message().contains(what) && error.message().contains(&which), "{error}");
                    }
                }
            }
        }
        job.close().await;
    }
}

/// A snapshot that is being read may go: on a local disk the file that is open stays readable.
#[tokio::test]
async fn a_scan_goes_on_when_the_running_query_removes_its_snapshot() {
    let dir = scratch_dir();
    let memory = small_state(dir.path()).await;
    let location = local(&PowerLossFs::new(), dir.path());
    let mut scan = StoreScan::open(&location, BatchId(7), &store_id("rows")).await.unwrap();
    for (name, _) in files(dir.path()).into_iter().filter(|(name, _)| name.ends_with(".snap")) {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let mut all = Vec::new();
    while let Some(found) = scan.next().await.unwrap() {
        all.extend(read(&found.rows));
    }
    all.sort();
    assert_eq!(all, rows_of(&memory)[0].1);
}

#[tokio::test]
async fn any_changed_byte_any_cut_and_any_missing_file_is_seen_by_a_scan_or_harmless() {
    let dir = scratch_dir();
    let memory = small_state(&dir.path().join("a")).await;
    let whole = files(&dir.path().join("a"));
    let root = dir.path().join("b");
    write(&root, &whole);
    let location = local(&PowerLossFs::new(), &root);
    let (mut n_seen, mut n_harmless) = (0, 0);
    for (name, content) in whole.iter().filter(|(name, _)| name.starts_with("state/")) {
        let mut check = async |bytes: Option<Vec<u8>>, what: String| {
            match bytes {
                Some(bytes) => std::fs::write(root.join(name), bytes).unwrap(),
                None => std::fs::remove_file(root.join(name)).unwrap(),
            }
            for (store, expected) in rows_of(&memory) {
                match scanned(&location, 7, store).await {
                    Ok(found) => {
                        assert_eq!(found, expected, "{what}");
                        n_harmless += 1;
                    }
                    Err(error) => {
                        let text = error.to_string();
                        assert_eq!(error.kind(), ErrorKind::Data, "{what}: {text}");
                        assert!(text.contains(name.as_str()) && text.contains("batch"), "{what}: {text}");
                        n_seen += 1;
                    }
                }
            }
        };
        for at in (0..content.len()).step_by(5) {
            let mut bytes = content.clone();
            bytes[at] ^= [0x01_u8, 0x80, 0xff][at % 3];
            check(Some(bytes), format!("{name}, byte {at} changed")).await;
            if at % 7 == 0 {
                check(Some(content[..at].to_vec()), format!("{name} cut at {at}")).await;
            }
        }
        check(None, format!("{name} missing")).await;
        std::fs::write(root.join(name), content).unwrap();
    }
    assert!(n_seen > 200 && n_harmless > 200, "{n_seen} seen, {n_harmless} harmless");
}

#[tokio::test]
async fn a_store_that_is_not_there_is_named() {
    let dir = scratch_dir();
    small_state(Path::new(dir.path())).await;
    let error = scanned(&local(&PowerLossFs::new(), dir.path()), 7, "other").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("store 'other' of operator 'op-1'"), "{error}");
}
