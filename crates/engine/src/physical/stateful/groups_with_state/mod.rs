//! Calls a user's function for each group of a batch, with the group's state (`flatMapGroupsWithState`).
//!
//! ```text
//!   GroupsWithStateExec     gathers the batch; calls the function group by group, then for the groups whose time is over
//!     KeyExchangeExec       rows to the task that keeps their key
//!       LateRowsExec        with timeouts by event time: drops what is behind the watermark
//! ```
//! Groups are called in the order of their first rows, then those that only an initial state names, then those that have
//! timed out, by deadline and key: the same at each run of a batch with the same parallelism. A task's state is changed some
//! thousand groups at a time; a call that fails ends the batch, so nothing of it is kept.

mod call;
mod grouping;
mod run;
mod states;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::error::Result as DfResult;
use datafusion::physical_plan::{ExecutionPlan, PlanProperties};
use millstream_analyzer::streaming::{GroupStateTimeout, GroupedRows, GroupsWithStateNode, NamedColumn, StateFunction, change_column};
use millstream_core::{Error, Result};
use millstream_state::store::{StoreDescription, StoreSchema};
use serde_json::{Value, json};

use super::StatefulOperator;
use super::plan::{exchanged, in_time};
use super::tables::{one_store, store_schema};
use crate::error::to_datafusion;
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorTask, unordered_as};

/// What the store calls a group's state.
const GROUP_STATE: &str = "groupState";

/// Calls a function for each group; the second input, if there is one, is what groups start from.
pub type GroupsWithStateExec<const N: usize> = OperatorExec<GroupsWithState, N>;

/// What the operator is beside its inputs.
#[derive(Debug, Clone)]
pub struct GroupsWithState {
    operator: String,
    function: Arc<StateFunction>,
    input: Columns,
    initial: Option<Columns>,
    has_watermark: bool,
    is_streaming: bool,
    /// What it gives.
    schema: SchemaRef,
}

/// Columns of an input: the keys, and the others that count, each with what the user calls it.
#[derive(Debug, Clone)]
struct Columns {
    keys: Vec<(usize, String)>,
    columns: Vec<(usize, String)>,
}

/// The operators of the node over its planned inputs.
pub fn plan_groups_with_state(
    node: &GroupsWithStateNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    n_tasks: usize,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let internal = |message: &str| to_datafusion(Error::internal(message));
    let (input, initial) = match inputs {
        [input] => (Arc::clone(input), None),
        [input, initial] => (Arc::clone(input), Some(Arc::clone(initial))),
        _ => return Err(internal("groups with state take one input or two")),
    };
    let function = Arc::clone(node.function());
    if change_column(&input.schema()).is_some() {
        let what = format!("{} '{}' over rows that may be taken back", function.operation(), function.name);
        return Err(to_datafusion(Error::unsupported(what).hint("use append mode: then the function gets rows that are final")));
    }
    let input = in_time(input, node.operator(), node.late_by(), None)?;
    let by_key = |plan: Arc<dyn ExecutionPlan>, rows: &GroupedRows| -> DfResult<(Arc<dyn ExecutionPlan>, Columns)> {
        let columns = Columns::of(rows, &plan.schema())?;
        let keys = rows.keys.iter().map(|key| key.column.name.clone()).collect();
        Ok((exchanged(plan, keys, n_tasks), columns))
    };
    let (input, of_input) = by_key(input, node.input())?;
    let initial = match (initial, node.initial()) {
        (Some(plan), Some(rows)) => Some(by_key(plan, rows)?),
        (None, None) => None,
        _ => return Err(internal("an initial state without its columns")),
    };
    let (initial, of_initial) = initial.unzip();
    let operator = GroupsWithState {
        operator: node.operator().to_owned(),
        function,
        input: of_input,
        initial: of_initial,
        has_watermark: node.event_time().is_some(),
        is_streaming: node.is_streaming(),
        schema: Arc::clone(datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node).inner()),
    };
    Ok(match initial {
        None => Arc::new(GroupsWithStateExec::<1>::over(operator, [input])),
        Some(initial) => Arc::new(GroupsWithStateExec::<2>::over(operator, [input, initial])),
    })
}

/// The function that an operator calls, if it is one that calls one.
pub fn function_with_state(plan: &dyn ExecutionPlan) -> Option<&StateFunction> {
    let function = plan.downcast_ref::<GroupsWithStateExec<1>>().map(|exec| &exec.operator.function);
    let function = function.or_else(|| plan.downcast_ref::<GroupsWithStateExec<2>>().map(|exec| &exec.operator.function));
    function.map(Arc::as_ref)
}

impl Columns {
    fn of(rows: &GroupedRows, schema: &SchemaRef) -> DfResult<Self> {
        let found = |named: &[NamedColumn]| -> DfResult<Vec<(usize, String)>> {
            named.iter().map(|named| Ok((schema.index_of(&named.column.name)?, named.name.clone()))).collect()
        };
        Ok(Self { keys: found(&rows.keys)?, columns: found(&rows.columns)? })
    }

    fn fields(&self, schema: &Schema) -> Fields {
        let field = |(idx, name): &(usize, String)| Some(schema.fields().get(*idx)?.as_ref().clone().with_name(name));
        self.columns.iter().filter_map(field).collect()
    }
}

impl GroupsWithState {
    fn store(&self, input: &Schema) -> Result<StoreSchema> {
        let state = Field::new(GROUP_STATE, DataType::Struct(Fields::clone(&self.function.state)), true);
        let keys = self.input.keys.iter().filter_map(|(idx, _)| input.fields().get(*idx).cloned()).collect();
        store_schema(keys, vec![state].into())
    }

    fn properties_over(&self, input: &Arc<dyn ExecutionPlan>) -> Arc<PlanProperties> {
        unordered_as(Arc::clone(&self.schema), input)
    }
}

impl<const N: usize> StatefulOperator for GroupsWithStateExec<N>
where
    GroupsWithState: Operator<N>,
{
    fn operator_id(&self) -> &str {
        &self.operator.operator
    }

    fn kind(&self) -> &'static str {
        "groups_with_state"
    }

    fn uses_event_time(&self) -> bool {
        self.operator.function.timeout == GroupStateTimeout::EventTime
    }

    fn times_out_by_clock(&self) -> bool {
        self.operator.function.timeout == GroupStateTimeout::ProcessingTime
    }

    fn detail(&self) -> Value {
        let function = &self.operator.function;
        json!({
            "function": function.name,
            "operation": function.operation(),
            "timeout": function.timeout.as_str(),
            "mode": function.mode.to_string(),
        })
    }

    fn stores(&self) -> Result<Vec<StoreDescription>> {
        let input = self.inputs.first().ok_or_else(|| Error::internal("groups with state without input"))?;
        Ok(one_store(self.operator.store(&input.schema())?))
    }
}

impl fmt::Display for GroupsWithState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.input.keys.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>().join(", ");
        write!(f, "{}, {:?}, keys=[{keys}]", self.operator, self.function)
    }
}

impl Operator<1> for GroupsWithState {
    const NAME: &'static str = "GroupsWithStateExec";

    fn properties(&self, [input]: &[Arc<dyn ExecutionPlan>; 1]) -> Arc<PlanProperties> {
        self.properties_over(input)
    }

    fn execute(&self, [input]: &[Arc<dyn ExecutionPlan>; 1], task: OperatorTask) -> Result<OperatorRows> {
        run::start(self, input, None, task)
    }
}

impl Operator<2> for GroupsWithState {
    const NAME: &'static str = "GroupsWithStateExec";

    fn properties(&self, [input, _]: &[Arc<dyn ExecutionPlan>; 2]) -> Arc<PlanProperties> {
        self.properties_over(input)
    }

    fn execute(&self, [input, initial]: &[Arc<dyn ExecutionPlan>; 2], task: OperatorTask) -> Result<OperatorRows> {
        run::start(self, input, Some(initial), task)
    }
}
