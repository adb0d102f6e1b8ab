//! Dead letters as records: what becomes of rows whose columns are not those of a dead-letter table. (What letters look like is in
//! `crates/millstream/tests/it/kafka_dead_letters.rs`.)

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Schema};
use millstream_core::{BatchId, ErrorKind, QueryId, RejectedRecord};

use crate::kafka::dead_letters::as_records;
use crate::kafka::rows::record_columns;

/// A letter of a record that is not known, and its table.
fn letter() -> (Arc<Schema>, Vec<ArrayRef>) {
    let letters = [RejectedRecord::new(b"raw", "why", "where", Some(7))];
    let schema = RejectedRecord::schema_with(&record_columns());
    let mut columns = RejectedRecord::to_batch(&letters, "events", BatchId(3)).unwrap().columns().to_vec();
    columns.extend(schema.fields().iter().skip(columns.len()).map(|field| new_null_array(field.data_type(), 1)));
    (schema, columns)
}

#[test]
fn a_letter_of_no_known_record_has_what_was_set_aside() {
    let (schema, columns) = letter();
    let records = as_records(&RecordBatch::try_new(schema, columns).unwrap(), QueryId(uuid::Uuid::nil())).unwrap();
    assert!(records.column(0).is_null(0));
    assert_eq!(records.column(1).as_binary::<i32>().value(0), b"raw");
}

#[test]
fn a_column_of_a_wrong_type_is_an_internal_error_by_its_name() {
    for wrong in 0..letter().1.len() {
        let (schema, mut columns) = letter();
        let mut fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        let name = fields[wrong].name().clone();
        fields[wrong] = fields[wrong].clone().with_data_type(DataType::Float64).with_nullable(true);
        columns[wrong] = new_null_array(&DataType::Float64, 1);
        let letters = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let error = as_records(&letters, QueryId(uuid::Uuid::nil())).unwrap_err();
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Internal, format!("column '{name}' of dead letters is of type Float64").as_str())
        );
    }
}

#[test]
fn a_column_that_is_missing_is_an_internal_error_by_its_name() {
    let (schema, columns) = letter();
    let topic = schema.index_of("topic").unwrap();
    for missing in (0..columns.len()).filter(|idx| *idx != topic) {
        let kept: Vec<usize> = (0..columns.len()).filter(|idx| *idx != missing).collect();
        let letters = RecordBatch::try_new(Arc::clone(&schema), columns.clone()).unwrap().project(&kept).unwrap();
        let error = as_records(&letters, QueryId(uuid::Uuid::nil())).unwrap_err();
        let expected = format!("dead letters without a column '{}'", schema.field(missing).name());
        assert_eq!((error.kind(), error.message()), (ErrorKind::Internal, expected.as_str()));
    }
}
