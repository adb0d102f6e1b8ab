//! In what order a snapshot is written, and what it holds meanwhile.

use arrow::datatypes::{DataType, Field};

use super::*;
use crate::store::spill::StateMemory;
use crate::store::table::KeyedTable;

#[test]
fn rows_in_memory_are_written_first_and_let_go_of() {
    const N: i64 = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let memory = StateMemory::limited(1 << 20, dir.path());
    let number = |numbers: std::ops::Range<i64>| Arc::new(Int64Array::from_iter_values(numbers)) as ArrayRef;
    let mut tables: Vec<(StoreId, KeyedTable)> = Vec::new();
    for task in 0..2 {
        let fields = || vec![Field::new("n", DataType::Int64, false)];
        let mut table = KeyedTable::within(StoreSchema::new(fields(), fields()).unwrap(), &memory).unwrap();
        for from in (0..N).step_by(2_000).map(|from| from + task * N) {
            table.upsert(&[number(from..from + 2_000)], None, &[number(from..from + 2_000)]).unwrap();
            table.take_delta().unwrap();
        }
        tables.push((StoreId { operator: "agg".to_owned(), store: format!("task{task}") }, table));
    }
    let frozen: Vec<_> = tables.iter().map(|(id, table)| (id.clone(), table.freeze())).collect();
    let n_spilled: u64 = tables.iter().filter_map(|(_, table)| Some(table.spilled()?.rows)).sum();
    let n_in_memory = usize::try_from(2 * N).unwrap() - usize::try_from(n_spilled).unwrap();
    assert!(n_in_memory > 0 && n_spilled > 0, "{n_in_memory} {n_spilled}");
    let held: usize = frozen.iter().flat_map(|(_, table)| &table.chunks).map(|chunk| chunk.rows.bytes()).sum();
    // Nobody else has the rows from here on.
    drop(tables);
    let used = memory.used_bytes();

    let header = Header { v: SNAPSHOT_VERSION, query_id: QueryId(uuid::Uuid::nil()), batch: 1, epoch: 1 };
    let mut frames = Frames::new(&header, frozen).unwrap();
    let (mut payload, mut n_rows) = (Vec::new(), 0);
    assert_eq!(frames.next_payload(&mut payload).unwrap(), Next::Frame);
    loop {
        payload.clear();
        assert_eq!(frames.next_payload(&mut payload).unwrap(), Next::Frame);
        if payload.first() == Some(&FOOTER) {
            break;
        }
        n_rows += part::decode(&Bytes::copy_from_slice(&payload[1..])).unwrap().1.upserted.n_rows;
        if n_rows > n_in_memory {
            assert!(memory.used_bytes() <= used - held, "of {used} bytes {held} were of rows in memory: {}", memory.used_bytes());
        }
    }
    assert_eq!(n_rows, usize::try_from(2 * N).unwrap());
    drop(frames);
    assert_eq!(memory.used_bytes(), 0);
}
