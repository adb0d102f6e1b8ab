//! What a checkpoint says of a stateful operator: its stores under names that outlive the plan, and what they are computed from.
//!
//! Operators name the columns of their stores as the plan does (`#7`). Here they get the user's names, and texts by which a later
//! start finds them again (`ColumnOrigins`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Fields};
use millstream_analyzer::streaming::ColumnOrigins;
use millstream_core::Result;
use millstream_state::store::{OperatorState, StoreDescription, StoreSchema, ValuesOf};

use super::StatefulOperator;

/// Describes an operator, which has no past yet.
pub fn described(operator: &dyn StatefulOperator, origins: &ColumnOrigins, n_key_groups: u32) -> Result<OperatorState> {
    let mut values_of = operator.values_of()?;
    let (mut stores, mut keys_from, mut all_values_of) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for StoreDescription { name, kind, schema } in operator.stores()? {
        let values = values_of.remove(&name).unwrap_or_else(|| each_by_itself(schema.values()));
        all_values_of.insert(name.clone(), values.into_iter().map(|values| with_origin(values, origins)).collect());
        keys_from.insert(name.clone(), schema.keys().iter().map(|key| origins.origin(key.name())).collect());
        let schema = StoreSchema::new(named(schema.keys(), origins), named(schema.values(), origins))?;
        stores.push(StoreDescription { name, kind, schema });
    }
    let mut state = OperatorState::new(operator.kind(), n_key_groups, stores);
    state.detail = operator.detail();
    state.values_of = all_values_of;
    state.keys_from = keys_from;
    state.steps = origins.steps(operator.operator_id());
    Ok(state)
}

/// Value columns that belong to nothing but themselves.
pub fn each_by_itself(values: &Fields) -> Vec<ValuesOf> {
    let value = |field: &FieldRef| ValuesOf { of: field.name().clone(), n_columns: 1, inputs: Vec::new(), from: field.name().clone() };
    values.iter().map(value).collect()
}

/// Value columns of rows of which equal ones are kept once, with their number in column `count`: were one of the columns gone, rows
/// would be equal that are kept apart.
pub fn counted_rows(values: &Fields, count: &str) -> Vec<ValuesOf> {
    let mut all = each_by_itself(values);
    let others: Vec<String> = values.iter().map(|field| field.name().clone()).filter(|name| name != count).collect();
    all.iter_mut().filter(|values| values.of == count).for_each(|values| values.inputs.clone_from(&others));
    all
}

fn with_origin(values: ValuesOf, origins: &ColumnOrigins) -> ValuesOf {
    let inputs: Vec<String> = values.inputs.iter().map(|input| origins.origin(input)).collect();
    // Columns have no order among themselves; types do.
    let inputs = if inputs == values.inputs { inputs } else { inputs.into_iter().collect::<BTreeSet<_>>().into_iter().collect() };
    ValuesOf { of: origins.name(&values.of), from: origins.origin(&values.from), inputs, ..values }
}

/// Columns under the user's names; the second of a name is `...2`.
fn named(fields: &Fields, origins: &ColumnOrigins) -> Fields {
    let mut taken = BTreeSet::new();
    let unique = |field: &FieldRef| {
        let base = origins.name(field.name());
        let mut name = base.clone();
        for n in 2_u32.. {
            if taken.insert(name.clone()) {
                break;
            }
            name = format!("{base}.{n}");
        }
        Arc::new(field.as_ref().clone().with_name(name))
    };
    fields.iter().map(unique).collect()
}
