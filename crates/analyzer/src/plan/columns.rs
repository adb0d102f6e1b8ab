//! Relations of the DataFrame API that change columns by name: `withColumns`, `drop`, `toDF`.

use millstream_sql::Span;
use millstream_sql::ir::{Expr, Ident, Plan};

use super::projection;
use super::select_block::Block;
use crate::error::{AnalysisError, Result};
use crate::expr::{Item, Typed};
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel};
use crate::walk::generator_of;

impl Resolver<'_> {
    /// A list of the input's columns, some of them replaced, and new ones behind; all of them see the input only.
    pub(crate) fn with_columns(&mut self, input: &Plan, columns: &[(String, Expr)], span: Span) -> Result<Rel> {
        let mut rel = self.plan(input)?;
        let case = self.name_case();
        let scope: Vec<Attribute> = rel.visible().cloned().collect();
        let mut computed: Vec<(&str, Item<'_>)> = vec![];
        let aliased: Vec<Expr> = columns.iter().map(|(name, expr)| expr.clone().alias(name.clone())).collect();
        for ((name, expr), aliased) in columns.iter().zip(&aliased) {
            if computed.iter().any(|(known, _)| case.same(known, name)) {
                return Err(AnalysisError::invalid("COLUMN_ALREADY_EXISTS", format!("the column '{name}' is given twice"), span));
            }
            let item = match generator_of(expr) {
                None => Item::Expr(aliased),
                Some((call, _)) => {
                    let (generated, made) = self.generate(rel, call, false, &[Ident::new(name.clone())], call.span)?;
                    rel = generated;
                    rel.attrs.extend(made.iter().cloned());
                    match made.as_slice() {
                        [attr] => Item::Column(Box::new(Typed::attribute(attr))),
                        _ => return Err(AnalysisError::internal("a generator of several columns under one name")),
                    }
                }
            };
            computed.push((name, item));
        }
        let mut items = vec![];
        for attr in &scope {
            // A name that stands for several columns replaces all of them.
            match computed.iter().find(|(name, _)| case.same(name, &attr.name)) {
                None => items.push(Item::Column(Box::new(Typed::attribute(attr)))),
                Some((_, Item::Expr(expr))) => items.push(Item::Expr(expr)),
                Some((_, Item::Column(typed))) => items.push(Item::Column(typed.clone())),
            }
        }
        items.extend(computed.into_iter().filter(|(name, _)| !scope.iter().any(|attr| case.same(name, &attr.name))).map(|(_, item)| item));
        self.select_items(rel, scope, items, &Block::of_list(span), None)
    }

    /// New names for some columns; names that do not exist are passed over.
    pub(crate) fn with_columns_renamed(&mut self, input: &Plan, renames: &[(String, String)]) -> Result<Rel> {
        let rel = self.plan(input)?;
        let case = self.name_case();
        let attrs = rel
            .visible()
            .map(|attr| {
                // Renames apply in order, each to the result of the ones before it.
                renames.iter().fold(attr.clone(), |attr, (from, to)| match case.same(&attr.name, from) {
                    true => Attribute { name: to.clone(), ..attr },
                    false => attr,
                })
            })
            .collect();
        Ok(Rel { attrs, ..rel })
    }

    /// Leaves columns out; names that do not exist are passed over.
    pub(crate) fn drop_columns(&mut self, input: &Plan, columns: &[Expr]) -> Result<Rel> {
        let rel = self.plan(input)?;
        let case = self.name_case();
        let mut dropped = vec![];
        for column in columns {
            match column {
                Expr::UnresolvedAttribute { parts, span, .. } => {
                    // drop("a") drops every column of that name.
                    if let [name] = parts.as_slice() {
                        dropped.extend(rel.attrs.iter().filter(|attr| case.same(&attr.name, name)).map(|attr| attr.id));
                        continue;
                    }
                    if let Some(found) = crate::scope::find(&rel.attrs, parts, case, *span)?
                        && found.fields.is_empty()
                    {
                        dropped.push(found.attr.id);
                    }
                }
                other => {
                    return Err(AnalysisError::invalid("UNSUPPORTED_EXPR_FOR_OPERATOR", "drop takes columns only", other.span()));
                }
            }
        }
        let attrs: Vec<Attribute> = rel.visible().filter(|attr| !dropped.contains(&attr.id)).cloned().collect();
        let plan = projection(attrs.iter().map(Attribute::column).collect(), rel.plan)?;
        Ok(Rel { plan, attrs, ..rel })
    }

    /// New names for all columns.
    pub(crate) fn renamed_all(&mut self, rel: Rel, names: &[String], span: Span) -> Result<Rel> {
        let n_columns = rel.visible().count();
        if n_columns != names.len() {
            return Err(AnalysisError::invalid(
                "ASSIGNMENT_ARITY_MISMATCH",
                format!("toDF() is given {} names for {n_columns} columns", names.len()),
                span,
            ));
        }
        let attrs =
            rel.visible().zip(names).map(|(attr, name)| Attribute { name: name.clone(), qualifiers: vec![], ..attr.clone() }).collect();
        Ok(Rel { attrs, ..rel })
    }
}
