//! Which columns of a store are which columns of before: keys by their place, values by what they belong to.
//!
//! A store says what its value columns are (`values_of`): the columns of rows, the states of aggregates. They are matched by what
//! they are computed from, so that they may come in another order or under another name; one that is gone is forgotten. None may
//! come but for a column that its source did not have: of rows that are kept it is null.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::{DataType, FieldRef};
use millstream_state::store::{OperatorState, Role, StoreDescription, StoreKind, ValuesOf, goes_on_as, widens};
use serde_json::Value;

/// How the columns of an operator's stores came about.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// What changes without harm.
    pub(super) notes: Vec<String>,
    /// What cannot be.
    pub(super) refusals: Vec<String>,
    /// Of each store whose columns are not those of before: where each column of now was, keys first.
    pub(super) columns: BTreeMap<String, Vec<Option<usize>>>,
}

/// Compares all stores of an operator.
pub(super) fn layout(old: &OperatorState, new: &OperatorState, new_source_columns: &BTreeSet<String>) -> Layout {
    let mut found = Layout::default();
    let values_of_before = values_of_before(old, new);
    let detail_of_before = detail_of_before(old, new);
    if detail_of_before != new.detail {
        found.refusals.push(format!("it was {} and is {}", in_words(&detail_of_before), in_words(&new.detail)));
    }
    for store in &old.stores {
        if !new.stores.iter().any(|known| known.name == store.name) {
            found.refusals.push(format!("it kept a store '{}', and does not any more", store.name));
        }
    }
    for store in &new.stores {
        match old.stores.iter().find(|known| known.name == store.name) {
            None => found.refusals.push(format!("it keeps a store '{}', and did not before", store.name)),
            Some(before) if before.kind != store.kind => {
                let what = match (before.kind, store.kind) {
                    (StoreKind::Sliced, _) => "kept slices of windows, and keeps whole windows",
                    (_, StoreKind::Sliced) => "kept whole windows, and keeps slices of them",
                    _ => "has another number of rows for each key",
                };
                found.refusals.push(format!("store '{}' {what}", store.name));
            }
            Some(before) => {
                let of_before = values_of_before.get(&store.name);
                match (of_before, new.values_of.get(&store.name)) {
                    (Some(then), Some(now)) => {
                        found.check_keys(old, new, before, store);
                        found.add_store(before, store, (then, now), new_source_columns);
                    }
                    _ => {
                        let columns = columns_of(store);
                        found.refusals.push(format!(
                            "it keeps ({columns}), and the checkpoint of an older build does not say which columns those were"
                        ));
                    }
                }
            }
        }
    }
    found
}

/// What belongs to what before. Older builds did not say it of all stores. Of aggregates they have the texts behind those of the
/// keys, and not how many columns each has: that is known only if the aggregates are the same. Else columns that have names
/// are known by them; those with names of the plan are not.
fn values_of_before(old: &OperatorState, new: &OperatorState) -> BTreeMap<String, Vec<ValuesOf>> {
    let mut found = old.values_of.clone();
    let texts = |detail: &Value| detail.as_array().cloned().unwrap_or_default();
    let behind: Vec<Value> = texts(&old.detail).into_iter().skip(texts(&new.detail).len()).collect();
    let is_same = |values: &Vec<ValuesOf>| values.iter().map(|values| Value::from(values.of.as_str())).eq(behind.iter().cloned());
    for store in old.stores.iter().filter(|store| !old.values_of.contains_key(&store.name)) {
        let of_now = new.values_of.get(&store.name).filter(|values| !behind.is_empty() && is_same(values));
        let values = of_now.map(|values| values.iter().map(|values| ValuesOf { from: String::new(), ..values.clone() }).collect());
        let values = values.or_else(|| by_names(store));
        found.extend(values.map(|values| (store.name.clone(), values)));
    }
    found
}

fn by_names(store: &StoreDescription) -> Option<Vec<ValuesOf>> {
    let value = |field: &FieldRef| {
        let of = Some(field.name().clone()).filter(|name| !name.contains('#'))?;
        Some(ValuesOf { of, n_columns: 1, inputs: Vec::new(), from: String::new() })
    };
    store.schema.values().iter().map(value).collect()
}

/// See [`values_of_before`].
fn detail_of_before(old: &OperatorState, new: &OperatorState) -> Value {
    match (&old.detail, &new.detail) {
        (Value::Array(then), Value::Array(now)) if old.values_of.is_empty() && !new.values_of.is_empty() => {
            Value::Array(then.iter().take(now.len()).cloned().collect())
        }
        (detail, _) => detail.clone(),
    }
}

fn in_words(detail: &Value) -> String {
    match detail {
        Value::Null => "without such".to_owned(),
        Value::Array(texts) => {
            let texts = texts.iter().map(|text| text.as_str().map_or_else(|| text.to_string(), str::to_owned));
            format!("by ({})", texts.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

impl Layout {
    /// Keys are known by their place: one that is computed from something else does not meet those that are kept. Windows that become
    /// their starts are computed otherwise, and are the same windows.
    fn check_keys(&mut self, old: &OperatorState, new: &OperatorState, then: &StoreDescription, now: &StoreDescription) {
        let from = |operator: &OperatorState| operator.keys_from.get(&now.name).cloned();
        let (Some(from_then), Some(from_now)) = (from(old), from(new)) else { return };
        let fields = then.schema.keys().iter().zip(now.schema.keys());
        for ((then, now), (from_then, from_now)) in fields.zip(from_then.iter().zip(&from_now)) {
            let is_start = matches!((then.data_type(), now.data_type()), (DataType::Struct(_), DataType::Timestamp(..)));
            if from_then != from_now && !is_start {
                self.refusals.push(format!("key {} was {from_then} and is {from_now}", now.name()));
            }
        }
    }

    fn add_store(
        &mut self,
        old: &StoreDescription,
        new: &StoreDescription,
        values: (&[ValuesOf], &[ValuesOf]),
        new_source_columns: &BTreeSet<String>,
    ) {
        let n_refused = self.refusals.len();
        let (keys_then, keys_now) = (old.schema.keys(), new.schema.keys());
        if keys_then.len() != keys_now.len() {
            self.refusals.push(format!("its key had {} columns and has {}", keys_then.len(), keys_now.len()));
            return;
        }
        let mut is_other = false;
        for (then, now) in keys_then.iter().zip(keys_now) {
            is_other |= self.add_column("key", then, now, Role::Key);
        }
        let mut columns: Vec<Option<usize>> = (0..keys_now.len()).map(Some).collect();
        columns.extend(self.grouped(old, new, values, new_source_columns, &mut is_other));
        if is_other && self.refusals.len() == n_refused {
            self.columns.insert(new.name.clone(), columns);
        }
    }

    /// Whether a column is another one than before.
    fn add_column(&mut self, what: &str, then: &FieldRef, now: &FieldRef, role: Role) -> bool {
        let (from, to) = (then.data_type(), now.data_type());
        if from == to {
            return false;
        }
        let change = format!("{what} {} was {} and is {}", now.name(), type_name(from), type_name(to));
        if goes_on_as(from, now, role) {
            self.notes.push(change);
            return true;
        }
        let why = match (from, to) {
            (DataType::Float32, DataType::Float64) => ", in which the same number may be another value",
            _ if widens(to, from, role) => ", which does not hold all of its values",
            _ => ", which is no wider type",
        };
        self.refusals.push(change + why);
        false
    }

    /// Where the value columns were that belong together.
    fn grouped(
        &mut self,
        old: &StoreDescription,
        new: &StoreDescription,
        (then, now): (&[ValuesOf], &[ValuesOf]),
        new_source_columns: &BTreeSet<String>,
        is_other: &mut bool,
    ) -> Vec<Option<usize>> {
        let n_keys = old.schema.keys().len();
        let begins = |values: &[ValuesOf], at: usize| values.iter().take(at).map(|values| values.n_columns).sum::<usize>();
        let mut columns = Vec::new();
        let mut used = vec![false; then.len()];
        for (at, values) in now.iter().enumerate() {
            let places = || then.iter().enumerate().filter(|(place, _)| used.get(*place) == Some(&false));
            let is_called_so = |known: &ValuesOf| known.of == values.of;
            let is_same = |known: &ValuesOf| known.from == values.from && !values.from.is_empty();
            // A column is what it is computed from, whatever it is called. Older checkpoints know only what it was called.
            let found = (places().find(|(_, known)| is_same(known) && is_called_so(known)))
                .or_else(|| places().find(|(_, known)| is_same(known)))
                .or_else(|| places().find(|(_, known)| is_called_so(known) && (known.from.is_empty() || values.from.is_empty())));
            let is_nullable = new.schema.values().get(begins(now, at)).is_some_and(|field| field.is_nullable());
            if found.is_none() && values.n_columns == 1 && is_nullable && new_source_columns.contains(&values.from) {
                self.notes.push(format!("{} is new in its source, and null in the rows that are kept", values.of));
                columns.push(None);
                *is_other = true;
                continue;
            }
            let Some((place, known)) = found else {
                self.refusals.push(match places().find(|(_, known)| is_called_so(known)) {
                    Some((_, known)) => format!("{} was computed from {} and is from {}", values.of, known.from, values.from),
                    None => format!("{} is new: it would be of the rows to come only, and look like one of all rows", values.of),
                });
                continue;
            };
            used.iter_mut().skip(place).take(1).for_each(|used| *used = true);
            let (first_then, first_now) = (begins(then, place), begins(now, at));
            if known.n_columns != values.n_columns || known.inputs != values.inputs && !known.inputs.is_empty() {
                let has_same_inputs = known.inputs == values.inputs;
                let of = |values: &ValuesOf| match has_same_inputs {
                    // Of another type.
                    true => format!("{} columns", values.n_columns),
                    false => values.inputs.join(", "),
                };
                self.refusals.push(format!(
                    "{} was of ({}) and is of ({}): what it kept is not that of the other",
                    values.of,
                    of(known),
                    of(values)
                ));
                continue;
            }
            *is_other |= first_then != first_now;
            for offset in 0..values.n_columns {
                let pair = old.schema.values().get(first_then + offset).zip(new.schema.values().get(first_now + offset));
                if let Some((then, now)) = pair {
                    *is_other |= self.add_column("the state of", then, now, Role::Value);
                }
                columns.push(Some(n_keys + first_then + offset));
            }
        }
        for (known, _) in then.iter().zip(used).filter(|(_, used)| !used) {
            self.notes.push(format!("{} is gone, and what it kept is forgotten", known.of));
            *is_other = true;
        }
        columns
    }
}

fn columns_of(store: &StoreDescription) -> String {
    let column = |field: &FieldRef| format!("{} {}", field.name(), type_name(field.data_type()));
    store.schema.values().iter().map(column).collect::<Vec<_>>().join(", ")
}

/// The name that Spark has for a type, where it has one.
fn type_name(data_type: &DataType) -> String {
    millstream_analyzer::types::from_arrow(data_type).map_or_else(|_| data_type.to_string(), |spark| spark.simple_string())
}
