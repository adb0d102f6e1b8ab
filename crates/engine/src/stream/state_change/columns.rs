//! Which columns of a store are which columns of before: keys by their place, values by what they belong to.
//!
//! A store of an aggregation names what its value columns are the state of (`values_of`): those are matched by that text, so
//! that they may come in another order, and the state of an aggregate that is gone is forgotten. Columns of other stores are
//! matched by their name and place, and none may come or go.

use std::collections::BTreeMap;

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
pub(super) fn layout(old: &OperatorState, new: &OperatorState) -> Layout {
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
                let of_now = new.values_of.get(&store.name);
                if of_before.is_some() == of_now.is_some() {
                    found.add_store(before, store, of_before.zip(of_now));
                } else {
                    let values = of_now.iter().flat_map(|values| values.iter()).map(|values| values.of.as_str());
                    let (then, now) = (in_words(&old.detail), values.collect::<Vec<_>>().join(", "));
                    found
                        .refusals
                        .push(format!("it was {then} and computes ({now}), and the checkpoint does not say which columns were of what"));
                }
            }
        }
    }
    found
}

/// What belongs to what before. Checkpoints of older builds have the texts of aggregates behind those of the keys, and not
/// how many columns each has: that is known only if the aggregates are the same.
fn values_of_before(old: &OperatorState, new: &OperatorState) -> BTreeMap<String, Vec<ValuesOf>> {
    if !old.values_of.is_empty() {
        return old.values_of.clone();
    }
    let texts = |detail: &Value| detail.as_array().cloned().unwrap_or_default();
    let behind: Vec<Value> = texts(&old.detail).into_iter().skip(texts(&new.detail).len()).collect();
    let is_same = |values: &Vec<ValuesOf>| values.iter().map(|values| Value::from(values.of.as_str())).eq(behind.iter().cloned());
    new.values_of.iter().filter(|(_, values)| is_same(values)).map(|(store, values)| (store.clone(), values.clone())).collect()
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
    fn add_store(&mut self, old: &StoreDescription, new: &StoreDescription, values_of: Option<(&Vec<ValuesOf>, &Vec<ValuesOf>)>) {
        let n_refused = self.refusals.len();
        let (keys_then, keys_now) = (old.schema.keys(), new.schema.keys());
        if keys_then.len() != keys_now.len() {
            self.refusals.push(format!("its key had {} columns and has {}", keys_then.len(), keys_now.len()));
            return;
        }
        let mut is_other = false;
        for (then, now) in keys_then.iter().zip(keys_now) {
            if values_of.is_none() {
                self.same_name("key", then, now);
            }
            is_other |= self.add_column("key", then, now, Role::Key);
        }
        let mut columns: Vec<Option<usize>> = (0..keys_now.len()).map(Some).collect();
        match values_of {
            Some((then, now)) => columns.extend(self.grouped(old, new, then, now, &mut is_other)),
            None if old.schema.values().len() != new.schema.values().len() => {
                let (then, now) = (columns_of(old), columns_of(new));
                self.refusals.push(format!("it kept the columns ({then}) and keeps ({now})"));
            }
            None => {
                for (then, now) in old.schema.values().iter().zip(new.schema.values()) {
                    self.same_name("its column", then, now);
                    if then.data_type() != now.data_type() {
                        let (name, then, now) = (now.name(), type_name(then.data_type()), type_name(now.data_type()));
                        self.refusals.push(format!("its column {name} was {then} and is {now}"));
                    }
                }
                columns.extend((0..new.schema.values().len()).map(|at| Some(keys_now.len() + at)));
            }
        }
        if is_other && self.refusals.len() == n_refused {
            self.columns.insert(new.name.clone(), columns);
        }
    }

    /// A column that stands for itself is known by its name and its place: nothing else tells what it holds.
    fn same_name(&mut self, what: &str, then: &FieldRef, now: &FieldRef) {
        if then.name() != now.name() {
            self.refusals.push(format!("{what} {} stands where {} was", now.name(), then.name()));
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
        then: &[ValuesOf],
        now: &[ValuesOf],
        is_other: &mut bool,
    ) -> Vec<Option<usize>> {
        let n_keys = old.schema.keys().len();
        let begins = |values: &[ValuesOf], at: usize| values.iter().take(at).map(|values| values.n_columns).sum::<usize>();
        let mut columns = Vec::new();
        let mut used = vec![false; then.len()];
        for (at, values) in now.iter().enumerate() {
            let found = then.iter().enumerate().position(|(place, known)| known.of == values.of && used.get(place) == Some(&false));
            let Some((place, known)) = found.and_then(|place| Some((place, then.get(place)?))) else {
                self.refusals.push(format!("{} is new: it would be of the rows to come only, and look like one of all rows", values.of));
                continue;
            };
            used.iter_mut().skip(place).take(1).for_each(|used| *used = true);
            let (first_then, first_now) = (begins(then, place), begins(now, at));
            if known.n_columns != values.n_columns || known.inputs != values.inputs && !known.inputs.is_empty() {
                let of = |values: &ValuesOf| values.inputs.join(", ");
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
