//! How the columns of a store came to be what they are: a changed query goes on from state whose files have other columns.
//!
//! ```text
//!  runs 0, 1:  (k int) -> (sum, max)        files of epochs 0 and 1 stay as they are
//!  run 2:      (k bigint) -> (max, n)       earlier: [{before: 2, columns: [0, 2, null]}]
//! ```
//! Nothing is written again: whoever reads a file looks by the run that wrote it which columns it has, takes those that are
//! still there, widens them (of windows that were structs of start and end it takes the start), and puts nulls for the others. So a restart that dies half-way has changed nothing, and both
//! snapshots stay good. Decides nothing: which changes are right is the engine's business.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use millstream_core::{Error, Result, RunEpoch};
use serde::{Deserialize, Serialize};

use crate::store::delta::TableDelta;
use crate::store::schema::{StoreRows, StoreSchema};
use crate::store::slices::{begins_windows, starts_of};
use crate::store::{StoreKind, arrow_error};

/// The columns that a store had before its query was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierLayout {
    /// Runs before this one wrote them.
    pub before: RunEpoch,
    /// For each column that the store has now, keys first: which one it was then; none if it was not there.
    pub columns: Vec<Option<usize>>,
}

/// What files tell of a store, by the runs that wrote them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreHistory {
    /// The run with which the store began empty: what older ones wrote is of a store that was let go.
    pub since: Option<RunEpoch>,
    /// Other columns that it had, oldest first.
    pub earlier: Vec<EarlierLayout>,
}

impl StoreHistory {
    /// Whether what a run wrote is this store's.
    pub fn owns(&self, written_by: RunEpoch) -> bool {
        self.since.is_none_or(|since| written_by >= since)
    }

    /// A delta that a run wrote, in the columns of now, which are `schema` (for [`StoreKind::Multi`] with the row number).
    pub(super) fn in_todays_columns(
        &self,
        written_by: RunEpoch,
        delta: TableDelta,
        schema: &Arc<StoreSchema>,
        kind: StoreKind,
    ) -> Result<TableDelta> {
        let Some(layout) = self.earlier.iter().find(|layout| written_by < layout.before) else {
            return if same_types(schema, &delta.schema) { Ok(delta) } else { Err(other_columns(schema, &delta.schema)) };
        };
        let (n_keys, n_hidden) = (schema.keys().len(), usize::from(kind == StoreKind::Multi));
        let n_keys_then = delta.schema.keys().len();
        let mut places = layout.columns.clone();
        if n_hidden == 1 {
            // A layout does not know of row numbers; behind the keys there was one then as there is now.
            let behind = n_keys_then.saturating_sub(1);
            places.iter_mut().flatten().filter(|place| **place >= behind).for_each(|place| *place += 1);
            places.insert(n_keys.saturating_sub(1).min(places.len()), Some(behind));
        }
        if places.len() != n_keys + schema.values().len() {
            return Err(other_columns(schema, &delta.schema));
        }
        let refused = || other_columns(schema, &delta.schema);
        let (of_keys, of_values) = places.split_at(n_keys);
        let key_columns = |keys: &[ArrayRef]| -> Result<Vec<ArrayRef>> {
            let key = |(field, place): (&FieldRef, &Option<usize>)| {
                continued(place.and_then(|place| keys.get(place)).ok_or_else(refused)?, field, Role::Key).ok_or_else(refused)?
            };
            schema.keys().iter().zip(of_keys).map(key).collect()
        };
        let StoreRows { n_rows, keys, expiry, values } = &delta.upserted;
        let value = |(field, place): (&FieldRef, &Option<usize>)| match place {
            None if field.is_nullable() => Ok(new_null_array(field.data_type(), *n_rows)),
            None => Err(refused()),
            Some(place) => {
                let column = place.checked_sub(n_keys_then).and_then(|place| values.get(place)).ok_or_else(refused)?;
                continued(column, field, Role::Value).ok_or_else(refused)?
            }
        };
        let values = schema.values().iter().zip(of_values).map(value).collect::<Result<_>>()?;
        Ok(TableDelta {
            schema: Arc::clone(schema),
            expired_to: delta.expired_to,
            n_removed: delta.n_removed,
            removed: key_columns(&delta.removed)?,
            upserted: StoreRows { n_rows: *n_rows, keys: key_columns(keys)?, expiry: expiry.clone(), values },
        })
    }
}

/// What a column is in its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Part of the key: rows find their state by it.
    Key,
    /// Part of what is kept.
    Value,
}

/// Whether what a column of type `then` holds can be read as `now`: as a wider type, or as the starts of windows.
pub fn goes_on_as(then: &DataType, now: &Field, role: Role) -> bool {
    widens(then, now.data_type(), role) || role == Role::Key && begins_windows(then, now)
}

/// Whether every value of one type is the same value of the other. A float is no key of type double: what a text or a
/// decimal number becomes as a float and as a double are two numbers.
pub fn widens(from: &DataType, to: &DataType, role: Role) -> bool {
    use DataType as D;
    let all = |from: &Fields, to: &Fields| {
        let same = |(from, to): (&FieldRef, &FieldRef)| from.name() == to.name() && widens(from.data_type(), to.data_type(), role);
        from.len() == to.len() && from.iter().zip(to).all(same)
    };
    match (from, to) {
        _ if from == to => true,
        (D::Null, _) => role == Role::Value,
        (D::Int8, D::Int16 | D::Int32 | D::Int64) | (D::Int16, D::Int32 | D::Int64) | (D::Int32, D::Int64) => true,
        (D::UInt8, D::UInt16 | D::UInt32 | D::UInt64) | (D::UInt16, D::UInt32 | D::UInt64) | (D::UInt32, D::UInt64) => true,
        (D::Float32, D::Float64) => role == Role::Value,
        (D::Decimal128(digits, scale), D::Decimal128(to_digits, to_scale)) => {
            to_scale >= scale && i16::from(*to_digits) - i16::from(*to_scale) >= i16::from(*digits) - i16::from(*scale)
        }
        (D::List(from), D::List(to)) => widens(from.data_type(), to.data_type(), role),
        (D::Map(from, _), D::Map(to, _)) => widens(from.data_type(), to.data_type(), role),
        (D::Struct(from), D::Struct(to)) => all(from, to),
        _ => false,
    }
}

/// `None` if it does not go on as that.
fn continued(column: &ArrayRef, field: &Field, role: Role) -> Option<Result<ArrayRef>> {
    if column.data_type() == field.data_type() {
        return Some(Ok(Arc::clone(column)));
    }
    goes_on_as(column.data_type(), field, role).then(|| match begins_windows(column.data_type(), field) {
        true => starts_of(column),
        false => cast(column, field.data_type()).map_err(arrow_error),
    })
}

fn same_types(ours: &StoreSchema, theirs: &StoreSchema) -> bool {
    let types = |fields: &Fields| fields.iter().map(|field| field.data_type().clone()).collect::<Vec<_>>();
    types(ours.keys()) == types(theirs.keys()) && types(ours.values()) == types(theirs.values())
}

fn other_columns(ours: &StoreSchema, theirs: &StoreSchema) -> Error {
    let describe = |schema: &StoreSchema| {
        let columns = schema.keys().iter().chain(schema.values()).map(|field| format!("{} {}", field.name(), field.data_type()));
        columns.collect::<Vec<_>>().join(", ")
    };
    Error::invalid(format!("it was written with the columns {} and is read with {}", describe(theirs), describe(ours)))
}
