//! Rows to partitions: each batch is divided by the values of the partition columns, which leave the rows and become
//! folders.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use arrow::row::{RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_core::{Error, Result};
use millstream_formats::datetime::{Zone, push_date, push_timestamp, push_timestamp_ntz};

use super::names::partition_folder;

/// Rows of one partition.
#[derive(Debug)]
pub(super) struct Group {
    /// Empty, or `k=v/` for each key.
    pub(super) folder: String,
    /// Which rows, in order.
    pub(super) rows: Vec<u32>,
}

impl Group {
    /// The rows themselves, out of those that were divided.
    pub(super) fn of(&self, divided: &RecordBatch) -> Result<RecordBatch> {
        if self.rows.len() == divided.num_rows() {
            return Ok(divided.clone());
        }
        Ok(arrow::compute::take_record_batch(divided, &UInt32Array::from(self.rows.clone()))?)
    }
}

fn too_many_rows() -> Error {
    Error::internal("a batch has more than 2^32 rows")
}

/// Divides rows by some columns.
#[derive(Debug, Clone)]
pub(super) struct Partitioner {
    keys: Vec<(usize, String)>,
    data: Vec<usize>,
    data_schema: SchemaRef,
    zone: Zone,
}

impl Partitioner {
    /// By `partition_by`, columns of `schema`.
    pub(super) fn new(schema: &SchemaRef, partition_by: &[String], zone: Zone) -> Result<Self> {
        let mut keys: Vec<(usize, String)> = Vec::new();
        for name in partition_by {
            let fields = schema.fields();
            let idx = fields
                .iter()
                .position(|field| field.name() == name)
                .or_else(|| fields.iter().position(|field| field.name().eq_ignore_ascii_case(name)));
            let Some(idx) = idx else {
                return Err(Error::invalid(format!("partition column '{name}' is not a column of the rows")));
            };
            if keys.iter().any(|(known, _)| *known == idx) {
                return Err(Error::invalid(format!("partition column '{name}' is named twice")));
            }
            let field = schema.field(idx);
            if field.data_type().is_nested() {
                return Err(Error::invalid(format!("partition column '{name}' is {}: expected a scalar type", field.data_type())));
            }
            // The folder is called as the user wrote it, as in Spark.
            keys.push((idx, name.clone()));
        }
        if !keys.is_empty() && keys.len() == schema.fields().len() {
            return Err(Error::invalid("all columns are partition columns: one must be left for the files"));
        }
        let data: Vec<usize> = (0..schema.fields().len()).filter(|idx| keys.iter().all(|(key, _)| key != idx)).collect();
        let data_schema: Schema = schema.project(&data)?;
        Ok(Self { keys, data, data_schema: data_schema.into(), zone })
    }

    /// The columns of the files.
    pub(super) fn data_schema(&self) -> &SchemaRef {
        &self.data_schema
    }

    /// The rows without the keys, and which of them go where, in the order of first appearance.
    pub(super) fn divide(&self, rows: &RecordBatch) -> Result<(RecordBatch, Vec<Group>)> {
        if self.keys.is_empty() {
            let all = (0..u32::try_from(rows.num_rows()).map_err(|_| too_many_rows())?).collect();
            return Ok((rows.clone(), vec![Group { folder: String::new(), rows: all }]));
        }
        let data = rows.project(&self.data)?;
        let columns: Vec<ArrayRef> = self.keys.iter().filter_map(|(idx, _)| rows.columns().get(*idx).cloned()).collect();
        let sort_fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
        let keys = RowConverter::new(sort_fields)?.convert_columns(&columns)?;
        let mut groups: HashMap<&[u8], usize> = HashMap::new();
        let mut indices: Vec<Vec<u32>> = Vec::new();
        let mut last: Option<(&[u8], usize)> = None;
        let key_bytes: Vec<_> = keys.iter().collect();
        for (row_idx, key) in key_bytes.iter().enumerate() {
            let key = key.data();
            // Rows of one partition often stand together.
            let group = match last {
                Some((last_key, group)) if last_key == key => group,
                _ => *groups.entry(key).or_insert_with(|| {
                    indices.push(Vec::new());
                    indices.len() - 1
                }),
            };
            last = Some((key, group));
            if let Some(rows) = indices.get_mut(group) {
                rows.push(u32::try_from(row_idx).map_err(|_| too_many_rows())?);
            }
        }
        let groups = indices.into_iter().map(|rows| {
            let first = rows.first().map_or(0, |idx| *idx as usize);
            Ok(Group { folder: self.folder(&columns, first)?, rows })
        });
        Ok((data, groups.collect::<Result<_>>()?))
    }

    fn folder(&self, columns: &[ArrayRef], row_idx: usize) -> Result<String> {
        let mut folder = String::new();
        for ((_, name), column) in self.keys.iter().zip(columns) {
            folder.push_str(&partition_folder(name, value_text(column.as_ref(), row_idx, self.zone)?.as_deref()));
            folder.push('/');
        }
        Ok(folder)
    }
}

/// A value as Spark's cast to STRING gives it; `None` is null.
fn value_text(column: &dyn Array, row_idx: usize, zone: Zone) -> Result<Option<String>> {
    use arrow::datatypes::{Date32Type, TimestampMicrosecondType};
    if column.is_null(row_idx) {
        return Ok(None);
    }
    let mut text = String::new();
    match column.data_type() {
        DataType::Date32 => push_date(&mut text, column.as_primitive::<Date32Type>().value(row_idx)),
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            push_timestamp(&mut text, column.as_primitive::<TimestampMicrosecondType>().value(row_idx), zone);
        }
        DataType::Timestamp(TimeUnit::Microsecond, None) => {
            push_timestamp_ntz(&mut text, column.as_primitive::<TimestampMicrosecondType>().value(row_idx));
        }
        _ => text = ArrayFormatter::try_new(column, &FormatOptions::default())?.value(row_idx).to_string(),
    }
    Ok(Some(text))
}
