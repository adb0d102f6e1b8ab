//! DataFrame steps that depend on which columns there are: `group_by().max()` without names, `fillna`, `dropna`.
//!
//! The builder cannot know the columns, so it leaves a call under one of the names below, which no text can write by
//! accident. Once the input is resolved, the step is rewritten into the plain relation that it stands for.

use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, Literal, Plan};

use crate::coerce::{is_numeric, is_string};
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;
use crate::scope::{Attribute, NameCase, Rel};

/// In the list of an aggregation: the aggregate's name, then columns; without columns all numeric ones.
pub const AGGREGATE_NUMERIC: &str = "$aggregate_numeric";
/// As the only new column of `withColumns`: the value, then columns; without columns all of the value's kind.
pub const FILL_NULLS: &str = "$fill_nulls";
/// As a filter's condition: how many values must be there (-1: all), then columns; without columns all of them.
pub const KEEP_KNOWN: &str = "$keep_known";

impl Resolver<'_> {
    /// The plain form of a step that depends on its input's columns; none when `plan` is no such step.
    pub(crate) fn by_schema(&mut self, plan: &Plan) -> Result<Option<Plan>> {
        let case = self.name_case();
        Ok(match plan {
            Plan::Aggregate { input, grouping, aggregates, span }
                if aggregates.iter().any(|expr| marked(expr, AGGREGATE_NUMERIC).is_some()) =>
            {
                let rel = self.plan(input)?;
                let mut list = vec![];
                for expr in aggregates {
                    match marked(expr, AGGREGATE_NUMERIC) {
                        Some(args) => list.extend(numeric_aggregates(&rel, args, case, *span)?),
                        None => list.push(expr.clone()),
                    }
                }
                Some(Plan::Aggregate { input: input.clone(), grouping: grouping.clone(), aggregates: list, span: *span })
            }
            Plan::WithColumns { input, columns, span } => match columns.as_slice() {
                [(_, expr)] if marked(expr, FILL_NULLS).is_some() => {
                    let rel = self.plan(input)?;
                    let columns = filled(&rel, marked(expr, FILL_NULLS).unwrap_or_default(), case, *span)?;
                    Some(Plan::WithColumns { input: input.clone(), columns, span: *span })
                }
                _ => None,
            },
            Plan::Filter { input, condition, span } => match marked(condition, KEEP_KNOWN) {
                Some(args) => {
                    let rel = self.plan(input)?;
                    Some(Plan::Filter { input: input.clone(), condition: known(&rel, args, case, *span)?, span: *span })
                }
                None => None,
            },
            _ => None,
        })
    }
}

/// The arguments of a call under one of the names above.
fn marked<'e>(expr: &'e Expr, name: &str) -> Option<&'e [Expr]> {
    match expr {
        Expr::UnresolvedFunction(call) if call.name == name => Some(&call.args),
        _ => None,
    }
}

fn numeric_aggregates(rel: &Rel, args: &[Expr], case: NameCase, span: Span) -> Result<Vec<Expr>> {
    let [Expr::Literal { value: Literal::String(function), .. }, names @ ..] = args else {
        return Err(AnalysisError::internal("an aggregation of numeric columns without its function"));
    };
    let columns: Vec<&Attribute> = match names {
        [] => rel.visible().filter(|attr| is_numeric(&attr.data_type)).collect(),
        names => named(rel, names, case, span)?,
    };
    if let Some(attr) = columns.iter().find(|attr| !is_numeric(&attr.data_type)) {
        return Err(AnalysisError::invalid(
            "_LEGACY_ERROR_TEMP_1323",
            format!("'{}' is of type {}: {function}() can only be applied to numeric columns", attr.name, attr.data_type.sql()),
            span,
        ));
    }
    Ok(columns.into_iter().map(|attr| Expr::call_at(function.as_str(), vec![column(attr, span)], span)).collect())
}

fn filled(rel: &Rel, args: &[Expr], case: NameCase, span: Span) -> Result<Vec<(String, Expr)>> {
    let [value @ Expr::Literal { value: literal, .. }, names @ ..] = args else {
        return Err(AnalysisError::internal("fillna without a literal"));
    };
    let fits = |data_type: &DataType| match literal {
        Literal::String(_) => is_string(data_type),
        Literal::Boolean(_) => *data_type == DataType::Boolean,
        _ => is_numeric(data_type),
    };
    let columns = match names {
        [] => rel.visible().collect(),
        names => named(rel, names, case, span)?,
    };
    // Columns of another kind are passed over, named or not.
    let columns = columns.into_iter().filter(|attr| fits(&attr.data_type)).map(|attr| {
        let value = value.clone().cast(attr.data_type.clone());
        let filled = match attr.data_type {
            // NaN counts as missing.
            DataType::Float | DataType::Double => {
                let nan_is_null = Expr::call_at("nanvl", vec![column(attr, span), Expr::lit(Literal::Null)], span);
                Expr::call_at("coalesce", vec![nan_is_null, value], span)
            }
            _ => Expr::call_at("coalesce", vec![column(attr, span), value], span),
        };
        (attr.name.clone(), filled)
    });
    Ok(columns.collect())
}

fn known(rel: &Rel, args: &[Expr], case: NameCase, span: Span) -> Result<Expr> {
    let [Expr::Literal { value: Literal::Int(least), .. }, names @ ..] = args else {
        return Err(AnalysisError::internal("dropna without a number"));
    };
    let columns = match names {
        [] => rel.visible().collect(),
        names => named(rel, names, case, span)?,
    };
    let n_columns = i32::try_from(columns.len()).unwrap_or(i32::MAX);
    let least = if *least < 0 { n_columns } else { *least };
    let counted = columns.into_iter().map(|attr| {
        let is_known = Expr::call_at("isnotnull", vec![column(attr, span)], span);
        let is_known = match attr.data_type {
            DataType::Float | DataType::Double => {
                let is_number = Expr::call_at("not", vec![Expr::call_at("isnan", vec![column(attr, span)], span)], span);
                Expr::call_at("and", vec![is_known, is_number], span)
            }
            _ => is_known,
        };
        Expr::call_at("if", vec![is_known, Expr::lit(1), Expr::lit(0)], span)
    });
    let n_known = counted.reduce(|sum, one| Expr::call_at("+", vec![sum, one], span)).unwrap_or_else(|| Expr::lit(0));
    Ok(Expr::call_at(">=", vec![n_known, Expr::lit(least)], span))
}

fn column(attr: &Attribute, span: Span) -> Expr {
    Expr::UnresolvedAttribute { parts: vec![attr.name.clone()], plan_id: None, span }
}

fn named<'r>(rel: &'r Rel, names: &[Expr], case: NameCase, span: Span) -> Result<Vec<&'r Attribute>> {
    let mut out = vec![];
    for name in names {
        let Expr::Literal { value: Literal::String(name), .. } = name else {
            return Err(AnalysisError::internal("a column's name that is no text"));
        };
        let attr = rel.visible().find(|attr| case.same(&attr.name, name));
        out.push(attr.ok_or_else(|| crate::scope::not_found(&rel.attrs, std::slice::from_ref(name), span))?);
    }
    Ok(out)
}
