//! `PIVOT`: an aggregation whose groups of the pivot columns become columns.
//!
//! As in Spark it is two aggregations where that is possible: by the keys and the pivot columns, then one value of each
//! row for each column. A value that no row has is then NULL, even of `count()`. Aggregates of other types are computed
//! once for each value, over its rows only: there `count()` of no rows is 0.

use std::collections::HashSet;

use datafusion::common::ScalarValue;
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, Grouping, Plan, UnresolvedFunction};

use crate::coerce::is_numeric;
use crate::error::{AnalysisError, Result};
use crate::expr::ExprCx;
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel, Visibility, find};
use crate::walk::{contains_aggregate, visit};

/// Qualifier under which the grouping columns are found, whatever else is called like them.
const KEYS: &str = "__pivot_keys";

/// A `PIVOT` as written.
pub(super) struct Pivot<'p> {
    pub(super) input: &'p Plan,
    /// The groups; none: all columns that nothing else names.
    pub(super) grouping: Option<&'p [Expr]>,
    pub(super) aggregates: &'p [Expr],
    pub(super) columns: &'p [Expr],
    pub(super) values: &'p [Expr],
    pub(super) span: Span,
}

impl Resolver<'_> {
    pub(super) fn pivot(&mut self, pivot: &Pivot<'_>) -> Result<Rel> {
        let span = pivot.span;
        if pivot.values.is_empty() {
            return Err(AnalysisError::unsupported("pivot() without values", span).hint("give the values, or write PIVOT (... IN (...))"));
        }
        for aggregate in pivot.aggregates {
            if !contains_aggregate(aggregate, self.catalog()) {
                return Err(AnalysisError::invalid(
                    "_LEGACY_ERROR_TEMP_1006",
                    "PIVOT needs an aggregate function around every column in front of FOR",
                    aggregate.span(),
                ));
            }
        }
        let mut rel = self.plan(pivot.input)?;
        let keys = self.pivot_keys(&mut rel, pivot)?;
        let n_keys = keys.len();
        // First by the keys and the pivot columns.
        let mut exprs: Vec<Expr> = keys.iter().map(|(key, _)| key.clone()).collect();
        exprs.extend(pivot.columns.iter().cloned());
        let grouping = Grouping::Plain(exprs.clone());
        exprs.extend(pivot.aggregates.iter().map(|aggregate| bare(aggregate).clone()));
        let named = exprs.into_iter().enumerate().map(|(idx, expr)| expr.alias(format!("c{idx}"))).collect::<Vec<_>>();
        let by_value = self.aggregate_over(rel.clone(), &grouping, &named, span)?;
        let types: Vec<DataType> = by_value.attrs.iter().skip(n_keys).map(|attr| attr.data_type.clone()).collect();
        let (column_types, aggregate_types) = types.split_at(pivot.columns.len().min(types.len()));
        let in_two_steps = aggregate_types.iter().all(|t| is_numeric(t) || *t == DataType::Boolean);
        let names = self.pivot_names(&rel, pivot)?;

        let first = n_keys + pivot.columns.len();
        let keys_out: Vec<Expr> = match in_two_steps {
            true => (0..n_keys).map(|idx| Expr::col(&format!("c{idx}"))).collect(),
            false => keys.iter().map(|(key, _)| key.clone()).collect(),
        };
        let mut exprs = keys_out.clone();
        for (value, name) in pivot.values.iter().zip(names) {
            let is_value = |of: &dyn Fn(usize) -> Expr| is_value(value, column_types, of, span);
            for (idx, aggregate) in pivot.aggregates.iter().enumerate() {
                let expr = if in_two_steps {
                    let condition = is_value(&|idx| Expr::col(&format!("c{}", n_keys + idx)))?;
                    filtered(&Expr::call_at("first", vec![Expr::col(&format!("c{}", first + idx))], span), &condition)
                } else {
                    let condition = is_value(&|idx| pivot.columns.get(idx).cloned().unwrap_or_else(|| Expr::lit(true)))?;
                    filtered(bare(aggregate), &condition)
                };
                let name = match pivot.aggregates {
                    [_] => name.clone(),
                    _ => format!("{name}_{}", self.pivot_aggregate_name(&rel, aggregate)?),
                };
                exprs.push(expr.alias(name));
            }
        }
        let input = if in_two_steps { by_value } else { rel };
        let mut out = self.aggregate_over(input, &Grouping::Plain(keys_out), &exprs, span)?;
        for (attr, (_, key)) in out.attrs.iter_mut().zip(keys) {
            attr.name = key.name;
            attr.qualifiers = key.qualifiers;
        }
        Ok(out)
    }

    /// The grouping columns, found in `rel` under [`KEYS`].
    fn pivot_keys(&mut self, rel: &mut Rel, pivot: &Pivot<'_>) -> Result<Vec<(Expr, Attribute)>> {
        let case = self.name_case();
        let mut keys: Vec<Attribute> = vec![];
        match pivot.grouping {
            Some(exprs) => {
                let mut cx = ExprCx::new(&rel.attrs, "GROUP BY");
                for expr in exprs {
                    let typed = self.expr(&mut cx, expr)?;
                    let attr = rel.attrs.iter().find(|attr| attr.column() == typed.expr);
                    keys.push(attr.cloned().ok_or_else(|| {
                        AnalysisError::unsupported("pivot() of groups that are no columns", expr.span())
                            .hint("add them with withColumn first")
                    })?);
                }
            }
            None => {
                let mut used = HashSet::new();
                for expr in pivot.aggregates.iter().chain(pivot.columns) {
                    let mut names: Vec<(&[String], Span)> = vec![];
                    visit(expr, &mut |node| {
                        if let Expr::UnresolvedAttribute { parts, span, .. } = node {
                            names.push((parts, *span));
                        }
                    });
                    for (parts, span) in names {
                        used.extend(find(&rel.attrs, parts, case, span)?.map(|found| found.attr.id));
                    }
                }
                keys.extend(rel.visible().filter(|attr| !used.contains(&attr.id)).cloned());
            }
        }
        let mut out = vec![];
        for (idx, key) in keys.into_iter().enumerate() {
            let name = format!("k{idx}");
            let alias =
                Attribute { name: name.clone(), qualifiers: vec![KEYS.to_owned()], visibility: Visibility::Qualified, ..key.clone() };
            rel.attrs.push(alias);
            out.push((Expr::UnresolvedAttribute { parts: vec![KEYS.to_owned(), name], plan_id: None, span: pivot.span }, key));
        }
        Ok(out)
    }

    /// What the columns of each value are called: the value's alias, or its text.
    fn pivot_names(&mut self, rel: &Rel, pivot: &Pivot<'_>) -> Result<Vec<String>> {
        let mut cx = ExprCx::new(&rel.attrs, "PIVOT");
        let mut names = vec![];
        for value in pivot.values {
            if let Expr::Alias { names: given, .. } = value
                && let Some(name) = given.first()
            {
                names.push(name.name.clone());
                continue;
            }
            let typed = self.expr(&mut cx, value)?;
            if !typed.is_constant() {
                let message = format!("the value '{}' of PIVOT is not a constant", typed.name);
                return Err(AnalysisError::invalid("NON_LITERAL_PIVOT_VALUES", message, value.span()));
            }
            let text = self.cast_with(typed, &DataType::String, "ansi", value.span())?;
            names.push(match self.evaluate(&text, value.span())? {
                ScalarValue::Utf8(Some(text)) => text,
                _ => "null".to_owned(),
            });
        }
        Ok(names)
    }

    fn pivot_aggregate_name(&mut self, rel: &Rel, aggregate: &Expr) -> Result<String> {
        if let Expr::Alias { names, .. } = aggregate
            && let Some(name) = names.first()
        {
            return Ok(name.name.clone());
        }
        let all = self.aggregate_over(rel.clone(), &Grouping::Plain(vec![]), std::slice::from_ref(aggregate), aggregate.span())?;
        Ok(all.attrs.first().map(|attr| attr.name.clone()).unwrap_or_default())
    }
}

/// That the pivot columns have this value.
fn is_value(value: &Expr, types: &[DataType], column: &dyn Fn(usize) -> Expr, span: Span) -> Result<Expr> {
    let parts: Vec<Expr> = match (types, bare(value)) {
        ([_], value) => vec![value.clone()],
        // Rows of values are structs: names and values in turn.
        (_, Expr::UnresolvedFunction(call)) if call.name == "named_struct" => call.args.iter().skip(1).step_by(2).cloned().collect(),
        _ => vec![],
    };
    if parts.len() != types.len() {
        let message = format!("a value of PIVOT has {} parts, but there are {} pivot columns", parts.len(), types.len());
        return Err(AnalysisError::invalid("PIVOT_VALUE_DATA_TYPE_MISMATCH", message, value.span()));
    }
    let same = parts
        .into_iter()
        .zip(types)
        .enumerate()
        .map(|(idx, (part, data_type))| Expr::call_at("<=>", vec![column(idx), part.cast(data_type.clone())], span));
    same.reduce(|left, right| Expr::call_at("and", vec![left, right], span)).ok_or_else(|| AnalysisError::internal("PIVOT without columns"))
}

/// The expression with its aggregates over rows that fulfil `condition` only.
fn filtered(expr: &Expr, condition: &Expr) -> Expr {
    match expr {
        Expr::UnresolvedFunction(call) if crate::registry::is_aggregate(&call.name.to_lowercase()) => {
            let filter = match &call.filter {
                None => condition.clone(),
                Some(own) => Expr::call_at("and", vec![condition.clone(), own.as_ref().clone()], call.span),
            };
            Expr::UnresolvedFunction(UnresolvedFunction { filter: Some(Box::new(filter)), ..call.clone() })
        }
        Expr::UnresolvedFunction(call) => {
            let args = call.args.iter().map(|arg| filtered(arg, condition)).collect();
            Expr::UnresolvedFunction(UnresolvedFunction { args, ..call.clone() })
        }
        Expr::Cast { expr, data_type, mode, span } => {
            Expr::Cast { expr: Box::new(filtered(expr, condition)), data_type: data_type.clone(), mode: *mode, span: *span }
        }
        Expr::Alias { expr, names, metadata, span } => {
            Expr::Alias { expr: Box::new(filtered(expr, condition)), names: names.clone(), metadata: metadata.clone(), span: *span }
        }
        other => other.clone(),
    }
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias { expr, .. } => expr,
        other => other,
    }
}
