//! One changed byte, one cut: seen, or harmless. Never a wrong record.
//!
//! What a changed byte in the very last record does cannot be told from a torn write: the record is cut, as if the crash
//! had come before it was acknowledged. Everywhere else it is damage.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::{BatchId, ErrorKind};
use millstream_state::checkpoint::{show, verify};
use millstream_state::fs::FileSystem;
use millstream_state::wal::read_range;
use millstream_state::{Record, RecordKind, Wal, WalOptions};
use millstream_testkit::PowerLossFs;

use crate::support::{SMALL, intent, local, open, prepared, run, scratch_dir};

/// The files of a small checkpoint of two runs: intents, a snapshot, facts.
async fn small_checkpoint(root: &Path) {
    let fs = PowerLossFs::new();
    let (mut checkpoint, _) = run(local(&fs, root), SMALL).await.unwrap();
    checkpoint.append(prepared(0, 1)).await.unwrap();
    checkpoint.append(intent(1, 2)).await.unwrap();
    checkpoint.append(Record::prepared_from(&intent(1, 2))).await.unwrap();
    checkpoint.put_source_snapshot("in", BatchId(0), Bytes::from_static(b"seen: a, b")).unwrap();
    checkpoint.close().await;
    let (mut checkpoint, _) = run(local(&fs, root), SMALL).await.unwrap();
    for batch in 2..4 {
        let mut record = prepared(batch, batch);
        record.committed = Some(BatchId(batch - 1));
        checkpoint.append(record).await.unwrap();
    }
    checkpoint.close().await;
}

fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn write(root: &Path, files: &[(PathBuf, Vec<u8>)]) {
    let _ = std::fs::remove_dir_all(root);
    for (name, bytes) in files {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// What opening says, but for the number of the run; and whether `verify` says the same as opening.
async fn outcome(root: &Path) -> Result<String, ErrorKind> {
    let report = verify(&local(&PowerLossFs::new(), root)).await;
    let opened = open(local(&PowerLossFs::new(), root), SMALL).await;
    match opened {
        Ok((checkpoint, mut recovered)) => {
            assert!(report.unwrap().is_ok());
            recovered.torn.clear();
            drop(checkpoint);
            Ok(format!("{recovered:?}"))
        }
        Err(error) => {
            assert!(error.kind() != ErrorKind::Data || !report.unwrap().is_ok());
            Err(error.kind())
        }
    }
}

#[tokio::test]
async fn any_changed_byte_and_any_cut_is_seen_or_harmless() {
    let dir = scratch_dir();
    small_checkpoint(&dir.path().join("a")).await;
    let whole = files(&dir.path().join("a"));
    assert_eq!(whole.iter().filter(|(name, _)| name.starts_with("log")).count(), 2);
    let root = dir.path().join("b");
    write(&root, &whole);
    let intact = outcome(&root).await.unwrap();
    let newest = whole.iter().rev().find(|(name, _)| name.starts_with("log")).unwrap().0.clone();

    // The states that the log had before the last record was written, and before that, down to the start of the last run.
    let mut earlier = BTreeSet::new();
    let newest_len = whole.iter().find(|(name, _)| *name == newest).unwrap().1.len();
    for cut in 0..newest_len {
        let mut files = whole.clone();
        files.iter_mut().find(|(name, _)| *name == newest).unwrap().1.truncate(cut);
        write(&root, &files);
        earlier.insert(outcome(&root).await.unwrap());
    }
    // Nothing of the run, its start, batch 2.
    assert_eq!(earlier.len(), 3, "{earlier:#?}");

    let (mut n_seen, mut n_harmless) = (0, 0);
    for (at_file, (name, content)) in whole.iter().enumerate() {
        if name.ends_with("LOCK") {
            continue;
        }
        for at in 0..content.len() {
            for flip in [0x01_u8, 0x80, 0xff] {
                let mut files = whole.clone();
                files[at_file].1[at] ^= flip;
                write(&root, &files);
                match outcome(&root).await {
                    Err(kind) => {
                        assert_eq!(kind, ErrorKind::Data, "{} byte {at}", name.display());
                        n_seen += 1;
                    }
                    Ok(found) => {
                        let is_tail = *name == newest && earlier.contains(&found);
                        assert!(found == intact || is_tail, "{} byte {at}: {found}", name.display());
                        n_harmless += 1;
                    }
                }
            }
            if *name != newest {
                let mut files = whole.clone();
                files[at_file].1.truncate(at);
                write(&root, &files);
                // The line end of the metadata is the one byte that nobody misses.
                match outcome(&root).await {
                    Err(kind) => assert_eq!(kind, ErrorKind::Data, "{} cut at {at}", name.display()),
                    Ok(found) => assert!(found == intact && at + 1 == content.len(), "{} cut at {at}", name.display()),
                }
            }
        }
    }
    assert!(n_seen > 2 * n_harmless, "{n_seen} seen, {n_harmless} harmless");
}

#[tokio::test]
async fn a_missing_file_is_seen() {
    let dir = scratch_dir();
    small_checkpoint(&dir.path().join("a")).await;
    let whole = files(&dir.path().join("a"));
    let root = dir.path().join("b");
    for missing in ["metadata.json", "log/0000000000000000-00000000.seg"] {
        write(&root, &whole.iter().filter(|(name, _)| name != Path::new(missing)).cloned().collect::<Vec<_>>());
        assert_eq!(open(local(&PowerLossFs::new(), &root), SMALL).await.unwrap_err().kind(), ErrorKind::Data, "{missing}");
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name_and_unknown_fields_are_kept() {
    let dir = scratch_dir();
    let fs = PowerLossFs::new();
    let (mut checkpoint, _) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    let mut record = prepared(0, 0);
    record.extra.insert("colour".into(), "blue".into());
    checkpoint.append(record).await.unwrap();
    let mut newer = prepared(1, 0);
    newer.v = 2;
    checkpoint.append(newer).await.unwrap();
    drop(checkpoint);
    let error = open(local(&fs, dir.path()), SMALL).await.unwrap_err();
    assert!(error.message().contains("its format version is 2 and this build reads up to 1"), "{error}");
    assert!(error.message().contains("log/0000000000000000-00000000.seg"), "{error}");
    drop(error);

    let dir = scratch_dir();
    let (mut checkpoint, _) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    let mut record = prepared(0, 0);
    record.extra.insert("colour".into(), "blue".into());
    checkpoint.append(record).await.unwrap();
    drop(checkpoint);
    let (_checkpoint, recovered) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    assert_eq!(recovered.last_prepared.unwrap().extra["colour"], "blue");
}

#[tokio::test]
async fn show_reads_without_a_lock_and_prints_no_secrets() {
    let dir = scratch_dir();
    let fs = PowerLossFs::new();
    let (mut checkpoint, _) = run(local(&fs, dir.path()), SMALL).await.unwrap();
    let mut record = prepared(0, 3);
    record.sinks.insert("db".into(), serde_json::json!({ "password": "canary", "url": "redis://u:canary@h/0" }));
    checkpoint.append(record).await.unwrap();
    let shown = show(&local(&fs, dir.path())).await.unwrap();
    assert_eq!(shown.records.iter().map(|record| record.kind).collect::<Vec<_>>(), [RecordKind::Start, RecordKind::Prepared]);
    let text: String = shown.records.iter().map(|record| format!("{record}\n{}\n", record.to_redacted_json())).collect();
    assert!(!text.contains("canary") && text.contains("batch 0"), "{text}");
    let nothing = verify(&local(&fs, &dir.path().join("nothing"))).await.unwrap_err();
    assert!(nothing.message().contains("is no checkpoint"), "{nothing}");
}

#[test]
fn any_changed_byte_of_a_write_ahead_log_is_seen_or_cuts_the_last_group_only() {
    const SMALL: WalOptions = WalOptions { segment_bytes: 200, bytes_max: 0 };
    let dir = scratch_dir();
    let fs: Arc<dyn FileSystem> = Arc::new(PowerLossFs::new());
    let rows = |dir: &Path, wal: &Wal| -> Vec<Bytes> {
        read_range(Arc::clone(&fs), dir, wal.start(), wal.end()).unwrap().map(|row| row.unwrap().bytes).collect()
    };
    let mut wal = Wal::open(Arc::clone(&fs), dir.path(), SMALL).unwrap();
    for group in [["a1", "a2"], ["b1", "b2"], ["c1", "c2"]] {
        wal.append(&group.map(|row| (7, row.as_bytes()))).unwrap();
    }
    let file = dir.path().join("0000000000000000.wal");
    let whole = std::fs::read(&file).unwrap();
    let expected = rows(dir.path(), &wal);
    drop(wal);
    let check = |bytes: &[u8], what: &str| {
        let dir = scratch_dir();
        std::fs::write(dir.path().join(file.file_name().unwrap()), bytes).unwrap();
        let Ok(wal) = Wal::open(Arc::new(PowerLossFs::new()), dir.path(), SMALL) else { return };
        let found = rows(dir.path(), &wal);
        assert!(expected.starts_with(&found) && found.len() % 2 == 0, "{what}: {found:?}");
    };
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x41;
        check(&bytes, &format!("byte {at} changed"));
        check(&whole[..at], &format!("cut at byte {at}"));
    }
    // With a newer segment behind it, even the last group is missed.
    let mut wal = Wal::open(Arc::clone(&fs), dir.path(), SMALL).unwrap();
    wal.append(&[(7, b"d")]).unwrap();
    std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    let error = Wal::open(Arc::new(PowerLossFs::new()), dir.path(), SMALL).unwrap_err();
    assert!(error.message().contains("has 4 rows and the segment behind it says 6"), "{error}");
}

#[test]
fn a_row_that_looks_like_a_log_does_no_harm() {
    let dir = scratch_dir();
    let open = || Wal::open(Arc::new(PowerLossFs::new()), dir.path(), WalOptions::default()).unwrap();
    let mut wal = open();
    wal.append(&[(7, b"a")]).unwrap();
    let file = dir.path().join("0000000000000000.wal");
    let log = std::fs::read(&file).unwrap();
    let end = wal.append(&[(7, &log)]).unwrap();
    assert_eq!(end.row, 2);
    drop(wal);
    // The write of the second group is torn at its beginning.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[log.len()] = 0;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(open().end().row, 1);
}
