//! `flat_map_groups_with_state` and `map_groups_with_state`: a function of the user's that remembers something of each group.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use millstream_analyzer::streaming::{GroupFunction, GroupRows, GroupState, GroupStateTimeout, StateFunction};
use millstream_core::{OutputMode, Result};

use super::{DataFrame, GroupedData};

/// What a function with state declares of itself.
///
/// ```no_run
/// # use millstream::{GroupStateTimeout, GroupsWithState, parse_schema};
/// # fn f() -> millstream::Result<()> {
/// let spec = GroupsWithState::new("visits", parse_schema("user STRING, n BIGINT")?, parse_schema("n BIGINT")?)
///     .timeout(GroupStateTimeout::EventTime);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct GroupsWithState {
    name: String,
    output: SchemaRef,
    state: SchemaRef,
    timeout: GroupStateTimeout,
    mode: OutputMode,
    event_time: Option<String>,
    initial_state: Option<DataFrame>,
}

impl GroupsWithState {
    /// A function called `name`, which gives rows of `output` and keeps one row of `state` per group. Messages and restarts
    /// know it by its name; schemas have the types that Spark has, as [`crate::parse_schema`] makes them.
    pub fn new(name: impl Into<String>, output: SchemaRef, state: SchemaRef) -> Self {
        Self {
            name: name.into(),
            output,
            state,
            timeout: GroupStateTimeout::None,
            mode: OutputMode::Append,
            event_time: None,
            initial_state: None,
        }
    }

    /// When groups without rows are called.
    #[must_use]
    pub fn timeout(self, timeout: GroupStateTimeout) -> Self {
        Self { timeout, ..self }
    }

    /// What the rows mean: in append mode (the default) they stand for ever, in update mode they replace those that the
    /// function gave before. The query's output mode must be the same, unless an aggregation stands above.
    pub fn output_mode(self, mode: &str) -> Result<Self> {
        Ok(Self { mode: mode.parse()?, ..self })
    }

    /// The output column that carries the event time for what stands above, under the watermark of the input. Rows must then
    /// have a time after the watermark.
    #[must_use]
    pub fn event_time(self, column: impl Into<String>) -> Self {
        Self { event_time: Some(column.into()), ..self }
    }

    /// What groups start from, finished data: the keys and the columns of the state, by name. It is read with the first
    /// batch, in which the function is called for each of its keys, with rows or without.
    #[must_use]
    pub fn initial_state(self, frame: DataFrame) -> Self {
        Self { initial_state: Some(frame), ..self }
    }
}

impl GroupedData {
    /// Calls a function for each group of a batch: with the values of the key, the group's new rows, and its state. It gives
    /// any number of rows.
    ///
    /// All rows of a group come in one call, in the order of the input; a group whose time is over is called without rows and
    /// [`GroupState::has_timed_out`]. Over finished data there is one batch, and nothing times out. After a crash a batch may
    /// run again: what the function gives must follow from what it is given. If it fails or panics the query fails, and
    /// nothing of the batch is kept.
    #[must_use]
    pub fn flat_map_groups_with_state<F>(&self, spec: GroupsWithState, function: F) -> DataFrame
    where
        F: Fn(&[ScalarValue], &[RecordBatch], &mut GroupState) -> Result<Vec<RecordBatch>> + Send + Sync + 'static,
    {
        self.groups_with_state(spec, GroupRows::Any, Arc::new(function))
    }

    /// As [`Self::flat_map_groups_with_state`], with exactly one row per call, which replaces the one before: streams take it
    /// in update mode only.
    #[must_use]
    pub fn map_groups_with_state<F>(&self, spec: GroupsWithState, function: F) -> DataFrame
    where
        F: Fn(&[ScalarValue], &[RecordBatch], &mut GroupState) -> Result<RecordBatch> + Send + Sync + 'static,
    {
        let spec = GroupsWithState { mode: OutputMode::Update, ..spec };
        let function = move |key: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState| Ok(vec![function(key, rows, state)?]);
        self.groups_with_state(spec, GroupRows::One, Arc::new(function))
    }

    fn groups_with_state(&self, spec: GroupsWithState, rows: GroupRows, function: Arc<GroupFunction>) -> DataFrame {
        let GroupsWithState { name, output, state, timeout, mode, event_time, initial_state } = spec;
        let (output, state) = (output.fields().clone(), state.fields().clone());
        let function = StateFunction { name, output, state, timeout, mode, rows, event_time, function };
        let id = self.frame.session.catalog().keep_function(Arc::new(function));
        let initial_state = initial_state.map(|frame| (*frame.plan).clone());
        let plan = (*self.frame.plan).clone().groups_with_state(self.keys.clone(), id, initial_state);
        DataFrame { plan: Arc::new(plan), ..self.frame.clone() }
    }
}
