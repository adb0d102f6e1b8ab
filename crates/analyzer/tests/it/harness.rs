//! A catalog in memory, and a runner for analyzed plans. The batch's time is a constant here: the engine plans it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::{MemTable, TableProvider};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use millstream_analyzer::{
    Analyzed, Analyzer, Catalog, EventTimeWatermarkNode, Relation, RowFact, RowFactNode, Seed, SessionSettings, UserFunction,
};
use millstream_core::random::SparkRandom;
use millstream_core::{Error, Result};
use millstream_sql::ir::{Command, DataType, LocalId, Plan, Read, ReadSource};

/// The batch's time in tests: 2024-05-06 07:08:09.
pub const NOW_US: i64 = 1_714_979_289_000_000;

/// Tables and views by lower-case name.
#[derive(Default)]
pub struct TestCatalog {
    tables: BTreeMap<String, (Arc<dyn TableProvider>, bool)>,
    views: BTreeMap<String, Arc<Plan>>,
}

impl TestCatalog {
    /// Makes the views of a script.
    pub fn with_views(statements: &[String]) -> TestCatalog {
        let mut catalog = TestCatalog::default();
        for text in statements {
            match millstream_sql::parse_statement(text).unwrap().command {
                Command::CreateView(view) => {
                    catalog.views.insert(view.name.last().to_lowercase(), Arc::new(view.query));
                }
                other => panic!("not a view: {other:?}"),
            }
        }
        catalog
    }

    /// Adds a view.
    pub fn view(mut self, name: &str, sql: &str) -> TestCatalog {
        self.views.insert(name.to_owned(), Arc::new(millstream_sql::parse_query(sql).unwrap()));
        self
    }

    /// Adds an empty table with a schema in DDL; `is_stream` tables can be read with STREAM.
    pub fn table(mut self, name: &str, ddl: &str, is_stream: bool) -> TestCatalog {
        let table = MemTable::try_new(schema_of(ddl), vec![vec![]]).unwrap();
        self.tables.insert(name.to_owned(), (Arc::new(table), is_stream));
        self
    }
}

/// The Arrow schema of a DDL text.
pub fn schema_of(ddl: &str) -> SchemaRef {
    let DataType::Struct(fields) = millstream_sql::parse_schema(ddl).unwrap() else { panic!("not a schema: {ddl}") };
    let fields: Vec<Field> = fields
        .iter()
        .map(|field| Field::new(&field.name, millstream_analyzer::types::to_arrow(&field.data_type).unwrap(), field.nullable))
        .collect();
    Arc::new(Schema::new(fields))
}

impl Catalog for TestCatalog {
    fn relation(&self, read: &Read) -> Result<Option<Relation>> {
        let ReadSource::Table(name) = &read.source else { return Ok(None) };
        let key = name.last().to_lowercase();
        if let Some(plan) = self.views.get(&key) {
            return Ok(Some(Relation::View { plan: Arc::clone(plan), column_names: vec![], name: vec![key], time_zone: None }));
        }
        Ok(self.tables.get(&key).map(|(provider, is_stream)| Relation::Table {
            provider: Arc::clone(provider),
            name: vec![key],
            is_streaming: read.is_streaming && *is_stream,
        }))
    }

    fn local(&self, _id: LocalId) -> Result<Relation> {
        Err(Error::unsupported("local rows in this test"))
    }

    fn function(&self, _name: &str) -> Option<UserFunction> {
        None
    }

    fn relation_names(&self) -> Vec<String> {
        self.tables.keys().chain(self.views.keys()).cloned().collect()
    }
}

/// Analyzes a query.
pub fn analyze(catalog: &TestCatalog, sql: &str) -> Result<Analyzed> {
    analyze_with(catalog, SessionSettings::default(), sql)
}

/// Analyzes a query under other settings.
pub fn analyze_with(catalog: &TestCatalog, settings: SessionSettings, sql: &str) -> Result<Analyzed> {
    let plan = millstream_sql::parse_query(sql).map_err(|error| Error::invalid(error.render(sql)).code(error.class))?;
    Analyzer::new(settings, catalog).with_text(sql).analyze(&plan)
}

/// Runs an analyzed plan.
pub async fn run(analyzed: &Analyzed) -> datafusion::error::Result<Vec<RecordBatch>> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let plan = with_constant_time(analyzed.plan.clone())?;
    context.execute_logical_plan(plan).await?.collect().await
}

/// Replaces the nodes that only the engine can plan.
pub fn with_constant_time(plan: LogicalPlan) -> datafusion::error::Result<LogicalPlan> {
    let out = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Extension(extension) = &node else { return Ok(Transformed::no(node)) };
        if let Some(row) = extension.node.as_any().downcast_ref::<RowFactNode>() {
            let mut exprs: Vec<Expr> = row.input().schema().columns().into_iter().map(Expr::Column).collect();
            exprs.push(first_row(row.fact()).alias(row.column()));
            return Ok(Transformed::yes(LogicalPlanBuilder::from(row.input().clone()).project(exprs)?.build()?));
        }
        if let Some(watermark) = extension.node.as_any().downcast_ref::<EventTimeWatermarkNode>() {
            return Ok(Transformed::yes(watermark.input().clone()));
        }
        Ok(Transformed::no(node))
    })?;
    Ok(out.data)
}

/// The fact of the first row: queries of these tests that use one have one row.
fn first_row(fact: RowFact) -> Expr {
    let random = |seed: Seed| match seed {
        Seed::Given(seed) => SparkRandom::new(seed),
        Seed::OfBatch(call) => SparkRandom::new(call as i64),
    };
    match fact {
        RowFact::BatchTime => lit(ScalarValue::TimestampMicrosecond(Some(NOW_US), Some("UTC".into()))),
        RowFact::PartitionId => lit(0_i32),
        RowFact::RowId => lit(0_i64),
        RowFact::Rand(seed) => lit(random(seed).uniform()),
        RowFact::Randn(seed) => lit(random(seed).normal()),
        RowFact::Bits(seed) => lit(random(seed).long()),
        RowFact::Uuid(_) => lit("00000000-0000-4000-8000-000000000000"),
    }
}

/// Runs a query and prints its rows, one line each, columns parted by `|`.
pub async fn rows(catalog: &TestCatalog, sql: &str) -> Result<Vec<String>> {
    let analyzed = analyze(catalog, sql)?;
    let batches = run(&analyzed).await.map_err(of_datafusion)?;
    let mut out = vec![];
    for row in millstream_testkit::gold::rows_of(&batches).unwrap() {
        let cells: Vec<String> = row.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect();
        out.push(cells.join("|"));
    }
    Ok(out)
}

/// The names and types of a query's columns: `a int, b string`.
pub fn schema_text(analyzed: &Analyzed) -> String {
    let columns: Vec<String> = analyzed.schema.iter().map(|c| format!("{} {}", c.name, c.data_type.simple_string())).collect();
    columns.join(", ")
}

/// An error of ours that travelled through DataFusion.
pub fn of_datafusion(error: datafusion::error::DataFusionError) -> Error {
    let class = millstream_functions::error_class(&error);
    let message = error.strip_backtrace();
    match class {
        Some(class) => Error::data(message).code(Box::leak(class.to_owned().into_boxed_str())),
        None => Error::internal(message),
    }
}
