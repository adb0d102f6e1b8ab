//! The job's description in the checkpoint, and what may change between two starts.
//!
//! Allowed: filters, projections with the same output (of a query that remembers also with more), rate limits, new files.
//! Refused before anything runs: other sources, another sink, other output columns. Who lets an operator begin afresh may have
//! other columns, too. The answer says what changed and what to do. Of state `state_change` speaks.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::{DataType, Schema};
use millstream_core::{Error, Result};
use millstream_state::store::{Role, widens};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::runner::MAIN_SINK;

/// What a restart compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobDescription {
    /// The identity of every streaming source, by name.
    pub sources: BTreeMap<String, Value>,
    /// The identity of every sink, by name.
    pub sinks: BTreeMap<String, Value>,
    /// The output columns: (name, type).
    pub columns: Vec<(String, String)>,
    /// The names of the columns of every streaming source, by the source's name. They may change; what is kept of rows depends on it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_columns: BTreeMap<String, BTreeSet<String>>,
}

impl JobDescription {
    /// The columns of a schema as stored.
    pub fn columns_of(schema: &Schema) -> Vec<(String, String)> {
        schema.fields().iter().map(|field| (field.name().clone(), field.data_type().to_string())).collect()
    }

    /// The columns that a source has and did not have `before`, as `source.column`. Of a source that older builds described none.
    pub fn new_source_columns(&self, before: &Self) -> BTreeSet<String> {
        let of_source = |(source, columns): (&String, &BTreeSet<String>)| {
            let known = before.source_columns.get(source)?;
            Some(columns.difference(known).map(|column| format!("{source}.{column}")).collect::<Vec<_>>())
        };
        self.source_columns.iter().filter_map(of_source).flatten().collect()
    }

    /// Refuses a job that cannot go on from a checkpoint that `before` made.
    pub fn check_change(&self, before: &Self, rule: ColumnRule) -> Result<()> {
        let mut changes = Vec::new();
        let (known_sources, sources) = (compared(&before.sources), compared(&self.sources));
        describe_changes("source", &known_sources, &sources, &mut changes);
        let writes_files = self.sinks.values().any(|identity| identity.get(COLUMNS).is_some());
        match rule {
            // Which columns a side table has is not the query's affair: a later version of ours may write more of them.
            ColumnRule::Same => {
                let is_side = |name: &str| name != MAIN_SINK;
                describe_changes("sink", &without_columns(&before.sinks, is_side), &without_columns(&self.sinks, is_side), &mut changes);
            }
            ColumnRule::MayGrow | ColumnRule::MayChange => {
                describe_changes("sink", &without_columns(&before.sinks, |_| true), &without_columns(&self.sinks, |_| true), &mut changes);
            }
        }
        let may_be = match rule {
            ColumnRule::Same => false,
            ColumnRule::MayGrow => grows(&before.columns, &self.columns, writes_files),
            ColumnRule::MayChange => !writes_files || keeps_types(&before.columns, &self.columns),
        };
        if before.columns != self.columns && !may_be {
            changes.push(column_change(&before.columns, &self.columns));
        }
        if changes.is_empty() {
            return Ok(());
        }
        let error = Error::invalid(format!("the query changed since its checkpoint was made: {}", changes.join("; ")));
        let only_new_columns = before.columns.len() < self.columns.len() && before.columns.iter().all(|known| self.columns.contains(known));
        Err(if known_sources == sources && only_new_columns {
            let names = before.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            error.hint(format!(
                "name the columns in the query ({names}): partition folders that came after the first start add columns to *; or start with a new checkpointLocation"
            ))
        } else {
            error.hint("undo the change, or start with a new checkpointLocation (the input is then read from its beginning)")
        })
    }
}

/// What may become of the output columns of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnRule {
    /// They stay.
    Same,
    /// A query that remembers may give more of what it knows: new columns, another order, wider types. In files a column
    /// keeps its type, as one table is read with one.
    MayGrow,
    /// They may come and go. In files one that stays keeps its type.
    MayChange,
}

/// Where the identity of a sink says which columns it writes.
const COLUMNS: &str = "columns";

/// What the identity of a source says under this key may change: it is for who looks at the checkpoint.
const READS: &str = "reads";

/// The identities of sources, as far as a restart compares them.
fn compared(sources: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut sources = sources.clone();
    for identity in sources.values_mut().filter_map(Value::as_object_mut) {
        identity.remove(READS);
    }
    sources
}

/// The sinks, without the columns of those that `is_of` names.
fn without_columns(sinks: &BTreeMap<String, Value>, is_of: impl Fn(&str) -> bool) -> BTreeMap<String, Value> {
    let mut sinks = sinks.clone();
    for (_, identity) in sinks.iter_mut().filter(|(name, _)| is_of(name)) {
        if let Some(identity) = identity.as_object_mut() {
            identity.remove(COLUMNS);
        }
    }
    sinks
}

fn grows(before: &[(String, String)], now: &[(String, String)], writes_files: bool) -> bool {
    let is_wider = |from: &str, to: &str| match (from.parse::<DataType>(), to.parse::<DataType>()) {
        (Ok(from), Ok(to)) => widens(&from, &to, Role::Value),
        _ => false,
    };
    before.iter().all(|(name, from)| {
        now.iter().filter(|(known, _)| known == name).any(|(_, to)| from == to || (!writes_files && is_wider(from, to)))
    })
}

fn keeps_types(before: &[(String, String)], now: &[(String, String)]) -> bool {
    before.iter().all(|(name, from)| now.iter().all(|(known, to)| known != name || from == to))
}

fn describe_changes(what: &str, before: &BTreeMap<String, Value>, now: &BTreeMap<String, Value>, changes: &mut Vec<String>) {
    for (name, identity) in before {
        match now.get(name) {
            None => changes.push(format!("{what} '{name}' ({identity}) is gone")),
            Some(other) if other != identity => changes.push(format!("{what} '{name}' was {identity} and is {other}")),
            Some(_) => {}
        }
    }
    for (name, identity) in now {
        if !before.contains_key(name) {
            changes.push(format!("{what} '{name}' ({identity}) is new"));
        }
    }
}

fn column_change(before: &[(String, String)], now: &[(String, String)]) -> String {
    let show = |columns: &[(String, String)]| columns.iter().map(|(name, ty)| format!("{name} {ty}")).collect::<Vec<_>>().join(", ");
    format!("the output columns were ({}) and are ({})", show(before), show(now))
}

#[cfg(test)]
mod tests;
