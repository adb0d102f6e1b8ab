//! Calls that cost much are computed once per row.
//!
//! DataFusion's optimiser puts what a projection computes into the filters that it moves below it, and into each use of a field:
//! `SELECT e.a, e.b FROM (SELECT from_json(v, '...') AS e FROM t) WHERE e.a > 0` would parse each text twice. (Spark does.) A
//! [`ComputedOnceNode`] above such a projection keeps filters on these columns where they are, and hides from what stands
//! above how they are made. It runs on plans as the analyzer makes them; nothing of it is left in a physical plan.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::{Arc, LazyLock};

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, ScalarUDF, UserDefinedLogicalNodeCore};
use datafusion::prelude::SessionContext;
use millstream_core::stack::with_room;

/// Ours that parse texts into structs.
const PARSERS: [&str; 3] = ["spark_from_json", "spark_from_csv", "spark_json_tuple"];

/// Functions that are known not to be a user's, which may do anything.
static KNOWN: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let of_datafusion = SessionContext::new().state().scalar_functions().keys().cloned().collect::<Vec<_>>();
    let ours = millstream_functions::all_scalar().into_iter().map(|function| function.name().to_owned());
    let of_analyzer = crate::functions().into_iter().map(|function| function.name().to_owned());
    of_datafusion.into_iter().chain(ours).chain(of_analyzer).collect()
});

/// Passes its rows on. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ComputedOnceNode {
    input: LogicalPlan,
    costly: BTreeSet<String>,
    /// Of the input those columns that the projection had: the optimiser finds that what it moves into the input does not come
    /// out here, and leaves it above.
    schema: DFSchemaRef,
}

impl ComputedOnceNode {
    fn over(input: LogicalPlan, costly: BTreeSet<String>, known: &DFSchemaRef) -> Result<Self> {
        let columns = input.schema().iter().filter(|(qualifier, field)| known.has_column(&Column::from((*qualifier, *field))));
        let columns = columns.map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field))).collect();
        let schema = Arc::new(DFSchema::new_with_metadata(columns, input.schema().metadata().clone())?);
        Ok(Self { input, costly, schema })
    }
}

/// The plan with a [`ComputedOnceNode`] above each projection that makes a costly call.
pub fn compute_once(plan: LogicalPlan) -> Result<LogicalPlan> {
    let marked = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Projection(projection) = &node else { return Ok(Transformed::no(node)) };
        let mut costly = BTreeSet::new();
        for (expr, field) in projection.expr.iter().zip(projection.schema.fields()) {
            if is_costly(expr)? {
                costly.insert(field.name().clone());
            }
        }
        if costly.is_empty() {
            return Ok(Transformed::no(node));
        }
        let schema = Arc::clone(node.schema());
        let node = ComputedOnceNode::over(node, costly, &schema)?;
        Ok(Transformed::yes(LogicalPlan::Extension(Extension { node: Arc::new(node) })))
    })?;
    Ok(marked.data)
}

fn is_costly(expr: &Expr) -> Result<bool> {
    with_room(|| {
        expr.exists(|part| {
            let Expr::ScalarFunction(call) = part else { return Ok(false) };
            Ok(is_costly_function(&call.func))
        })
    })
}

fn is_costly_function(function: &ScalarUDF) -> bool {
    PARSERS.contains(&function.name()) || !KNOWN.contains(function.name())
}

impl UserDefinedLogicalNodeCore for ComputedOnceNode {
    fn name(&self) -> &str {
        "ComputedOnce"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![]
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.costly.iter().cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ComputedOnce: {}", self.costly.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        match <[LogicalPlan; 1]>::try_from(inputs) {
            Ok([input]) => Self::over(input, self.costly.clone(), &self.schema),
            Err(inputs) => plan_err!("ComputedOnce takes one input, not {}", inputs.len()),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }
}

impl PartialOrd for ComputedOnceNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.costly.partial_cmp(&other.costly) {
            Some(Ordering::Equal) => self.input.partial_cmp(&other.input),
            order => order,
        }
    }
}
