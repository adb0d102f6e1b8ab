//! Generators: `explode` and its kin in select lists, `LATERAL VIEW`, `FROM`. All become `Unnest` over computed columns.

use datafusion::common::{Column, NullHandling, ScalarValue, UnnestOptions};
use datafusion::logical_expr::{Expr as DfExpr, LogicalPlan, LogicalPlanBuilder};
use millstream_sql::Span;
use millstream_sql::ir::{DataType, Expr, Ident, StructField, UnresolvedFunction};

use super::{projection, with_batch_time};
use crate::coerce::common_type_of;
use crate::error::{AnalysisError, Result};
use crate::expr::{ExprCx, Typed};
use crate::registry::field;
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel, Visibility, column, plan_name};

/// A column that a generator makes, before it has an id.
struct Made {
    name: String,
    data_type: DataType,
    nullable: bool,
    /// Its value over the unnested columns.
    expr: DfExpr,
}

/// A generator's plan: lists to unnest side by side, and the columns made of their elements.
struct Recipe {
    lists: Vec<(u64, DfExpr)>,
    made: Vec<Made>,
}

impl Resolver<'_> {
    /// `LATERAL VIEW [OUTER]`: the generator's columns are added to the input's.
    pub(crate) fn lateral_view(
        &mut self,
        rel: Rel,
        generator: &Expr,
        outer: bool,
        alias: Option<&Ident>,
        columns: &[Ident],
        span: Span,
    ) -> Result<Rel> {
        let Expr::UnresolvedFunction(call) = generator else {
            return Err(AnalysisError::invalid("NOT_A_GENERATOR", "LATERAL VIEW needs a generator such as explode()", span));
        };
        if !crate::registry::is_generator(&call.name.to_lowercase()) {
            return Err(AnalysisError::invalid("NOT_A_GENERATOR", format!("{}() is no generator", call.name), span));
        }
        let (mut rel, made) = self.generate(rel, call, outer, columns, span)?;
        let qualifiers: Vec<String> = alias.map(|alias| alias.name.clone()).into_iter().collect();
        rel.attrs.extend(made.into_iter().map(|attr| Attribute { qualifiers: qualifiers.clone(), ..attr }));
        Ok(rel)
    }

    /// A generator in `FROM`.
    pub(crate) fn generator_relation(&mut self, name: &str, args: &[Expr], span: Span) -> Result<Rel> {
        let Expr::UnresolvedFunction(call) = Expr::call_at(name, args.to_vec(), span) else {
            return Err(AnalysisError::internal("a call that is no call"));
        };
        let (rel, made) = self.generate(Self::one_row(), &call, false, &[], span)?;
        let plan = projection(made.iter().map(Attribute::column).collect(), rel.plan)?;
        Ok(Rel { plan, attrs: made, is_streaming: false, watermarks: vec![] })
    }

    /// The input with the generator's columns behind its own, and those columns.
    pub(crate) fn generate(
        &mut self,
        rel: Rel,
        call: &UnresolvedFunction,
        outer: bool,
        names: &[Ident],
        span: Span,
    ) -> Result<(Rel, Vec<Attribute>)> {
        let name = call.name.to_lowercase();
        let (base, is_outer) = match name.strip_suffix("_outer") {
            Some(base) => (base, true),
            None => (name.as_str(), outer),
        };
        let mut cx = ExprCx::new(&rel.attrs, "a generator");
        let args = call
            .args
            .iter()
            .map(|arg| match arg {
                Expr::NamedArgument { value, .. } => self.expr(&mut cx, value),
                arg => self.expr(&mut cx, arg),
            })
            .collect::<Result<Vec<_>>>()?;
        let recipe = match base {
            "explode" => self.explode(args, &name, span)?,
            "posexplode" => self.posexplode(args, &name, span)?,
            "inline" => self.inline(args, &name, is_outer, span)?,
            "stack" => self.stack(args, span)?,
            "json_tuple" => self.json_tuple(args, span)?,
            _ => return Err(AnalysisError::unsupported(format!("the generator {name}()"), span)),
        };
        let own: Vec<String> = recipe.made.iter().map(|made| made.name.clone()).collect();
        let names = names_or(names, &own);
        if names.len() != own.len() {
            return Err(AnalysisError::invalid(
                "UDTF_ALIAS_NUMBER_MISMATCH",
                format!("{name}() makes {} columns, but {} names are given", own.len(), names.len()),
                span,
            ));
        }
        let inputs: Vec<DfExpr> = rel.attrs.iter().map(Attribute::column).collect();
        let mut plan = with_batch_time(rel.plan, &cx)?;
        if !recipe.lists.is_empty() {
            let mut exprs = inputs.clone();
            exprs.extend(recipe.lists.iter().map(|(id, list)| list.clone().alias(plan_name(*id))));
            plan = unnest(projection(exprs, plan)?, recipe.lists.iter().map(|(id, _)| *id), is_outer)?;
        }
        let mut exprs = inputs;
        let mut made = vec![];
        for (column, name) in recipe.made.into_iter().zip(names) {
            let id = self.next_id();
            exprs.push(column.expr.alias(plan_name(id)));
            made.push(Attribute {
                id,
                origin: None,
                name,
                qualifiers: vec![],
                data_type: column.data_type,
                nullable: column.nullable || is_outer,
                metadata: None,
                visibility: Visibility::Shown,
            });
        }
        Ok((Rel { plan: projection(exprs, plan)?, ..rel }, made))
    }

    fn explode(&mut self, args: Vec<Typed>, name: &str, span: Span) -> Result<Recipe> {
        let arg = only(args, name, span)?;
        let id = self.next_id();
        match arg.data_type.clone() {
            DataType::Array { element, contains_null } => {
                let made = Made { name: "col".to_owned(), data_type: *element, nullable: contains_null, expr: column(id) };
                Ok(Recipe { lists: vec![(id, arg.expr)], made: vec![made] })
            }
            DataType::Map { key, value, value_contains_null } => {
                let entries = self.kernel("map_entries", vec![arg.expr], span)?;
                let made = vec![
                    Made { name: "key".to_owned(), data_type: *key, nullable: false, expr: field(column(id), "key") },
                    Made { name: "value".to_owned(), data_type: *value, nullable: value_contains_null, expr: field(column(id), "value") },
                ];
                Ok(Recipe { lists: vec![(id, entries)], made })
            }
            _ => Err(wrong_input(name, &arg, "an array or a map", span)),
        }
    }

    fn posexplode(&mut self, args: Vec<Typed>, name: &str, span: Span) -> Result<Recipe> {
        let arg = only(args, name, span)?;
        let list = match arg.data_type {
            DataType::Map { .. } => Typed { expr: self.kernel("map_entries", vec![arg.expr.clone()], span)?, ..arg.clone() },
            _ => arg.clone(),
        };
        let positions = self.next_id();
        let position = Made { name: "pos".to_owned(), data_type: DataType::Int, nullable: false, expr: column(positions) };
        let mut recipe = self.explode(vec![arg], name, span)?;
        recipe.lists.push((positions, crate::registry::positions::call(list.expr)));
        recipe.made.insert(0, position);
        Ok(recipe)
    }

    fn inline(&mut self, args: Vec<Typed>, name: &str, outer: bool, span: Span) -> Result<Recipe> {
        let arg = only(args, name, span)?;
        let DataType::Array { element, contains_null } = arg.data_type.clone() else {
            return Err(wrong_input(name, &arg, "an array of structs", span));
        };
        let DataType::Struct(fields) = *element else { return Err(wrong_input(name, &arg, "an array of structs", span)) };
        let id = self.next_id();
        let made = fields
            .into_iter()
            .map(|StructField { name, data_type, nullable, .. }| {
                let expr = field(column(id), &name);
                Made { name, data_type, nullable: nullable || contains_null || outer, expr }
            })
            .collect();
        Ok(Recipe { lists: vec![(id, arg.expr)], made })
    }

    fn stack(&mut self, args: Vec<Typed>, span: Span) -> Result<Recipe> {
        let mut args = args.into_iter();
        let Some(count) = args.next() else { return Err(wrong_count("stack", "at least 2", 0, span)) };
        let values: Vec<Typed> = args.collect();
        let count = self.implicit_cast(count, &DataType::Int, span)?;
        let n_rows = match self.evaluate(&count, span)? {
            ScalarValue::Int32(Some(n)) if n > 0 => usize::try_from(n).unwrap_or(1),
            other => {
                return Err(AnalysisError::invalid(
                    "DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE",
                    format!("the number of rows of stack() must be above 0, not {other}"),
                    span,
                ));
            }
        };
        let width = values.len().div_ceil(n_rows);
        let (mut lists, mut made) = (vec![], vec![]);
        for idx in 0..width {
            let cells: Vec<Typed> = (0..n_rows)
                .map(|row| match values.get(row * width + idx) {
                    Some(value) => value.clone(),
                    None => Typed::new(DfExpr::Literal(ScalarValue::Null, None), DataType::Null, true, "NULL"),
                })
                .collect();
            let Some(common) = common_type_of(cells.iter().map(|cell| &cell.data_type)) else {
                return Err(AnalysisError::invalid(
                    "DATATYPE_MISMATCH.STACK_COLUMN_DIFF_TYPES",
                    format!("the values of column {idx} of stack() have no common type"),
                    span,
                ));
            };
            let nullable = cells.iter().any(|cell| cell.nullable);
            let cells = cells.into_iter().map(|cell| Ok(self.cast_with(cell, &common, "ansi", span)?.expr)).collect::<Result<Vec<_>>>()?;
            let id = self.next_id();
            lists.push((id, self.kernel("array", cells, span)?));
            made.push(Made { name: format!("col{idx}"), data_type: common, nullable, expr: column(id) });
        }
        Ok(Recipe { lists, made })
    }

    fn json_tuple(&mut self, args: Vec<Typed>, span: Span) -> Result<Recipe> {
        let mut args = args.into_iter();
        let Some(json) = args.next() else { return Err(wrong_count("json_tuple", "at least 2", 0, span)) };
        let mut all = vec![self.implicit_cast(json, &DataType::String, span)?];
        for key in args {
            all.push(self.implicit_cast(key, &DataType::String, span)?);
        }
        let tuple = self.kernel_typed("json_tuple", all, span)?;
        let DataType::Struct(fields) = tuple.data_type else { return Err(AnalysisError::internal("json_tuple gave no struct")) };
        let made = fields
            .into_iter()
            .enumerate()
            .map(|(idx, of)| Made {
                name: format!("c{idx}"),
                data_type: DataType::String,
                nullable: true,
                expr: field(tuple.expr.clone(), &of.name),
            })
            .collect();
        Ok(Recipe { lists: vec![], made })
    }
}

pub(crate) fn unnest(plan: LogicalPlan, ids: impl Iterator<Item = u64>, outer: bool) -> Result<LogicalPlan> {
    let null_handling = if outer { NullHandling::PreserveAndExpandEmpty } else { NullHandling::Drop };
    let options = UnnestOptions::new().with_null_handling(null_handling);
    let columns = ids.map(|id| Column::new_unqualified(plan_name(id))).collect();
    Ok(LogicalPlanBuilder::from(plan).unnest_columns_with_options(columns, options)?.build()?)
}

fn only(args: Vec<Typed>, name: &str, span: Span) -> Result<Typed> {
    let n_args = args.len();
    match <[Typed; 1]>::try_from(args) {
        Ok([arg]) => Ok(arg),
        Err(_) => Err(wrong_count(name, "1", n_args, span)),
    }
}

fn wrong_count(name: &str, wanted: &str, n_args: usize, span: Span) -> AnalysisError {
    AnalysisError::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", format!("{name}() takes {wanted} arguments, not {n_args}"), span)
}

fn wrong_input(name: &str, arg: &Typed, wanted: &str, span: Span) -> AnalysisError {
    AnalysisError::invalid(
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        format!("{name}() wants {wanted}, but '{}' is of type {}", arg.name, arg.data_type.sql()),
        span,
    )
    .hint("split(), from_json() or array() make arrays of other values")
}

/// Names given to a generator's columns.
fn names_or<'n>(given: &'n [Ident], own: &'n [String]) -> Vec<String> {
    if given.is_empty() { own.to_vec() } else { given.iter().map(|name| name.name.clone()).collect() }
}
