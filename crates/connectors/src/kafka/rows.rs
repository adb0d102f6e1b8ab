//! Records become Arrow rows: each byte is copied once, from the fetched response into the column, and only of the columns
//! that are read.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, RecordBatch, RecordBatchOptions, StringBuilder, StructBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use millstream_core::{Error, Result};
use rdkafka::message::{Header, Headers, Message, Timestamp};

/// Text and bytes of a batch at most, far below what 32 bit offsets of a column reach: one record has at most 2 GB.
const BATCH_BYTES_MAX: usize = 16 << 20;

pub(super) static HEADER: LazyLock<Fields> =
    LazyLock::new(|| Fields::from(vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)]));

/// The columns, with Spark's names and types.
pub(super) fn schema(includes_headers: bool) -> SchemaRef {
    let mut fields = vec![
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("topic", DataType::Utf8, true),
        Field::new("partition", DataType::Int32, true),
        Field::new("offset", DataType::Int64, true),
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("timestampType", DataType::Int32, true),
    ];
    if includes_headers {
        let header = Field::new("item", DataType::Struct(HEADER.clone()), true);
        fields.push(Field::new("headers", DataType::List(Arc::new(header)), true));
    }
    Arc::new(Schema::new(fields))
}

/// The key of a field's metadata that marks headers whose names are taken as they come.
const LENIENT: &str = "millstream.lenient";

/// The columns that are a record, for its dead letter.
pub(super) fn record_columns() -> Fields {
    let schema = schema(true);
    let named = ["topic", "partition", "offset", "timestamp", "key", "value", "headers"].into_iter();
    let fields = named.filter_map(|name| schema.field_with_name(name).ok()).map(|field| match field.name().as_str() {
        // Who did not ask for headers is not to be stopped by one that cannot be read.
        "headers" => field.clone().with_metadata([(LENIENT.to_owned(), String::new())].into()),
        _ => field.clone(),
    });
    fields.collect()
}

/// A batch in the making.
pub(super) struct Rows {
    schema: SchemaRef,
    columns: Vec<Column>,
    n_rows_max: usize,
    n_rows: usize,
    n_bytes: usize,
}

enum Column {
    Key(BinaryBuilder),
    Value(BinaryBuilder),
    Topic(StringBuilder),
    Partition(Int32Builder),
    Offset(Int64Builder),
    Timestamp(TimestampMicrosecondBuilder),
    TimestampType(Int32Builder),
    Headers { rows: ListBuilder<StructBuilder>, is_lenient: bool },
}

impl Rows {
    /// Of a projection of [`schema`].
    pub(super) fn new(schema: SchemaRef, n_rows_max: usize) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| {
            Ok(match field.name().as_str() {
                "key" => Column::Key(BinaryBuilder::new()),
                "value" => Column::Value(BinaryBuilder::new()),
                "topic" => Column::Topic(StringBuilder::new()),
                "partition" => Column::Partition(Int32Builder::new()),
                "offset" => Column::Offset(Int64Builder::new()),
                "timestamp" => Column::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
                "timestampType" => Column::TimestampType(Int32Builder::new()),
                "headers" => Column::Headers {
                    rows: ListBuilder::new(StructBuilder::from_fields(HEADER.clone(), 0)),
                    is_lenient: field.metadata().contains_key(LENIENT),
                },
                other => return Err(Error::internal(format!("records of Kafka have no column '{other}'"))),
            })
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(Self { columns, schema, n_rows_max: n_rows_max.max(1), n_rows: 0, n_bytes: 0 })
    }

    pub(super) fn is_full(&self) -> bool {
        self.n_rows >= self.n_rows_max || self.n_bytes >= BATCH_BYTES_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.n_rows == 0
    }

    pub(super) fn push(&mut self, topic: &str, message: &impl Message) -> Result<()> {
        for column in &mut self.columns {
            self.n_bytes += column.push(topic, message)?;
        }
        self.n_rows += 1;
        Ok(())
    }

    /// The batch; the builder begins anew.
    pub(super) fn take(&mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = self.columns.iter_mut().map(Column::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.n_rows));
        (self.n_rows, self.n_bytes) = (0, 0);
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }
}

impl Column {
    /// Adds a record's value; gives how many bytes of variable length it took.
    fn push(&mut self, topic: &str, message: &impl Message) -> Result<usize> {
        match self {
            Self::Key(column) => return Ok(push_bytes(column, message.key())),
            Self::Value(column) => return Ok(push_bytes(column, message.payload())),
            Self::Topic(column) => {
                column.append_value(topic);
                return Ok(topic.len());
            }
            Self::Partition(column) => column.append_value(message.partition()),
            Self::Offset(column) => column.append_value(message.offset()),
            Self::Timestamp(column) => {
                // Brokers of old answer without a time, which Spark shows as -1 ms.
                column.append_value(message.timestamp().to_millis().unwrap_or(-1).saturating_mul(1000));
            }
            Self::TimestampType(column) => column.append_value(match message.timestamp() {
                Timestamp::NotAvailable => -1,
                Timestamp::CreateTime(_) => 0,
                Timestamp::LogAppendTime(_) => 1,
            }),
            Self::Headers { rows, is_lenient } => return push_headers(rows, *is_lenient, topic, message),
        }
        Ok(0)
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Key(column) | Self::Value(column) => Arc::new(column.finish()),
            Self::Topic(column) => Arc::new(column.finish()),
            Self::Partition(column) | Self::TimestampType(column) => Arc::new(column.finish()),
            Self::Offset(column) => Arc::new(column.finish()),
            Self::Timestamp(column) => Arc::new(column.finish()),
            Self::Headers { rows, .. } => Arc::new(rows.finish()),
        }
    }
}

fn push_bytes(column: &mut BinaryBuilder, bytes: Option<&[u8]>) -> usize {
    column.append_option(bytes);
    bytes.map_or(0, <[u8]>::len)
}

/// Headers in their order; null for a record without any, as in Spark. Where that is wanted, one whose name is no UTF-8 is there without
/// its name and value, which the client does not give.
fn push_headers(column: &mut ListBuilder<StructBuilder>, is_lenient: bool, topic: &str, message: &impl Message) -> Result<usize> {
    let Some(headers) = message.headers() else {
        column.append(false);
        return Ok(0);
    };
    let mut n_bytes = 0;
    for nth in 0..headers.count() {
        // The client panics at a name that is no UTF-8, and anyone may have written the record. It has no other way to a header; what the
        // panic prints is not ours to keep back.
        let header = match catch_unwind(AssertUnwindSafe(|| headers.try_get(nth))) {
            Ok(header) => header,
            Err(_) if is_lenient => Some(Header { key: "\u{fffd}", value: None }),
            Err(_) => {
                let place = format!("{topic}-{} at offset {}", message.partition(), message.offset());
                return Err(Error::data(format!("a header of the record of {place} has a name that is not UTF-8"))
                    .hint("read without option includeHeaders"));
            }
        };
        let Some(header) = header else { continue };
        n_bytes += header.key.len() + header.value.map_or(0, <[u8]>::len);
        push_header(column, header.key, header.value)?;
    }
    column.append(true);
    Ok(n_bytes)
}

/// One more header of the row that is being made.
pub(super) fn push_header(column: &mut ListBuilder<StructBuilder>, name: &str, value: Option<&[u8]>) -> Result<()> {
    let entry = column.values();
    let Some(names) = entry.field_builder::<StringBuilder>(0) else {
        return Err(Error::internal("headers have no key column"));
    };
    names.append_value(name);
    let Some(values) = entry.field_builder::<BinaryBuilder>(1) else { return Err(Error::internal("headers have no value column")) };
    values.append_option(value);
    entry.append(true);
    Ok(())
}
