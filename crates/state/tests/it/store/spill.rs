//! State beyond its memory: what it takes, what it leaves on the disk, and what becomes of damage.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type};
use millstream_core::ErrorKind;
use millstream_state::store::{KeyedMultiTable, KeyedTable, StateMemory, StoreSchema};

use super::table::{dedup_schema, sixteen_bytes};

fn sums() -> StoreSchema {
    StoreSchema::new(vec![Field::new("id", DataType::FixedSizeBinary(16), false)], vec![Field::new("n", DataType::Int64, false)]).unwrap()
}

fn numbers(range: std::ops::Range<u64>) -> ArrayRef {
    Arc::new(range.map(|n| n as i64).collect::<Int64Array>())
}

/// The files of the only process that spills to `dir`.
fn spilled_files(dir: &Path) -> Vec<PathBuf> {
    let folders: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    let files = std::fs::read_dir(&folders[0]).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "run")).collect()
}

/// `n` keys, of which few are in memory.
fn spilled_table(n: u64, memory: &StateMemory) -> KeyedTable {
    let mut table = KeyedTable::within(sums(), memory).unwrap();
    for from in (0..n).step_by(5_000) {
        let to = n.min(from + 5_000);
        table.upsert(&[sixteen_bytes(from..to)], Some(&(from as i64..to as i64).collect()), &[numbers(from..to)]).unwrap();
        table.take_delta().unwrap();
    }
    table
}

#[test]
fn memory_stays_within_the_budget_and_every_row_is_found() {
    const N: u64 = 200_000;
    const LIMIT: usize = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let memory = StateMemory::limited(LIMIT, dir.path());
    let mut table = spilled_table(N, &memory);
    assert!(table.spilled().unwrap().rows > N / 2, "{:?}", table.spilled());
    assert!(table.memory_bytes() < LIMIT && memory.used_bytes() < LIMIT, "{} {}", table.memory_bytes(), memory.used_bytes());
    assert_eq!(table.n_rows() as u64, N);
    // In another order, with keys between that are not there.
    let mut used_max = 0;
    for call in 0..20 {
        let ids: Vec<u64> = (0..5_000).map(|n| (call * 5_000 + n) * 7_919 % (N + N / 10)).collect();
        let slots = table.lookup(&[sixteen_bytes(ids.clone())]).unwrap();
        let known: Vec<u64> = ids.iter().copied().filter(|id| *id < N).collect();
        assert!(ids.iter().zip(&slots).all(|(id, slot)| slot.is_some() == (*id < N)));
        let slots: Vec<_> = slots.into_iter().flatten().collect();
        let values = table.gather(&slots).unwrap();
        assert!(values[0].as_primitive::<Int64Type>().values().iter().map(|n| *n as u64).eq(known.iter().copied()));
        assert!(table.gather_expiry(&slots).values().iter().map(|n| *n as u64).eq(known));
        assert!(table.take_delta().unwrap().is_none(), "what only came in has not changed");
        used_max = used_max.max(memory.used_bytes());
    }
    assert!(used_max < LIMIT, "{used_max}");
    drop(table);
    assert_eq!(memory.used_bytes(), 0, "the account is even");
}

#[test]
fn expiry_reads_what_expires_and_not_what_lives() {
    const N: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let memory = StateMemory::limited(1, dir.path());
    let mut table = spilled_table(N, &memory);
    assert_eq!(table.spilled().unwrap().rows, N);
    let before = table.spilled().unwrap().bytes_read;
    assert_eq!(table.discard_expired(99).unwrap(), 100);
    let read = table.spilled().unwrap().bytes_read - before;
    assert!(read < 200_000, "{read} bytes were read for 100 of {N} rows");
    let delta = table.take_delta().unwrap().unwrap();
    assert_eq!((delta.expired_to, delta.n_removed, delta.upserted.n_rows), (Some(99), 0, 0));
    let mut expired: Vec<i64> =
        table.expire(299).unwrap().iter().flat_map(|rows| rows.values[0].as_primitive::<Int64Type>().values().to_vec()).collect();
    expired.sort_unstable();
    assert!(expired.into_iter().eq(100..300));
    assert_eq!(table.discard_expired(i64::MAX).unwrap() as u64, N - 300);
    assert_eq!(table.n_rows(), 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "files without rows are removed, and a folder without files");
}

#[test]
fn a_call_reads_by_block() {
    const N: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let mut table = spilled_table(N, &StateMemory::limited(1, dir.path()));
    let before = table.spilled().unwrap().bytes_read;
    table.lookup(&[sixteen_bytes(N..N + 10_000)]).unwrap();
    let for_unknown = table.spilled().unwrap().bytes_read - before;
    assert!(for_unknown < 200_000, "{for_unknown} bytes were read for 10,000 keys that are not there");
    let before = table.spilled().unwrap().bytes_read;
    assert!(table.lookup(&[sixteen_bytes((0..100).map(|n| n * 997))]).unwrap().iter().all(Option::is_some));
    let for_known = table.spilled().unwrap().bytes_read - before;
    assert!(for_known < 100 * 2_048, "{for_known} bytes were read for 100 keys");
}

#[test]
fn a_long_list_comes_in_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let memory = StateMemory::limited(1, dir.path());
    let mut table = KeyedMultiTable::within(sums(), &memory).unwrap();
    let mut rows = KeyedMultiTable::rows_within(&sums(), &memory).unwrap();
    const N: u64 = 20_000;
    for from in (0..N).step_by(1_000) {
        // One key has half of all rows.
        let keys = sixteen_bytes((from..from + 1_000).map(|n| if n % 2 == 0 { 0 } else { n }));
        table.append(&[keys], None, &[numbers(from..from + 1_000)]).unwrap();
        rows.apply(&table.take_delta().unwrap().unwrap()).unwrap();
    }
    let check = |table: &mut KeyedMultiTable| {
        assert_eq!((table.n_rows() as u64, table.spilled().unwrap().rows), (N, N));
        let mut matches = table.lookup_all(&[sixteen_bytes([7, 0, 8])]).unwrap();
        let pairs = table.next_pairs(&mut matches, usize::MAX).unwrap();
        let values = table.gather(&pairs.slots).unwrap();
        let expected = [7].into_iter().chain((0..N as i64).filter(|n| n % 2 == 0));
        assert!(values[0].as_primitive::<Int64Type>().values().iter().copied().eq(expected));
        table.take_delta().unwrap();
    };
    check(&mut table);
    let mut recovered = KeyedMultiTable::recover(sums(), rows).unwrap();
    check(&mut recovered);
    // New rows come behind the old ones.
    recovered.append(&[sixteen_bytes([7])], None, &[numbers(99..100)]).unwrap();
    recovered.take_delta().unwrap();
    let mut matches = recovered.lookup_all(&[sixteen_bytes([7])]).unwrap();
    let pairs = recovered.next_pairs(&mut matches, usize::MAX).unwrap();
    assert_eq!(recovered.gather(&pairs.slots).unwrap()[0].as_primitive::<Int64Type>().values(), &[7, 99]);
}

#[test]
fn a_table_for_rows_of_lists_knows_them_by_their_keys() {
    let dir = tempfile::tempdir().unwrap();
    let memory = StateMemory::limited(1, dir.path());
    let rows = KeyedTable::within(KeyedMultiTable::row_schema(&sums()).unwrap(), &memory).unwrap();
    let error = KeyedMultiTable::recover(sums(), rows).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[test]
fn large_and_empty_values_go_out_and_come_back() {
    let schema = StoreSchema::new(vec![Field::new("k", DataType::Utf8, true)], vec![Field::new("t", DataType::Utf8, true)]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut table = KeyedTable::within(schema, &StateMemory::limited(1, dir.path())).unwrap();
    let keys = [None, Some(""), Some("a"), Some("b"), Some("c")];
    let large = "x".repeat(3 << 20);
    let values = [Some(large.as_str()), None, Some(""), Some("y"), Some(large.as_str())];
    let column = |texts: &[Option<&str>]| -> ArrayRef { Arc::new(texts.iter().copied().collect::<StringArray>()) };
    table.upsert(&[column(&keys)], None, &[column(&values)]).unwrap();
    table.take_delta().unwrap();
    assert_eq!(table.spilled().unwrap().rows, 5);
    let slots: Vec<_> = table.lookup(&[column(&keys)]).unwrap().into_iter().flatten().collect();
    assert_eq!(table.gather(&slots).unwrap()[0].as_string::<i32>(), column(&values).as_string::<i32>());
}

#[test]
fn files_are_private_and_gone_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let memory = StateMemory::limited(1, dir.path());
    let table = spilled_table(10_000, &memory);
    let files = spilled_files(dir.path());
    assert!(!files.is_empty());
    #[cfg(unix)]
    for file in &files {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }
    let frozen = table.freeze();
    drop((table, memory));
    // Who still reads keeps the files.
    assert_eq!(frozen.scan().map(|rows| rows.unwrap().n_rows).sum::<usize>(), 10_000);
    drop(frozen);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn what_dead_processes_left_is_removed_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let memory = StateMemory::limited(1, dir.path());
    let mut table = spilled_table(1_000, &memory);
    let stale = dir.path().join("millstream-spill-stale");
    let other = dir.path().join("another-program");
    let outside = tempfile::tempdir().unwrap();
    for folder in [&stale, &other, &outside.path().to_path_buf()] {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("lock"), "12345\n").unwrap();
        std::fs::write(folder.join("0000000000000000.run"), "rows").unwrap();
    }
    std::fs::create_dir(dir.path().join("millstream-spill-empty")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(outside.path(), dir.path().join("millstream-spill-link")).unwrap();
    drop(StateMemory::limited(1, dir.path()));
    assert!(!stale.exists() && !dir.path().join("millstream-spill-empty").exists());
    assert!(other.join("lock").exists() && outside.path().join("lock").exists());
    // This process lives.
    assert!(table.lookup(&[sixteen_bytes(0..1_000)]).unwrap().iter().all(Option::is_some));
}

#[test]
fn damage_is_an_error_and_never_a_wrong_row() {
    let dir = tempfile::tempdir().unwrap();
    let memory = StateMemory::limited(1, dir.path());
    let n = 300;
    let ids = || sixteen_bytes(0..n);
    let mut table = spilled_table(n, &memory);
    let file = spilled_files(dir.path()).pop().unwrap();
    drop(table);
    let whole_len = {
        table = spilled_table(n, &memory);
        let len = std::fs::metadata(&spilled_files(dir.path())[0]).unwrap().len();
        drop(table);
        len
    };
    assert!(whole_len > 1_000, "{file:?}");
    for at in (0..whole_len).step_by(97) {
        let mut table = spilled_table(n, &memory);
        let file = spilled_files(dir.path()).pop().unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[at as usize] ^= 0x10;
        std::fs::write(&file, bytes).unwrap();
        let scanned = table.scan().collect::<millstream_core::Result<Vec<_>>>();
        let found = table.lookup(&[ids()]);
        let expired = if found.is_ok() { Ok(0) } else { table.discard_expired(i64::MAX) };
        // A byte of the rows, or of the list of expiries, which only expiry reads.
        match (found, expired) {
            (Err(error), _) | (_, Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Data, "{error}");
                assert!(error.message().contains("is not as it was written"), "{error}");
            }
            (Ok(slots), Ok(_)) => {
                assert!(scanned.is_ok());
                let slots: Vec<_> = slots.into_iter().flatten().collect();
                let values = table.gather(&slots).unwrap();
                assert!(values[0].as_primitive::<Int64Type>().values().iter().copied().eq(0..n as i64), "byte {at}");
            }
        }
    }
    for cut in [0, 1, whole_len / 2] {
        let mut table = spilled_table(n, &memory);
        let file = std::fs::OpenOptions::new().write(true).open(spilled_files(dir.path()).pop().unwrap()).unwrap();
        file.set_len(cut).unwrap();
        assert_eq!(table.lookup(&[ids()]).unwrap_err().kind(), ErrorKind::Data);
    }
    let mut table = spilled_table(n, &memory);
    std::fs::remove_file(spilled_files(dir.path()).pop().unwrap()).unwrap();
    let error = table.lookup(&[ids()]).unwrap_err();
    assert!(error.kind() == ErrorKind::Data && error.message().contains("it is gone"), "{error}");
}

#[test]
fn a_small_table_is_not_squeezed_by_a_large_one() {
    let dir = tempfile::tempdir().unwrap();
    let memory = StateMemory::limited(4 << 20, dir.path());
    let mut small = KeyedTable::within(dedup_schema(), &memory).unwrap();
    small.upsert(&[sixteen_bytes(0..5_000)], None, &[]).unwrap();
    small.take_delta().unwrap();
    let large = spilled_table(150_000, &memory);
    small.take_delta().unwrap();
    assert_eq!(small.spilled().unwrap().rows, 0);
    assert!(large.spilled().unwrap().rows > 50_000);
}

#[test]
fn a_row_that_came_back_is_due_when_it_says_and_not_when_its_old_place_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = KeyedTable::within(dedup_schema(), &StateMemory::limited(1, dir.path())).unwrap();
    const N: i64 = 2_000;
    let times = |later: i64| (0..N).map(|n| Some(n + later)).collect::<Int64Array>();
    table.upsert(&[sixteen_bytes(0..N as u64)], Some(&times(0)), &[]).unwrap();
    table.take_delta().unwrap();
    // All but the last one live longer now, in memory and then in another place on disk.
    let later = times(10_000);
    table.upsert(&[sixteen_bytes(0..N as u64 - 1)], Some(&later.slice(0, N as usize - 1)), &[]).unwrap();
    for is_spilled in [false, true] {
        assert!(!table.has_expired(N - 2).unwrap(), "spilled: {is_spilled}");
        assert_eq!(table.none_expires_before().map(|t| t > N - 2 && t < N), Some(true), "spilled: {is_spilled}");
        assert!(table.has_expired(N - 1).unwrap(), "spilled: {is_spilled}");
        table.take_delta().unwrap();
    }
    assert_eq!(table.discard_expired(N - 1).unwrap(), 1);
    assert!(!table.has_expired(9_999).unwrap() && table.has_expired(10_000).unwrap());
}
