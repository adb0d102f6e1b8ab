//! Which columns of the rows are what of a record: `value` (required), `key`, `topic`, `partition`, `headers`; and
//! `_change_type`, if the rows say how they change the result. Messages are Spark's.

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int32Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use std::sync::Arc;

use millstream_core::{Error, Result};
use rdkafka::message::{Header, OwnedHeaders};

use crate::file::spark_type;
use crate::type_name::type_name;

/// The column that says how a row changes the result.
const CHANGE_TYPE: &str = "_change_type";

/// The columns, by index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Columns {
    value: usize,
    key: Option<usize>,
    topic: Option<usize>,
    partition: Option<usize>,
    headers: Option<usize>,
    change: Option<usize>,
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowFate {
    Record,
    /// The key is deleted: a record without a value.
    Tombstone,
    /// The row that replaces it follows.
    Nothing,
}

impl Columns {
    /// Finds them; `topic`: the option, which goes before the column.
    pub(super) fn of(schema: &Schema, topic: Option<&str>) -> Result<Self> {
        let find = |name: &str, is_fit: &dyn Fn(&DataType) -> bool, wanted: &str| match schema.fields().find(name) {
            None => Ok(None),
            Some((index, field)) if is_fit(field.data_type()) => Ok(Some(index)),
            Some((_, field)) => Err(Error::invalid(format!(
                "{name} attribute unsupported type {}. {name} must be a(n) {wanted}",
                type_name(&spark_type(field.data_type()))
            ))),
        };
        let topic_column = match topic {
            Some(_) => None,
            None => find("topic", &is_text, "string")?,
        };
        if topic.is_none() && topic_column.is_none() {
            return Err(Error::invalid(
                "topic option required when no 'topic' attribute is present. Use the topic option for setting a topic.",
            ));
        }
        let key = find("key", &is_bytes_or_text, "string or binary")?;
        let value = find("value", &is_bytes_or_text, "string or binary")?;
        let value = value.ok_or_else(|| Error::invalid("Required attribute 'value' not found"))?;
        let headers = find("headers", &is_headers, "array<struct<key:string,value:binary>>")?;
        let partition = find("partition", &|found| *found == DataType::Int32, "int")?;
        let change = find(CHANGE_TYPE, &is_text, "string")?;
        if change.is_some() && key.is_none() {
            return Err(Error::invalid(
                "option 'changes' with the kafka sink needs the column key: what is deleted is told by a record of its key without a value",
            ));
        }
        Ok(Self { value, key, topic: topic_column, partition, headers, change })
    }
}

/// Rows as records are made of them.
#[derive(Debug)]
pub(super) struct SinkRows {
    value: BinaryArray,
    key: Option<BinaryArray>,
    topic: Option<StringArray>,
    partition: Option<Int32Array>,
    headers: Option<HeaderRows>,
    change: Option<StringArray>,
}

#[derive(Debug)]
struct HeaderRows {
    rows: ListArray,
    keys: StringArray,
    values: BinaryArray,
}

impl SinkRows {
    pub(super) fn new(columns: &Columns, rows: &RecordBatch) -> Result<Self> {
        let binary = |index: usize| Ok::<_, Error>(cast(rows.column(index), &DataType::Binary)?.as_binary::<i32>().clone());
        let text = |index: usize| Ok::<_, Error>(cast(rows.column(index), &DataType::Utf8)?.as_string::<i32>().clone());
        Ok(Self {
            value: binary(columns.value)?,
            key: columns.key.map(binary).transpose()?,
            topic: columns.topic.map(text).transpose()?,
            partition: columns.partition.map(|index| rows.column(index).as_primitive::<Int32Type>().clone()),
            headers: columns.headers.map(|index| HeaderRows::new(rows.column(index))).transpose()?,
            change: columns.change.map(text).transpose()?,
        })
    }

    pub(super) fn fate(&self, row: usize) -> Result<RowFate> {
        let Some(change) = &self.change else { return Ok(RowFate::Record) };
        match at_text(change, row) {
            Some("insert" | "update_postimage") => Ok(RowFate::Record),
            Some("delete") => Ok(RowFate::Tombstone),
            Some("update_preimage") => Ok(RowFate::Nothing),
            other => Err(Error::data(format!("'{}' is no change of a row", other.unwrap_or("null")))),
        }
    }

    pub(super) fn value(&self, row: usize) -> Option<&[u8]> {
        at_bytes(&self.value, row)
    }

    pub(super) fn key(&self, row: usize) -> Option<&[u8]> {
        at_bytes(self.key.as_ref()?, row)
    }

    pub(super) fn topic(&self, row: usize) -> Result<&str> {
        let topic = self.topic.as_ref().and_then(|topic| at_text(topic, row));
        topic.ok_or_else(|| Error::data("null topic present in the data. Use the topic option for setting a default topic."))
    }

    pub(super) fn partition(&self, row: usize) -> Result<Option<i32>> {
        match self.partition.as_ref().filter(|partition| partition.is_valid(row)).map(|partition| partition.value(row)) {
            Some(negative) if negative < 0 => Err(Error::data(format!("{negative} is no partition: null lets the key say which it is"))),
            partition => Ok(partition),
        }
    }

    pub(super) fn headers(&self, row: usize) -> Result<Option<OwnedHeaders>> {
        self.headers.as_ref().map_or(Ok(None), |headers| headers.of_row(row))
    }
}

impl HeaderRows {
    fn new(column: &ArrayRef) -> Result<Self> {
        let fields = Fields::from(vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)]);
        let wanted = DataType::List(Arc::new(Field::new("element", DataType::Struct(fields), true)));
        let rows = cast(column, &wanted)?.as_list::<i32>().clone();
        let structs: &StructArray = rows.values().as_struct();
        let (keys, values) = (structs.column(0).as_string::<i32>().clone(), structs.column(1).as_binary::<i32>().clone());
        Ok(Self { rows, keys, values })
    }

    fn of_row(&self, row: usize) -> Result<Option<OwnedHeaders>> {
        if self.rows.is_null(row) {
            return Ok(None);
        }
        let offsets = self.rows.value_offsets();
        let bound = |index: usize| offsets.get(index).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0);
        let mut headers = OwnedHeaders::new();
        for element in bound(row)..bound(row + 1) {
            let key = at_text(&self.keys, element).ok_or_else(|| Error::data("a header has no key"))?;
            headers = headers.insert(Header { key, value: at_bytes(&self.values, element) });
        }
        Ok(Some(headers))
    }
}

fn at_bytes(array: &BinaryArray, row: usize) -> Option<&[u8]> {
    array.is_valid(row).then(|| array.value(row))
}

fn at_text(array: &StringArray, row: usize) -> Option<&str> {
    array.is_valid(row).then(|| array.value(row))
}

fn is_text(found: &DataType) -> bool {
    matches!(found, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_binary(found: &DataType) -> bool {
    matches!(found, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

fn is_bytes_or_text(found: &DataType) -> bool {
    is_text(found) || is_binary(found)
}

fn is_headers(found: &DataType) -> bool {
    let (DataType::List(element) | DataType::LargeList(element)) = found else { return false };
    let DataType::Struct(fields) = element.data_type() else { return false };
    match fields.iter().map(|field| (field.name().as_str(), field.data_type())).collect::<Vec<_>>()[..] {
        [("key", key), ("value", value)] => is_text(key) && is_binary(value),
        _ => false,
    }
}
