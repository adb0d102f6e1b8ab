//! Leaves: tables, views, data sources and table functions.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::TableReference;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{Expr as DfExpr, LogicalPlan, LogicalPlanBuilder};
use millstream_core::connector::HIDDEN_FIELD;
use millstream_sql::Span;
use millstream_sql::error::nearest;
use millstream_sql::ir::{ObjectName, Read, ReadSource};

use super::{closed, projection, qualified};
use crate::catalog::Relation;
use crate::error::{AnalysisError, Result};
use crate::expr::ExprCx;
use crate::resolver::Resolver;
use crate::scope::{Attribute, Rel, Visibility, plan_name};
use crate::types::{arrow_type, spark_type};

/// How many names the error about an unknown table shows.
const TABLES_SHOWN: usize = 10;

impl Resolver<'_> {
    /// A leaf.
    pub(crate) fn read(&mut self, read: &Read) -> Result<Rel> {
        match &read.source {
            ReadSource::Table(name) => self.table(read, name),
            ReadSource::DataSource { .. } => match self.catalog().relation(read)? {
                Some(relation) => self.relation(relation, &[], read.is_streaming, read.span),
                None => Err(AnalysisError::internal("a reader whose source is not known").at(read.span)),
            },
            ReadSource::Function { name, args } => self.table_function(read, name, args),
            _ => Err(AnalysisError::unsupported("this source", read.span)),
        }
    }

    fn table(&mut self, read: &Read, name: &ObjectName) -> Result<Rel> {
        if let [single] = name.parts.as_slice()
            && let Some(cte) = self.cte(single)
        {
            // The named query sees what stood before it, not what stands around its use.
            let visible = if cte.is_recursive { Some(std::rc::Rc::clone(&cte)) } else { cte.parent.clone() };
            let before = std::mem::replace(&mut self.ctes, visible);
            let outer = std::mem::take(&mut self.outer);
            let rel = if cte.is_recursive {
                self.recursive_cte(&cte, read.span)
            } else {
                self.plan(&cte.plan).and_then(|rel| self.renamed(rel, &cte.columns, read.span)).map(closed)
            };
            self.ctes = before;
            self.outer = outer;
            let rel = rel?;
            check_streaming(read.is_streaming, &rel, name, read.span)?;
            return Ok(qualified(rel, std::slice::from_ref(&cte.name)));
        }
        if let Some(relation) = self.catalog().relation(read)? {
            let rel = self.relation(relation, &name.parts, read.is_streaming, read.span)?;
            check_streaming(read.is_streaming, &rel, name, read.span)?;
            return Ok(rel);
        }
        let mut known = self.catalog().relation_names();
        let mut env = self.ctes.clone();
        while let Some(node) = env {
            known.push(node.name.clone());
            env = node.parent.clone();
        }
        let near = nearest(&name.to_string(), known.iter().map(String::as_str)).map(str::to_owned);
        let error = AnalysisError::invalid("TABLE_OR_VIEW_NOT_FOUND", format!("the table or view '{name}' cannot be found"), name.span)
            .at(read.span)
            .near(near);
        known.sort();
        known.truncate(TABLES_SHOWN);
        Err(if known.is_empty() { error } else { error.hint(format!("tables and views here: {}", known.join(", "))) })
    }

    fn table_function(&mut self, read: &Read, name: &ObjectName, args: &[millstream_sql::ir::Expr]) -> Result<Rel> {
        let lower = name.to_string().to_lowercase();
        match lower.as_str() {
            "range" => {
                let mut cx = ExprCx::new(&[], "range()");
                let mut numbers = vec![];
                for arg in args {
                    let typed = self.expr(&mut cx, arg)?;
                    let typed = self.implicit_cast(typed, &millstream_sql::ir::DataType::Long, arg.span())?;
                    match self.evaluate(&typed, arg.span())? {
                        datafusion::common::ScalarValue::Int64(Some(n)) => numbers.push(n),
                        _ => {
                            return Err(AnalysisError::invalid(
                                "UNEXPECTED_INPUT_TYPE",
                                "the arguments of range() cannot be null",
                                arg.span(),
                            ));
                        }
                    }
                }
                match numbers.as_slice() {
                    [end] => self.range(0, *end, 1, read.span),
                    [start, end] => self.range(*start, *end, 1, read.span),
                    [start, end, step] | [start, end, step, _] => self.range(*start, *end, *step, read.span),
                    _ => Err(AnalysisError::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "range() takes 1 to 4 arguments", read.span)),
                }
            }
            generator if crate::registry::is_generator(generator) => self.generator_relation(&lower, args, read.span),
            _ => match self.catalog().relation(read)? {
                Some(relation) => self.relation(relation, &[], read.is_streaming, read.span),
                None => Err(AnalysisError::invalid(
                    "UNRESOLVABLE_TABLE_VALUED_FUNCTION",
                    format!("the table function '{name}' is not known"),
                    read.span,
                )
                .near(
                    nearest(
                        &lower,
                        [
                            "range",
                            "read_files",
                            "read_kafka",
                            "read_state",
                            "read_state_metadata",
                            "explode",
                            "inline",
                            "stack",
                            "posexplode",
                        ],
                    )
                    .map(str::to_owned),
                )),
            },
        }
    }

    /// What the catalog answered.
    pub(crate) fn relation(&mut self, relation: Relation, written: &[String], streaming: bool, span: Span) -> Result<Rel> {
        match relation {
            Relation::Table { provider, name, is_streaming } => {
                let table = if name.is_empty() { written.join(".") } else { name.join(".") };
                let table = if table.is_empty() { "source".to_owned() } else { table };
                let plan = LogicalPlanBuilder::scan(TableReference::bare(table), provider_as_source(provider), None)?.build()?;
                self.leaf(plan, name, is_streaming, span)
            }
            Relation::View { plan, column_names, name, time_zone } => {
                let key = name.join(".");
                if self.views.contains(&key) {
                    return Err(AnalysisError::invalid(
                        "RECURSIVE_VIEW",
                        format!("the view '{key}' reads itself: {} -> {key}", self.views.join(" -> ")),
                        span,
                    ));
                }
                let mut settings = self.settings().clone();
                settings.time_zone = time_zone.unwrap_or(settings.time_zone);
                let rel = self.in_view(key, &settings, |resolver| resolver.query(&plan))?;
                let names: Vec<millstream_sql::ir::Ident> = column_names.into_iter().map(Into::into).collect();
                let rel = self.renamed(rel, &names, span)?;
                let qualifier = if name.is_empty() { written.to_vec() } else { name };
                Ok(qualified(closed(rel), &qualifier))
            }
            Relation::Plan(plan) => self.leaf(plan, written.to_vec(), streaming, span),
        }
    }

    /// A plan with written names becomes one with ids, in Spark's types.
    fn leaf(&mut self, plan: LogicalPlan, qualifiers: Vec<String>, is_streaming: bool, span: Span) -> Result<Rel> {
        let mut attrs = vec![];
        let mut exprs = vec![];
        for (column, field) in plan.schema().columns().into_iter().zip(plan.schema().fields().iter()) {
            let is_metadata = field.metadata().contains_key(HIDDEN_FIELD);
            if is_metadata && !self.names_metadata {
                continue;
            }
            let data_type = spark_type(field.data_type()).map_err(|error| error.at(span))?;
            let id = self.next_id();
            let wanted = arrow_type(&data_type)?;
            let mut expr = DfExpr::Column(column);
            if *field.data_type() != wanted {
                expr = datafusion::logical_expr::cast(expr, wanted);
            }
            exprs.push(expr.alias(plan_name(id)));
            attrs.push(Attribute {
                id,
                origin: None,
                name: field.name().clone(),
                qualifiers: qualifiers.clone(),
                data_type,
                nullable: field.is_nullable(),
                metadata: None,
                visibility: if is_metadata { Visibility::Metadata } else { Visibility::Shown },
            });
        }
        check_columns(&attrs, span)?;
        Ok(Rel { plan: projection(exprs, plan)?, attrs, is_streaming, watermarks: vec![] })
    }

    /// The one row without columns.
    pub(crate) fn one_row() -> Rel {
        let plan = LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
            produce_one_row: true,
            schema: Arc::new(datafusion::common::DFSchema::empty()),
        });
        Rel { plan, attrs: vec![], is_streaming: false, watermarks: vec![] }
    }
}

fn check_streaming(wanted: bool, rel: &Rel, name: &ObjectName, span: Span) -> Result<()> {
    if wanted && !rel.is_streaming {
        return Err(AnalysisError::invalid("NOT_A_STREAM", format!("'{name}' cannot be read with STREAM: it is not a stream"), span)
            .hint("write FROM without STREAM, or make the view read its own source with STREAM"));
    }
    Ok(())
}

/// Ids are unique by construction; a table whose scan gives one column twice would break that.
fn check_columns(attrs: &[Attribute], span: Span) -> Result<()> {
    let mut seen = HashSet::new();
    if attrs.iter().all(|attr| seen.insert(attr.id)) { Ok(()) } else { Err(AnalysisError::internal("a column id twice").at(span)) }
}
