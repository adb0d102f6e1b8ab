//! Dead letters as records of a topic: the record as it came, with headers that say what is wrong with it and where it stood.
//!
//! The rows are those of dead-letter tables ([`RejectedRecord::schema_with`](millstream_core::RejectedRecord::schema_with)). Where the
//! record is known, key, value and headers are its own; else (files, rows that are made of several records) the value is `raw`.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Int32Array, Int64Array, ListArray, ListBuilder, RecordBatch, StringArray,
    StructBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::{Error, Options, QueryId, Result};

use super::rows::{HEADER, push_header};

/// What the specs of writers call these rows.
pub(super) const FORMAT: &str = "kafka-dead-letters";

/// The longest text of an error in a header.
const ERROR_BYTES_MAX: usize = 4096;

/// The columns that [`as_records`] gives, as the sink takes them.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let header = Field::new("item", DataType::Struct(HEADER.clone()), true);
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("headers", DataType::List(Arc::new(header)), true),
    ]))
});

pub(super) fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// Options of a source's client that say where the cluster is and who we are: letters go to the same one unless told otherwise.
const OF_THE_CLUSTER: [&str; 8] =
    ["bootstrap.servers", "metadata.broker.list", "security.", "ssl.", "sasl.", "enable.ssl.", "broker.address.", "client."];

/// The options of the sink of a source's letters: its own ones (without the prefix), and the source's way to its cluster.
pub(super) fn sink_options(source: Option<&Options>, mut options: Options) -> Result<Options> {
    let names_cluster = |name: &str| ["bootstrapservers", "kafka.bootstrap.servers", "kafka.metadata.broker.list"].contains(&name);
    // Another cluster may not be told the passwords of this one.
    if !options.iter().any(|(name, _)| names_cluster(&name.to_ascii_lowercase())) {
        let Some(source) = source else {
            return Err(Error::invalid(
                "option 'deadLetterTopic' of a source that is not kafka needs 'deadLetter.kafka.bootstrap.servers'",
            )
            .hint("say where the topic is; options of the client follow as deadLetter.kafka.*"));
        };
        for (name, value) in source.iter() {
            let lower = name.to_ascii_lowercase();
            let is_taken = lower.strip_prefix("kafka.").is_some_and(|name| OF_THE_CLUSTER.iter().any(|taken| name.starts_with(taken)));
            if (is_taken || names_cluster(&lower)) && options.get(name).is_none() {
                options.set(name, value);
            }
        }
    }
    // The main sink may be a transactional one, of which a query has one at most.
    if options.get("delivery").is_none() {
        options.set("delivery", "at-least-once");
    }
    Ok(options)
}

/// Letters as rows of [`schema`].
pub(super) fn as_records(letters: &RecordBatch, query: QueryId) -> Result<RecordBatch> {
    let (raw, error): (&BinaryArray, &StringArray) = (column(letters, "raw")?, column(letters, "error")?);
    let (source, origin): (&StringArray, &StringArray) = (column(letters, "source")?, column(letters, "origin")?);
    let (position, batch_id): (&Int64Array, &Int64Array) = (column(letters, "position")?, column(letters, "batch_id")?);
    let record = letters.column_by_name("topic").is_some().then(|| Record::of(letters)).transpose()?;
    let query = query.to_string();
    let (mut keys, mut values) = (BinaryBuilder::new(), BinaryBuilder::new());
    let mut headers = ListBuilder::new(StructBuilder::from_fields(HEADER.clone(), letters.num_rows()));
    for row in 0..letters.num_rows() {
        match &record {
            Some(record) if record.topic.is_valid(row) => {
                keys.append_option(record.key.is_valid(row).then(|| record.key.value(row)));
                values.append_option(record.value.is_valid(row).then(|| record.value.value(row)));
                record.push_headers(row, &mut headers)?;
            }
            _ => {
                keys.append_null();
                values.append_value(raw.value(row));
                push_header(&mut headers, "millstream.origin", Some(origin.value(row).as_bytes()))?;
                if position.is_valid(row) {
                    push_header(&mut headers, "millstream.position", Some(position.value(row).to_string().as_bytes()))?;
                }
            }
        }
        let told = error.value(row).as_bytes();
        push_header(&mut headers, "millstream.error", Some(told.get(..ERROR_BYTES_MAX).unwrap_or(told)))?;
        push_header(&mut headers, "millstream.source", Some(source.value(row).as_bytes()))?;
        push_header(&mut headers, "millstream.query", Some(query.as_bytes()))?;
        push_header(&mut headers, "millstream.batch", Some(batch_id.value(row).to_string().as_bytes()))?;
        headers.append(true);
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(keys.finish()), Arc::new(values.finish()), Arc::new(headers.finish())];
    Ok(RecordBatch::try_new(schema(), columns)?)
}

/// The columns of letters that are the record, of sources whose records have more to them than bytes.
struct Record<'a> {
    topic: &'a StringArray,
    partition: &'a Int32Array,
    offset: &'a Int64Array,
    timestamp: &'a TimestampMicrosecondArray,
    key: &'a BinaryArray,
    value: &'a BinaryArray,
    headers: &'a ListArray,
}

impl<'a> Record<'a> {
    fn of(rows: &'a RecordBatch) -> Result<Self> {
        Ok(Self {
            topic: column(rows, "topic")?,
            partition: column(rows, "partition")?,
            offset: column(rows, "offset")?,
            timestamp: column(rows, "timestamp")?,
            key: column(rows, "key")?,
            value: column(rows, "value")?,
            headers: column(rows, "headers")?,
        })
    }

    /// Its own headers, and those that say where it stood.
    fn push_headers(&self, row: usize, headers: &mut ListBuilder<StructBuilder>) -> Result<()> {
        if self.headers.is_valid(row) {
            let own = self.headers.value(row);
            let own = own.as_struct_opt().ok_or_else(|| Error::internal("headers that are no structs"))?;
            let names = own.column_by_name("key").and_then(|names| names.as_string_opt::<i32>());
            let values = own.column_by_name("value").and_then(|values| values.as_binary_opt::<i32>());
            let (Some(names), Some(values)) = (names, values) else { return Err(Error::internal("headers without key or value")) };
            for (name, value) in names.iter().zip(values) {
                push_header(headers, name.unwrap_or_default(), value)?;
            }
        }
        push_header(headers, "millstream.topic", Some(self.topic.value(row).as_bytes()))?;
        push_header(headers, "millstream.partition", Some(self.partition.value(row).to_string().as_bytes()))?;
        push_header(headers, "millstream.offset", Some(self.offset.value(row).to_string().as_bytes()))?;
        push_header(headers, "millstream.timestamp", Some(self.timestamp.value(row).div_euclid(1000).to_string().as_bytes()))
    }
}

fn column<'a, A: Array + 'static>(rows: &'a RecordBatch, name: &str) -> Result<&'a A> {
    let column = rows.column_by_name(name).ok_or_else(|| Error::internal(format!("dead letters without a column '{name}'")))?;
    let typed = column.as_any().downcast_ref();
    typed.ok_or_else(|| Error::internal(format!("column '{name}' of dead letters is of type {}", column.data_type())))
}
