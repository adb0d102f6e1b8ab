//! Unresolved relations.
//!
//! A plan says what was asked, in the order in which Spark nests it: the watermark stands above the
//! alias of tables and subqueries and below that of table functions, `HAVING` is a node of its own
//! because it may name aggregates, `SELECT` with aggregates but without `GROUP BY` is a projection.

use std::fmt;

use super::expr::{Expr, Ident, ObjectName, SortOrder, WindowSpec};
use super::interval::CalendarInterval;
use super::types::DataType;
use crate::redact::looks_secret;
use crate::span::Span;

/// Stands for rows or a function that the builder of the plan keeps elsewhere (this crate knows no Arrow).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LocalId(pub u64);

/// One `key = value` of an option or property list. Printing it (`Debug`) shows `***` for secrets.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Property {
    /// The key; parts are joined by points.
    pub key: String,
    /// The value as text.
    pub value: String,
    /// Where.
    pub span: Span,
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = if looks_secret(&self.key) { "***" } else { &self.value };
        f.debug_struct("Property").field("key", &self.key).field("value", &value).field("span", &self.span).finish()
    }
}

/// Options or properties in the written order.
pub type Properties = Vec<Property>;

/// An unresolved relation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Plan {
    /// A table, a data source or a table function.
    Read(Read),
    /// `STREAM t IDENTIFIED BY name`: the user's name of a stream, which its progress is kept under.
    NamedStream {
        /// The streaming read.
        input: Box<Plan>,
        /// The name.
        name: Ident,
        /// Where.
        span: Span,
    },
    /// Rows supplied by the builder of the plan.
    Local(LocalId),
    /// The one row without columns of a `SELECT` without `FROM`.
    OneRow,
    /// `VALUES (1, 'a'), (2, 'b')`; the columns are named `col1`, `col2`, ...
    Values {
        /// The rows; all have the same length.
        rows: Vec<Vec<Expr>>,
        /// Where.
        span: Span,
    },
    /// `spark.range(start, end, step)`; the column is named `id`.
    Range {
        /// First value.
        start: i64,
        /// One behind the last value.
        end: i64,
        /// Distance.
        step: i64,
        /// Wanted number of partitions.
        partitions: Option<u32>,
    },
    /// `input AS alias [(columns)]`
    SubqueryAlias {
        /// What is named.
        input: Box<Plan>,
        /// The name.
        alias: Ident,
        /// New names of all columns; empty keeps them.
        columns: Vec<Ident>,
        /// Where.
        span: Span,
    },
    /// `SELECT exprs`
    Project {
        /// The rows.
        input: Box<Plan>,
        /// The columns.
        exprs: Vec<Expr>,
        /// Where.
        span: Span,
    },
    /// `WHERE condition`
    Filter {
        /// The rows.
        input: Box<Plan>,
        /// The condition.
        condition: Expr,
        /// Where.
        span: Span,
    },
    /// `GROUP BY`
    Aggregate {
        /// The rows.
        input: Box<Plan>,
        /// The groups.
        grouping: Grouping,
        /// The select list. Text names the grouping columns in it where they are wanted; the
        /// builder behind `group_by().agg()` puts them in front itself.
        aggregates: Vec<Expr>,
        /// Where.
        span: Span,
    },
    /// `HAVING condition`, above an [`Plan::Aggregate`]; without `GROUP BY` that has one group of all rows.
    Having {
        /// The aggregation.
        input: Box<Plan>,
        /// The condition, which may hold aggregates.
        condition: Expr,
        /// Where.
        span: Span,
    },
    /// `QUALIFY condition`
    Qualify {
        /// The projection.
        input: Box<Plan>,
        /// The condition, which may hold window functions.
        condition: Expr,
        /// Where.
        span: Span,
    },
    /// A join of two relations.
    Join {
        /// Left side.
        left: Box<Plan>,
        /// Right side.
        right: Box<Plan>,
        /// Kind of join.
        kind: JoinKind,
        /// What joins the rows.
        condition: JoinCondition,
        /// Whether the right side may use columns of the left.
        lateral: bool,
        /// Where.
        span: Span,
    },
    /// `a UNION ALL b UNION ALL c`: types are widened from the left, two at a time.
    UnionAll {
        /// Two or more relations.
        inputs: Vec<Plan>,
        /// Where.
        span: Span,
    },
    /// `UNION`, `INTERSECT`, `EXCEPT`, and unions by name.
    SetOp {
        /// Left side.
        left: Box<Plan>,
        /// Right side.
        right: Box<Plan>,
        /// Which operation.
        kind: SetOpKind,
        /// `ALL`: keep duplicates.
        all: bool,
        /// Match columns by name.
        by_name: bool,
        /// Fill columns that one side lacks with null; only with `by_name`.
        allow_missing: bool,
        /// Where.
        span: Span,
    },
    /// `ORDER BY` (global) or `SORT BY` (within partitions).
    Sort {
        /// The rows.
        input: Box<Plan>,
        /// The keys.
        order: Vec<SortOrder>,
        /// False for `SORT BY`.
        is_global: bool,
        /// Where.
        span: Span,
    },
    /// `DISTRIBUTE BY`, `repartition`, `coalesce`
    Repartition {
        /// The rows.
        input: Box<Plan>,
        /// The keys; none deals the rows out in turn.
        exprs: Vec<Expr>,
        /// Wanted number of partitions.
        partitions: Option<u32>,
        /// False for `coalesce`.
        shuffle: bool,
        /// Where.
        span: Span,
    },
    /// `LIMIT n`
    Limit {
        /// The rows.
        input: Box<Plan>,
        /// How many, a constant.
        limit: Expr,
        /// Where.
        span: Span,
    },
    /// `OFFSET n`
    Offset {
        /// The rows.
        input: Box<Plan>,
        /// How many, a constant.
        offset: Expr,
        /// Where.
        span: Span,
    },
    /// `SELECT DISTINCT`, `dropDuplicates`, `dropDuplicatesWithinWatermark`
    Deduplicate {
        /// The rows.
        input: Box<Plan>,
        /// The columns that are compared.
        columns: DedupColumns,
        /// Whether the watermark bounds how long a row is remembered.
        within_watermark: bool,
        /// Where.
        span: Span,
    },
    /// `flatMapGroupsWithState`, `mapGroupsWithState`
    GroupsWithState {
        /// The rows.
        input: Box<Plan>,
        /// The keys.
        keys: Vec<Expr>,
        /// The function, which the builder of the plan keeps.
        function: LocalId,
        /// What groups start from: columns of the keys and of the state, by name.
        initial_state: Option<Box<Plan>>,
        /// Where.
        span: Span,
    },
    /// `withColumns`: adds or replaces columns.
    WithColumns {
        /// The rows.
        input: Box<Plan>,
        /// Name and value.
        columns: Vec<(String, Expr)>,
        /// Where.
        span: Span,
    },
    /// `withColumnsRenamed`; names that do not exist are passed over.
    WithColumnsRenamed {
        /// The rows.
        input: Box<Plan>,
        /// Old name and new name.
        renames: Vec<(String, String)>,
        /// Where.
        span: Span,
    },
    /// `drop`; columns that do not exist are passed over.
    Drop {
        /// The rows.
        input: Box<Plan>,
        /// The columns, as attributes.
        columns: Vec<Expr>,
        /// Where.
        span: Span,
    },
    /// `toDF(names)`: new names for all columns.
    ToDF {
        /// The rows.
        input: Box<Plan>,
        /// The names.
        names: Vec<String>,
        /// Where.
        span: Span,
    },
    /// `WATERMARK event_time [AS name] DELAY OF delay`, `withWatermark`
    WithWatermark {
        /// The rows.
        input: Box<Plan>,
        /// The event time: a column or an expression; an expression becomes a new column.
        event_time: Expr,
        /// Name of the new column.
        name: Option<Ident>,
        /// How late rows may be.
        delay: CalendarInterval,
        /// Where.
        span: Span,
    },
    /// `LATERAL VIEW [OUTER] generator alias AS columns`
    Generate {
        /// The rows.
        input: Box<Plan>,
        /// The generator's call.
        generator: Expr,
        /// Keep rows for which the generator gives nothing.
        outer: bool,
        /// Qualifier of the new columns.
        alias: Option<Ident>,
        /// Names of the new columns; empty keeps the generator's.
        columns: Vec<Ident>,
        /// Where.
        span: Span,
    },
    /// `WITH name AS (...) ...`
    With {
        /// The named queries, each visible to the later ones.
        ctes: Vec<Cte>,
        /// `WITH RECURSIVE`
        recursive: bool,
        /// The query that uses them.
        input: Box<Plan>,
        /// Where.
        span: Span,
    },
    /// `/*+ NAME(args) */`
    Hint {
        /// The rows.
        input: Box<Plan>,
        /// The hint's name.
        name: String,
        /// Its arguments.
        args: Vec<Expr>,
        /// Where.
        span: Span,
    },
    /// `TABLESAMPLE`
    Sample {
        /// The rows.
        input: Box<Plan>,
        /// How much.
        size: SampleSize,
        /// `REPEATABLE (seed)`
        seed: Option<i64>,
        /// Where.
        span: Span,
    },
    /// The `WINDOW` clause: names that window references inside `input` may use.
    WindowDefinitions {
        /// The query.
        input: Box<Plan>,
        /// Name and window.
        definitions: Vec<(Ident, WindowSpec)>,
        /// Where.
        span: Span,
    },
    /// `PIVOT (aggregates FOR columns IN (values))`
    Pivot {
        /// The rows.
        input: Box<Plan>,
        /// Explicit groups of the DataFrame API; none in SQL: all other columns.
        grouping: Option<Vec<Expr>>,
        /// The aggregates.
        aggregates: Vec<Expr>,
        /// The pivot columns.
        columns: Vec<Expr>,
        /// The values, perhaps aliased; empty when they are to be found in the data.
        values: Vec<Expr>,
        /// Where.
        span: Span,
    },
    /// `UNPIVOT [INCLUDE | EXCLUDE NULLS] (value FOR name IN (columns))`
    Unpivot {
        /// The rows.
        input: Box<Plan>,
        /// Columns that stay; none in SQL: all others.
        ids: Option<Vec<Expr>>,
        /// The groups of columns that become rows, each perhaps with the text that names it.
        values: Vec<(Vec<Expr>, Option<Ident>)>,
        /// Name of the column with the names.
        variable: Ident,
        /// Names of the value columns.
        value_names: Vec<Ident>,
        /// Whether rows with only nulls are kept.
        include_nulls: bool,
        /// Where.
        span: Span,
    },
}

/// A leaf that is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// What is read.
    pub source: ReadSource,
    /// `STREAM t`, `readStream`
    pub is_streaming: bool,
    /// Options of the reader, or of `t WITH (...)`.
    pub options: Properties,
    /// The user's schema.
    pub schema: Option<DataType>,
    /// Where.
    pub span: Span,
}

/// What a [`Read`] reads.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ReadSource {
    /// A table or view by name, or a path as a table: ``json.`path` ``.
    Table(ObjectName),
    /// `read.format(f).load(paths)`
    DataSource {
        /// The format; none takes `spark.sql.sources.default`.
        format: Option<String>,
        /// The paths.
        paths: Vec<String>,
    },
    /// A table function: `range(10)`, `read_files('path', format => 'json')`, `explode(arr)`.
    Function {
        /// The name in the written case.
        name: ObjectName,
        /// The arguments, perhaps [`Expr::NamedArgument`]s.
        args: Vec<Expr>,
    },
}

/// The groups of an aggregation.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Grouping {
    /// `GROUP BY a, b`; empty for one group of all rows. Numbers are positions, as in Spark.
    Plain(Vec<Expr>),
    /// `ROLLUP (a, (b, c))`
    Rollup(Vec<Vec<Expr>>),
    /// `CUBE (a, (b, c))`
    Cube(Vec<Vec<Expr>>),
    /// `GROUP BY [keys] GROUPING SETS ((a, b), (a), ())`
    Sets {
        /// Keys in front of the word; when there are some they fix the order of the columns.
        keys: Vec<Expr>,
        /// The sets.
        sets: Vec<Vec<Expr>>,
    },
    /// `GROUP BY ALL`
    All(Span),
    /// Several of the above side by side: `GROUP BY a, ROLLUP (b), CUBE (c)`.
    Several(Vec<Grouping>),
}

/// Kind of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinKind {
    /// `INNER JOIN`, `JOIN`
    Inner,
    /// `CROSS JOIN`, and the comma
    Cross,
    /// `LEFT [OUTER] JOIN`
    LeftOuter,
    /// `RIGHT [OUTER] JOIN`
    RightOuter,
    /// `FULL [OUTER] JOIN`
    FullOuter,
    /// `[LEFT] SEMI JOIN`
    LeftSemi,
    /// `[LEFT] ANTI JOIN`
    LeftAnti,
}

/// What joins the rows.
#[derive(Clone, Debug, PartialEq)]
pub enum JoinCondition {
    /// Nothing was written.
    None,
    /// `ON condition`
    On(Expr),
    /// `USING (a, b)`
    Using(Vec<Ident>),
    /// `NATURAL`
    Natural,
}

/// Kind of a set operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetOpKind {
    /// `UNION`
    Union,
    /// `INTERSECT`
    Intersect,
    /// `EXCEPT`, `MINUS`
    Except,
}

/// The columns a deduplication compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DedupColumns {
    /// All of them (`dropDuplicates()`).
    All,
    /// All of them, as `SELECT DISTINCT`: the same rows; over a stream it is an aggregation, as in Spark.
    Distinct,
    /// The named ones.
    Names(Vec<Ident>),
}

/// One named query of `WITH`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cte {
    /// The name.
    pub name: Ident,
    /// New names of its columns; empty keeps them.
    pub columns: Vec<Ident>,
    /// `MAX RECURSION LEVEL`
    pub level_max: Option<u32>,
    /// The query.
    pub plan: Plan,
}

/// How much a sample takes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SampleSize {
    /// A fraction of the rows, 0 to 1.
    Fraction {
        /// Lower bound; 0 in SQL.
        lower: f64,
        /// Upper bound.
        upper: f64,
        /// Whether a row may be taken twice.
        with_replacement: bool,
    },
    /// `n ROWS`
    Rows(Expr),
}
