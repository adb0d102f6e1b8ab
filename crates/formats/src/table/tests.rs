//! Tables against what Spark's `show` prints.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field};

use super::*;

fn table(columns: Vec<(&str, ArrayRef)>, n_rows: usize, width_max: Option<usize>, layout: TableLayout) -> String {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let options = TableOptions { n_rows, width_max, layout };
    table_text(&TableColumn::of(&batch.schema()), &[batch], &options, Zone::parse("+01:00").unwrap()).unwrap()
}

fn strings(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

#[test]
fn nested_values_times_and_bytes_are_shown_as_spark_shows_them() {
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("UTC"));
    let inner: ArrayRef = Arc::new(StructArray::from(vec![
        (Arc::new(Field::new("a", DataType::Int64, true)), Arc::new(Int64Array::from(vec![Some(1)])) as ArrayRef),
        (Arc::new(Field::new("b", DataType::Int64, true)), Arc::new(Int64Array::from(vec![None])) as ArrayRef),
    ]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![b"\x01\xff".as_slice()]));
    let double: ArrayRef = Arc::new(Float64Array::from(vec![-0.0]));
    let columns = vec![("t", strings(&["a long text of more than twenty"])), ("ts", times), ("s", inner), ("b", bytes), ("d", double)];
    let expected = "\
+--------------------+--------------------+---------+-------+----+
|                   t|                  ts|        s|      b|   d|
+--------------------+--------------------+---------+-------+----+
|a long text of mo...|1970-01-01 01:00:...|{1, NULL}|[01 FF]|-0.0|
+--------------------+--------------------+---------+-------+----+
";
    assert_eq!(table(columns, 20, Some(20), TableLayout::Horizontal), expected);
}

#[test]
fn wide_characters_take_two_places_and_are_cut_by_their_units() {
    // Spark 4.3: spark.sql("SELECT '全角' AS `名`, '😀😀😀' AS e").show(20, 4)
    let columns = vec![("名", strings(&["全角"])), ("e", strings(&["😀😀😀"]))];
    let expected = "+----+----+\n|  名|   e|\n+----+----+\n|全角|?...|\n+----+----+\n";
    assert_eq!(table(columns, 20, Some(4), TableLayout::Horizontal), expected);
    assert_eq!(cut("abcdef", Some(3)), "abc");
    assert_eq!(cut("abcdef", Some(5)), "ab...");
}

#[test]
fn records_stand_below_each_other_and_no_columns_is_a_table_too() {
    let columns = vec![("name", strings(&["a\tb", "x"]))];
    let expected = "-RECORD 0----\n name | a\\tb \nonly showing top 1 row";
    assert_eq!(table(columns, 1, Some(20), TableLayout::Vertical), expected);
    let options = TableOptions { n_rows: 20, width_max: Some(20), layout: TableLayout::Horizontal };
    assert_eq!(table_text(&[], &[], &options, Zone::UTC).unwrap(), "++\n||\n++\n++\n");
}
