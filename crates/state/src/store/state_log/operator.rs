//! What a checkpoint says about its stateful operators: kept in the start record of every run.
//!
//! A changed query is compared with it before it runs, and a reader finds there which stores there are.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::part::{decode_schema, encode_schema};
use crate::store::schema::StoreSchema;

/// The version of the description that this build writes, and the newest it reads.
pub const OPERATOR_VERSION: u32 = 1;

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
