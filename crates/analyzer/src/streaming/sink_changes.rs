//! The last step of changes: what a sink is given of them.
//!
//! Within a batch a row that is added and an equal one that is taken out cancel. The rest are shown as changes, with Spark's
//! words of change data, or only the rows that are added are given on.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::changes::CHANGE;

/// The first column of rows that are shown as changes.
pub const CHANGE_TYPE: &str = "_change_type";

/// What a sink is given of the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shown {
    /// Only rows that are added, as in Spark's update mode.
    NewRows,
    /// All, with [`CHANGE_TYPE`] as first column.
    Changes,
}

/// Makes of changes what a sink is given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SinkChangesNode {
    input: LogicalPlan,
    key: Option<Vec<Expr>>,
    /// What the user calls the key, if it was the user who said that it tells rows apart.
    declared: Option<Vec<String>>,
    shown: Shown,
    schema: DFSchemaRef,
}

impl SinkChangesNode {
    /// `key`: columns by which a row that is added replaces one that is taken out.
    pub fn try_new(input: LogicalPlan, key: Option<Vec<Column>>, shown: Shown) -> Result<Self> {
        let key = key.map(|key| key.into_iter().map(Expr::Column).collect());
        let schema = schema_over(&input, shown)?;
        Ok(Self { input, key, declared: None, shown, schema })
    }

    /// The key is the user's (`upsertKey`), by these names: it is checked as far as it can be.
    #[must_use]
    pub fn declared_as(self, names: Option<Vec<String>>) -> Self {
        Self { declared: names, ..self }
    }

    /// See [`Self::declared_as`].
    pub fn declared(&self) -> Option<&[String]> {
        self.declared.as_deref()
    }

    /// The changes.
    pub fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// See [`Self::try_new`].
    pub fn key(&self) -> Option<Vec<&Column>> {
        self.key.as_ref().map(|key| key.iter().filter_map(Expr::try_as_col).collect())
    }

    /// What is given.
    pub fn shown(&self) -> Shown {
        self.shown
    }

    /// The node as a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

fn schema_over(input: &LogicalPlan, shown: Shown) -> Result<DFSchemaRef> {
    let kind = (None, Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, false)));
    let kind = (shown == Shown::Changes).then_some(kind);
    let columns = input.schema().iter().filter(|(_, field)| field.name() != CHANGE);
    let columns = columns.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)));
    let fields = kind.into_iter().chain(columns).collect();
    Ok(Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?))
}

impl UserDefinedLogicalNodeCore for SinkChangesNode {
    fn name(&self) -> &str {
        "SinkChanges"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.key.iter().flatten().cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |key: &Vec<Expr>| key.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "SinkChanges: {:?}, key={}", self.shown, self.key.as_ref().map_or("none".to_owned(), list))
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let Ok([input]) = <[LogicalPlan; 1]>::try_from(inputs) else {
            return plan_err!("SinkChanges takes one input");
        };
        let schema = schema_over(&input, self.shown)?;
        Ok(Self { input, key: self.key.as_ref().map(|_| exprs), declared: self.declared.clone(), shown: self.shown, schema })
    }

    // All columns are used, whatever is asked for: which rows cancel hangs on each of them.
}

impl PartialOrd for SinkChangesNode {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        let by_input = self.input.partial_cmp(&other.input)?;
        Some(by_input.then_with(|| self.shown.cmp(&other.shown))).filter(|order| order.is_ne() || self == other)
    }
}
