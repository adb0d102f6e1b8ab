//! `UNPIVOT`: columns become rows, by `stack()`.

use std::sync::Arc;

use datafusion::logical_expr::{Expr as DfExpr, Filter, LogicalPlan};
use millstream_sql::Span;
use millstream_sql::ir::{Expr, Ident, Plan};

use super::projection;
use crate::coerce::{common_type_of, is_string};
use crate::error::{AnalysisError, Result};
use crate::expr::{ExprCx, Typed};
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel};

/// An `UNPIVOT` as written.
pub(super) struct Unpivot<'p> {
    pub(super) input: &'p Plan,
    /// Columns that stay; none: all others.
    pub(super) ids: Option<&'p [Expr]>,
    pub(super) values: &'p [(Vec<Expr>, Option<Ident>)],
    pub(super) variable: &'p Ident,
    pub(super) value_names: &'p [Ident],
    pub(super) include_nulls: bool,
    pub(super) span: Span,
}

impl Resolver<'_> {
    pub(super) fn unpivot(&mut self, unpivot: &Unpivot<'_>) -> Result<Rel> {
        let span = unpivot.span;
        let rel = self.plan(unpivot.input)?;
        let mut cx = ExprCx::new(&rel.attrs, "UNPIVOT");
        let mut groups: Vec<Vec<Typed>> = vec![];
        let mut args = vec![Expr::lit(i32::try_from(unpivot.values.len()).unwrap_or(i32::MAX))];
        for (columns, name) in unpivot.values {
            if columns.len() != unpivot.value_names.len() {
                return Err(AnalysisError::invalid(
                    "UNPIVOT_VALUE_SIZE_MISMATCH",
                    format!("{} columns are to become {} value columns", columns.len(), unpivot.value_names.len()),
                    span,
                ));
            }
            let group = self.exprs(&mut cx, columns)?;
            let own = || group.iter().map(Typed::column_name).collect::<Vec<_>>().join("_");
            args.push(Expr::lit(name.as_ref().map_or_else(own, |name| name.name.clone()).as_str()));
            args.extend(columns.iter().cloned());
            groups.push(group);
        }
        for (idx, name) in unpivot.value_names.iter().enumerate() {
            let types: Vec<_> = groups.iter().filter_map(|group| group.get(idx)).map(|typed| &typed.data_type).collect();
            // Unlike elsewhere a string does not take in other types.
            let n_strings = types.iter().filter(|t| is_string(t)).count();
            if common_type_of(types.iter().copied()).is_none() || n_strings > 0 && n_strings < types.len() {
                return Err(AnalysisError::invalid(
                    "UNPIVOT_VALUE_DATA_TYPE_MISMATCH",
                    format!("the columns that become '{}' have no common type", name.name),
                    span,
                ));
            }
        }
        let ids: Vec<Attribute> = match unpivot.ids {
            Some(ids) => {
                let typed = self.exprs(&mut cx, ids)?;
                rel.visible().filter(|attr| typed.iter().any(|id| id.expr == attr.column())).cloned().collect()
            }
            None => {
                let is_value = |attr: &Attribute| groups.iter().flatten().any(|value| value.expr == attr.column());
                rel.visible().filter(|attr| !is_value(attr)).cloned().collect()
            }
        };
        let names: Vec<Ident> = std::iter::once(unpivot.variable).chain(unpivot.value_names).cloned().collect();
        let Expr::UnresolvedFunction(call) = Expr::call_at("stack", args, span) else {
            return Err(AnalysisError::internal("a call that is none"));
        };
        let (rel, made) = self.generate(rel, &call, false, &names, span)?;
        let mut plan = rel.plan;
        let values = made.iter().skip(1).map(|attr| DfExpr::IsNotNull(Box::new(attr.column())));
        if let Some(any) = values.reduce(DfExpr::or)
            && !unpivot.include_nulls
        {
            plan = LogicalPlan::Filter(Filter::try_new(any, Arc::new(plan))?);
        }
        let attrs: Vec<Attribute> = ids.into_iter().chain(made).collect();
        let plan = projection(attrs.iter().map(Attribute::column).collect(), plan)?;
        let watermarks = rel.watermarks.into_iter().filter(|mark| attrs.iter().any(|attr| attr.id == mark.id)).collect();
        Ok(Rel { plan, attrs, is_streaming: rel.is_streaming, watermarks })
    }
}
