//! Growing columns that can be cut back: a record that turns out to be bad leaves no trace.
//!
//! Arrow's own builders cannot be truncated, so the decoders write into these and turn them into arrays at the end of a
//! batch. Values are pushed without allocation per value; capacity is carried from batch to batch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, BooleanBufferBuilder, Decimal128Array, ListArray, MapArray, NullArray,
    PrimitiveArray, StringArray, StructArray,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, FieldRef, Fields, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use rustc_hash::{FxHashMap, FxHashSet};

use millstream_core::{Error, ErrorKind, Result};

/// One column of any type that a text format can hold.
#[derive(Debug)]
pub(crate) enum Column {
    Null(usize),
    Bool(Bools),
    Int8(Values<i8>),
    Int16(Values<i16>),
    Int32(Values<i32>),
    Int64(Values<i64>),
    Float32(Values<f32>),
    Float64(Values<f64>),
    Decimal(Values<i128>, u8, i8),
    Date(Values<i32>),
    /// With the zone of the column; `None` is a timestamp without time zone.
    Timestamp(Values<i64>, Option<Arc<str>>),
    Str(Bytes),
    Binary(Bytes),
    Struct(Box<Structs>),
    List(Box<Lists>),
    Map(Box<Maps>),
}

/// Values of a fixed width.
#[derive(Debug)]
pub(crate) struct Values<T> {
    pub values: Vec<T>,
    nulls: Nulls,
}

/// Booleans.
#[derive(Debug)]
pub(crate) struct Bools {
    values: BooleanBufferBuilder,
    nulls: Nulls,
}

/// Strings or bytes.
#[derive(Debug)]
pub(crate) struct Bytes {
    pub data: Vec<u8>,
    offsets: Vec<i32>,
    nulls: Nulls,
}

/// Structs; every child has the same length except while a row is being filled.
#[derive(Debug)]
pub(crate) struct Structs {
    pub fields: Fields,
    pub children: Vec<Column>,
    pub len: usize,
    nulls: Nulls,
    pub names: Names,
}

/// Lists.
#[derive(Debug)]
pub(crate) struct Lists {
    pub item: FieldRef,
    pub child: Column,
    offsets: Vec<i32>,
    nulls: Nulls,
}

/// Maps with string keys.
#[derive(Debug)]
pub(crate) struct Maps {
    entries: FieldRef,
    ordered: bool,
    pub keys: Bytes,
    pub values: Column,
    offsets: Vec<i32>,
    nulls: Nulls,
}

/// Where the member at a place of an object goes: records usually have the same members in the same order.
#[derive(Debug, Default)]
pub(crate) struct Names {
    by_name: FxHashMap<Box<str>, usize>,
    /// The members of the last objects in order: `"name":` and the field it belongs to.
    pub order: Vec<(Box<[u8]>, Option<usize>)>,
}

impl Names {
    /// No more places are remembered than this.
    const ORDER_MAX: usize = 512;

    fn new(fields: &Fields) -> Self {
        Self { by_name: fields.iter().enumerate().map(|(i, field)| (field.name().as_str().into(), i)).collect(), order: Vec::new() }
    }

    /// Leaves a field out: members of its name are skipped.
    pub fn forget(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// Finds a name and remembers that it came at `place`.
    pub fn learn(&mut self, place: usize, name: &str) -> Option<usize> {
        let field = self.find(name);
        let entry = || (format!("\"{name}\":").into_bytes().into_boxed_slice(), field);
        if let Some(known) = self.order.get_mut(place) {
            *known = entry();
        } else if place == self.order.len() && place < Self::ORDER_MAX {
            self.order.push(entry());
        }
        field
    }
}

impl Column {
    /// An empty column; the error names what cannot be decoded.
    pub fn new(data_type: &DataType, path: &str) -> Result<Self> {
        Ok(match data_type {
            DataType::Null => Self::Null(0),
            DataType::Boolean => Self::Bool(Bools::new()),
            DataType::Int8 => Self::Int8(Values::new()),
            DataType::Int16 => Self::Int16(Values::new()),
            DataType::Int32 => Self::Int32(Values::new()),
            DataType::Int64 => Self::Int64(Values::new()),
            DataType::Float32 => Self::Float32(Values::new()),
            DataType::Float64 => Self::Float64(Values::new()),
            DataType::Decimal128(precision, scale) => Self::Decimal(Values::new(), *precision, *scale),
            DataType::Date32 => Self::Date(Values::new()),
            DataType::Timestamp(TimeUnit::Microsecond, zone) => Self::Timestamp(Values::new(), zone.clone()),
            DataType::Utf8 => Self::Str(Bytes::new()),
            DataType::Binary => Self::Binary(Bytes::new()),
            DataType::Struct(fields) => Self::Struct(Box::new(Structs::new(fields, path)?)),
            DataType::List(item) => Self::List(Box::new(Lists {
                item: Arc::clone(item),
                child: Self::new(item.data_type(), &format!("{path}.element"))?,
                offsets: vec![0],
                nulls: Nulls::default(),
            })),
            DataType::Map(entries, ordered) => match entries.data_type() {
                DataType::Struct(pair) => match pair.as_ref() {
                    [key, value] if key.data_type() == &DataType::Utf8 => Self::Map(Box::new(Maps {
                        entries: Arc::clone(entries),
                        ordered: *ordered,
                        keys: Bytes::new(),
                        values: Self::new(value.data_type(), &format!("{path}.value"))?,
                        offsets: vec![0],
                        nulls: Nulls::default(),
                    })),
                    _ => return Err(unsupported(data_type, path)),
                },
                _ => return Err(unsupported(data_type, path)),
            },
            _ => return Err(unsupported(data_type, path)),
        })
    }

    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Null(len) => *len,
            Self::Bool(column) => column.values.len(),
            Self::Int8(column) => column.values.len(),
            Self::Int16(column) => column.values.len(),
            Self::Int32(column) | Self::Date(column) => column.values.len(),
            Self::Int64(column) | Self::Timestamp(column, _) => column.values.len(),
            Self::Float32(column) => column.values.len(),
            Self::Float64(column) => column.values.len(),
            Self::Decimal(column, ..) => column.values.len(),
            Self::Str(column) | Self::Binary(column) => column.len(),
            Self::Struct(column) => column.len,
            Self::List(column) => column.offsets.len() - 1,
            Self::Map(column) => column.offsets.len() - 1,
        }
    }

    pub fn push_null(&mut self) {
        match self {
            Self::Null(len) => *len += 1,
            Self::Bool(column) => column.push(None),
            Self::Int8(column) => column.push_null(),
            Self::Int16(column) => column.push_null(),
            Self::Int32(column) | Self::Date(column) => column.push_null(),
            Self::Int64(column) | Self::Timestamp(column, _) => column.push_null(),
            Self::Float32(column) => column.push_null(),
            Self::Float64(column) => column.push_null(),
            Self::Decimal(column, ..) => column.push_null(),
            Self::Str(column) | Self::Binary(column) => column.push_null(),
            Self::Struct(column) => {
                column.children.iter_mut().for_each(Self::push_null);
                column.close(false);
            }
            Self::List(column) => column.close(false),
            Self::Map(column) => column.close(false),
        }
    }

    /// Cuts back to `len` values. Children that are further ahead within an open row are cut back too.
    pub fn truncate(&mut self, len: usize) {
        match self {
            Self::Null(n) => *n = (*n).min(len),
            Self::Bool(column) => {
                column.values.truncate(len);
                column.nulls.truncate(len);
            }
            Self::Int8(column) => column.truncate(len),
            Self::Int16(column) => column.truncate(len),
            Self::Int32(column) | Self::Date(column) => column.truncate(len),
            Self::Int64(column) | Self::Timestamp(column, _) => column.truncate(len),
            Self::Float32(column) => column.truncate(len),
            Self::Float64(column) => column.truncate(len),
            Self::Decimal(column, ..) => column.truncate(len),
            Self::Str(column) | Self::Binary(column) => column.truncate(len),
            Self::Struct(column) => column.truncate(len),
            Self::List(column) => {
                column.offsets.truncate(len + 1);
                column.nulls.truncate(len);
                column.child.truncate(last(&column.offsets));
            }
            Self::Map(column) => {
                column.offsets.truncate(len + 1);
                column.nulls.truncate(len);
                let end = last(&column.offsets);
                column.keys.truncate(end);
                column.values.truncate(end);
            }
        }
    }

    /// The array of all values; the column is empty again.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        Ok(match self {
            Self::Null(len) => Arc::new(NullArray::new(std::mem::take(len))),
            Self::Bool(column) => Arc::new(BooleanArray::new(column.values.finish(), column.nulls.finish())),
            Self::Int8(column) => Arc::new(column.finish::<Int8Type>()?),
            Self::Int16(column) => Arc::new(column.finish::<Int16Type>()?),
            Self::Int32(column) => Arc::new(column.finish::<Int32Type>()?),
            Self::Int64(column) => Arc::new(column.finish::<Int64Type>()?),
            Self::Float32(column) => Arc::new(column.finish::<Float32Type>()?),
            Self::Float64(column) => Arc::new(column.finish::<Float64Type>()?),
            Self::Date(column) => Arc::new(column.finish::<Date32Type>()?),
            Self::Timestamp(column, zone) => Arc::new(column.finish::<TimestampMicrosecondType>()?.with_timezone_opt(zone.clone())),
            Self::Decimal(column, precision, scale) => {
                let (values, nulls) = column.take();
                Arc::new(Decimal128Array::try_new(values, nulls)?.with_precision_and_scale(*precision, *scale)?)
            }
            Self::Str(column) => Arc::new(column.finish_str()?),
            Self::Binary(column) => {
                let (offsets, data, nulls) = column.take()?;
                Arc::new(BinaryArray::try_new(offsets, data, nulls)?)
            }
            Self::Struct(column) => Arc::new(column.finish()?),
            Self::List(column) => {
                let offsets = take_offsets(&mut column.offsets)?;
                let child = column.child.finish()?;
                Arc::new(ListArray::try_new(Arc::clone(&column.item), offsets, child, column.nulls.finish())?)
            }
            Self::Map(column) => {
                let offsets = take_offsets(&mut column.offsets)?;
                let arrays: Vec<ArrayRef> = vec![Arc::new(column.keys.finish_str()?), column.values.finish()?];
                let fields = match column.entries.data_type() {
                    DataType::Struct(fields) => fields.clone(),
                    _ => return Err(Error::internal("a map column without key and value")),
                };
                let entries = StructArray::try_new(fields, arrays, None)?;
                Arc::new(MapArray::try_new(Arc::clone(&column.entries), offsets, entries, column.nulls.finish(), column.ordered)?)
            }
        })
    }
}

impl<T: Default + Copy> Values<T> {
    fn new() -> Self {
        Self { values: Vec::new(), nulls: Nulls::default() }
    }

    #[inline]
    pub fn push(&mut self, value: T) {
        self.values.push(value);
        self.nulls.push(true);
    }

    pub fn push_null(&mut self) {
        self.values.push(T::default());
        self.nulls.push(false);
    }

    fn truncate(&mut self, len: usize) {
        self.values.truncate(len);
        self.nulls.truncate(len);
    }

    fn take(&mut self) -> (ScalarBuffer<T>, Option<NullBuffer>)
    where
        T: arrow::datatypes::ArrowNativeType,
    {
        let empty = Vec::with_capacity(self.values.len());
        (ScalarBuffer::from(std::mem::replace(&mut self.values, empty)), self.nulls.finish())
    }

    fn finish<A: ArrowPrimitiveType<Native = T>>(&mut self) -> Result<PrimitiveArray<A>>
    where
        T: arrow::datatypes::ArrowNativeType,
    {
        let (values, nulls) = self.take();
        Ok(PrimitiveArray::try_new(values, nulls)?)
    }
}

impl Bools {
    fn new() -> Self {
        Self { values: BooleanBufferBuilder::new(0), nulls: Nulls::default() }
    }

    #[inline]
    pub fn push(&mut self, value: Option<bool>) {
        self.values.append(value.unwrap_or(false));
        self.nulls.push(value.is_some());
    }
}

impl Bytes {
    pub fn new() -> Self {
        Self { data: Vec::new(), offsets: vec![0], nulls: Nulls::default() }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.close(true);
    }

    pub fn push_null(&mut self) {
        self.close(false);
    }

    /// Ends a value whose bytes were appended to `data`.
    #[inline]
    pub fn close(&mut self, valid: bool) {
        // Past 2 GiB `finish` reports the overflow: a negative offset is refused there.
        self.offsets.push(i32::try_from(self.data.len()).unwrap_or(i32::MIN));
        self.nulls.push(valid);
    }

    pub fn truncate(&mut self, len: usize) {
        self.offsets.truncate(len + 1);
        self.data.truncate(last(&self.offsets));
        self.nulls.truncate(len);
    }

    fn value(&self, i: usize) -> &[u8] {
        let at = |i: usize| self.offsets.get(i).and_then(|offset| usize::try_from(*offset).ok()).unwrap_or(0);
        self.data.get(at(i)..at(i + 1)).unwrap_or_default()
    }

    /// Whether two values from `start` on are the same.
    pub fn has_duplicates(&self, start: usize) -> bool {
        let values = || (start..self.len()).map(|i| self.value(i));
        if self.len() - start <= 8 {
            return values().enumerate().any(|(i, value)| values().take(i).any(|before| before == value));
        }
        let mut seen = FxHashSet::default();
        !values().all(|value| seen.insert(value))
    }

    fn take(&mut self) -> Result<(OffsetBuffer<i32>, Buffer, Option<NullBuffer>)> {
        let empty = Vec::with_capacity(self.data.len());
        let data = std::mem::replace(&mut self.data, empty);
        Ok((take_offsets(&mut self.offsets)?, Buffer::from_vec(data), self.nulls.finish()))
    }

    pub fn finish_str(&mut self) -> Result<StringArray> {
        let (offsets, data, nulls) = self.take()?;
        Ok(StringArray::try_new(offsets, data, nulls)?)
    }
}

impl Structs {
    pub fn new(fields: &Fields, path: &str) -> Result<Self> {
        let children = fields
            .iter()
            .map(|field| {
                let path = if path.is_empty() { field.name().clone() } else { format!("{path}.{}", field.name()) };
                Column::new(field.data_type(), &path)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self { fields: fields.clone(), children, len: 0, nulls: Nulls::default(), names: Names::new(fields) })
    }

    /// Ends a row: children that have no value yet get a null.
    #[inline]
    pub fn close(&mut self, valid: bool) {
        let len = self.len;
        for child in &mut self.children {
            if child.len() == len {
                child.push_null();
            }
        }
        self.len += 1;
        self.nulls.push(valid);
    }

    pub fn truncate(&mut self, len: usize) {
        self.children.iter_mut().for_each(|child| child.truncate(len));
        self.len = self.len.min(len);
        self.nulls.truncate(self.len);
    }

    /// The children's arrays, the validity, and the number of rows; empty again.
    pub fn take(&mut self) -> Result<(Vec<ArrayRef>, Option<NullBuffer>, usize)> {
        let arrays = self.children.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
        Ok((arrays, self.nulls.finish(), std::mem::take(&mut self.len)))
    }

    fn finish(&mut self) -> Result<StructArray> {
        let (arrays, nulls, len) = self.take()?;
        Ok(StructArray::try_new_with_length(self.fields.clone(), arrays, nulls, len)?)
    }
}

impl Lists {
    /// Where the open row's elements begin.
    pub fn open_at(&self) -> usize {
        last(&self.offsets)
    }

    #[inline]
    pub fn close(&mut self, valid: bool) {
        self.offsets.push(i32::try_from(self.child.len()).unwrap_or(i32::MIN));
        self.nulls.push(valid);
    }
}

impl Maps {
    /// Where the open row's entries begin.
    pub fn open_at(&self) -> usize {
        last(&self.offsets)
    }

    pub fn close(&mut self, valid: bool) {
        self.offsets.push(i32::try_from(self.keys.len()).unwrap_or(i32::MIN));
        self.nulls.push(valid);
    }
}

/// A validity mask that costs nothing until the first null.
#[derive(Debug, Default)]
struct Nulls {
    len: usize,
    mask: Option<BooleanBufferBuilder>,
}

impl Nulls {
    #[inline]
    fn push(&mut self, valid: bool) {
        if let Some(mask) = &mut self.mask {
            mask.append(valid);
        } else if !valid {
            let mut mask = BooleanBufferBuilder::new(self.len + 64);
            mask.append_n(self.len, true);
            mask.append(false);
            self.mask = Some(mask);
        }
        self.len += 1;
    }

    fn truncate(&mut self, len: usize) {
        if len < self.len {
            self.len = len;
            if let Some(mask) = &mut self.mask {
                mask.truncate(len);
            }
        }
    }

    fn finish(&mut self) -> Option<NullBuffer> {
        self.len = 0;
        let mut mask = self.mask.take()?;
        Some(NullBuffer::new(mask.finish()))
    }
}

fn last(offsets: &[i32]) -> usize {
    offsets.last().map_or(0, |end| usize::try_from(*end).unwrap_or(0))
}

fn take_offsets(offsets: &mut Vec<i32>) -> Result<OffsetBuffer<i32>> {
    let mut next = Vec::with_capacity(offsets.len());
    next.push(0);
    let offsets = std::mem::replace(offsets, next);
    // Negative is what an offset past 2 GiB was pushed as; `OffsetBuffer::new` would panic on it.
    if offsets.iter().any(|offset| *offset < 0) {
        return Err(
            Error::new(ErrorKind::Exhausted, "a column of one batch is longer than 2 GiB").hint("lower the option 'maxRecordBytes'")
        );
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
}

fn unsupported(data_type: &DataType, path: &str) -> Error {
    Error::unsupported(format!("column '{path}' of type {data_type} cannot be read from text"))
        .hint("use STRING and cast it, or a supported type")
}
