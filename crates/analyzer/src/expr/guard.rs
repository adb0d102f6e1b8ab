//! `AND` and `OR` that do not evaluate their right side where the left one decides.
//!
//! DataFusion evaluates both sides for all rows, so `v != 0 AND 10 / v > 1` would fail where Spark answers. A `CASE`
//! around a boolean is turned back into `AND` by the optimiser; around an operand of any other type it stays. So
//! every subtree of the right side that can raise an error and is not boolean becomes
//! `CASE WHEN left IS NOT FALSE THEN subtree END`.

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{BinaryExpr, Case, Expr as DfExpr, Operator, lit};

use millstream_sql::ir::DataType;

use super::Typed;
use crate::error::{AnalysisError, Result};

/// How many nodes the guards of one chain may copy, and how many terms of a chain DataFusion sees apart. Chains beyond
/// that become one `CASE`, see [`as_case`].
const COPIED_NODES_MAX: usize = 20_000;
const TERMS_MAX: usize = 256;

/// `a AND b ...` or `a OR b ...`, where no term can raise errors for rows that the ones before it decide.
pub(crate) fn connect(op: Operator, terms: Vec<Typed>) -> Result<DfExpr> {
    let is_long = match op {
        // DataFusion takes conditions apart at AND and puts them together again as a tree as high as there are terms.
        Operator::And => terms.len() > TERMS_MAX,
        _ => false,
    };
    let has_subquery = || terms.iter().any(|term| contains_subquery(&term.expr));
    if (is_long || copied_nodes(&terms) > COPIED_NODES_MAX) && !has_subquery() {
        let first = terms.iter().take(TERMS_MAX).take_while(|term| !may_raise(&term.expr)).map(|term| term.expr.clone());
        let seen_apart = if op == Operator::And { balanced(op, first.collect())? } else { None };
        let case = as_case(op, terms)?;
        return Ok(match seen_apart {
            Some(first) => first.and(case),
            None => case,
        });
    }
    let out = balanced(op, terms.into_iter().map(|term| term.expr).collect())?;
    out.ok_or_else(|| AnalysisError::internal("a chain without terms"))
}

/// The terms as a tree of little height, with guards.
fn balanced(op: Operator, mut terms: Vec<DfExpr>) -> Result<Option<DfExpr>> {
    if terms.len() < 2 {
        return Ok(terms.pop());
    }
    let right = terms.split_off(terms.len().div_ceil(2));
    let (Some(left), Some(right)) = (balanced(op, terms)?, balanced(op, right)?) else { return Ok(None) };
    let right = if may_raise(&right) {
        let open = match op {
            Operator::And => DfExpr::IsNotFalse(Box::new(left.clone())),
            _ => DfExpr::IsNotTrue(Box::new(left.clone())),
        };
        guarded(&open, right)?
    } else {
        right
    };
    Ok(Some(DfExpr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))))
}

/// A chain as one `CASE`, flat however long it is: the first term that decides ends it, as `CASE` asks its branches row
/// by row. `AND`:
///
/// ```text
/// CASE WHEN a IS FALSE THEN 0 WHEN b IS FALSE THEN 0 ... WHEN a IS NULL THEN NULL WHEN b IS NULL THEN NULL ... ELSE 1 END
/// ```
/// as a boolean by our own cast: the optimiser would turn a boolean `CASE`, or one compared with a number, into a tree of
/// `AND` and `OR`.
fn as_case(op: Operator, terms: Vec<Typed>) -> Result<DfExpr> {
    let (decided, otherwise) = if op == Operator::And { (0, 1) } else { (1, 0) };
    let unknown = DfExpr::Literal(ScalarValue::Int32(None), None);
    let branch = |when: DfExpr, then: DfExpr| (Box::new(when), Box::new(then));
    let unknowns: Vec<_> = terms
        .iter()
        .filter(|term| term.nullable)
        .map(|term| branch(DfExpr::IsNull(Box::new(term.expr.clone())), unknown.clone()))
        .collect();
    let decides = |term: DfExpr| match op {
        Operator::And => DfExpr::IsFalse(Box::new(term)),
        _ => DfExpr::IsTrue(Box::new(term)),
    };
    let branches = terms.into_iter().map(|term| branch(decides(term.expr), lit(decided))).chain(unknowns).collect();
    let case = DfExpr::Case(Case::new(None, branches, Some(Box::new(lit(otherwise)))));
    super::cast::cast_call(case, &DataType::Boolean, &DataType::Int, "ansi", "UTC")
}

/// About how many nodes the guards between the terms would copy: before each term that can raise, all the ones before it.
fn copied_nodes(terms: &[Typed]) -> usize {
    let (mut before, mut copied) = (0_usize, 0_usize);
    for term in terms {
        if may_raise(&term.expr) {
            copied = copied.saturating_add(before);
        }
        before = before.saturating_add(n_nodes(&term.expr));
    }
    copied
}

pub(crate) fn contains_subquery(expr: &DfExpr) -> bool {
    expr.exists(|node| Ok(matches!(node, DfExpr::Exists(_) | DfExpr::InSubquery(_) | DfExpr::ScalarSubquery(_)))).unwrap_or(true)
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
        Ok(if n > COPIED_NODES_MAX { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    n
}
