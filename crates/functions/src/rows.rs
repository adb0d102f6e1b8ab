//! Building result columns row by row, without an allocation per row and without overflowing Arrow's offsets.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, BinaryBuilder, BooleanBuilder, PrimitiveArray, StringArray, StringBuilder};
use datafusion::common::Result;
use millstream_core::Error;

use crate::error::external;

/// The most bytes of text in one column: Arrow's 32-bit offsets.
pub(crate) const TEXT_BYTES_MAX: usize = i32::MAX as usize;

/// The error for a column past [`TEXT_BYTES_MAX`].
pub(crate) fn too_long() -> datafusion::common::DataFusionError {
    external(Error::exhausted("the strings of one batch exceed 2 GiB").hint("use smaller batches"))
}

/// A string column; `f` appends the row's text to an empty buffer and says whether the row is not NULL.
pub(crate) fn text_rows(n_rows: usize, mut f: impl FnMut(usize, &mut String) -> Result<bool>) -> Result<ArrayRef> {
    let mut builder = StringBuilder::with_capacity(n_rows, n_rows * 8);
    let mut text = String::new();
    let mut total = 0usize;
    for row in 0..n_rows {
        text.clear();
        if f(row, &mut text)? {
            total = total.saturating_add(text.len());
            if total > TEXT_BYTES_MAX {
                return Err(too_long());
            }
            builder.append_value(&text);
        } else {
            builder.append_null();
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// A binary column, as [`text_rows`].
pub(crate) fn binary_rows(n_rows: usize, mut f: impl FnMut(usize, &mut Vec<u8>) -> Result<bool>) -> Result<ArrayRef> {
    let mut builder = BinaryBuilder::with_capacity(n_rows, n_rows * 8);
    let mut bytes = Vec::new();
    let mut total = 0usize;
    for row in 0..n_rows {
        bytes.clear();
        if f(row, &mut bytes)? {
            total = total.saturating_add(bytes.len());
            if total > TEXT_BYTES_MAX {
                return Err(too_long());
            }
            builder.append_value(&bytes);
        } else {
            builder.append_null();
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// A column of slices of a string column: no copy before the one into the result.
pub(crate) fn slice_rows<'a>(n_rows: usize, mut f: impl FnMut(usize) -> Option<&'a str>) -> ArrayRef {
    let mut builder = StringBuilder::with_capacity(n_rows, n_rows * 8);
    for row in 0..n_rows {
        builder.append_option(f(row));
    }
    Arc::new(builder.finish())
}

/// A column of booleans.
pub(crate) fn bool_rows(n_rows: usize, mut f: impl FnMut(usize) -> Result<Option<bool>>) -> Result<ArrayRef> {
    let mut builder = BooleanBuilder::with_capacity(n_rows);
    for row in 0..n_rows {
        builder.append_option(f(row)?);
    }
    Ok(Arc::new(builder.finish()))
}

/// A column of numbers.
pub(crate) fn number_rows<T: ArrowPrimitiveType>(
    n_rows: usize,
    mut f: impl FnMut(usize) -> Result<Option<T::Native>>,
) -> Result<PrimitiveArray<T>> {
    let mut builder = PrimitiveArray::<T>::builder(n_rows);
    for row in 0..n_rows {
        builder.append_option(f(row)?);
    }
    Ok(builder.finish())
}

/// The text of a row, `None` for NULL.
pub(crate) fn text(array: &StringArray, row: usize) -> Option<&str> {
    (row < array.len() && array.is_valid(row)).then(|| array.value(row))
}

/// The bytes of a row, `None` for NULL.
pub(crate) fn bytes(array: &arrow::array::BinaryArray, row: usize) -> Option<&[u8]> {
    (row < array.len() && array.is_valid(row)).then(|| array.value(row))
}

/// The number of a row, `None` for NULL.
pub(crate) fn number<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    (row < array.len() && array.is_valid(row)).then(|| array.value(row))
}

/// The boolean of a row, `None` for NULL.
pub(crate) fn boolean(array: &arrow::array::BooleanArray, row: usize) -> Option<bool> {
    (row < array.len() && array.is_valid(row)).then(|| array.value(row))
}

/// Remembers what was compiled from the last text, so that a constant pattern is compiled once per batch.
pub(crate) struct Memo<T> {
    key: Option<String>,
    value: Option<T>,
}

impl<T> Memo<T> {
    pub(crate) fn new() -> Self {
        Self { key: None, value: None }
    }

    pub(crate) fn get(&mut self, key: &str, make: impl FnOnce(&str) -> Result<T>) -> Result<&T> {
        if self.key.as_deref() != Some(key) {
            self.value = Some(make(key)?);
            self.key = Some(key.to_string());
        }
        crate::error::expect_some(self.value.as_ref(), "a compiled pattern")
    }
}
