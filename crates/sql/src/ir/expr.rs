//! Unresolved expressions.
//!
//! Operators are calls (see the table in [`super`]); the constructors live in `build`.

use std::fmt;

use super::interval::{CalendarInterval, DayTimeField, YearMonthField};
use super::plan::Plan;
use super::types::{DataType, quote_if_needed};
use crate::span::Span;

/// One written name: an alias, a column of a column list, a window's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ident {
    /// The name without quotes, in the written case.
    pub name: String,
    /// Where it was written.
    pub span: Span,
}

/// A name of one or more parts, such as a table's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    /// The parts without quotes, in the written case.
    pub parts: Vec<String>,
    /// Where it was written.
    pub span: Span,
}

/// A literal value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Literal {
    /// `NULL`, of type void.
    Null,
    /// `TRUE`, `FALSE`
    Boolean(bool),
    /// `1Y`
    Byte(i8),
    /// `1S`
    Short(i16),
    /// `1`
    Int(i32),
    /// `1L`, or an integer too large for INT.
    Long(i64),
    /// `1F`
    Float(f32),
    /// `1D`, `1e3`
    Double(f64),
    /// `1.50`, `1BD`, or an integer too large for BIGINT; the scale is the written one.
    Decimal {
        /// The digits without the point.
        unscaled: i128,
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: i8,
    },
    /// `'text'`
    String(String),
    /// `X'00ff'`
    Binary(Vec<u8>),
    /// Days since 1970-01-01. SQL text gives [`Expr::TypedLiteral`] instead.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00Z. SQL text gives [`Expr::TypedLiteral`] instead.
    Timestamp(i64),
    /// Microseconds since 1970-01-01 00:00:00 without a zone. SQL text gives [`Expr::TypedLiteral`] instead.
    TimestampNtz(i64),
    /// `INTERVAL '1-2' YEAR TO MONTH`
    YearMonthInterval {
        /// The length.
        months: i32,
        /// First field of the type.
        start: YearMonthField,
        /// Last field of the type.
        end: YearMonthField,
    },
    /// `INTERVAL '1 02:03:04' DAY TO SECOND`
    DayTimeInterval {
        /// The length.
        micros: i64,
        /// First field of the type.
        start: DayTimeField,
        /// Last field of the type.
        end: DayTimeField,
    },
    /// `INTERVAL 1 MONTH 2 DAYS`: fields of both families.
    CalendarInterval(CalendarInterval),
}

/// The type word in front of a typed literal whose text the analyzer reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TypedLiteralKind {
    /// `DATE '...'`
    Date,
    /// `TIMESTAMP '...'`; the session's time zone and timestamp type decide its value.
    Timestamp,
    /// `TIMESTAMP_LTZ '...'`
    TimestampLtz,
    /// `TIMESTAMP_NTZ '...'`
    TimestampNtz,
    /// `TIME '...'`
    Time,
}

/// What a cast does with a value that does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CastMode {
    /// As the session says (`spark.sql.ansi.enabled`).
    #[default]
    Session,
    /// Null or wrap-around, as before Spark 4.
    Legacy,
    /// An error.
    Ansi,
    /// Null (`TRY_CAST`).
    Try,
}

/// An unresolved expression.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Expr {
    /// A literal with a known value.
    Literal {
        /// The value.
        value: Literal,
        /// Where.
        span: Span,
    },
    /// `DATE '2024-01-01'`: a literal whose value depends on the session.
    TypedLiteral {
        /// The type word.
        kind: TypedLiteralKind,
        /// The text between the quotes.
        text: String,
        /// Where.
        span: Span,
    },
    /// A column, perhaps with qualifiers in front and struct fields behind: `t.a.b`.
    UnresolvedAttribute {
        /// The parts in the written case.
        parts: Vec<String>,
        /// The plan a DataFrame column was taken from.
        plan_id: Option<i64>,
        /// Where.
        span: Span,
    },
    /// `*`, `t.*`, `s.*`, `* EXCEPT (a, b.c)`
    UnresolvedStar {
        /// What stands in front of the star.
        target: Option<Vec<String>>,
        /// The columns left out.
        except: Vec<ObjectName>,
        /// The plan a DataFrame star was taken from.
        plan_id: Option<i64>,
        /// Where.
        span: Span,
    },
    /// A call of a function or operator.
    UnresolvedFunction(UnresolvedFunction),
    /// `expr AS name`, or `expr AS (a, b)` for generators.
    Alias {
        /// What is named.
        expr: Box<Expr>,
        /// One name, or several for a generator's columns.
        names: Vec<Ident>,
        /// Column metadata as JSON text.
        metadata: Option<String>,
        /// Where.
        span: Span,
    },
    /// `CAST(expr AS type)`, `TRY_CAST`, `expr::type`
    Cast {
        /// What is cast.
        expr: Box<Expr>,
        /// The wanted type.
        data_type: DataType,
        /// What happens to values that do not fit.
        mode: CastMode,
        /// Where.
        span: Span,
    },
    /// `child[extraction]`; `child.name` is an extraction by a string literal.
    UnresolvedExtractValue {
        /// Array, map or struct.
        child: Box<Expr>,
        /// Index, key or field name.
        extraction: Box<Expr>,
        /// Where.
        span: Span,
    },
    /// A struct with a field set (`withField`) or dropped (`dropFields`); DataFrame only.
    UpdateFields {
        /// The struct.
        child: Box<Expr>,
        /// The field, perhaps nested: `a.b`.
        field: String,
        /// The new value; none drops the field.
        value: Option<Box<Expr>>,
        /// Where.
        span: Span,
    },
    /// `(x, y) -> body`
    Lambda {
        /// Names of the arguments.
        args: Vec<Ident>,
        /// The body, in which the arguments are [`Expr::LambdaVariable`]s.
        body: Box<Expr>,
        /// Where.
        span: Span,
    },
    /// An argument of an enclosing lambda, perhaps with struct fields behind: `x.a`.
    LambdaVariable {
        /// The parts in the written case; the first is the argument's name.
        parts: Vec<String>,
        /// Where.
        span: Span,
    },
    /// `function OVER (...)`
    Window {
        /// The function.
        function: Box<Expr>,
        /// The window.
        spec: WindowSpec,
        /// Where.
        span: Span,
    },
    /// A sort key used as a column, as `col.desc()` gives; SQL puts [`SortOrder`]s into plans directly.
    SortOrder(Box<SortOrder>),
    /// `(SELECT ...)` as a value.
    ScalarSubquery {
        /// The query.
        plan: Box<Plan>,
        /// Where.
        span: Span,
    },
    /// `EXISTS (SELECT ...)`
    Exists {
        /// The query.
        plan: Box<Plan>,
        /// Where.
        span: Span,
    },
    /// `a IN (SELECT ...)`, `(a, b) IN (SELECT ...)`
    InSubquery {
        /// The left side.
        values: Vec<Expr>,
        /// The query.
        plan: Box<Plan>,
        /// Where.
        span: Span,
    },
    /// `name => value` in a call.
    NamedArgument {
        /// The name.
        name: Ident,
        /// The value.
        value: Box<Expr>,
        /// Where.
        span: Span,
    },
    /// `?`, or `:name`
    Parameter {
        /// The name; a `?` has none.
        name: Option<String>,
        /// Where.
        span: Span,
    },
}

/// A call of a function or operator by name.
#[derive(Clone, Debug, PartialEq)]
pub struct UnresolvedFunction {
    /// The name in the written case; the parts of a qualified name are joined by points.
    pub name: String,
    /// The arguments.
    pub args: Vec<Expr>,
    /// `f(DISTINCT ...)`
    pub is_distinct: bool,
    /// `FILTER (WHERE ...)`
    pub filter: Option<Box<Expr>>,
    /// `IGNORE NULLS`
    pub ignore_nulls: bool,
    /// `WITHIN GROUP (ORDER BY ...)`
    pub within_group: Vec<SortOrder>,
    /// Where.
    pub span: Span,
}

/// A sort key.
#[derive(Clone, Debug, PartialEq)]
pub struct SortOrder {
    /// What is compared.
    pub expr: Expr,
    /// Upwards or downwards.
    pub direction: SortDirection,
    /// Where nulls go.
    pub nulls: NullOrdering,
}

/// Direction of a sort key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortDirection {
    /// `ASC`
    #[default]
    Ascending,
    /// `DESC`
    Descending,
}

/// Where a sort key puts nulls. The parser fills in Spark's default: first when ascending, last when descending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NullOrdering {
    /// `NULLS FIRST`
    #[default]
    First,
    /// `NULLS LAST`
    Last,
}

/// What stands behind `OVER`, or a definition of the `WINDOW` clause.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WindowSpec {
    /// A named window this one refers to; then everything else is empty.
    pub name: Option<Ident>,
    /// `PARTITION BY`
    pub partition_by: Vec<Expr>,
    /// `ORDER BY`
    pub order_by: Vec<SortOrder>,
    /// `ROWS ...` or `RANGE ...`
    pub frame: Option<WindowFrame>,
}

/// `ROWS BETWEEN start AND end`
#[derive(Clone, Debug, PartialEq)]
pub struct WindowFrame {
    /// Rows or values.
    pub units: FrameUnits,
    /// First row.
    pub start: FrameBound,
    /// Last row; the current row when not written.
    pub end: FrameBound,
}

/// What a frame counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameUnits {
    /// `ROWS`
    Rows,
    /// `RANGE`
    Range,
}

/// One end of a window frame.
#[derive(Clone, Debug, PartialEq)]
pub enum FrameBound {
    /// `UNBOUNDED PRECEDING`
    UnboundedPreceding,
    /// `n PRECEDING`
    Preceding(Box<Expr>),
    /// `CURRENT ROW`
    CurrentRow,
    /// `n FOLLOWING`
    Following(Box<Expr>),
    /// `UNBOUNDED FOLLOWING`
    UnboundedFollowing,
}

impl Literal {
    /// The literal's type.
    pub fn data_type(&self) -> DataType {
        match self {
            Literal::Null => DataType::Null,
            Literal::Boolean(_) => DataType::Boolean,
            Literal::Byte(_) => DataType::Byte,
            Literal::Short(_) => DataType::Short,
            Literal::Int(_) => DataType::Int,
            Literal::Long(_) => DataType::Long,
            Literal::Float(_) => DataType::Float,
            Literal::Double(_) => DataType::Double,
            Literal::Decimal { precision, scale, .. } => DataType::Decimal { precision: *precision, scale: *scale },
            Literal::String(_) => DataType::String,
            Literal::Binary(_) => DataType::Binary,
            Literal::Date(_) => DataType::Date,
            Literal::Timestamp(_) => DataType::Timestamp,
            Literal::TimestampNtz(_) => DataType::TimestampNtz,
            Literal::YearMonthInterval { start, end, .. } => DataType::YearMonthInterval { start: *start, end: *end },
            Literal::DayTimeInterval { start, end, .. } => DataType::DayTimeInterval { start: *start, end: *end },
            Literal::CalendarInterval(_) => DataType::CalendarInterval,
        }
    }
}

impl Ident {
    /// A name that was not written in a text.
    pub fn new(name: impl Into<String>) -> Ident {
        Ident { name: name.into(), span: Span::NONE }
    }
}

impl<S: Into<String>> From<S> for Ident {
    fn from(name: S) -> Ident {
        Ident::new(name)
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&quote_if_needed(&self.name))
    }
}

impl ObjectName {
    /// A name that was not written in a text; the parts are taken as they are.
    pub fn new<S: Into<String>>(parts: impl IntoIterator<Item = S>) -> ObjectName {
        ObjectName { parts: parts.into_iter().map(Into::into).collect(), span: Span::NONE }
    }

    /// The last part: the table's own name.
    pub fn last(&self) -> &str {
        self.parts.last().map_or("", String::as_str)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.parts.iter().map(|p| quote_if_needed(p)).collect();
        f.write_str(&parts.join("."))
    }
}
