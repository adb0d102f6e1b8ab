//! The unresolved representation that SQL text, the DataFrame API and Spark Connect share.
//!
//! The shapes are those of Spark Connect: operators are [`Expr::UnresolvedFunction`] calls named
//! `+`, `==`, `<=>`, `and`, `not`, `isnull`, `when`, ...; names are [`Expr::UnresolvedAttribute`]s;
//! relations are [`Plan`]s; everything that is not a query is a [`Command`]. Nodes keep the case
//! in which names were written and the scale in which numbers were written, because Spark's column
//! names show both. Nodes that can be wrong carry a [`Span`](crate::Span), which takes no part in
//! comparisons.
//!
//! The names of the calls that the parser makes of operators:
//!
//! | text | call |
//! |---|---|
//! | `a + b`, `-`, `*`, `/`, `%`, `&`, `\|`, `^`, `<<`, `>>`, `>>>` | the operator |
//! | `a + b + c`, `a * b * c`, `a \|\| b \|\| c` | one call of the operator, which means the same from the left |
//! | `a DIV b` | `div` |
//! | `-a`, `+a`, `~a` | the operator, with one argument |
//! | `a = b`, `a == b` | `==` |
//! | `a != b`, `a <> b` | `not(==(a, b))` |
//! | `<`, `<=`, `>`, `>=`, `<=>` | the operator |
//! | `a AND b`, `OR`, `NOT a`, `!a` | `and`, `or`, `not` |
//! | `a \|\| b` | `\|\|`, which is `concat` of two |
//! | `a IS NULL`, `IS NOT NULL` | `isnull`, `isnotnull` |
//! | `a IS TRUE`, `IS DISTINCT FROM b` | `<=>(a, true)`, `not(<=>(a, b))` |
//! | `a IS UNKNOWN`, `IS NOT UNKNOWN` | `isunknown`, `isnotunknown`: `isnull` of a boolean under another name |
//! | `a IN (x, y)` | `in(a, x, y)` |
//! | `a BETWEEN x AND y` | `between(a, x, y)` |
//! | `a LIKE p [ESCAPE e]`, `ILIKE`, `RLIKE` / `REGEXP` | `like(a, p[, e])`, `ilike`, `rlike` |
//! | `a LIKE ANY ('p', 'q')`, `ALL`, `NOT LIKE ANY`, `NOT LIKE ALL` | `likeany(a, 'p', 'q')`, `likeall`, `notlikeany`, `notlikeall`; of other patterns `or(like(a, p), ...)` |
//! | `a ILIKE ANY ('P')` | `likeany(lower(a), 'p')` |
//! | `CASE WHEN c THEN v ... ELSE e END` | `when(c, v, ..., e)` |
//! | `CASE a WHEN b THEN v ...` | `when(==(a, b), v, ...)` |
//! | `EXTRACT(f FROM a)` | `extract('f', a)` |
//! | `TRIM([BOTH] x FROM a)`, `LEADING`, `TRAILING` | `trim(x, a)`, `ltrim`, `rtrim` |
//! | `SUBSTRING(a FROM p FOR n)`, `POSITION(a IN b)`, `OVERLAY(a PLACING b FROM p FOR n)` | `substring`, `locate`, `overlay` |
//! | `CURRENT_DATE` and its like without parentheses | a call without arguments, in the written case |
//! | `(a, b AS c, 1)` | `named_struct('a', a, 'c', b, 'col3', 1)`; with a star in it `struct` |
//! | `a[i]`, `f(x).name` | [`Expr::UnresolvedExtractValue`] |

mod build;
mod command;
mod expr;
mod interval;
mod nodes;
mod plan;
mod types;

#[cfg(test)]
mod tests;

pub use command::{
    ColumnDef, Command, CreateDataset, CreateTable, CreateView, DatasetKind, DropKind, ExplainMode, Insert, InsertMode, PartitionField,
    PartitionValue, Show, Statement, TableClauses, ViewColumn, ViewKind,
};
pub use expr::{
    CastMode, Expr, FrameBound, FrameUnits, Ident, Literal, NullOrdering, ObjectName, SortDirection, SortOrder, TypedLiteralKind,
    UnresolvedFunction, WindowFrame, WindowSpec,
};
pub use interval::{CalendarInterval, DayTimeField, YearMonthField};
pub use plan::{
    Cte, DedupColumns, Grouping, JoinCondition, JoinKind, LocalId, Plan, Properties, Property, Read, ReadSource, SampleSize, SetOpKind,
};
pub use types::{DataType, StructField, quote_if_needed};
