//! What a checkpoint says about its stateful operators: kept in the start record of every run.
//!
//! A changed query is compared with it before it runs, and a reader finds there which stores there are.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use millstream_core::RunEpoch;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::layout::{EarlierLayout, StoreHistory};
use super::load::StoreSpec;
use super::part::{decode_schema, encode_schema};
use crate::store::StoreId;
use crate::store::schema::StoreSchema;

/// The version of the description that this build writes of an operator whose state is as it was first made, and the newest
/// it reads. One that has a past, which an older build would not see, is written as [`OPERATOR_VERSION_WITH_PAST`].
pub const OPERATOR_VERSION: u32 = 1;

/// See [`OPERATOR_VERSION`].
pub const OPERATOR_VERSION_WITH_PAST: u32 = 2;

/// A stateful operator, by its stable id in the start record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperatorState {
    /// The version of the description.
    pub v: u32,
    /// What it is: `aggregate`, `deduplicate`, `join`, ...
    pub kind: String,
    /// How many key groups there are; the same for the life of the checkpoint.
    pub n_key_groups: u32,
    /// Its stores.
    pub stores: Vec<StoreDescription>,
    /// What else the operator's kind must compare, such as its aggregate functions.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
    /// Its number among the operators of its query, from the sources up. For people: names are what counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ordinal: Option<u32>,
    /// The operators below it, by name, whose changes it takes: what they take back it must have been given. Older builds did not
    /// say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes_of: Option<BTreeSet<String>>,
    /// What rows go through on the way from those below to it, such as filters, as texts that change with their meaning.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub steps: BTreeSet<String>,
    /// What the value columns of a store belong to, in their order: stores whose columns do not each stand for themselves.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values_of: BTreeMap<String, Vec<ValuesOf>>,
    /// What the key columns of a store are computed from, in their order, as texts that change with their meaning.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys_from: BTreeMap<String, Vec<String>>,
    /// The run with which its state began anew; what older ones wrote is not its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<RunEpoch>,
    /// The columns that its stores had before the query was changed, oldest first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub earlier: BTreeMap<String, Vec<EarlierLayout>>,
}

/// Value columns that belong together, such as those of one aggregate function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValuesOf {
    /// What they are the state of, as a text that changes with its meaning.
    pub of: String,
    /// How many columns.
    pub n_columns: usize,
    /// What must stay as it is beside the text: types of what it is computed from, or other columns; empty if nothing must.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// What it is computed from, down to the columns of sources; empty if that is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
}

impl OperatorState {
    /// An operator without a past.
    pub fn new(kind: impl Into<String>, n_key_groups: u32, stores: Vec<StoreDescription>) -> Self {
        Self {
            v: OPERATOR_VERSION,
            kind: kind.into(),
            n_key_groups,
            stores,
            detail: serde_json::Value::Null,
            ordinal: None,
            changes_of: None,
            steps: BTreeSet::new(),
            values_of: BTreeMap::new(),
            keys_from: BTreeMap::new(),
            since: None,
            earlier: BTreeMap::new(),
        }
    }

    /// What is needed to read one of its stores; `id` is the operator's.
    pub fn spec_of(&self, id: &str, store: &str) -> Option<StoreSpec> {
        let described = self.stores.iter().find(|described| described.name == store)?;
        let history = StoreHistory { since: self.since, earlier: self.earlier.get(store).cloned().unwrap_or_default() };
        let id = StoreId { operator: id.to_owned(), store: store.to_owned() };
        Some(StoreSpec { id, kind: described.kind, schema: described.schema.clone(), history })
    }

    /// What is needed to read its stores; `id` is the operator's.
    pub fn specs(&self, id: &str) -> Vec<StoreSpec> {
        self.stores.iter().filter_map(|store| self.spec_of(id, &store.name)).collect()
    }
}

/// A store of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoreDescription {
    /// Its name within the operator.
    pub name: String,
    /// One row per key or several.
    pub kind: StoreKind,
    /// Its columns, without row numbers.
    pub schema: StoreSchema,
}

/// How many rows a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StoreKind {
    /// One: a [`crate::store::KeyedTable`].
    Single,
    /// Any number: a [`crate::store::KeyedMultiTable`].
    Multi,
    /// One, in a [`crate::store::KeyedTable`], whose last key column tells apart what belongs together: all rows that are equal
    /// in the keys before it are kept by one task.
    Sliced,
}

/// Columns as people read them, and exactly.
#[derive(Serialize, Deserialize)]
struct SchemaJson {
    keys: Vec<ColumnJson>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<ColumnJson>,
    /// An Arrow IPC stream without rows, in base64. It alone counts; the names and types beside it are for people.
    arrow: String,
}

#[derive(Serialize, Deserialize)]
struct ColumnJson {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
}

impl Serialize for StoreSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let column =
            |field: &arrow::datatypes::FieldRef| ColumnJson { name: field.name().clone(), data_type: field.data_type().to_string() };
        let arrow = BASE64_STANDARD.encode(encode_schema(self).map_err(ser::Error::custom)?);
        let (keys, values) = (self.keys().iter().map(column).collect(), self.values().iter().map(column).collect());
        SchemaJson { keys, values, arrow }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoreSchema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = SchemaJson::deserialize(deserializer)?;
        let bytes = BASE64_STANDARD.decode(&json.arrow).map_err(de::Error::custom)?;
        decode_schema(&bytes, json.keys.len()).map_err(de::Error::custom)
    }
}
