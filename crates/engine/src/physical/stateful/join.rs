//! Joins two streams: the rows of each side are remembered as long as rows of the other can still come for them.
//!
//! ```text
//!   of a batch   left rows first: probe the right table, go into the left one
//!                then right rows: probe the left table (this batch's rows too), go into the right one
//!   at its end   rows that the watermark has made useless leave both tables; unmatched ones come out of an outer join
//! ```
//! Each task has a table per side with the keys of its key groups. Rows of an outer side carry whether they have matched;
//! those of a semi or anti join leave their table when they match.

mod changes;
mod layout;
mod probe;
mod run;

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::JoinType;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties};
use millstream_analyzer::streaming::{CHANGE, Gives, change_column, change_field};
use millstream_core::{Error, Result};
use millstream_state::store::{StoreDescription, StoreKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::changes::ChangesRun;
use self::layout::SideLayout;
use self::run::Run;
use super::StatefulOperator;
use crate::physical::operator::{Operator, OperatorExec, OperatorRows, OperatorTask, rows_of_run};

/// Joins two streams. See the module's documentation.
pub type StreamJoinExec = OperatorExec<StreamJoin, 2>;

/// What an operator of this kind is beside its inputs.
#[derive(Debug, Clone)]
pub struct StreamJoin {
    spec: JoinSpec,
    layouts: [Arc<SideLayout>; 2],
    output: SchemaRef,
}

/// What makes it again.
#[derive(Debug, Clone)]
pub struct JoinSpec {
    /// Its name in checkpoints and progress.
    pub operator: String,
    /// Inner, an outer kind, left semi or left anti.
    pub kind: JoinType,
    /// What is equal in rows that match.
    pub keys: Vec<KeySpec>,
    /// Left and right.
    pub sides: [SideSpec; 2],
    /// Whether rows that were given may be taken back: as one side's rows are changes, or unmatched rows come out at once.
    pub gives: Gives,
    /// What else must be true of a pair: over the columns of left, then right.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// What is joined and by what, in texts that a restart compares.
    pub meaning: Vec<String>,
}

/// Two columns that are equal in rows that match.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeySpec {
    /// Of the left side.
    pub left: String,
    /// Of the right side.
    pub right: String,
    /// Whether a null equals a null.
    pub is_null_safe: bool,
}

/// What a join knows of the rows of one side.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SideSpec {
    /// The event time by which rows expire, and how many milliseconds later.
    pub expires_by: Option<(String, i64)>,
    /// A boolean column: where it is not true, no row of the other side can match.
    pub can_match: Option<String>,
}

/// The stores of the sides.
const STORES: [&str; 2] = ["left", "right"];

impl JoinSpec {
    /// Whether unmatched rows of the sides come out.
    fn preserves(&self) -> [bool; 2] {
        [matches!(self.kind, JoinType::Left | JoinType::Full | JoinType::LeftAnti), matches!(self.kind, JoinType::Right | JoinType::Full)]
    }

    /// Whether only left rows come out, and only whether they match is asked.
    fn is_semi_or_anti(&self) -> bool {
        matches!(self.kind, JoinType::LeftSemi | JoinType::LeftAnti)
    }
}

impl StreamJoinExec {
    /// Joins `left` and `right`, in which equal keys are in partitions of the same number.
    pub fn try_new(left: Arc<dyn ExecutionPlan>, right: Arc<dyn ExecutionPlan>, spec: JoinSpec) -> Result<Self> {
        let n_partitions = |side: &Arc<dyn ExecutionPlan>| side.output_partitioning().partition_count();
        if n_partitions(&left) != n_partitions(&right) {
            return Err(Error::internal("the sides of a join have different partitions"));
        }
        let [left_rows, right_rows] = [&left, &right].map(|side| without_change(&side.schema()));
        let is_change = |side: &Arc<dyn ExecutionPlan>| change_column(&side.schema()).is_some();
        if spec.gives == Gives::Rows && (is_change(&left) || is_change(&right)) {
            return Err(Error::internal("a join of changes that gives rows"));
        }
        let layouts = SideLayout::of_sides(&left_rows, &right_rows, &spec)?.map(Arc::new);
        let output = output_schema(&left_rows, &right_rows, &spec);
        Ok(Self::over(StreamJoin { spec, layouts, output }, [left, right]))
    }

    /// What makes it again.
    pub fn spec(&self) -> &JoinSpec {
        &self.operator.spec
    }

    /// How far the event times of what it gives may be behind the watermark: rows wait so long for the other side.
    pub fn lag_ms(&self) -> i64 {
        let offsets = self.operator.spec.sides.iter().filter_map(|side| side.expires_by.as_ref());
        offsets.map(|(_, offset_ms)| *offset_ms).max().unwrap_or(0).max(0)
    }
}

/// The columns of pairs: of left, then of right.
pub(crate) fn pair_schema(left: &Schema, right: &Schema) -> Schema {
    let (left, right) = (without_change(left), without_change(right));
    Schema::new(left.fields().iter().chain(right.fields()).cloned().collect::<Vec<_>>())
}

fn without_change(schema: &Schema) -> Schema {
    Schema::new(schema.fields().iter().filter(|field| field.name() != CHANGE).cloned().collect::<Vec<_>>())
}

fn output_schema(left: &Schema, right: &Schema, spec: &JoinSpec) -> SchemaRef {
    let change = (spec.gives == Gives::Changes).then(|| Arc::new(change_field()));
    if spec.is_semi_or_anti() {
        return Arc::new(Schema::new(left.fields().iter().cloned().chain(change).collect::<Vec<_>>()));
    }
    let [keeps_left, keeps_right] = spec.preserves();
    let nullable = |field: &Arc<Field>, is_nullable: bool| {
        let is_nullable = is_nullable || field.is_nullable();
        Arc::new(field.as_ref().clone().with_nullable(is_nullable))
    };
    let left = left.fields().iter().map(|field| nullable(field, keeps_right));
    let right = right.fields().iter().map(|field| nullable(field, keeps_left));
    Arc::new(Schema::new(left.chain(right).chain(change).collect::<Vec<_>>()))
}

impl StatefulOperator for StreamJoinExec {
    fn operator_id(&self) -> &str {
        &self.operator.spec.operator
    }

    fn kind(&self) -> &'static str {
        match self.operator.spec.gives {
            Gives::Rows => "join",
            Gives::Changes => "join_changes",
        }
    }

    fn uses_event_time(&self) -> bool {
        self.operator.spec.sides.iter().any(|side| side.expires_by.is_some())
    }

    fn detail(&self) -> Value {
        json!(self.operator.spec.meaning)
    }

    fn stores(&self) -> Result<Vec<StoreDescription>> {
        let stores = STORES.iter().zip(&self.operator.layouts);
        stores
            .map(|(name, layout)| Ok(StoreDescription { name: (*name).to_owned(), kind: StoreKind::Multi, schema: layout.store_schema()? }))
            .collect()
    }
}

impl fmt::Display for StreamJoin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let JoinSpec { operator, kind, keys, sides, filter, .. } = &self.spec;
        let sign = |key: &KeySpec| if key.is_null_safe { "<=>" } else { "=" };
        let keys: Vec<String> = keys.iter().map(|key| format!("{} {} {}", key.left, sign(key), key.right)).collect();
        let changes = if self.spec.gives == Gives::Changes { " changes" } else { "" };
        write!(f, "{operator} {kind}{changes}, keys=[{}]", keys.join(", "))?;
        filter.iter().try_for_each(|filter| write!(f, ", filter=[{filter}]"))?;
        for (name, side) in STORES.iter().zip(sides) {
            side.expires_by.iter().try_for_each(|(column, offset_ms)| write!(f, ", {name} until {column} {offset_ms:+} ms"))?;
        }
        Ok(())
    }
}

impl Operator<2> for StreamJoin {
    const NAME: &'static str = "StreamJoinExec";

    fn properties(&self, [left, right]: &[Arc<dyn ExecutionPlan>; 2]) -> Arc<PlanProperties> {
        let boundedness = if left.boundedness().is_unbounded() { left.boundedness() } else { right.boundedness() };
        Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&self.output)),
            Partitioning::UnknownPartitioning(left.output_partitioning().partition_count()),
            left.pipeline_behavior(),
            boundedness,
        ))
    }

    fn expressions(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        self.spec.filter.iter().collect()
    }

    fn execute(&self, [left, right]: &[Arc<dyn ExecutionPlan>; 2], task: OperatorTask) -> Result<OperatorRows> {
        let inputs = [task.rows_of(left)?, task.rows_of(right)?];
        let pairs = Arc::new(pair_schema(&left.schema(), &right.schema()));
        Ok(match self.spec.gives {
            Gives::Rows => rows_of_run(Run::new(self, inputs, pairs, task)),
            Gives::Changes => rows_of_run(ChangesRun::new(self, inputs, pairs, task)),
        })
    }
}

#[cfg(test)]
mod tests;
