//! What the analyzer asks of the session: relations and functions by name. Calls are synchronous; a session that
//! must look at files or servers does so beforehand, for the names that [`crate::referenced_relations`] finds.

use std::sync::Arc;

use datafusion::datasource::TableProvider;
use datafusion::logical_expr::{AggregateUDF, LogicalPlan, ScalarUDF};
use millstream_core::{Error, Result};
use millstream_sql::ir::{LocalId, Plan, Read};

use crate::streaming::StateFunction;

/// Relations and functions by name.
pub trait Catalog: Send + Sync {
    /// What a leaf reads: a table or view by name (in any case), a path as a table (``json.`path` ``), a reader's format and
    /// paths, a function that reads (`read_files('path', ...)`). The analyzer has taken out its own: names of `WITH`, `range`,
    /// generators. `None` when there is no such.
    fn relation(&self, read: &Read) -> Result<Option<Relation>>;

    /// Rows that the builder of the plan keeps under `id`.
    fn local(&self, id: LocalId) -> Result<Relation>;

    /// A function with state that the builder of the plan keeps under `id`.
    fn state_function(&self, _id: LocalId) -> Result<Arc<StateFunction>> {
        Err(Error::internal("a catalog that keeps no functions with state was asked for one"))
    }

    /// A function that the user registered; it hides a built-in one of that name.
    fn function(&self, name: &str) -> Option<UserFunction>;

    /// Names of all tables and views, for suggestions.
    fn relation_names(&self) -> Vec<String>;
}

/// What a name stands for.
#[derive(Clone)]
#[non_exhaustive]
pub enum Relation {
    /// A table: becomes a stock `TableScan`.
    Table {
        /// The table.
        provider: Arc<dyn TableProvider>,
        /// Catalog, database and table as far as there are any: the qualifier of the columns.
        name: Vec<String>,
        /// Whether this is the streaming form.
        is_streaming: bool,
    },
    /// A view: resolved anew wherever it is named.
    View {
        /// The query.
        plan: Arc<Plan>,
        /// New names of the columns; empty keeps the query's.
        column_names: Vec<String>,
        /// The qualifier of the columns.
        name: Vec<String>,
        /// The session time zone when the view was made, which its query keeps; none takes the present one.
        time_zone: Option<String>,
    },
    /// A plan that is resolved already, in written names; batch only.
    Plan(LogicalPlan),
}

impl std::fmt::Debug for Relation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Relation::Table { name, is_streaming, .. } => write!(f, "Table({}, streaming: {is_streaming})", name.join(".")),
            Relation::View { name, .. } => write!(f, "View({})", name.join(".")),
            Relation::Plan(_) => f.write_str("Plan"),
        }
    }
}

/// A user's function.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum UserFunction {
    /// Row by row.
    Scalar(Arc<ScalarUDF>),
    /// Over groups.
    Aggregate(Arc<AggregateUDF>),
}
