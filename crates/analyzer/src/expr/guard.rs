//! `AND` and `OR` that do not evaluate their right side where the left one decides.
//!
//! DataFusion evaluates both sides for all rows, so `v != 0 AND 10 / v > 1` would fail where Spark answers. A `CASE`
//! around a boolean is turned back into `AND` by the optimiser; around an operand of any other type it stays. So
//! every subtree of the right side that can raise an error and is not boolean becomes
//! `CASE WHEN left IS NOT FALSE THEN subtree END`.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{BinaryExpr, Case, Expr as DfExpr, Operator};

use crate::error::Result;

/// Larger guards than this are refused to be copied: the right side of a chain then keeps the guards it has.
const GUARD_NODES_MAX: usize = 20_000;

/// `left AND right` or `left OR right`, where `right` cannot raise errors for rows that `left` decides.
pub(crate) fn connect(left: DfExpr, op: Operator, right: DfExpr) -> Result<DfExpr> {
    let right = if may_raise(&right) && n_nodes(&left) < GUARD_NODES_MAX {
        let open = match op {
            Operator::And => DfExpr::IsNotFalse(Box::new(left.clone())),
            _ => DfExpr::IsNotTrue(Box::new(left.clone())),
        };
        guarded(&open, right)?
    } else {
        right
    };
    Ok(DfExpr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right))))
}

/// Whether evaluating the expression can fail for some row.
pub(crate) fn may_raise(expr: &DfExpr) -> bool {
    let mut raises = false;
    // The closure never fails, so neither does the walk.
    let _ = expr.apply(|node| {
        raises |= node_may_raise(node);
        Ok(if raises { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    raises
}

fn guarded(open: &DfExpr, expr: DfExpr) -> Result<DfExpr> {
    let out = expr.transform_down(|node| {
        if !may_raise(&node) {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        }
        match node {
            // Boolean by construction: the guard goes further down.
            DfExpr::BinaryExpr(_)
            | DfExpr::Not(_)
            | DfExpr::IsNull(_)
            | DfExpr::IsNotNull(_)
            | DfExpr::IsTrue(_)
            | DfExpr::IsFalse(_)
            | DfExpr::IsUnknown(_)
            | DfExpr::IsNotTrue(_)
            | DfExpr::IsNotFalse(_)
            | DfExpr::IsNotUnknown(_)
            | DfExpr::InList(_)
            | DfExpr::Between(_)
            | DfExpr::Like(_)
            | DfExpr::InSubquery(_) => Ok(Transformed::no(node)),
            // A boolean call is guarded at its first argument: kernels answer NULL with NULL.
            DfExpr::ScalarFunction(mut call) if is_boolean_call(&call) && !call.args.is_empty() => {
                call.args = call
                    .args
                    .into_iter()
                    .enumerate()
                    .map(|(idx, arg)| if idx == 0 || may_raise(&arg) { case(open, arg) } else { arg })
                    .collect();
                Ok(Transformed::new(DfExpr::ScalarFunction(call), true, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::new(case(open, other), true, TreeNodeRecursion::Jump)),
        }
    })?;
    Ok(out.data)
}

fn case(open: &DfExpr, then: DfExpr) -> DfExpr {
    DfExpr::Case(Case::new(None, vec![(Box::new(open.clone()), Box::new(then))], None))
}

fn is_boolean_call(call: &datafusion::logical_expr::expr::ScalarFunction) -> bool {
    match call.name() {
        "spark_cast" => matches!(call.args.get(1), Some(DfExpr::Literal(value, _)) if value.try_as_str().flatten() == Some("boolean")),
        name => crate::registry::is_boolean_kernel(name),
    }
}

fn node_may_raise(node: &DfExpr) -> bool {
    match node {
        DfExpr::ScalarFunction(call) => !crate::registry::never_raises(call.name()) && !is_string_cast(call),
        DfExpr::ScalarSubquery(_) | DfExpr::HigherOrderFunction(_) => true,
        _ => false,
    }
}

/// Everything has a text, and `TRY_CAST` gives NULL.
fn is_string_cast(call: &datafusion::logical_expr::expr::ScalarFunction) -> bool {
    let text = |idx: usize| match call.args.get(idx) {
        Some(DfExpr::Literal(value, _)) => value.try_as_str().flatten(),
        _ => None,
    };
    call.name() == "spark_cast" && (text(1) == Some("string") || text(2) == Some("try"))
}

fn n_nodes(expr: &DfExpr) -> usize {
    let mut n = 0;
    let _ = expr.apply(|_| {
        n += 1;
        Ok(if n > GUARD_NODES_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    n
}
