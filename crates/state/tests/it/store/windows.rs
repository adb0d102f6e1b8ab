//! Windows that were kept as structs of start and end are read as their starts. The checkpoint is that of a build which kept structs:
//! counts of four clicks by page and window of 10 seconds, of which the windows that ended are gone.

use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Field, Int64Type, TimeUnit, TimestampMicrosecondType};
use millstream_core::{BatchId, RunEpoch, TimeWindows};
use millstream_state::OsFileSystem;
use millstream_state::checkpoint::read_state;
use millstream_state::store::{EarlierLayout, OPERATOR_VERSION_WITH_PAST, StateMemory, StoreId, StoreRows, StoreSchema, load, of_slices};

use super::job::tasks;
use crate::support::local;

const OPERATOR: &str = "aggregate-page-window";
const TEN_O_CLOCK_US: i64 = 1_704_067_200_000_000;

/// Page, start in seconds from the first window, count.
fn read(rows: &StoreRows) -> Vec<(String, i64, i64)> {
    let (pages, starts) = (rows.keys[0].as_string::<i32>(), rows.keys[1].as_primitive::<TimestampMicrosecondType>());
    let counts = rows.values[0].as_primitive::<Int64Type>();
    (0..rows.n_rows).map(|row| (pages.value(row).into(), (starts.value(row) - TEN_O_CLOCK_US) / 1_000_000, counts.value(row))).collect()
}

#[tokio::test]
async fn windows_of_v1_go_on_as_their_starts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1/windows");
    let location = local(&OsFileSystem, &folder);
    let (query_id, state) = read_state(&location).await.unwrap();
    let mut operator = state.operators[OPERATOR].clone();
    let window = Field::new("window", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false);
    let window = of_slices(window, TimeWindows::new(10_000_000, 10_000_000, 0).unwrap()).unwrap();
    let store = &mut operator.stores[0];
    assert!(matches!(store.schema.keys()[1].data_type(), DataType::Struct(_)));
    let keys = vec![store.schema.keys()[0].clone(), window.into()];
    store.schema = StoreSchema::new(keys, store.schema.values().clone()).unwrap();
    let layout = EarlierLayout { before: RunEpoch(1), columns: vec![Some(0), Some(1), Some(2)] };
    operator.earlier = [("default".to_owned(), vec![layout])].into();
    operator.v = OPERATOR_VERSION_WITH_PAST;
    let id = StoreId { operator: OPERATOR.into(), store: "default".into() };
    let after_0 = [("a", 0, 1), ("a", 10, 2), ("b", 0, 1)];
    for (version, expected) in [(BatchId(0), after_0.as_slice()), (BatchId(1), &[("a", 10, 2)])] {
        for parallelism in [1, 3] {
            let (specs, memory) = (operator.specs(OPERATOR), StateMemory::unlimited());
            let loaded = load(&location, query_id, &state, Some(version), &specs, tasks(parallelism), &memory).await.unwrap();
            let mut found: Vec<_> =
                loaded.tables[&id].iter().flat_map(|table| table.scan()).flat_map(|rows| read(&rows.unwrap())).collect();
            found.sort();
            let expected: Vec<_> = expected.iter().map(|(page, start, n)| ((*page).to_owned(), *start, *n)).collect();
            assert_eq!(found, expected, "after {version:?}");
        }
    }
}
