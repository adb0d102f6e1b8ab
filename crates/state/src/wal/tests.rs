//! Rows come back in order, as often as asked, over segments and restarts; what is trimmed is gone.

use super::*;
use crate::fs::OsFileSystem;

const SMALL: WalOptions = WalOptions { segment_bytes: 200, bytes_max: 0 };

fn os() -> Arc<dyn FileSystem> {
    Arc::new(OsFileSystem)
}

fn rows(dir: &Path, from: WalPosition, to: WalPosition) -> Vec<String> {
    let rows = read_range(os(), dir, from, to).unwrap();
    rows.map(|row| String::from_utf8(row.unwrap().bytes.to_vec()).unwrap()).collect()
}

fn append(wal: &mut Wal, texts: &[&str]) -> WalPosition {
    let rows: Vec<(i64, &[u8])> = texts.iter().map(|text| (7, text.as_bytes())).collect();
    wal.append(&rows).unwrap()
}

#[test]
fn rows_come_back_over_segments_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = Wal::open(os(), dir.path(), SMALL).unwrap();
    let start = wal.end();
    assert_eq!(wal.start(), start);
    let mut texts: Vec<String> = Vec::new();
    for round in 0..5 {
        for group in 0..7 {
            let group: Vec<String> = (0..3).map(|row| format!("row {round} {group} {row}")).collect();
            append(&mut wal, &group.iter().map(String::as_str).collect::<Vec<_>>());
            texts.extend(group);
        }
        wal = Wal::open(os(), dir.path(), SMALL).unwrap();
    }
    assert!(list_segments(&OsFileSystem, dir.path()).unwrap().len() > 5);
    assert_eq!(wal.n_rows(start, wal.end()), texts.len() as u64);
    assert_eq!(rows(dir.path(), start, wal.end()), texts);
    for n in [0, 1, 20, 21, 22, 104, 105, 999] {
        let at = wal.advance(start, n);
        let n = n.min(105) as usize;
        assert_eq!(rows(dir.path(), start, at), texts[..n]);
        assert_eq!(rows(dir.path(), at, wal.end()), texts[n..]);
    }
    let at = wal.advance(start, 50);
    wal.trim(at).unwrap();
    assert_eq!(rows(dir.path(), at, wal.end()), texts[50..]);
    assert_eq!(wal.start().segment, at.segment);
    let error = read_range(os(), dir.path(), start, wal.end()).unwrap_err();
    assert!(error.message().contains("is gone and a range needs it"), "{error}");
    // Trimmed logs open again.
    let wal = Wal::open(os(), dir.path(), SMALL).unwrap();
    assert_eq!(rows(dir.path(), at, wal.end()), texts[50..]);
}

#[test]
fn a_limit_on_bytes_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = Wal::open(os(), dir.path(), WalOptions { bytes_max: 100, ..SMALL }).unwrap();
    let error = wal.append(&[(0, &[b'x'; 200])]).unwrap_err();
    assert!(error.message().contains("limit of 100 bytes"), "{error}");
    append(&mut wal, &["small"]);
}

#[test]
fn rows_say_where_they_stand_and_when_a_segment_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut wal = Wal::open(os(), dir.path(), WalOptions { segment_bytes: 1, bytes_max: 0 }).unwrap();
    let start = wal.start();
    append(&mut wal, &["a", "b", "c"]);
    append(&mut wal, &["d"]);
    let mut rows = read_range(os(), dir.path(), WalPosition { row: 1, ..start }, wal.end()).unwrap();
    let mut seen = Vec::new();
    while let Some(row) = rows.next() {
        let text = String::from_utf8_lossy(&row.unwrap().bytes).into_owned();
        seen.push((text, rows.position().segment, rows.position().row, rows.stays_in_segment()));
    }
    let expected = [("b", 0, 2, true), ("c", 0, 3, false), ("d", 1, 1, false)];
    assert_eq!(seen, expected.map(|(text, segment, row, stays)| (text.to_owned(), segment, row, stays)));
}
