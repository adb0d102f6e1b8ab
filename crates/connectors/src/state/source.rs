//! The driver's half: which store after which batch, and its columns, from the log of the checkpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::{Admission, BatchId, Error, Options, Position, ReaderSpec, Result, Source, SourceRange, SourceStart, Split};
use millstream_state::checkpoint::read_state;
use millstream_state::store::{KeptVersions, OperatorState, StoreDescription, StoreId, shown_field};
use millstream_state::{FileSystem, Location};

use super::options::{StateOptions, WantedOperator, path_of};
use super::reader::StateSplit;
use crate::file::spark_type;
use crate::wire;

/// Spark's name of the store of an operator that has one.
const DEFAULT_STORE: &str = "default";

#[derive(Debug)]
pub(super) struct StateSource {
    id: StoreId,
    version: BatchId,
    schema: SchemaRef,
    options: Options,
    format: String,
    path: String,
    time_zone: String,
}

impl StateSource {
    pub(super) async fn open(fs: &Arc<dyn FileSystem>, wanted: StateOptions, request: &SourceRequest) -> Result<Self> {
        let path = path_of(&request.options)?;
        let location = Location::parse_on(Arc::clone(fs), path, &request.options)?;
        let (_, state) = read_state(&location).await?;
        let kept = KeptVersions::of(&location, &state).await?.ok_or_else(|| no_batch(&location))?;
        let version = wanted.version.unwrap_or(kept.last);
        kept.check(version)?;
        let operators = &state.operators;
        let operator = operator_of(operators, wanted.operator.as_ref())?;
        let store = store_of(operator.0, operator.1, wanted.store.as_deref())?;
        Ok(Self {
            id: StoreId { operator: operator.0.to_owned(), store: store.name.clone() },
            version,
            schema: schema_of(store),
            options: request.options.clone(),
            format: request.format.clone(),
            path: location.to_string(),
            time_zone: request.time_zone.clone(),
        })
    }
}

pub(super) fn no_batch(location: &Location) -> Error {
    Error::invalid(format!("No committed batch found, checkpoint location: {location}"))
        .code("STDS_COMMITTED_BATCH_UNAVAILABLE")
        .hint("the query must have run a batch before its state can be read")
}

/// The operator that a reader wants, with its name.
fn operator_of<'a>(
    operators: &'a BTreeMap<String, OperatorState>,
    wanted: Option<&WantedOperator>,
) -> Result<(&'a str, &'a OperatorState)> {
    let found = match wanted {
        Some(WantedOperator::Name(name)) => operators.get_key_value(name),
        Some(WantedOperator::Ordinal(ordinal)) => operators.iter().find(|(_, operator)| operator.ordinal == Some(*ordinal)),
        None if operators.len() == 1 => operators.iter().next(),
        None => None,
    };
    found.map(|(name, operator)| (name.as_str(), operator)).ok_or_else(|| {
        let what = match wanted {
            _ if operators.is_empty() => "the query of this checkpoint remembers nothing: it has no stateful operator".to_owned(),
            Some(WantedOperator::Name(name)) => format!("the query has no stateful operator '{name}'"),
            Some(WantedOperator::Ordinal(ordinal)) => format!("the query has no stateful operator {ordinal}"),
            None => "the query has several stateful operators: say which one to read".to_owned(),
        };
        let error = Error::invalid(what).code("STDS_INVALID_OPTION_VALUE.WITH_MESSAGE");
        if operators.is_empty() { error } else { error.hint(format!("it has {}", listed(operators))) }
    })
}

fn listed(operators: &BTreeMap<String, OperatorState>) -> String {
    let mut by_ordinal: Vec<_> = operators.iter().map(|(name, operator)| (operator.ordinal, name)).collect();
    by_ordinal.sort();
    let shown = by_ordinal.iter().map(|(ordinal, name)| match ordinal {
        Some(ordinal) => format!("{ordinal} '{name}'"),
        None => format!("'{name}'"),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn store_of<'a>(name: &str, operator: &'a OperatorState, wanted: Option<&str>) -> Result<&'a StoreDescription> {
    let called = |wanted: &str| operator.stores.iter().find(|store| store.name.eq_ignore_ascii_case(wanted));
    let found = match (wanted, operator.stores.as_slice()) {
        (Some(wanted), _) => called(wanted),
        (None, [only]) => Some(only),
        (None, _) => called(DEFAULT_STORE),
    };
    found.ok_or_else(|| {
        let what = match wanted {
            Some(wanted) => format!("operator '{name}' has no store '{wanted}'"),
            None => format!("operator '{name}' has several stores: say which one to read"),
        };
        let stores: Vec<&str> = operator.stores.iter().map(|store| store.name.as_str()).collect();
        Error::invalid(what).code("STDS_INVALID_OPTION_VALUE.WITH_MESSAGE").hint(format!("its stores are '{}'", stores.join("', '")))
    })
}

/// Spark's columns, and when a row expires.
fn schema_of(store: &StoreDescription) -> SchemaRef {
    let shown = |fields: &Fields| {
        let fields = fields.iter().map(|field| Field::new(field.name(), spark_type(shown_field(field).data_type()), true));
        DataType::Struct(fields.collect())
    };
    Arc::new(Schema::new(vec![
        Field::new("key", shown(store.schema.keys()), true),
        Field::new("value", shown(store.schema.values()), true),
        Field::new("partition_id", DataType::Int32, true),
        Field::new("expiry", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
    ]))
}

#[async_trait]
impl Source for StateSource {
    fn description(&self) -> String {
        format!("State[{}, {}, after batch {}]", self.path, self.id, self.version)
    }

    fn identity(&self) -> serde_json::Value {
        let StoreId { operator, store } = &self.id;
        serde_json::json!({ "format": "state", "path": self.path, "operator": operator, "store": store, "version": self.version })
    }

    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn reader(&self) -> ReaderSpec {
        ReaderSpec {
            connector: "state".to_owned(),
            format: self.format.clone(),
            options: self.options.clone(),
            schema: self.schema(),
            projection: None,
            time_zone: self.time_zone.clone(),
            batch_rows: 8192,
        }
    }

    async fn start(&mut self, _start: SourceStart) -> Result<Position> {
        Ok(Position::default())
    }

    async fn plan(&mut self, from: &Position, _admission: &Admission) -> Result<Option<SourceRange>> {
        let end = Position(serde_json::json!(self.version));
        Ok((*from != end).then(|| SourceRange { start: from.clone(), end, detail: serde_json::Value::Null }))
    }

    /// One task reads all: a snapshot is one file, of which every task would have to read all.
    async fn splits(&mut self, _range: &SourceRange, _n_tasks: usize) -> Result<Vec<Split>> {
        let StoreId { operator, store } = self.id.clone();
        Ok(vec![wire::split(&StateSplit { version: self.version, operator, store }, 1)?])
    }

    async fn decided(&mut self, _batch: BatchId, _range: &SourceRange) -> Result<()> {
        Ok(())
    }

    async fn fix_end(&mut self) -> Result<()> {
        Ok(())
    }
}
