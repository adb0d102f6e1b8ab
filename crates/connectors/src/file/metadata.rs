//! `_metadata`: the hidden struct column that tells which file a row came from, as in Spark.
//!
//! It stands last in a source's schema, marked with [`HIDDEN_FIELD`], and is made only for queries that name it: one row
//! per file, repeated for the rows of a batch. A column of that name in the data hides it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use millstream_core::connector::HIDDEN_FIELD;
use millstream_core::{Error, Result};
use millstream_state::Location;

use super::format::FileFormat;
use super::partition::repeat;
use super::read_parquet::RowNumbers;
use super::splits::FilePiece;

/// The column's name.
const NAME: &str = "_metadata";

/// The field that only formats with numbered rows have; the last one.
const ROW_INDEX: &str = "row_index";

/// Whether a field is the hidden column.
pub(super) fn is_metadata(field: &Field) -> bool {
    field.metadata().contains_key(HIDDEN_FIELD)
}

/// The schema with `_metadata` at its end, unless the data has a column of that name.
pub(super) fn with_metadata(schema: &SchemaRef, format: FileFormat) -> SchemaRef {
    if schema.fields().iter().any(|field| field.name().eq_ignore_ascii_case(NAME)) {
        return Arc::clone(schema);
    }
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    let hidden = [(HIDDEN_FIELD.to_owned(), "true".to_owned())].into_iter().collect();
    fields.push(Arc::new(Field::new(NAME, DataType::Struct(fields_of(format)), false).with_metadata(hidden)));
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The schema as it was before [`with_metadata`]: what a source gave may be handed to it again.
pub(super) fn without_metadata(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<Arc<Field>> = schema.fields().iter().filter(|field| !is_metadata(field)).cloned().collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn fields_of(format: FileFormat) -> Fields {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut fields = vec![
        Field::new("file_path", DataType::Utf8, false),
        Field::new("file_name", DataType::Utf8, false),
        Field::new("file_size", DataType::Int64, false),
        Field::new("file_block_start", DataType::Int64, false),
        Field::new("file_block_length", DataType::Int64, false),
        Field::new("file_modification_time", utc, false),
    ];
    if format == FileFormat::Parquet {
        fields.push(Field::new(ROW_INDEX, DataType::Int64, false));
    }
    Fields::from(fields)
}

/// The column of one piece of a file.
#[derive(Debug)]
pub(super) struct MetadataColumn {
    fields: Fields,
    /// One row of everything but the row's number.
    one: Vec<ArrayRef>,
}

impl MetadataColumn {
    pub(super) fn new(base: &Location, piece: &FilePiece, format: FileFormat) -> Result<Self> {
        let path = uri_path(base, piece);
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let (start, end) = piece.range.unwrap_or((0, piece.size));
        let number = |value: u64| -> ArrayRef { Arc::new(Int64Array::from(vec![i64::try_from(value).unwrap_or(i64::MAX)])) };
        // Milliseconds, as Spark has them.
        let modified = TimestampMicrosecondArray::from(vec![piece.mtime_us.div_euclid(1000) * 1000]).with_timezone("UTC");
        let one: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![path])),
            Arc::new(StringArray::from(vec![name])),
            number(piece.size),
            number(start),
            number(end - start),
            Arc::new(modified),
        ];
        Ok(Self { fields: fields_of(format), one })
    }

    /// The column for `n_rows` rows; `row_numbers` are their places in the file, where the format counts them.
    pub(super) fn rows(&self, n_rows: usize, row_numbers: Option<&RowNumbers>) -> Result<ArrayRef> {
        let mut columns = self.one.iter().map(|one| repeat(one, n_rows)).collect::<Result<Vec<_>>>()?;
        if self.fields.len() > columns.len() {
            let numbers = row_numbers.ok_or_else(|| Error::internal("the rows of a file have no numbers"))?;
            columns.push(Arc::new(numbers.array()));
        }
        Ok(Arc::new(StructArray::try_new(self.fields.clone(), columns, None)?))
    }
}

/// The file as a URI, quoted as Java's `Path.toUri` does it.
fn uri_path(base: &Location, piece: &FilePiece) -> String {
    match base {
        Location::Object { url, prefix, .. } => {
            format!("{}{}", url.strip_suffix(prefix.as_ref()).unwrap_or(url), quoted(&piece.path))
        }
        _ => format!("file:{}", quoted(&piece.path)),
    }
}

/// Java quotes in a path what is neither a letter or digit of any language nor one of these.
fn quoted(path: &str) -> String {
    use std::fmt::Write;
    const KEPT: &str = "-_.!~'()*:@&=+$,;/";
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        let is_kept = if c.is_ascii() { c.is_ascii_alphanumeric() || KEPT.contains(c) } else { !c.is_control() && !c.is_whitespace() };
        if is_kept {
            out.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
