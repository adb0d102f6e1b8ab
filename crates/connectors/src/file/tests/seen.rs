//! A million files that were read: what remembering them costs, measured in a process that does nothing else.

use std::process::Command;

use millstream_core::{BatchId, Position, SourceRange, SourceStart};
use tempfile::TempDir;

use super::{id_schema, open};

const N_FILES: u64 = 1_000_000;
const FILES_PER_BATCH: u64 = 1000;

/// Set in the process that measures.
const MEASURES: &str = "MILLSTREAM_TEST_MEASURES_SEEN_FILES";

/// Most memory that this process has had, in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn range(first: u64, n: u64) -> SourceRange {
    let files: Vec<_> = (first..first + n)
        .map(|idx| (format!("day=2024-01-{:02}/part-{idx:012}-of-a-usual-length.json.gz", idx % 28), 1000, idx))
        .collect();
    let position = |offset: u64| Position(serde_json::json!({ "logOffset": offset }));
    let detail = serde_json::json!({ "root": "/data/events/", "files": files });
    SourceRange { start: position(first), end: position(first + 1), detail }
}

#[tokio::test]
async fn a_million_seen_files_take_less_than_200_mb_and_are_not_rewritten_per_batch() {
    if std::env::var_os(MEASURES).is_none() {
        let name = "file::tests::seen::a_million_seen_files_take_less_than_200_mb_and_are_not_rewritten_per_batch";
        let child =
            Command::new(std::env::current_exe().unwrap()).args(["--exact", name, "--nocapture"]).env(MEASURES, "1").output().unwrap();
        assert!(child.status.success(), "{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
        return;
    }
    let dir = TempDir::new().unwrap();
    let mut source = open("json", &[("path", dir.path().to_str().unwrap())], Some(id_schema())).await.unwrap();
    source.start(SourceStart::Fresh).await.unwrap();
    let before = peak_bytes();
    let (mut n_snapshots, mut snapshot_bytes, mut last) = (0, 0, 0);
    for batch in 0..N_FILES / FILES_PER_BATCH {
        source.decided(BatchId(batch), &range(batch * FILES_PER_BATCH, FILES_PER_BATCH)).await.unwrap();
        if source.snapshot_due() {
            last = source.snapshot().unwrap().unwrap().len();
            n_snapshots += 1;
            snapshot_bytes += last;
        }
    }
    let used = peak_bytes() - before;
    assert!(used < 200 << 20, "{used} bytes for {N_FILES} files");
    let whole = source.snapshot().unwrap().unwrap();
    assert!(whole.len() as u64 <= 24 * N_FILES + 100, "{} bytes: 24 a file", whole.len());
    // Each snapshot is a quarter larger than the one before: all of them together are a few times the last.
    assert!((10..=30).contains(&n_snapshots) && snapshot_bytes < 5 * last, "{n_snapshots} snapshots of {snapshot_bytes} bytes");
    // And from here on a batch writes its own files and nothing else.
    for batch in 0..100 {
        let one = range(N_FILES + batch, 1);
        assert!(one.detail.to_string().len() < 200);
        source.decided(BatchId(5000 + batch), &one).await.unwrap();
        assert!(!source.snapshot_due());
    }
    // A restart has the same memory.
    let mut again = open("json", &[("path", dir.path().to_str().unwrap())], Some(id_schema())).await.unwrap();
    again.start(SourceStart::Resume { snapshot: Some(whole.clone()), ranges: Vec::new() }).await.unwrap();
    assert_eq!(again.snapshot().unwrap().unwrap(), whole);
    println!(
        "{N_FILES} files: {} MB, {} bytes of snapshot a file, {n_snapshots} snapshots of {snapshot_bytes} bytes",
        used >> 20,
        whole.len() as u64 / N_FILES
    );
}
