//! Packed parquet columns: the rows of a plain read, with dictionaries where the file has nothing else.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::DataType;
use futures::TryStreamExt;
use millstream_core::{Admission, SourceStart};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use super::rows;
use crate::harness::{registry, source, source_request};

const ROWS: usize = 20_000;

/// Row groups of 5,000 rows: `kind` has three strings and nulls, `id` so many that the writer gives up its dictionary.
fn write(dir: &TempDir) {
    let kind: ArrayRef = Arc::new(StringArray::from_iter((0..ROWS).map(|n| (n % 7 > 0).then_some(["view", "click", "buy"][n % 3]))));
    let id: ArrayRef = Arc::new(StringArray::from_iter_values((0..ROWS).map(|n| format!("user-{n:09}"))));
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
    let batch = RecordBatch::try_from_iter_with_nullable([("kind", kind, true), ("id", id, true), ("n", n, true)]).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(5_000)).set_dictionary_page_size_limit(10_000).build();
    let mut writer = ArrowWriter::try_new(File::create(dir.path().join("a.parquet")).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn packed_columns_hold_the_rows_of_a_plain_read() {
    let dir = TempDir::new().unwrap();
    write(&dir);
    let (registry, _) = registry();
    let mut request = source_request("parquet", &[("path", dir.path().to_str().unwrap())], None);
    request.is_streaming = false;
    let mut source = source(&registry, request).await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    let range = source.plan(&start, &Admission::ALL).await.unwrap().unwrap();
    let splits = source.splits(&range, 1).await.unwrap();
    for (batch_rows, is_packed) in [(1_024, true), (8_192, false)] {
        // With `_metadata`, whose numbers of rows go on from row group to row group.
        let mut spec = source.reader();
        spec.batch_rows = batch_rows;
        let reader = registry.reader(&spec).unwrap();
        assert!(reader.packs());
        let plain: Vec<_> = reader.read(&splits[0]).await.unwrap().try_collect().await.unwrap();
        let packed: Vec<_> = reader.read_packed(&splits[0]).await.unwrap().try_collect().await.unwrap();
        let plain = concat_batches(&reader.schema(), &rows(&plain)).unwrap();
        assert_eq!(packed.iter().map(|chunk| chunk.n_records).sum::<u64>(), ROWS as u64);
        let mut whole = Vec::new();
        for rows in rows(&packed) {
            let kind = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
            let want = if is_packed { [kind, DataType::Utf8, DataType::Int64] } else { [DataType::Utf8, DataType::Utf8, DataType::Int64] };
            assert_eq!(rows.columns()[..3].iter().map(|column| column.data_type().clone()).collect::<Vec<_>>(), want, "{batch_rows}");
            let columns = rows.columns().iter().zip(reader.schema().fields().iter().cloned().collect::<Vec<_>>());
            let columns = columns.map(|(column, field)| cast(column, field.data_type()).unwrap()).collect();
            whole.push(RecordBatch::try_new(reader.schema(), columns).unwrap());
        }
        assert_eq!(concat_batches(&reader.schema(), &whole).unwrap(), plain, "{batch_rows}");
    }
}
