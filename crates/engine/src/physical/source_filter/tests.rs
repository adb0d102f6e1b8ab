//! Packed rows are filtered as unpacked ones are, whatever their dictionaries hold.

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{binary, col, is_not_null, is_null, lit, not};

use super::{SourceFilter, asked};

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("kind", DataType::Utf8, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
    ]))
}

/// Rows of `kind` and `name` by their places in dictionaries, which hold strings that no row has, a string twice, and a null.
fn packed(kinds: &[Option<i32>], names: &[Option<i32>]) -> RecordBatch {
    let dictionary = |keys: &[Option<i32>], strings: Vec<Option<&str>>| -> ArrayRef {
        Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(keys.to_vec()), Arc::new(StringArray::from(strings))))
    };
    let kind = dictionary(kinds, vec![Some("view"), Some("click"), Some("never"), Some("view")]);
    let name = dictionary(names, vec![Some("ann"), None, Some("bob")]);
    let n = Int64Array::from_iter((0..kinds.len() as i64).map(|n| (n % 3 > 0).then_some(n)));
    let columns: Vec<ArrayRef> = vec![kind, name, Arc::new(n)];
    let fields = schema()
        .fields()
        .iter()
        .zip(&columns)
        .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
        .collect::<Vec<_>>();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn whole(packed: &RecordBatch) -> RecordBatch {
    let schema = schema();
    let columns = packed.columns().iter().zip(schema.fields()).map(|(column, field)| cast(column, field.data_type()).unwrap());
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns).unwrap()
}

#[test]
fn packed_rows_are_filtered_as_whole_ones() {
    let schema = schema();
    let is = |column: &str, op: Operator, value: Arc<dyn PhysicalExpr>| binary(col(column, &schema).unwrap(), op, value, &schema).unwrap();
    let view = || is("kind", Operator::Eq, lit("view"));
    let bob = || is("name", Operator::NotEq, lit("bob"));
    let conditions: Vec<Arc<dyn PhysicalExpr>> = vec![
        view(),
        bob(),
        not(bob()).unwrap(),
        is_null(col("name", &schema).unwrap()).unwrap(),
        is_not_null(col("name", &schema).unwrap()).unwrap(),
        is("kind", Operator::Lt, col("name", &schema).unwrap()),
        is("n", Operator::Gt, lit(2_i64)),
        binary(view(), Operator::And, bob(), &schema).unwrap(),
        binary(view(), Operator::Or, is_null(col("name", &schema).unwrap()).unwrap(), &schema).unwrap(),
        binary(binary(view(), Operator::And, is("n", Operator::Gt, lit(2_i64)), &schema).unwrap(), Operator::And, bob(), &schema).unwrap(),
        is("kind", Operator::Eq, lit("never")),
        is("kind", Operator::NotEq, lit("never")),
    ];
    let batches = [
        packed(&[Some(0), Some(1), Some(3), Some(0), Some(1)], &[Some(0), Some(1), None, Some(2), Some(2)]),
        packed(&[Some(1), Some(1)], &[None, Some(0)]),
        packed(&[], &[]),
    ];
    for condition in conditions {
        assert!(SourceFilter::takes(&condition), "{condition}");
        let mut run = SourceFilter::try_new(Arc::clone(&condition), &schema).unwrap().start();
        // One run meets packed and whole rows, and another dictionary each time: some row groups have no dictionary.
        for rows in batches.iter().flat_map(|packed| [packed.clone(), whole(packed)]) {
            let whole = whole(&rows);
            let want = filter_record_batch(&whole, &asked(&condition, &whole).unwrap()).unwrap();
            assert_eq!(run.filter(&rows, &schema).unwrap(), want, "{condition}");
        }
    }
}

#[test]
fn a_condition_that_can_fail_is_not_asked_of_strings_that_no_row_has() {
    let schema = schema();
    let number = Arc::new(datafusion::physical_expr::expressions::CastExpr::new(col("name", &schema).unwrap(), DataType::Int64, None));
    let condition = binary(number, Operator::Gt, lit(1_i64), &schema).unwrap();
    assert!(!SourceFilter::takes(&condition));
    assert!(!SourceFilter::takes(&lit(true)), "it is about no column");
}
