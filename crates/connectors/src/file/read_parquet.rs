//! Parquet files: the row groups of a piece, the wanted columns only.
//!
//! Local files are read page by page; objects row group by row group, with the parquet crate's own asynchronous reader.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use millstream_core::{Error, Result};
use millstream_state::Location;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderBuilder, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use tokio::runtime::Handle;

use super::decompress::{changed, open_local};
use super::listing::{FoundFile, stat};
use super::parquet_cast::{adapt, position, spark_schema};
use super::partition::batch_of;
use super::splits::FilePiece;

/// The schema of a file, in Spark's types.
pub(super) async fn schema_of(base: &Location, file: &FoundFile) -> Result<SchemaRef> {
    match base {
        Location::Object { store, .. } => {
            let reader = object_reader(store, &file.path, file.size)?;
            let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, reader_options()).await;
            Ok(spark_schema(builder.map_err(|error| damaged(&file.path, error))?.schema()))
        }
        _ => {
            let opened = std::fs::File::open(&file.path).map_err(|error| Error::from(error).context(format!("opening '{}'", file.path)))?;
            let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(opened, reader_options());
            Ok(spark_schema(builder.map_err(|error| damaged(&file.path, error))?.schema()))
        }
    }
}

/// Gives the rows of a piece, in the columns of `schema`, and their numbers in the file to `out`. `Ok(false)` if the file
/// is gone.
pub(super) fn read_piece(
    base: &Location,
    piece: &FilePiece,
    schema: &SchemaRef,
    batch_rows: usize,
    out: &mut dyn FnMut(RecordBatch, Int64Array) -> Result<()>,
) -> Result<bool> {
    match base {
        Location::Object { store, .. } => {
            let handle = Handle::try_current().map_err(|_| Error::internal("an object is read outside of a tokio runtime"))?;
            let Some(now) = handle.block_on(stat(base, &piece.path))? else { return Ok(false) };
            if (now.size, now.mtime_us) != (piece.size, piece.mtime_us) {
                return Err(changed(&piece.path, "its size or modification time is another"));
            }
            let reader = object_reader(store, &piece.path, piece.size)?;
            let builder = handle
                .block_on(ParquetRecordBatchStreamBuilder::new_with_options(reader, reader_options()))
                .map_err(|error| damaged(&piece.path, error))?;
            let (builder, columns, mut numbers) = configure(builder, piece, schema, batch_rows)?;
            let mut stream = builder.build().map_err(|error| damaged(&piece.path, error))?;
            while let Some(batch) = handle.block_on(stream.next()) {
                let batch = batch.map_err(|error| damaged(&piece.path, error))?;
                out(columns.adapt(&batch)?, numbers.next(batch.num_rows()))?;
            }
        }
        _ => {
            let Some(file) = open_local(piece)? else { return Ok(false) };
            let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, reader_options())
                .map_err(|error| damaged(&piece.path, error))?;
            let (builder, columns, mut numbers) = configure(builder, piece, schema, batch_rows)?;
            for batch in builder.build().map_err(|error| damaged(&piece.path, error))? {
                let batch = batch.map_err(|error| damaged(&piece.path, ParquetError::General(error.to_string())))?;
                out(columns.adapt(&batch)?, numbers.next(batch.num_rows()))?;
            }
        }
    }
    Ok(true)
}

/// The types that the file's own schema gives: what writers note beside it (dictionaries, views) is for arrow programs.
fn reader_options() -> ArrowReaderOptions {
    ArrowReaderOptions::new().with_skip_arrow_metadata(true)
}

fn object_reader(store: &Arc<dyn ObjectStore>, path: &str, size: u64) -> Result<StoreFile> {
    let key = ObjectPath::parse(path).map_err(|error| Error::internal(error.to_string()))?;
    Ok(StoreFile { store: Arc::clone(store), key, size })
}

/// An object as the parquet crate wants to see it.
struct StoreFile {
    store: Arc<dyn ObjectStore>,
    key: ObjectPath,
    size: u64,
}

impl AsyncFileReader for StoreFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        async move { self.store.get_range(&self.key, range).await.map_err(|error| ParquetError::External(Box::new(error))) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, parquet::errors::Result<Vec<Bytes>>> {
        // The store joins ranges that lie close together.
        async move { self.store.get_ranges(&self.key, &ranges).await.map_err(|error| ParquetError::External(Box::new(error))) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, parquet::errors::Result<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            Ok(Arc::new(ParquetMetaDataReader::new().load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

/// Chooses columns and row groups.
fn configure<T>(
    builder: ArrowReaderBuilder<T>,
    piece: &FilePiece,
    schema: &SchemaRef,
    batch_rows: usize,
) -> Result<(ArrowReaderBuilder<T>, Columns, RowNumbers)> {
    let file_schema = Arc::clone(builder.schema());
    let names = file_schema.fields().iter().map(|field| field.name().as_str());
    let wanted: Vec<Option<usize>> = schema.fields().iter().map(|field| position(names.clone(), field.name())).collect();
    let mut roots: Vec<usize> = wanted.iter().flatten().copied().collect();
    roots.sort_unstable();
    roots.dedup();
    let mask = ProjectionMask::leaves(builder.parquet_schema(), wanted_leaves(&file_schema, schema, &wanted));
    let mut row_groups: Vec<usize> = Vec::new();
    let mut numbers = RowNumbers(VecDeque::new());
    let mut n_before = 0;
    for (idx, group) in builder.metadata().row_groups().iter().enumerate() {
        let first = group.columns().iter().map(|column| column.byte_range().0).min().unwrap_or(0);
        let length: u64 = group.columns().iter().map(|column| column.byte_range().1).sum();
        if piece.range.is_none_or(|(start, end)| (start..end).contains(&(first + length / 2))) {
            row_groups.push(idx);
            numbers.0.push_back(n_before..n_before + group.num_rows());
        }
        n_before += group.num_rows();
    }
    let builder = builder.with_projection(mask).with_row_groups(row_groups).with_batch_size(batch_rows);
    // In the batches only the chosen columns are left, in the file's order.
    let columns = wanted.into_iter().map(|root| root.and_then(|root| roots.binary_search(&root).ok())).collect();
    Ok((builder, Columns { schema: Arc::clone(schema), columns, path: piece.path.clone() }, numbers))
}

/// The numbers of the rows that are read: those of the chosen row groups.
struct RowNumbers(VecDeque<Range<i64>>);

impl RowNumbers {
    fn next(&mut self, n_rows: usize) -> Int64Array {
        let mut numbers = Vec::with_capacity(n_rows);
        while numbers.len() < n_rows
            && let Some(mut group) = self.0.pop_front()
        {
            numbers.extend(group.by_ref().take(n_rows - numbers.len()));
            if !group.is_empty() {
                self.0.push_front(group);
            }
        }
        Int64Array::from(numbers)
    }
}

/// The leaves of the file that the wanted columns need: of structs only the wanted fields.
fn wanted_leaves(file: &Schema, schema: &Schema, roots: &[Option<usize>]) -> Vec<usize> {
    let mut first_leaf = vec![];
    let mut n_leaves = 0;
    for field in file.fields() {
        first_leaf.push(n_leaves);
        n_leaves += leaves(field.data_type());
    }
    let mut out = vec![];
    for (field, root) in schema.fields().iter().zip(roots) {
        if let Some(root) = *root
            && let (Some(first), Some(in_file)) = (first_leaf.get(root), file.fields().get(root))
        {
            collect_leaves(in_file.data_type(), field.data_type(), *first, &mut out);
        }
    }
    out
}

/// How many leaves a column of the file has.
fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) | DataType::Map(element, _) => {
            leaves(element.data_type())
        }
        _ => 1,
    }
}

fn collect_leaves(file: &DataType, wanted: &DataType, first: usize, out: &mut Vec<usize>) {
    match (file, wanted) {
        (
            DataType::List(file) | DataType::LargeList(file) | DataType::FixedSizeList(file, _),
            DataType::List(wanted) | DataType::LargeList(wanted) | DataType::FixedSizeList(wanted, _),
        ) => collect_leaves(file.data_type(), wanted.data_type(), first, out),
        (DataType::Struct(in_file), DataType::Struct(fields)) => {
            let before = out.len();
            let mut at = first;
            for field in in_file {
                let names = fields.iter().map(|wanted| wanted.name().as_str());
                if let Some(wanted) = position(names, field.name()).and_then(|idx| fields.get(idx)) {
                    collect_leaves(field.data_type(), wanted.data_type(), at, out);
                }
                at += leaves(field.data_type());
            }
            if out.len() == before {
                // None of the wanted fields is in the file; something must tell which structs are null.
                out.extend(first..at);
            }
        }
        (file, _) => out.extend(first..first + leaves(file)),
    }
}

struct Columns {
    schema: SchemaRef,
    columns: Vec<Option<usize>>,
    path: String,
}

impl Columns {
    fn adapt(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let n_rows = batch.num_rows();
        let columns = self
            .schema
            .fields()
            .iter()
            .zip(&self.columns)
            .map(|(field, column)| -> Result<ArrayRef> {
                match column.and_then(|idx| batch.columns().get(idx)) {
                    Some(array) => adapt(array, field.data_type(), field.name()),
                    None => Ok(new_null_array(field.data_type(), n_rows)),
                }
            })
            .collect::<Result<Vec<_>>>()
            .map_err(|error| error.context(format!("reading '{}'", self.path)))?;
        batch_of(&self.schema, columns, n_rows)
    }
}

/// An error of the parquet crate as ours.
pub(super) fn damaged(path: &str, error: ParquetError) -> Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<object_store::Error>() {
            Ok(store) => millstream_state::location::store_error(*store).context(format!("reading '{path}'")),
            Err(other) => Error::data(format!("file '{path}' cannot be read as parquet: {other}")),
        },
        other => Error::data(format!("file '{path}' cannot be read as parquet: {other}"))
            .hint("set ignoreCorruptFiles to leave out what cannot be read"),
    }
}
