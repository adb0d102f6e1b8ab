//! Nested column pruning: a source whose structs are used by some of their fields only is asked for those alone.
//!
//! DataFusion's own pruning stops at whole columns. For `SELECT r.a FROM (SELECT explode(Records) AS r FROM logs)` it
//! asks the source for all of `Records`; this rule asks for `Records: array<struct<a>>`, and the decoder skips the rest.
//!
//! ```text
//! 1. top down   what of each column is used: all of it, or some fields      r: {a}  =>  Records: {a}
//! 2. at scans   the narrowed schema is offered to the source                Records: array<struct<a>>
//! 3. bottom up  the plan is built again over the narrower types
//! ```
//! A column that `from_json` makes is pruned the same way: its schema is what the query uses. It runs on plans as the analyzer makes them, before DataFusion's optimiser, because there every column is defined in
//! one place: `#n` names one column of the whole plan. Fields are followed through lists (`explode`, `list.field`,
//! `list[i]`), never through maps. Whatever is not a path of fields counts as a use of the whole: `to_json(r)`, `r = s`,
//! grouping, unions. Where a plan is not of the analyzer's making the walk ends.
//!
//! As with whole columns, what is not read is not checked: a field that does not fit its type makes a record malformed
//! only for queries that use the field (Spark does the same).

mod parsed;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Projection, TableScan, TableScanBuilder, TableSource, Unnest};
use millstream_core::connector::HIDDEN_FIELD;
use millstream_core::stack::with_room;

use crate::nodes::EventTimeWatermarkNode;
use crate::streaming::{CHANGE, node_of};

/// A source that gives only the fields of `schema`, or none if it cannot.
pub type Narrow<'a> = &'a dyn Fn(&Arc<dyn TableSource>, SchemaRef) -> Result<Option<Arc<dyn TableSource>>>;

/// The plan over sources that `narrow` gave; the plan itself when there is nothing to leave out.
pub fn prune_nested_fields(plan: &LogicalPlan, narrow: Narrow<'_>) -> Result<LogicalPlan> {
    let mut uses = Uses::default();
    uses.whole(plan.schema().columns().iter());
    // It has the same name in the whole plan, and operators use it without naming it.
    uses.whole([&Column::new_unqualified(CHANGE)].into_iter());
    uses.of_plan(plan)?;
    if !has_something_narrower(plan, &uses)? {
        return Ok(plan.clone());
    }
    rebuilt(plan.clone(), &uses, narrow)
}

/// What of a value is used.
#[derive(Debug, Clone, PartialEq)]
enum Use {
    Whole,
    /// These fields; none of them: only whether it is null, or how many elements it has.
    Fields(BTreeMap<String, Use>),
}

impl Use {
    const fn shape() -> Use {
        Use::Fields(BTreeMap::new())
    }

    /// Also the field that `path` leads to, and of that what `rest` says.
    fn add(&mut self, path: &[String], rest: &Use) {
        let Use::Fields(fields) = self else { return };
        match (path.split_first(), rest) {
            (Some((first, path)), rest) => fields.entry(first.clone()).or_insert(Use::shape()).add(path, rest),
            (None, Use::Whole) => *self = Use::Whole,
            (None, Use::Fields(more)) => {
                for (name, of_field) in more {
                    fields.entry(name.clone()).or_insert(Use::shape()).add(&[], of_field);
                }
            }
        }
    }
}

/// What of each column is used, by the column's name.
#[derive(Debug, Default)]
struct Uses(HashMap<String, Use>);

impl Uses {
    fn add(&mut self, column: &str, path: &[String], rest: &Use) {
        self.0.entry(column.to_owned()).or_insert(Use::shape()).add(path, rest);
    }

    fn whole<'c>(&mut self, columns: impl Iterator<Item = &'c Column>) {
        columns.for_each(|column| self.add(&column.name, &[], &Use::Whole));
    }

    /// The uses of a plan and of everything below. All uses of its columns by what stands above are known already.
    fn of_plan(&mut self, plan: &LogicalPlan) -> Result<()> {
        with_room(|| self.of_plan_here(plan))
    }

    fn of_plan_here(&mut self, plan: &LogicalPlan) -> Result<()> {
        match plan {
            LogicalPlan::Projection(projection) => {
                if scan_below(projection).is_some() {
                    return Ok(());
                }
                self.of_projection(projection)?;
            }
            LogicalPlan::Unnest(Unnest { exec_columns, .. }) => {
                exec_columns.iter().for_each(|column| self.add(&column.name, &[], &Use::shape()));
            }
            LogicalPlan::Extension(_) if node_of::<EventTimeWatermarkNode>(plan).is_some_and(EventTimeWatermarkNode::sets_rows_aside) => {
                self.whole(plan.schema().columns().iter());
            }
            LogicalPlan::Filter(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Repartition(_)
            | LogicalPlan::Subquery(_) => self.of_expressions(plan)?,
            LogicalPlan::Distinct(Distinct::All(_)) => self.whole(plan.schema().columns().iter()),
            // Union matches columns by position, and the rest are no nodes of queries.
            other => {
                self.of_expressions(other)?;
                for input in other.inputs() {
                    self.whole(input.schema().columns().iter());
                }
            }
        }
        // The right side of a lateral join names columns of the left.
        for input in plan.inputs().into_iter().rev() {
            self.of_plan(input)?;
        }
        Ok(())
    }

    fn of_projection(&mut self, projection: &Projection) -> Result<()> {
        for (expr, (_, field)) in projection.expr.iter().zip(projection.schema.iter()) {
            if let Some(of_column) = self.0.get(field.name()).cloned() {
                self.of_expr(expr, &of_column)?;
            }
        }
        Ok(())
    }

    fn of_expressions(&mut self, plan: &LogicalPlan) -> Result<()> {
        plan.apply_expressions(|expr| {
            self.of_expr(expr, &Use::Whole)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    /// `expr` is used as `how` says.
    fn of_expr(&mut self, expr: &Expr, how: &Use) -> Result<()> {
        with_room(|| self.of_expr_here(expr, how))
    }

    fn of_expr_here(&mut self, expr: &Expr, how: &Use) -> Result<()> {
        if let Some(Path { column, fields, others }) = path_of(expr) {
            self.add(column, &fields, how);
            return others.into_iter().try_for_each(|other| self.of_expr(other, &Use::Whole));
        }
        match expr {
            // Their types were fixed when the subquery was resolved.
            Expr::OuterReferenceColumn(_, column) => self.add(&column.name, &[], &Use::Whole),
            Expr::IsNull(inner) | Expr::IsNotNull(inner) => return self.of_expr(inner, &Use::shape()),
            Expr::ScalarFunction(call) if call.name() == crate::registry::positions::NAME => {
                return call.args.iter().try_for_each(|list| self.of_expr(list, &Use::shape()));
            }
            Expr::ScalarSubquery(subquery) => self.of_subquery(&subquery.subquery)?,
            Expr::Exists(exists) => self.of_subquery(&exists.subquery.subquery)?,
            Expr::InSubquery(item) => self.of_subquery(&item.subquery.subquery)?,
            _ => {}
        }
        expr.apply_children(|child| {
            self.of_expr(child, &Use::Whole)?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    fn of_subquery(&mut self, plan: &LogicalPlan) -> Result<()> {
        self.whole(plan.schema().columns().iter());
        self.of_plan(plan)
    }

    /// What a scan must give for the projection above it.
    fn of_scan(&self, projection: &Projection) -> Result<Uses> {
        let mut below = Uses::default();
        for (expr, (_, field)) in projection.expr.iter().zip(projection.schema.iter()) {
            if let Some(of_column) = self.0.get(field.name()) {
                below.of_expr(expr, of_column)?;
            }
        }
        Ok(below)
    }
}

/// A column and the fields that lead from it to a value; lists on the way count as their elements.
struct Path<'e> {
    column: &'e str,
    fields: Vec<String>,
    /// Other expressions in it: the indices of lists.
    others: Vec<&'e Expr>,
}

fn path_of(expr: &Expr) -> Option<Path<'_>> {
    match expr {
        Expr::Column(column) => Some(Path { column: &column.name, fields: vec![], others: vec![] }),
        Expr::Alias(alias) => path_of(&alias.expr),
        Expr::ScalarFunction(call) => {
            let (base, rest) = call.args.split_first()?;
            match call.name() {
                "spark_get_struct_field" | "spark_get_array_struct_fields" => {
                    let mut path = with_room(|| path_of(base))?;
                    for name in rest {
                        let Expr::Literal(ScalarValue::Utf8(Some(name)), _) = name else { return None };
                        path.fields.push(name.clone());
                    }
                    Some(path)
                }
                "spark_get_array_item" => {
                    let mut path = with_room(|| path_of(base))?;
                    path.others.extend(rest);
                    Some(path)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The scan that a projection gives the columns of a source their ids over.
fn scan_below(projection: &Projection) -> Option<&TableScan> {
    match projection.input.as_ref() {
        LogicalPlan::TableScan(scan) if scan.projection.is_none() && scan.filters.is_empty() => Some(scan),
        _ => None,
    }
}

fn narrowed_schema(scan: &TableScan, uses: &Uses) -> SchemaRef {
    let whole = scan.source.schema();
    let fields: Vec<FieldRef> = whole
        .fields()
        .iter()
        .map(|field| match uses.0.get(field.name()) {
            // A column that nobody uses is not read anyway.
            None => Arc::clone(field),
            Some(_) if field.metadata().contains_key(HIDDEN_FIELD) => Arc::clone(field),
            Some(how) => narrowed_field(field, how),
        })
        .collect();
    Arc::new(Schema::new_with_metadata(fields, whole.metadata().clone()))
}

fn narrowed_field(field: &FieldRef, how: &Use) -> FieldRef {
    let data_type = narrowed_type(field.data_type(), how);
    if data_type == *field.data_type() { Arc::clone(field) } else { Arc::new(field.as_ref().clone().with_data_type(data_type)) }
}

fn narrowed_type(data_type: &DataType, how: &Use) -> DataType {
    let Use::Fields(used) = how else { return data_type.clone() };
    match data_type {
        DataType::List(element) => DataType::List(narrowed_field(element, how)),
        DataType::LargeList(element) => DataType::LargeList(narrowed_field(element, how)),
        DataType::Struct(fields) => {
            let mut kept: Vec<FieldRef> =
                fields.iter().filter_map(|field| used.get(field.name()).map(|how| narrowed_field(field, how))).collect();
            if kept.is_empty() {
                // Readers need something to see the struct by.
                kept.extend(cheapest(fields));
            }
            DataType::Struct(kept.into())
        }
        other => other.clone(),
    }
}

fn cheapest(fields: &Fields) -> Option<FieldRef> {
    let flat = fields.iter().find(|field| !field.data_type().is_nested());
    flat.or(fields.first()).map(|field| narrowed_field(field, &Use::shape()))
}

fn has_something_narrower(plan: &LogicalPlan, uses: &Uses) -> Result<bool> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Projection(projection) = node {
            let columns = projection.expr.iter().zip(projection.schema.fields());
            found |=
                columns.into_iter().any(|(expr, field)| uses.0.get(field.name()).is_some_and(|how| parsed::narrowed(expr, how).is_some()));
            if let Some(scan) = scan_below(projection) {
                found |= narrowed_schema(scan, &uses.of_scan(projection)?) != scan.source.schema();
            }
        }
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// The plan over narrower scans.
fn rebuilt(plan: LogicalPlan, uses: &Uses, narrow: Narrow<'_>) -> Result<LogicalPlan> {
    with_room(|| rebuilt_here(plan, uses, narrow))
}

fn rebuilt_here(plan: LogicalPlan, uses: &Uses, narrow: Narrow<'_>) -> Result<LogicalPlan> {
    let recurse = |plan: LogicalPlan| Ok(Transformed::yes(rebuilt(plan, uses, narrow)?));
    match plan {
        LogicalPlan::Projection(projection) => {
            let input = match scan_below(&projection) {
                None => rebuilt(Arc::unwrap_or_clone(projection.input), uses, narrow)?,
                Some(scan) => {
                    let schema = narrowed_schema(scan, &uses.of_scan(&projection)?);
                    match if schema == scan.source.schema() { None } else { narrow(&scan.source, schema)? } {
                        None => LogicalPlan::TableScan(scan.clone()),
                        Some(source) => {
                            let scan = TableScanBuilder::new(scan.table_name.clone(), source).with_fetch(scan.fetch).build()?;
                            LogicalPlan::TableScan(scan)
                        }
                    }
                }
            };
            // A column that nobody uses may name a field that is not read any more.
            let used = projection.expr.into_iter().zip(projection.schema.iter());
            let exprs: Vec<Expr> = used
                .filter_map(|(expr, (_, field))| uses.0.get(field.name()).map(|how| parsed::narrowed(&expr, how).unwrap_or(expr)))
                .collect();
            let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?);
            Ok(plan.map_subqueries(recurse)?.data)
        }
        // Its columns are all used whole, so their types stay; made anew it would want its inputs' names to agree.
        LogicalPlan::Union(_) => Ok(plan.map_children(recurse)?.data),
        plan => plan.map_subqueries(recurse)?.data.map_children(recurse)?.data.recompute_schema(),
    }
}
