//! Names of columns, lambda arguments, and `*`.

use datafusion::logical_expr::Expr as DfExpr;
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, ObjectName};

use super::{ExprCx, Typed};
use crate::error::{AnalysisError, Result};
use crate::resolver::Resolver;
use crate::scope::{self, Attribute, Found, Visibility, has_qualifier, written};

/// One entry of a select list: an unresolved expression, or a column that a star gave.
#[derive(Debug)]
pub(crate) enum Item<'a> {
    Expr(&'a Expr),
    Column(Box<Typed>),
}

impl Resolver<'_> {
    /// The column, or struct field of a column, that `parts` names.
    pub(crate) fn attribute(&mut self, cx: &mut ExprCx, parts: &[String], span: Span) -> Result<Typed> {
        let case = self.name_case();
        // A lambda's argument may be written where the parser cannot know it (DataFrame expressions).
        if let Some(found) = find_lambda(cx, parts, case) {
            return self.fields_of(found.0, found.1, span);
        }
        let (first, second) = if cx.outputs_first { (&cx.outputs, &cx.scope) } else { (&cx.scope, &cx.outputs) };
        for attrs in [first, second] {
            if let Some(Found { attr, written, fields }) = scope::find(attrs, parts, case, span)? {
                let mut typed = Typed::attribute(attr).written_as(written);
                if !cx.outputs_first && cx.outputs.iter().any(|out| out.id == attr.id) {
                    typed.name = format!("lateralAliasReference({written})");
                }
                return self.fields_of(typed, fields, span);
            }
        }
        if let Some((attr, fields)) = self.find_outer(parts, span)? {
            let mut typed = Typed::attribute(&attr);
            typed.expr = self.outer_reference(&attr)?;
            return self.fields_of(typed, &fields, span);
        }
        if let Some(typed) = self.made_window(cx, parts, span)? {
            return Ok(typed);
        }
        if let [name] = parts
            && let Some(typed) = self.niladic(cx, name, span)?
        {
            return Ok(typed);
        }
        let mut all = cx.scope.clone();
        all.extend(cx.outputs.iter().cloned());
        Err(scope::not_found(&all, parts, span))
    }

    /// A lambda's argument.
    pub(crate) fn lambda_variable(&mut self, cx: &mut ExprCx, parts: &[String], span: Span) -> Result<Typed> {
        let case = self.name_case();
        match find_lambda(cx, parts, case) {
            Some((typed, fields)) => self.fields_of(typed, fields, span),
            None => self.attribute(cx, parts, span),
        }
    }

    /// Functions that may be written without parentheses: `current_date`.
    fn niladic(&mut self, cx: &mut ExprCx, name: &str, span: Span) -> Result<Option<Typed>> {
        const NILADIC: [&str; 6] = ["current_date", "current_timestamp", "current_user", "user", "session_user", "localtimestamp"];
        let lower = name.to_lowercase();
        if !NILADIC.contains(&lower.as_str()) {
            return Ok(None);
        }
        let call = Expr::call_at(lower, vec![], span);
        self.expr(cx, &call).map(Some)
    }

    fn fields_of(&mut self, mut typed: Typed, fields: &[String], span: Span) -> Result<Typed> {
        for field in fields {
            typed = self.named_field(typed, field, span)?;
        }
        // A path of names is called by its last one as written, a computed struct's field by the whole text.
        if let Some(last) = fields.last() {
            typed.own_name = Some(last.clone());
        }
        Ok(typed)
    }

    /// The columns that a star stands for; none when `expr` is no star.
    pub(crate) fn expand_star(&mut self, scope: &[Attribute], expr: &Expr) -> Result<Option<Vec<Typed>>> {
        let Expr::UnresolvedStar { target, except, span, .. } = expr else { return Ok(None) };
        let case = self.name_case();
        let columns = match target {
            None => scope.iter().filter(|attr| attr.visibility == Visibility::Shown).map(Typed::attribute).collect(),
            Some(target) => {
                let of_relation: Vec<Typed> = scope
                    .iter()
                    .filter(|attr| attr.visibility != Visibility::Metadata && has_qualifier(attr, target, case))
                    .map(Typed::attribute)
                    .collect();
                if of_relation.is_empty() { self.struct_star(scope, target, *span)? } else { of_relation }
            }
        };
        self.without(columns, except).map(Some)
    }

    fn struct_star(&mut self, scope: &[Attribute], target: &[String], span: Span) -> Result<Vec<Typed>> {
        let case = self.name_case();
        let Some(Found { attr, fields, .. }) = scope::find(scope, target, case, span)? else {
            return Err(AnalysisError::invalid(
                "CANNOT_RESOLVE_STAR_EXPAND",
                format!("'{}.*' cannot be expanded: there is no relation and no struct of that name", written(target)),
                span,
            ));
        };
        let typed = Typed::attribute(attr);
        let typed = self.fields_of(typed, fields, span)?;
        let DataType::Struct(fields) = typed.data_type.clone() else {
            return Err(AnalysisError::invalid(
                "_LEGACY_ERROR_TEMP_1050",
                format!("'{}.*' cannot be expanded: it is of type {}, not a struct", written(target), typed.data_type.sql()),
                span,
            ));
        };
        fields.iter().map(|field| self.struct_field(&typed, field)).collect()
    }

    /// `* EXCEPT (a, b.c)`
    fn without(&mut self, columns: Vec<Typed>, except: &[ObjectName]) -> Result<Vec<Typed>> {
        let case = self.name_case();
        let mut kept = columns;
        for name in except {
            let [column] = name.parts.as_slice() else {
                return Err(AnalysisError::unsupported("EXCEPT of a struct's field", name.span));
            };
            let before = kept.len();
            kept.retain(|typed| !typed.own_name.as_deref().is_some_and(|own| case.same(own, column)));
            if kept.len() == before {
                return Err(AnalysisError::invalid(
                    "EXCEPT_NESTED_COLUMN_INVALID_TYPE",
                    format!("the column '{column}' of EXCEPT is not among the columns"),
                    name.span,
                ));
            }
        }
        Ok(kept)
    }

    /// The select list with its stars expanded.
    pub(crate) fn expand_items<'e>(&mut self, scope: &[Attribute], exprs: &'e [Expr]) -> Result<Vec<Item<'e>>> {
        let mut items = vec![];
        for expr in exprs {
            match self.expand_star(scope, expr)? {
                Some(columns) => items.extend(columns.into_iter().map(|column| Item::Column(Box::new(column)))),
                None => items.push(Item::Expr(expr)),
            }
        }
        Ok(items)
    }

    fn find_outer(&self, parts: &[String], span: Span) -> Result<Option<(Attribute, Vec<String>)>> {
        // Only the query right around a subquery can be named: DataFusion decorrelates one level.
        let Some(outer) = self.outer_scope() else { return Ok(None) };
        let found = scope::find(outer, parts, self.name_case(), span)?;
        Ok(found.map(|Found { attr, written, fields }| (Attribute { name: written.to_owned(), ..attr.clone() }, fields.to_vec())))
    }

    fn outer_reference(&self, attr: &Attribute) -> Result<DfExpr> {
        let field = arrow::datatypes::Field::new(attr.plan_name(), crate::types::arrow_type(&attr.data_type)?, attr.nullable);
        let column = datafusion::common::Column::new_unqualified(attr.plan_name());
        Ok(DfExpr::OuterReferenceColumn(std::sync::Arc::new(field), column))
    }
}

fn find_lambda<'a>(cx: &ExprCx, parts: &'a [String], case: crate::scope::NameCase) -> Option<(Typed, &'a [String])> {
    let (name, fields) = parts.split_first()?;
    let (_, typed) = cx.lambdas.iter().rev().find(|(known, _)| case.same(known, name))?;
    Some((typed.clone(), fields))
}
