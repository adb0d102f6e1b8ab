//! Where the columns of a side are in its table, and what its rows are judged by.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::{and, cast, is_not_null, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use millstream_analyzer::streaming::Gives;
use millstream_core::{Error, Result};
use millstream_state::store::{StoreRows, StoreSchema};

use super::JoinSpec;
use crate::physical::event_time::{event_times_us, expiry_ms};

/// The columns of a side. See the module's documentation.
#[derive(Debug)]
pub(super) struct SideLayout {
    fields: Fields,
    /// By key: the column, as what type it is compared, whether rows with null match nothing.
    keys: Vec<KeyColumn>,
    /// By column.
    places: Vec<Place>,
    /// The columns that are kept as values.
    values: Vec<usize>,
    /// What each row carries behind its values.
    mark: Mark,
    expires_by: Option<(usize, i64)>,
    can_match: Option<usize>,
}

#[derive(Debug)]
struct KeyColumn {
    column: usize,
    data_type: DataType,
    is_null_safe: bool,
}

/// What a table knows of the matches of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Nothing,
    /// Whether the row has matched.
    HasMatched,
    /// How many rows it matches, as these may be taken out.
    NPairs,
}

/// Where a column of the side comes from when a row comes out of the table.
#[derive(Debug, Clone, Copy)]
enum Place {
    Key(usize),
    Value(usize),
    /// It was true, or the row would not be there.
    True,
}

impl SideLayout {
    pub(super) fn of_sides(left: &Schema, right: &Schema, spec: &JoinSpec) -> Result<[Self; 2]> {
        let types: Vec<DataType> =
            spec.keys.iter().map(|key| Ok(left.field_with_name(&key.left)?.data_type().clone())).collect::<Result<_>>()?;
        Ok([Self::of(left, spec, 0, &types)?, Self::of(right, spec, 1, &types)?])
    }

    fn of(schema: &Schema, spec: &JoinSpec, side: usize, types: &[DataType]) -> Result<Self> {
        let of_side = spec.sides.get(side).ok_or_else(|| Error::internal("a join has two sides"))?;
        let mut keys = Vec::with_capacity(types.len());
        for (key, data_type) in spec.keys.iter().zip(types) {
            let column = schema.index_of(if side == 0 { &key.left } else { &key.right })?;
            keys.push(KeyColumn { column, data_type: data_type.clone(), is_null_safe: key.is_null_safe });
        }
        let index_of = |column: &String| schema.index_of(column);
        let can_match = of_side.can_match.as_ref().map(index_of).transpose()?;
        let mut values = Vec::new();
        let places = schema.fields().iter().enumerate().map(|(column, field)| {
            if Some(column) == can_match {
                return Place::True;
            }
            match keys.iter().position(|key| key.column == column) {
                // Keys have one zero and one NaN; the row's own comes out.
                Some(key) if !has_floats(field.data_type()) => Place::Key(key),
                _ => {
                    values.push(column);
                    Place::Value(values.len() - 1)
                }
            }
        });
        let places = places.collect();
        let expires_by = of_side.expires_by.as_ref().map(|(column, offset_ms)| Ok::<_, Error>((index_of(column)?, *offset_ms)));
        let is_preserved = spec.preserves().get(side) == Some(&true);
        let mark = match spec.gives {
            Gives::Rows if is_preserved && !spec.is_semi_or_anti() => Mark::HasMatched,
            Gives::Changes if is_preserved || (side == 0 && spec.is_semi_or_anti()) => Mark::NPairs,
            _ => Mark::Nothing,
        };
        Ok(Self { fields: schema.fields().clone(), keys, places, values, mark, expires_by: expires_by.transpose()?, can_match })
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    pub(super) fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.fields.clone()))
    }

    /// Whether each row carries whether it has matched.
    pub(super) fn has_flag(&self) -> bool {
        self.mark == Mark::HasMatched
    }

    /// Whether each row carries how many rows it matches.
    pub(super) fn counts_pairs(&self) -> bool {
        self.mark == Mark::NPairs
    }

    /// The value column that says what is known of a row's matches.
    pub(super) fn mark_column(&self) -> usize {
        self.values.len()
    }

    pub(super) fn is_bounded(&self) -> bool {
        self.expires_by.is_some()
    }

    pub(super) fn store_schema(&self) -> Result<StoreSchema> {
        let named = |column: usize, data_type: Option<&DataType>| -> Option<FieldRef> {
            let field = self.fields.get(column)?;
            Some(Arc::new(Field::new(field.name(), data_type.unwrap_or(field.data_type()).clone(), true)))
        };
        let keys: Fields = self
            .keys
            .iter()
            .enumerate()
            .filter_map(|(n, key)| {
                let field = named(key.column, Some(&key.data_type))?;
                // A column may be compared with several of the other side.
                let is_again = self.keys.iter().take(n).any(|other| other.column == key.column);
                Some(if is_again { Arc::new(field.as_ref().clone().with_name(format!("{}.{n}", field.name()))) } else { field })
            })
            .collect();
        let is_key = |column: usize| self.keys.iter().any(|key| key.column == column);
        let values = self.values.iter().filter_map(|column| {
            let field = named(*column, None)?;
            Some(if is_key(*column) { Arc::new(field.as_ref().clone().with_name(format!("{}.own", field.name()))) } else { field })
        });
        let mark = match self.mark {
            Mark::Nothing => None,
            Mark::HasMatched => Some(Arc::new(Field::new("matched", DataType::Boolean, false))),
            Mark::NPairs => Some(Arc::new(Field::new("pairs", DataType::Int64, false))),
        };
        StoreSchema::new(keys, values.chain(mark).collect::<Fields>())
    }

    /// Which rows can match at all; none says all of them.
    pub(super) fn can_match(&self, rows: &RecordBatch) -> Option<BooleanArray> {
        let column = rows.columns().get(self.can_match?)?.as_boolean();
        Some(if column.null_count() > 0 { prep_null_mask_filter(column) } else { column.clone() })
    }

    /// Which rows have a time, where the conditions bound it: without one none of them is true. None says all.
    pub(super) fn has_time(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>> {
        let Some((idx, _)) = self.expires_by else { return Ok(None) };
        let times = column(rows, idx)?;
        Ok(if times.null_count() > 0 { Some(is_not_null(times)?) } else { None })
    }

    /// Which rows have no null where a null equals nothing.
    pub(super) fn has_keys(&self, rows: &RecordBatch) -> Result<Option<BooleanArray>> {
        let mut mask: Option<BooleanArray> = None;
        for key in self.keys.iter().filter(|key| !key.is_null_safe) {
            let Some(column) = rows.columns().get(key.column).filter(|column| column.null_count() > 0) else { continue };
            let of_key = is_not_null(column)?;
            mask = Some(match mask {
                Some(mask) => and(&mask, &of_key)?,
                None => of_key,
            });
        }
        Ok(mask)
    }

    /// The keys of rows, as the tables compare them.
    pub(super) fn keys(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.keys.iter().map(|key| as_type(column(rows, key.column)?, &key.data_type)).collect()
    }

    /// What a table keeps of rows beside their keys and what it knows of their matches.
    pub(super) fn own_values(&self, rows: &RecordBatch) -> Result<Vec<ArrayRef>> {
        self.values.iter().map(|idx| Ok(Arc::clone(column(rows, *idx)?))).collect()
    }

    /// What a table keeps of rows beside their keys.
    pub(super) fn values(&self, rows: &RecordBatch, has_matched: &BooleanArray) -> Result<Vec<ArrayRef>> {
        let mut values = self.own_values(rows)?;
        if self.has_flag() {
            values.push(Arc::new(has_matched.clone()));
        }
        Ok(values)
    }

    /// When rows expire, if they do.
    pub(super) fn expiry(&self, rows: &RecordBatch) -> Result<Option<Int64Array>> {
        let Some((idx, offset_ms)) = self.expires_by else { return Ok(None) };
        let times = event_times_us(column(rows, idx)?)?;
        Ok(Some(expiry_ms(&times, 0).unary(|ms: i64| ms.saturating_add(offset_ms))))
    }

    /// The side's columns again, from keys and values of `n_rows` rows.
    pub(super) fn columns(&self, keys: &[ArrayRef], values: &[ArrayRef], n_rows: usize) -> Result<Vec<ArrayRef>> {
        let found = self.places.iter().zip(&self.fields).map(|(place, field)| {
            let stored = match place {
                Place::Key(key) => keys.get(*key),
                Place::Value(value) => values.get(*value),
                Place::True => return Ok(Arc::new(BooleanArray::from(vec![true; n_rows])) as ArrayRef),
            };
            as_type(stored.ok_or_else(|| Error::internal("a join's row without one of its columns"))?, field.data_type())
        });
        found.collect()
    }

    /// Which of these rows, which have left the table, have never matched.
    pub(super) fn unmatched(&self, rows: &StoreRows) -> Option<BooleanArray> {
        let flag = rows.values.get(self.mark_column()).filter(|_| self.has_flag())?;
        Some(flag.as_boolean().iter().map(|has_matched| Some(has_matched != Some(true))).collect())
    }
}

fn column(rows: &RecordBatch, idx: usize) -> Result<&ArrayRef> {
    rows.columns().get(idx).ok_or_else(|| Error::internal("a join's input without one of its columns"))
}

/// The same values: types differ in what may be null within them, if at all.
fn as_type(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef> {
    Ok(if array.data_type() == data_type { Arc::clone(array) } else { cast(array, data_type)? })
}

fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) | DataType::Map(field, _) => {
            has_floats(field.data_type())
        }
        other => other.is_floating(),
    }
}
