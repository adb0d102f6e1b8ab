//! The door: an unresolved plan in, a DataFusion plan with Spark's schema out.

use datafusion::common::DFSchema;
use datafusion::common::TableReference;
use datafusion::logical_expr::{Expr as DfExpr, LogicalPlan};
use millstream_core::Result;
use millstream_core::stack::with_room_for_query;
use millstream_sql::ir::{CalendarInterval, DataType, Expr, Plan};

use crate::catalog::Catalog;
use crate::error::{self, AnalysisError};
use crate::expr::{ExprCx, Typed};
use crate::plan::projection;
use crate::resolver::Resolver;
use crate::scope::{Attribute, Visibility};
use crate::settings::SessionSettings;
use crate::types::spark_type;

/// Resolves plans and expressions against a session's settings and catalog.
pub struct Analyzer<'a> {
    settings: SessionSettings,
    catalog: &'a dyn Catalog,
    text: Option<&'a str>,
}

/// A resolved query.
#[derive(Debug, Clone)]
pub struct Analyzed {
    /// The plan; its columns have the written names, with a qualifier each (`c0`, `c1`, ...) so that a name may come twice.
    pub plan: LogicalPlan,
    /// The columns as Spark sees them, in order.
    pub schema: Vec<OutputColumn>,
    /// Whether any source is read as a stream.
    pub is_streaming: bool,
    /// The event times among the columns.
    pub watermarks: Vec<Watermark>,
}

/// A column of a result.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputColumn {
    /// Spark's name; names may come more than once.
    pub name: String,
    /// Spark's type.
    pub data_type: DataType,
    /// Whether it may hold nulls.
    pub nullable: bool,
    /// Metadata as JSON text.
    pub metadata: Option<String>,
}

/// The watermark of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Watermark {
    /// Position of the column.
    pub column_idx: usize,
    /// How late rows may be.
    pub delay: CalendarInterval,
}

/// A resolved expression over a given schema.
#[derive(Debug, Clone)]
pub struct AnalyzedExpr {
    /// The expression; its columns are the schema's.
    pub expr: DfExpr,
    /// Spark's name for it, type and nullability.
    pub column: OutputColumn,
}

impl<'a> Analyzer<'a> {
    /// An analyzer for one session.
    pub fn new(settings: SessionSettings, catalog: &'a dyn Catalog) -> Self {
        Analyzer { settings, catalog, text: None }
    }

    /// Lets errors show the place in `text`, the SQL that the plans were parsed from.
    #[must_use]
    pub fn with_text(mut self, text: &'a str) -> Self {
        self.text = Some(text);
        self
    }

    /// Resolves a query.
    pub fn analyze(&self, plan: &Plan) -> Result<Analyzed> {
        self.check_settings()?;
        with_room_for_query(|| self.resolve(plan)).map_err(|error| error.into_core(self.text))
    }

    /// Resolves one expression over the columns of `schema`.
    pub fn analyze_expr(&self, expr: &Expr, schema: &DFSchema) -> Result<AnalyzedExpr> {
        let exprs = self.analyze_exprs(std::slice::from_ref(expr), schema)?;
        exprs.into_iter().next().ok_or_else(|| millstream_core::Error::internal("an expression became none"))
    }

    /// Resolves expressions over the columns of `schema`; stars become several.
    pub fn analyze_exprs(&self, exprs: &[Expr], schema: &DFSchema) -> Result<Vec<AnalyzedExpr>> {
        self.check_settings()?;
        with_room_for_query(|| self.resolve_exprs(exprs, schema)).map_err(|error| error.into_core(self.text))
    }

    fn check_settings(&self) -> Result<()> {
        if self.settings.ansi {
            return Ok(());
        }
        Err(millstream_core::Error::unsupported("spark.sql.ansi.enabled = false is not supported"))
    }

    fn resolve(&self, plan: &Plan) -> error::Result<Analyzed> {
        let mut resolver = Resolver::new(&self.settings, self.catalog);
        let rel = resolver.query(plan)?;
        let attrs: Vec<Attribute> = rel.visible().cloned().collect();
        let exprs = attrs
            .iter()
            .enumerate()
            .map(|(idx, attr)| attr.column().alias_qualified(Some(TableReference::bare(format!("c{idx}"))), attr.name.clone()))
            .collect();
        let watermarks = rel
            .watermarks
            .iter()
            .filter_map(|mark| {
                let column_idx = attrs.iter().position(|attr| attr.id == mark.id)?;
                Some(Watermark { column_idx, delay: mark.delay })
            })
            .collect();
        Ok(Analyzed {
            plan: projection(exprs, rel.plan)?,
            schema: attrs.into_iter().map(output).collect(),
            is_streaming: rel.is_streaming,
            watermarks,
        })
    }

    fn resolve_exprs(&self, exprs: &[Expr], schema: &DFSchema) -> error::Result<Vec<AnalyzedExpr>> {
        let mut resolver = Resolver::new(&self.settings, self.catalog);
        let mut attrs = vec![];
        let mut columns = vec![];
        for (qualifier, field) in schema.iter() {
            attrs.push(Attribute {
                id: resolver.next_id(),
                origin: None,
                name: field.name().clone(),
                qualifiers: qualifier.map(TableReference::to_vec).unwrap_or_default(),
                data_type: spark_type(field.data_type())?,
                nullable: field.is_nullable(),
                metadata: None,
                visibility: Visibility::Shown,
            });
            columns.push(datafusion::common::Column::new(qualifier.cloned(), field.name()));
        }
        let mut cx = ExprCx::new(&attrs, "an expression");
        let mut out = vec![];
        for item in resolver.expand_items(&attrs, exprs)? {
            let (typed, alias): (Typed, Option<String>) = match item {
                crate::expr::Item::Column(typed) => (*typed, None),
                crate::expr::Item::Expr(Expr::Alias { expr, names, .. }) => {
                    (resolver.expr(&mut cx, expr)?, names.first().map(|name| name.name.clone()))
                }
                crate::expr::Item::Expr(expr) => (resolver.expr(&mut cx, expr)?, None),
            };
            if cx.adds_columns() {
                return Err(AnalysisError::unsupported(
                    "the current time or a random number in an expression without a plan",
                    millstream_sql::Span::NONE,
                ));
            }
            let name = alias.unwrap_or_else(|| typed.column_name());
            let expr = with_columns(typed.expr, &attrs, &columns)?;
            let column = OutputColumn { name, data_type: typed.data_type, nullable: typed.nullable, metadata: typed.metadata };
            out.push(AnalyzedExpr { expr, column });
        }
        Ok(out)
    }
}

fn output(attr: Attribute) -> OutputColumn {
    OutputColumn { name: attr.name, data_type: attr.data_type, nullable: attr.nullable, metadata: attr.metadata }
}

/// Ids replaced by the schema's own columns.
fn with_columns(expr: DfExpr, attrs: &[Attribute], columns: &[datafusion::common::Column]) -> error::Result<DfExpr> {
    use datafusion::common::tree_node::{Transformed, TreeNode};
    let out = expr.transform(|node| {
        if let DfExpr::Column(column) = &node
            && let Some(idx) = attrs.iter().position(|attr| attr.plan_name() == column.name)
            && let Some(known) = columns.get(idx)
        {
            return Ok(Transformed::yes(DfExpr::Column(known.clone())));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(out.data)
}
