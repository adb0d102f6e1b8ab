//! What a task changed in one batch, in parts that can be written.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};

use super::{BYTES_PER_PART, ROWS_PER_PART, merged, size_of};
use crate::store::delta::TableDelta;
use crate::store::schema::{StoreRows, StoreSchema};

fn delta(removed: Vec<i64>, upserted: Vec<i64>, text: &str) -> TableDelta {
    let number = |numbers: &[i64]| Arc::new(Int64Array::from(numbers.to_vec())) as ArrayRef;
    let texts = StringArray::from(vec![text; upserted.len()]);
    TableDelta {
        schema: Arc::new(
            StoreSchema::new(vec![Field::new("k", DataType::Int64, false)], vec![Field::new("v", DataType::Utf8, false)]).unwrap(),
        ),
        expired_to: Some(7),
        n_removed: removed.len(),
        removed: vec![number(&removed)],
        upserted: StoreRows {
            n_rows: upserted.len(),
            keys: vec![number(&upserted)],
            expiry: Some(Int64Array::from_iter_values(upserted.iter().map(|key| key + 1))),
            values: vec![Arc::new(texts)],
        },
    }
}

fn keys(columns: &[ArrayRef]) -> Vec<i64> {
    columns[0].as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
}

#[test]
fn what_one_task_changed_is_cut_into_parts_by_rows_and_by_bytes() {
    let n = ROWS_PER_PART as i64;
    let (many, large) = (3 * n + 5, 700);
    for (removed, upserted, text) in [(n + 1, many, "x".to_owned()), (0, large, "x".repeat(200 << 10)), (2, 3, String::new())] {
        let (removed, upserted): (Vec<i64>, Vec<i64>) = ((0..removed).collect(), (removed..removed + upserted).collect());
        let parts = merged(vec![delta(removed.clone(), upserted.clone(), &text)]).unwrap();
        let mut seen = (Vec::new(), Vec::new());
        for (idx, part) in parts.iter().enumerate() {
            let (n_rows, bytes) = size_of(part);
            assert!(n_rows <= ROWS_PER_PART && bytes <= BYTES_PER_PART + (1 << 20), "{n_rows} rows, {bytes} bytes");
            assert_eq!(part.expired_to, (idx == 0).then_some(7), "what expired goes once, before all else");
            assert!(part.n_removed == 0 || seen.1.is_empty(), "keys are removed before rows come");
            seen.0.extend(keys(&part.removed));
            seen.1.extend(keys(&part.upserted.keys));
            let expiry = part.upserted.expiry.as_ref().unwrap();
            assert!(keys(&part.upserted.keys).iter().zip(expiry.values()).all(|(key, expiry)| key + 1 == *expiry));
            assert_eq!(part.upserted.values[0].len(), part.upserted.n_rows);
        }
        assert_eq!(seen, (removed, upserted));
    }
    // Those of several small tasks stay together.
    assert_eq!(merged(vec![delta(vec![1], vec![2], "x"), delta(vec![3], vec![4], "y")]).unwrap().len(), 1);
}
