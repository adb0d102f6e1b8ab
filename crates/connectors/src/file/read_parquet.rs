//! Parquet files: the row groups of a piece, the wanted columns only.
//!
//! Local files are read page by page; objects row group by row group, with the parquet crate's own asynchronous reader.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use millstream_core::{Error, Result};
use millstream_state::Location;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderBuilder, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::basic::{ConvertedType, Encoding, EncodingMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};
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

/// Rows of numbers and packed strings come in batches that are larger by so much: they are small, and some are dropped at once.
const SMALL_BATCHES_AT_ONCE: usize = 4;

/// What is wanted of a file.
pub(super) struct Wanted<'a> {
    pub(super) schema: &'a SchemaRef,
    pub(super) batch_rows: usize,
    pub(super) strings: Strings,
}

/// How string columns come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strings {
    /// As strings.
    Whole,
    /// As the dictionaries that the file has, where it has nothing else of a column.
    Packed,
}

/// Gives the rows of a piece, in the wanted columns, and their numbers in the file to `out`. `Ok(false)` if the file
/// is gone.
pub(super) fn read_piece(
    base: &Location,
    piece: &FilePiece,
    wanted: &Wanted<'_>,
    out: &mut dyn FnMut(RecordBatch, &RowNumbers) -> Result<()>,
) -> Result<bool> {
    match base {
        Location::Object { store, .. } => {
            let handle = Handle::try_current().map_err(|_| Error::internal("an object is read outside of a tokio runtime"))?;
            let Some(now) = handle.block_on(stat(base, &piece.path))? else { return Ok(false) };
            if (now.size, now.mtime_us) != (piece.size, piece.mtime_us) {
                return Err(changed(&piece.path, "its size or modification time is another"));
            }
            let mut reader = object_reader(store, &piece.path, piece.size)?;
            let metadata = handle
                .block_on(ArrowReaderMetadata::load_async(&mut reader, reader_options()))
                .map_err(|error| damaged(&piece.path, error))?;
            let chosen = Chosen::new(&metadata, piece, wanted)?;
            // It gives each row group by itself.
            let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, chosen.metadata.clone());
            let groups: Vec<usize> = chosen.row_groups.iter().flatten().copied().collect();
            let mut numbers = Numbering::new(&chosen.metadata, &groups);
            let mut stream = chosen.configure(builder, groups).build().map_err(|error| damaged(&piece.path, error))?;
            while let Some(batch) = handle.block_on(stream.next()) {
                let batch = batch.map_err(|error| damaged(&piece.path, error))?;
                out(chosen.columns.adapt(&batch)?, &numbers.next(batch.num_rows()))?;
            }
        }
        _ => {
            let Some(file) = open_local(piece)? else { return Ok(false) };
            let metadata = ArrowReaderMetadata::load(&file, reader_options()).map_err(|error| damaged(&piece.path, error))?;
            let chosen = Chosen::new(&metadata, piece, wanted)?;
            for groups in &chosen.row_groups {
                let file = file.try_clone().map_err(|error| Error::from(error).context(format!("reading '{}'", piece.path)))?;
                let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, chosen.metadata.clone());
                let mut numbers = Numbering::new(&chosen.metadata, groups);
                for batch in chosen.configure(builder, groups.clone()).build().map_err(|error| damaged(&piece.path, error))? {
                    let batch = batch.map_err(|error| damaged(&piece.path, ParquetError::General(error.to_string())))?;
                    out(chosen.columns.adapt(&batch)?, &numbers.next(batch.num_rows()))?;
                }
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

/// What is read of a file: columns and row groups.
struct Chosen {
    /// With packed columns as dictionaries.
    metadata: ArrowReaderMetadata,
    mask: ProjectionMask,
    /// Those that are read at once: a batch of two row groups would have two dictionaries.
    row_groups: Vec<Vec<usize>>,
    columns: Columns,
    batch_rows: usize,
}

impl Chosen {
    fn new(metadata: &ArrowReaderMetadata, piece: &FilePiece, wanted: &Wanted<'_>) -> Result<Self> {
        let (file_schema, schema) = (metadata.schema(), wanted.schema);
        let names = file_schema.fields().iter().map(|field| field.name().as_str());
        let in_file: Vec<Option<usize>> = schema.fields().iter().map(|field| position(names.clone(), field.name())).collect();
        let mut roots: Vec<usize> = in_file.iter().flatten().copied().collect();
        roots.sort_unstable();
        roots.dedup();
        let mask = ProjectionMask::leaves(metadata.parquet_schema(), wanted_leaves(file_schema, schema, &in_file));
        let mut row_groups: Vec<usize> = Vec::new();
        for (idx, group) in metadata.metadata().row_groups().iter().enumerate() {
            let first = group.columns().iter().map(|column| column.byte_range().0).min().unwrap_or(0);
            let length: u64 = group.columns().iter().map(|column| column.byte_range().1).sum();
            if piece.range.is_none_or(|(start, end)| (start..end).contains(&(first + length / 2))) {
                row_groups.push(idx);
            }
        }
        let packed = match wanted.strings {
            Strings::Whole => None,
            Strings::Packed => packed_file_schema(metadata, &row_groups, schema, &in_file, wanted.batch_rows),
        };
        let (metadata, row_groups) = match packed {
            Some(schema) => {
                let metadata = ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), reader_options().with_schema(schema));
                let metadata = metadata.map_err(|error| damaged(&piece.path, error))?;
                (metadata, row_groups.into_iter().map(|group| vec![group]).collect())
            }
            None => (metadata.clone(), vec![row_groups]),
        };
        // In the batches only the chosen columns are left, in the file's order.
        let columns = in_file.into_iter().map(|root| root.and_then(|root| roots.binary_search(&root).ok())).collect();
        let columns = Columns { schema: Arc::clone(schema), columns, path: piece.path.clone() };
        let is_small = |field: &Arc<Field>| field.data_type().is_primitive() || *field.data_type() == packed_type();
        let mut read = metadata.schema().fields().iter().enumerate().filter(|(root, _)| roots.contains(root)).map(|(_, field)| field);
        let are_small = wanted.strings == Strings::Packed && read.all(is_small);
        let batch_rows = if are_small { wanted.batch_rows * SMALL_BATCHES_AT_ONCE } else { wanted.batch_rows };
        Ok(Self { metadata, mask, row_groups, columns, batch_rows })
    }

    fn configure<T>(&self, builder: ArrowReaderBuilder<T>, row_groups: Vec<usize>) -> ArrowReaderBuilder<T> {
        builder.with_projection(self.mask.clone()).with_row_groups(row_groups).with_batch_size(self.batch_rows)
    }
}

/// The file's schema with the wanted string columns as dictionaries of which the file has nothing else; none if there are none, or
/// if the row groups are too small to be read one by one.
fn packed_file_schema(
    metadata: &ArrowReaderMetadata,
    row_groups: &[usize],
    schema: &Schema,
    in_file: &[Option<usize>],
    batch_rows: usize,
) -> Option<SchemaRef> {
    let groups: Vec<&RowGroupMetaData> = row_groups.iter().filter_map(|idx| metadata.metadata().row_groups().get(*idx)).collect();
    let n_rows: i64 = groups.iter().map(|group| group.num_rows()).sum();
    if groups.is_empty() || n_rows < i64::try_from(batch_rows * groups.len()).unwrap_or(i64::MAX) {
        return None;
    }
    let mut fields = metadata.schema().fields().to_vec();
    let mut first_leaf = 0;
    let mut is_any_packed = false;
    for (root, field) in metadata.schema().fields().iter().enumerate() {
        let leaf = first_leaf;
        first_leaf += leaves(field.data_type());
        let mut wanted = schema.fields().iter().zip(in_file).filter(|(_, of)| **of == Some(root)).map(|(wanted, _)| wanted).peekable();
        let is_string = *field.data_type() == DataType::Utf8 && wanted.peek().is_some();
        if is_string
            && wanted.all(|wanted| *wanted.data_type() == DataType::Utf8)
            && groups.iter().all(|group| group.columns().get(leaf).is_some_and(is_packed_utf8))
            && let Some(place) = fields.get_mut(root)
        {
            *place = Arc::new(field.as_ref().clone().with_data_type(packed_type()));
            is_any_packed = true;
        }
    }
    is_any_packed.then(|| Arc::new(Schema::new_with_metadata(fields, metadata.schema().metadata().clone())))
}

/// The type of a packed string column.
fn packed_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Whether strings have nothing but dictionaries. Only of strings by this name the parquet crate checks that dictionaries are UTF-8.
fn is_packed_utf8(column: &ColumnChunkMetaData) -> bool {
    column.column_descr().converted_type() == ConvertedType::UTF8 && has_only_dictionary_pages(column)
}

fn has_only_dictionary_pages(column: &ColumnChunkMetaData) -> bool {
    let is_only = |mask: &EncodingMask| mask.is_only(Encoding::PLAIN_DICTIONARY) || mask.is_only(Encoding::RLE_DICTIONARY);
    match column.page_encoding_stats_mask() {
        Some(of_data_pages) => is_only(of_data_pages),
        // Of the whole chunk, levels and dictionary included: what is plain may be either.
        None => {
            use Encoding::{DELTA_BINARY_PACKED, DELTA_BYTE_ARRAY, DELTA_LENGTH_BYTE_ARRAY, PLAIN};
            let is_other = |encoding| matches!(encoding, PLAIN | DELTA_BINARY_PACKED | DELTA_BYTE_ARRAY | DELTA_LENGTH_BYTE_ARRAY);
            column.dictionary_page_offset().is_some() && !column.encodings().any(is_other)
        }
    }
}

/// The schema of rows with these columns, of which some may be packed.
pub(super) fn packed_schema(schema: &SchemaRef, columns: &[ArrayRef]) -> SchemaRef {
    let is_packed = |column: &ArrayRef| matches!(column.data_type(), DataType::Dictionary(..));
    if !columns.iter().any(is_packed) {
        return Arc::clone(schema);
    }
    let fields = schema.fields().iter().zip(columns).map(|(field, column)| match is_packed(column) {
        true => Arc::new(field.as_ref().clone().with_data_type(column.data_type().clone())),
        false => Arc::clone(field),
    });
    Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
}

/// Numbers the rows that are read: those of the chosen row groups.
struct Numbering(VecDeque<Range<i64>>);

impl Numbering {
    fn new(metadata: &ArrowReaderMetadata, row_groups: &[usize]) -> Self {
        let mut n_before = 0;
        let all = metadata.metadata().row_groups().iter().map(|group| {
            let first = n_before;
            n_before += group.num_rows();
            first..n_before
        });
        let all: Vec<Range<i64>> = all.collect();
        Self(row_groups.iter().filter_map(|idx| all.get(*idx).cloned()).collect())
    }

    /// The numbers of the next rows.
    fn next(&mut self, n_rows: usize) -> RowNumbers {
        let mut left = i64::try_from(n_rows).unwrap_or(i64::MAX);
        let mut ranges = Vec::new();
        while left > 0
            && let Some(group) = self.0.pop_front()
        {
            let end = group.end.min(group.start.saturating_add(left));
            left -= end - group.start;
            if end < group.end {
                self.0.push_front(end..group.end);
            }
            ranges.push(group.start..end);
        }
        RowNumbers(ranges)
    }
}

/// The numbers of some rows in their file; few queries ask for them.
pub(super) struct RowNumbers(Vec<Range<i64>>);

impl RowNumbers {
    pub(super) fn array(&self) -> Int64Array {
        self.0.iter().cloned().flatten().collect::<Vec<_>>().into()
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
                    Some(array) if *array.data_type() == packed_type() && *field.data_type() == DataType::Utf8 => Ok(Arc::clone(array)),
                    Some(array) => adapt(array, field.data_type(), field.name()),
                    None => Ok(new_null_array(field.data_type(), n_rows)),
                }
            })
            .collect::<Result<Vec<_>>>()
            .map_err(|error| error.context(format!("reading '{}'", self.path)))?;
        batch_of(&packed_schema(&self.schema, &columns), columns, n_rows)
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
