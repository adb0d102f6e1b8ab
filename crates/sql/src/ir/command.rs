//! Statements: what a script is made of.
//!
//! A command says what was asked and decides nothing: whether a table exists, where it lies by
//! default and what an option means is known higher up.

use super::expr::{Expr, Ident, ObjectName};
use super::plan::{Plan, Properties};
use super::types::DataType;
use crate::span::Span;

/// One statement of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// What it asks for.
    pub command: Command,
    /// Its text, without the semicolon.
    pub span: Span,
}

/// What a statement asks for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Command {
    /// A query.
    Query(Plan),
    /// `SET`: show all settings.
    SetShowAll,
    /// `SET key`: show one setting.
    SetShow {
        /// The key.
        key: String,
        /// Where.
        span: Span,
    },
    /// `SET key = value`; the value is the raw rest of the statement.
    Set {
        /// The key.
        key: String,
        /// The value without surrounding blanks.
        value: String,
        /// Where.
        span: Span,
    },
    /// `RESET [key]`
    Reset {
        /// The key; none resets all.
        key: Option<String>,
        /// Where.
        span: Span,
    },
    /// `CREATE [OR REPLACE] TABLE`
    CreateTable(Box<CreateTable>),
    /// `CREATE [OR REPLACE] [[GLOBAL] TEMPORARY] VIEW ... AS query`
    CreateView(Box<CreateView>),
    /// `CREATE [OR REPLACE] [GLOBAL] TEMPORARY VIEW ... USING format OPTIONS (...)`
    CreateViewUsing {
        /// The view.
        name: ObjectName,
        /// `GLOBAL`
        is_global: bool,
        /// `OR REPLACE`
        or_replace: bool,
        /// The user's schema.
        schema: Option<DataType>,
        /// The format.
        format: String,
        /// Options of the reader.
        options: Properties,
        /// Where.
        span: Span,
    },
    /// `CREATE STREAMING TABLE`, `CREATE MATERIALIZED VIEW`
    CreateDataset(Box<CreateDataset>),
    /// `CREATE FLOW name AS INSERT INTO target BY NAME query`
    CreateFlow {
        /// The flow.
        name: ObjectName,
        /// `COMMENT`
        comment: Option<String>,
        /// The table it feeds.
        target: ObjectName,
        /// What it inserts.
        query: Plan,
        /// Where.
        span: Span,
    },
    /// `DROP TABLE`, `DROP VIEW`, ...
    Drop {
        /// What is dropped.
        kind: DropKind,
        /// Its name.
        name: ObjectName,
        /// `IF EXISTS`
        if_exists: bool,
        /// Where.
        span: Span,
    },
    /// `INSERT INTO`, `INSERT OVERWRITE`
    Insert(Box<Insert>),
    /// `EXPLAIN [mode] statement`
    Explain {
        /// How much is shown.
        mode: ExplainMode,
        /// What is explained.
        statement: Box<Statement>,
        /// Where.
        span: Span,
    },
    /// `DESCRIBE [TABLE] [EXTENDED] name [column]`
    DescribeTable {
        /// The table or view.
        name: ObjectName,
        /// `EXTENDED` or `FORMATTED`
        extended: bool,
        /// One column of it.
        column: Option<ObjectName>,
        /// Where.
        span: Span,
    },
    /// `DESCRIBE [QUERY] query`
    DescribeQuery {
        /// The query.
        plan: Plan,
        /// Where.
        span: Span,
    },
    /// `DESCRIBE FUNCTION [EXTENDED] name`
    DescribeFunction {
        /// The function.
        name: ObjectName,
        /// `EXTENDED`
        extended: bool,
        /// Where.
        span: Span,
    },
    /// `SHOW ...`
    Show {
        /// What is shown.
        what: Show,
        /// Where.
        span: Span,
    },
    /// `USE [NAMESPACE | DATABASE] name`
    Use {
        /// The namespace.
        name: ObjectName,
        /// Where.
        span: Span,
    },
    /// `CREATE DATABASE | SCHEMA | NAMESPACE [IF NOT EXISTS] name`
    CreateNamespace {
        /// The namespace.
        name: ObjectName,
        /// `IF NOT EXISTS`
        if_not_exists: bool,
        /// `COMMENT`
        comment: Option<String>,
        /// `LOCATION`
        location: Option<String>,
        /// `WITH DBPROPERTIES`
        properties: Properties,
        /// Where.
        span: Span,
    },
    /// `REFRESH [TABLE] name`
    RefreshTable {
        /// The table.
        name: ObjectName,
        /// Where.
        span: Span,
    },
    /// `TRUNCATE TABLE name`
    TruncateTable {
        /// The table.
        name: ObjectName,
        /// Where.
        span: Span,
    },
}

/// `CREATE [OR REPLACE] TABLE`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// The table.
    pub name: ObjectName,
    /// `OR REPLACE`
    pub or_replace: bool,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// `EXTERNAL`
    pub external: bool,
    /// The columns; empty when they come from the query or the data.
    pub columns: Vec<ColumnDef>,
    /// How and where it is kept.
    pub clauses: TableClauses,
    /// `AS query`
    pub query: Option<Plan>,
    /// Where.
    pub span: Span,
}

/// The clauses that tables and datasets share, in any order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableClauses {
    /// `USING`
    pub format: Option<Ident>,
    /// `OPTIONS`
    pub options: Properties,
    /// `PARTITIONED BY`
    pub partitioned_by: Vec<PartitionField>,
    /// `LOCATION`
    pub location: Option<String>,
    /// `TBLPROPERTIES`
    pub properties: Properties,
    /// `COMMENT`
    pub comment: Option<String>,
}

/// A column of `CREATE TABLE`.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDef {
    /// Name and type; nullable and comment are in the field.
    pub name: Ident,
    /// Type.
    pub data_type: DataType,
    /// False for `NOT NULL`.
    pub nullable: bool,
    /// `COMMENT`
    pub comment: Option<String>,
    /// `DEFAULT expr`
    pub default: Option<Expr>,
    /// `GENERATED ALWAYS AS (expr)`
    pub generated: Option<Expr>,
}

/// A field of `PARTITIONED BY`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum PartitionField {
    /// A column.
    Column(ObjectName),
    /// A column that is declared here: `PARTITIONED BY (day DATE)`.
    Declared(Box<ColumnDef>),
    /// A transform: `days(ts)`, `bucket(16, k)`.
    Transform(Expr),
}

/// `CREATE VIEW ... AS query`
#[derive(Clone, Debug, PartialEq)]
pub struct CreateView {
    /// The view.
    pub name: ObjectName,
    /// Kept, of the session, or of all sessions.
    pub kind: ViewKind,
    /// `OR REPLACE`
    pub or_replace: bool,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// New names of the columns; empty keeps them.
    pub columns: Vec<ViewColumn>,
    /// `COMMENT`
    pub comment: Option<String>,
    /// `TBLPROPERTIES`
    pub properties: Properties,
    /// The query.
    pub query: Plan,
    /// Text of the query.
    pub query_text: String,
    /// Where.
    pub span: Span,
}

/// How long a view lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ViewKind {
    /// Kept in the catalog.
    Permanent,
    /// `TEMPORARY`
    Temporary,
    /// `GLOBAL TEMPORARY`
    GlobalTemporary,
}

/// A column name of a view.
#[derive(Clone, Debug, PartialEq)]
pub struct ViewColumn {
    /// The name.
    pub name: Ident,
    /// `COMMENT`
    pub comment: Option<String>,
}

/// `CREATE STREAMING TABLE` or `CREATE MATERIALIZED VIEW`: a dataset that a job keeps up to date.
///
/// `OPTIONS` and `LOCATION` are Millstream's own; Spark takes `TBLPROPERTIES`, which works too.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateDataset {
    /// Which of the two.
    pub kind: DatasetKind,
    /// The dataset.
    pub name: ObjectName,
    /// `OR REFRESH` or `OR REPLACE`
    pub or_refresh: bool,
    /// `IF NOT EXISTS`
    pub if_not_exists: bool,
    /// The columns; empty when they come from the query.
    pub columns: Vec<ColumnDef>,
    /// How and where it is kept.
    pub clauses: TableClauses,
    /// `AS query`; a streaming table may be fed by flows instead.
    pub query: Option<Plan>,
    /// Where.
    pub span: Span,
}

/// Kind of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DatasetKind {
    /// Fed by a streaming query.
    StreamingTable,
    /// Computed anew at each run.
    MaterializedView,
}

/// What `DROP` drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropKind {
    /// `DROP TABLE`
    Table,
    /// `DROP VIEW`
    View,
    /// `DROP DATABASE | SCHEMA | NAMESPACE`
    Namespace,
}

/// `INSERT`
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    /// The table.
    pub target: ObjectName,
    /// Into or over.
    pub mode: InsertMode,
    /// `PARTITION (day = '2024-01-01', hour)`
    pub partition: Vec<PartitionValue>,
    /// `IF NOT EXISTS` behind the partition
    pub if_not_exists: bool,
    /// `BY NAME`
    pub by_name: bool,
    /// The columns that are given; empty means all.
    pub columns: Vec<Ident>,
    /// `WITH (...)`
    pub options: Properties,
    /// The rows.
    pub query: Plan,
    /// Where.
    pub span: Span,
}

/// Whether an insert adds or replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InsertMode {
    /// `INSERT INTO`
    Append,
    /// `INSERT OVERWRITE`
    Overwrite,
}

/// A column of a partition specification, with a value when it is fixed.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionValue {
    /// The column.
    pub column: Ident,
    /// Its value.
    pub value: Option<Expr>,
}

/// How much `EXPLAIN` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExplainMode {
    /// The physical plan.
    #[default]
    Simple,
    /// All plans.
    Extended,
    /// The physical plan with details apart.
    Formatted,
    /// The logical plan with statistics.
    Cost,
    /// Generated code, which Millstream does not have.
    Codegen,
    /// The logical plan.
    Logical,
}

/// What `SHOW` shows.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Show {
    /// `SHOW TABLES [IN namespace] [LIKE pattern]`
    Tables {
        /// The namespace.
        namespace: Option<ObjectName>,
        /// The pattern.
        pattern: Option<String>,
    },
    /// `SHOW VIEWS [IN namespace] [LIKE pattern]`
    Views {
        /// The namespace.
        namespace: Option<ObjectName>,
        /// The pattern.
        pattern: Option<String>,
    },
    /// `SHOW [USER | SYSTEM | ALL] FUNCTIONS [IN namespace] [LIKE pattern]`
    Functions {
        /// `USER`, `SYSTEM`, `ALL`
        scope: Option<String>,
        /// The namespace.
        namespace: Option<ObjectName>,
        /// The pattern.
        pattern: Option<String>,
    },
    /// `SHOW DATABASES | SCHEMAS | NAMESPACES [LIKE pattern]`
    Namespaces {
        /// The pattern.
        pattern: Option<String>,
    },
    /// `SHOW COLUMNS IN table`
    Columns {
        /// The table.
        table: ObjectName,
    },
    /// `SHOW CREATE TABLE table`
    CreateTable {
        /// The table.
        table: ObjectName,
    },
    /// `SHOW TBLPROPERTIES table [(key)]`
    TableProperties {
        /// The table.
        table: ObjectName,
        /// One key.
        key: Option<String>,
    },
    /// `SHOW PARTITIONS table`
    Partitions {
        /// The table.
        table: ObjectName,
    },
}
