//! What the rows of a store look like: key columns, value columns, and an expiry per row that belongs to neither.
//!
//! Views and dictionaries are refused: a row kept from one would keep alive all that its batch refers to.

use arrow::array::{ArrayRef, Int64Array, new_empty_array};
use arrow::datatypes::{DataType, Field, Fields};
use millstream_core::{Error, Result};

/// The columns of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSchema {
    keys: Fields,
    values: Fields,
}

/// Rows of a store, column by column, as they leave it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreRows {
    /// How many.
    pub n_rows: usize,
    /// The key columns.
    pub keys: Vec<ArrayRef>,
    /// When each row expires; `None` if none of them does.
    pub expiry: Option<Int64Array>,
    /// The value columns.
    pub values: Vec<ArrayRef>,
}

impl StoreSchema {
    /// A store with these columns; it has at least one key column. Names are for readers, the order counts.
    pub fn new(keys: impl Into<Fields>, values: impl Into<Fields>) -> Result<Self> {
        let (keys, values) = (keys.into(), values.into());
        if keys.is_empty() {
            return Err(Error::internal("a store needs at least one key column"));
        }
        for field in keys.iter().chain(&values) {
            if !is_plain(field.data_type()) {
                return Err(Error::internal(format!("a store cannot hold column '{}' of type {}", field.name(), field.data_type())));
            }
        }
        Ok(Self { keys, values })
    }

    /// The key columns.
    pub fn keys(&self) -> &Fields {
        &self.keys
    }

    /// The value columns.
    pub fn values(&self) -> &Fields {
        &self.values
    }

    pub(super) fn check_values(&self, values: &[ArrayRef], n_rows: usize) -> Result<()> {
        check_columns("value", &self.values, values)?;
        match values.iter().find(|column| column.len() != n_rows) {
            Some(column) => Err(Error::internal(format!("{n_rows} keys came with a value column of {} rows", column.len()))),
            None => Ok(()),
        }
    }
}

/// Whether `columns` have the types of `fields`.
pub(super) fn check_columns(what: &str, fields: &Fields, columns: &[ArrayRef]) -> Result<()> {
    if fields.len() != columns.len() {
        return Err(Error::internal(format!("{} {what} columns were given to a store with {}", columns.len(), fields.len())));
    }
    for (field, column) in fields.iter().zip(columns) {
        if field.data_type() != column.data_type() {
            let (name, expected, found) = (field.name(), field.data_type(), column.data_type());
            return Err(Error::internal(format!("{what} column '{name}' of a store is {expected} and was given as {found}")));
        }
    }
    Ok(())
}

/// Columns without rows.
pub(super) fn empty(fields: &Fields) -> Vec<ArrayRef> {
    fields.iter().map(|field| new_empty_array(field.data_type())).collect()
}

fn is_plain(data_type: &DataType) -> bool {
    let is_plain_field = |field: &Field| is_plain(field.data_type());
    match data_type {
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) | DataType::Union(..) | DataType::Float16 => false,
        DataType::Utf8View | DataType::BinaryView | DataType::ListView(_) | DataType::LargeListView(_) => false,
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) | DataType::Map(field, _) => {
            is_plain_field(field)
        }
        DataType::Struct(fields) => fields.iter().all(|field| is_plain_field(field)),
        _ => true,
    }
}
