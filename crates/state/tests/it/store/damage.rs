//! One changed byte, one cut, one missing file of the folder `state`: seen, or the state is right all the same.

use std::path::Path;

use millstream_core::{BatchId, Error, ErrorKind, Result};
use millstream_state::checkpoint::{read_state, verify};
use millstream_state::store::load;
use millstream_testkit::{PowerLossFs, Rng};

use super::job::{Job, Memory, begin, job_memory, memory_of, specs, tables_of, tasks};
use crate::support::{SMALL, local, scratch_dir};

/// A checkpoint with two snapshots and deltas before, between and behind them; and what it remembers.
pub async fn small_state(root: &Path) -> Memory {
    let mut rng = Rng::new(8);
    let mut job = Job::start(local(&PowerLossFs::new(), root), SMALL, 2, 1_000).await.unwrap();
    job.call_bits = 5;
    for batch in 0..8 {
        job.change(&mut rng);
        job.commit().await.unwrap();
        job.retain();
        if batch == 2 || batch == 5 {
            job.snapshot().unwrap();
            while job.log.is_writing_snapshot() {
                tokio::task::yield_now().await;
            }
        }
    }
    let memory = job.memory.clone();
    job.close().await;
    memory
}

pub fn files(root: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in ["log", "state", "."] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && !path.ends_with("LOCK") {
                let name = format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap());
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

pub fn write(root: &Path, files: &[(String, Vec<u8>)]) {
    let _ = std::fs::remove_dir_all(root);
    for (name, bytes) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// What is remembered, from which snapshot; and how many snapshots were passed over.
async fn outcome(root: &Path) -> Result<(Memory, Option<u64>, usize), Error> {
    let (checkpoint, recovered) = begin(local(&PowerLossFs::new(), root), SMALL).await?;
    let outcome = match checkpoint.open_state(&recovered).await {
        Ok(log) => {
            let loaded = log.recover(&specs(), tasks(3), &job_memory(3)).await;
            log.close().await;
            loaded.map(|loaded| {
                let (snapshot, n_damaged) = (loaded.snapshot.map(|batch| batch.0), loaded.damaged.len());
                (memory_of(&tables_of(loaded)), snapshot, n_damaged)
            })
        }
        Err(error) => Err(error),
    };
    // What it still removes belongs to this folder, not to the next.
    checkpoint.close().await;
    outcome
}

#[tokio::test]
async fn any_changed_byte_any_cut_and_any_missing_file_is_seen_or_harmless() {
    let dir = scratch_dir();
    let memory = small_state(&dir.path().join("a")).await;
    assert!(memory.rows.len() > 2 && memory.lists.len() > 2);
    let whole = files(&dir.path().join("a"));
    let root = dir.path().join("b");
    write(&root, &whole);
    assert_eq!(outcome(&root).await.unwrap(), (memory.clone(), Some(5), 0));
    let report = verify(&local(&PowerLossFs::new(), &root)).await.unwrap();
    assert!(report.is_ok() && report.state_snapshots.len() == 2 && report.n_state_deltas > 1, "{report}");
    let state: Vec<usize> = (0..whole.len()).filter(|at| whole[*at].0.starts_with("state/")).collect();
    assert_eq!(state.iter().filter(|at| whole[**at].0.ends_with(".snap")).count(), 2);

    // Loading changes nothing, so one folder does for all cases.
    write(&root, &whole);
    let location = local(&PowerLossFs::new(), &root);
    let (query_id, log) = read_state(&location).await.unwrap();
    let (mut n_seen, mut n_passed_over, mut n_harmless) = (0, 0, 0);
    for at_file in state {
        let (name, content) = &whole[at_file];
        let mut check = async |bytes: Option<Vec<u8>>, what: String, verifies: bool| {
            match bytes {
                Some(bytes) => std::fs::write(root.join(name), bytes).unwrap(),
                None => std::fs::remove_file(root.join(name)).unwrap(),
            }
            let found = load(&location, query_id, &log, log.last_batch, &specs(), tasks(1), &job_memory(1)).await;
            let is_harmless = match found {
                // Whatever happened, what is remembered is right.
                Ok(loaded) => {
                    let (snapshot, n_damaged) = (loaded.snapshot, loaded.damaged.len());
                    assert_eq!(memory_of(&tables_of(loaded)), memory, "{what}");
                    assert_eq!(n_damaged > 0, snapshot == Some(BatchId(2)) && !what.ends_with("missing"), "{what}");
                    n_passed_over += n_damaged;
                    n_harmless += usize::from(n_damaged == 0);
                    n_damaged == 0
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Data, "{what}: {error}");
                    let text = error.to_string();
                    assert!(text.contains(name.as_str()) && text.contains("batch") && text.contains("op-1"), "{what}: {text}");
                    n_seen += 1;
                    false
                }
            };
            if verifies {
                let report = verify(&location).await.unwrap();
                // It looks at the older snapshot, too, which nobody needs as long as the newer one is whole.
                assert!(
                    is_harmless || report.problems.iter().any(|problem| problem.contains(name.as_str())) || what.ends_with("missing"),
                    "{what}: {report}"
                );
            }
        };
        for at in 0..content.len() {
            let mut bytes = content.clone();
            bytes[at] ^= [0x01_u8, 0x80, 0xff][at % 3];
            check(Some(bytes), format!("{name}, byte {at} changed"), at % 31 == 0).await;
            if at % 7 == 0 {
                check(Some(content[..at].to_vec()), format!("{name} cut at {at}"), at % 31 == 0).await;
            }
        }
        check(None, format!("{name} missing"), true).await;
        let opened = outcome(&root).await;
        assert!(opened.is_err() || opened.unwrap().0 == memory);
        write(&root, &whole);
    }
    assert!(n_seen > 500 && n_passed_over > 500 && n_harmless > 500, "{n_seen} seen, {n_passed_over} passed over, {n_harmless} harmless");
}

#[tokio::test]
async fn after_a_damaged_snapshot_the_next_ones_are_good_again() {
    let dir = scratch_dir();
    small_state(dir.path()).await;
    let fs = PowerLossFs::new();
    let newest = files(dir.path()).into_iter().rfind(|(name, _)| name.ends_with(".snap")).unwrap().0;
    std::fs::write(dir.path().join(&newest), b"").unwrap();
    let mut rng = Rng::new(9);
    let mut memory = None;
    for _ in 0..3 {
        let mut job = Job::start(local(&fs, dir.path()), SMALL, 2, 100_000).await.unwrap();
        assert!(memory.is_none_or(|memory| memory == job.memory));
        for _ in 0..5 {
            job.change(&mut rng);
            job.commit().await.unwrap();
            job.retain();
        }
        job.snapshot().unwrap();
        memory = Some(job.memory.clone());
        job.close().await;
    }
    assert!(!dir.path().join(&newest).exists());
    assert_eq!(files(dir.path()).iter().filter(|(name, _)| name.ends_with(".snap")).count(), 2);
}

#[tokio::test]
async fn a_log_that_has_lost_its_end_is_seen_by_a_snapshot() {
    let dir = scratch_dir();
    small_state(dir.path()).await;
    let segments: Vec<String> = files(dir.path()).into_iter().map(|(name, _)| name).filter(|name| name.starts_with("log/")).collect();
    assert!(segments.len() > 1);
    for name in &segments[1..] {
        std::fs::remove_file(dir.path().join(name)).unwrap();
    }
    let error = outcome(dir.path()).await.unwrap_err();
    assert!(error.message().contains("records are lost"), "{error}");
}
