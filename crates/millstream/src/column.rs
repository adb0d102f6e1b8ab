//! Columns: expressions of the DataFrame API, in the same unresolved form that SQL text gives.

use std::ops;

use millstream_core::{Error, Result};
use millstream_sql::ir::{self, Expr, Literal};

use crate::text_error;

/// An expression over the columns of a DataFrame. Names are resolved when the frame is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Column(pub(crate) Expr);

/// A column by name; `a.b` is field `b` of `a`, backticks quote.
pub fn col(name: &str) -> Column {
    Column(Expr::col(name))
}

/// A literal value.
pub fn lit(value: impl Into<Literal>) -> Column {
    Column(Expr::lit(value))
}

/// An expression in SQL text.
pub fn expr(text: &str) -> Result<Column> {
    millstream_sql::parse_expression(text).map(Column).map_err(|error| text_error(error, text))
}

/// `*`
pub fn star() -> Column {
    Column(Expr::star())
}

/// A call of any function by name: `call("upper", [col("a")])`.
pub fn call(name: &str, args: impl IntoIterator<Item = Column>) -> Column {
    Column(Expr::call(name, args.into_iter().map(|column| column.0).collect()))
}

/// `CASE WHEN condition THEN value`; go on with [`Column::when`] and [`Column::otherwise`].
pub fn when(condition: Column, value: Column) -> Column {
    call("when", [condition, value])
}

impl Column {
    /// The unresolved expression.
    pub fn into_expr(self) -> Expr {
        self.0
    }

    /// `self AS name`
    #[must_use]
    pub fn alias(self, name: &str) -> Self {
        Self(self.0.alias(name))
    }

    /// `CAST(self AS type)`; `data_type` as in SQL, such as `int` or `array<string>`.
    pub fn cast(self, data_type: &str) -> Result<Self> {
        let data_type = millstream_sql::parse_data_type(data_type).map_err(|error| text_error(error, data_type))?;
        Ok(Self(self.0.cast(data_type)))
    }

    /// `TRY_CAST(self AS type)`
    pub fn try_cast(self, data_type: &str) -> Result<Self> {
        let data_type = millstream_sql::parse_data_type(data_type).map_err(|error| text_error(error, data_type))?;
        Ok(Self(self.0.cast_as(data_type, ir::CastMode::Try)))
    }

    /// One more branch of a [`when`].
    pub fn when(self, condition: Column, value: Column) -> Result<Self> {
        self.add_to_case([condition.0, value.0])
    }

    /// The last branch of a [`when`].
    pub fn otherwise(self, value: Column) -> Result<Self> {
        self.add_to_case([value.0])
    }

    fn add_to_case(self, more: impl IntoIterator<Item = Expr>) -> Result<Self> {
        match self.0 {
            Expr::UnresolvedFunction(mut case) if case.name == "when" && case.args.len() % 2 == 0 => {
                case.args.extend(more);
                Ok(Self(Expr::UnresolvedFunction(case)))
            }
            _ => Err(Error::invalid("when and otherwise can only follow a when without otherwise")),
        }
    }

    /// The element at an index of an array, the value of a key of a map, or a field of a struct.
    #[must_use]
    pub fn get_item(self, key: impl Into<Literal>) -> Self {
        Self(self.0.extract(Expr::lit(key)))
    }

    /// A field of a struct.
    #[must_use]
    pub fn get_field(self, name: &str) -> Self {
        Self(self.0.field(name))
    }

    /// Ascending, nulls first.
    #[must_use]
    pub fn asc(self) -> Self {
        Self(Expr::SortOrder(Box::new(self.0.asc())))
    }

    /// Descending, nulls last.
    #[must_use]
    pub fn desc(self) -> Self {
        Self(Expr::SortOrder(Box::new(self.0.desc())))
    }

    /// `self = other`
    #[must_use]
    pub fn eq(self, other: impl Into<Column>) -> Self {
        self.binary("==", other)
    }

    /// `self <> other`
    #[must_use]
    pub fn not_eq(self, other: impl Into<Column>) -> Self {
        call("not", [self.binary("==", other)])
    }

    /// `self <=> other`: null equals null.
    #[must_use]
    pub fn eq_null_safe(self, other: impl Into<Column>) -> Self {
        self.binary("<=>", other)
    }

    /// `self > other`
    #[must_use]
    pub fn gt(self, other: impl Into<Column>) -> Self {
        self.binary(">", other)
    }

    /// `self >= other`
    #[must_use]
    pub fn gt_eq(self, other: impl Into<Column>) -> Self {
        self.binary(">=", other)
    }

    /// `self < other`
    #[must_use]
    pub fn lt(self, other: impl Into<Column>) -> Self {
        self.binary("<", other)
    }

    /// `self <= other`
    #[must_use]
    pub fn lt_eq(self, other: impl Into<Column>) -> Self {
        self.binary("<=", other)
    }

    /// `self AND other`
    #[must_use]
    pub fn and(self, other: impl Into<Column>) -> Self {
        self.binary("and", other)
    }

    /// `self OR other`
    #[must_use]
    pub fn or(self, other: impl Into<Column>) -> Self {
        self.binary("or", other)
    }

    /// `self IS NULL`
    #[must_use]
    pub fn is_null(self) -> Self {
        call("isnull", [self])
    }

    /// `self IS NOT NULL`
    #[must_use]
    pub fn is_not_null(self) -> Self {
        call("isnotnull", [self])
    }

    /// `self IN (values)`
    #[must_use]
    pub fn is_in(self, values: impl IntoIterator<Item = Column>) -> Self {
        call("in", std::iter::once(self).chain(values))
    }

    /// `self BETWEEN low AND high`
    #[must_use]
    pub fn between(self, low: impl Into<Column>, high: impl Into<Column>) -> Self {
        call("between", [self, low.into(), high.into()])
    }

    /// `self LIKE pattern`
    #[must_use]
    pub fn like(self, pattern: &str) -> Self {
        call("like", [self, lit(pattern)])
    }

    /// `self RLIKE pattern`
    #[must_use]
    pub fn rlike(self, pattern: &str) -> Self {
        call("rlike", [self, lit(pattern)])
    }

    /// Whether the text contains `part`.
    #[must_use]
    pub fn contains(self, part: impl Into<Column>) -> Self {
        self.binary("contains", part)
    }

    /// Whether the text starts with `part`.
    #[must_use]
    pub fn starts_with(self, part: impl Into<Column>) -> Self {
        self.binary("startswith", part)
    }

    /// Whether the text ends with `part`.
    #[must_use]
    pub fn ends_with(self, part: impl Into<Column>) -> Self {
        self.binary("endswith", part)
    }

    fn binary(self, operator: &str, other: impl Into<Column>) -> Self {
        call(operator, [self, other.into()])
    }
}

/// A column by name, so that `df.select(["a", "b"])` works; literals need [`lit`].
impl From<&str> for Column {
    fn from(name: &str) -> Self {
        if name == "*" { star() } else { col(name) }
    }
}

/// A column by name.
impl From<String> for Column {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

macro_rules! literal_columns {
    ($($ty:ty),*) => {$(
        /// A literal.
        impl From<$ty> for Column {
            fn from(value: $ty) -> Self {
                lit(value)
            }
        }
    )*};
}
literal_columns!(i32, i64, f64, bool);

macro_rules! operators {
    ($($trait:ident $method:ident $name:literal),*) => {$(
        impl<T: Into<Column>> ops::$trait<T> for Column {
            type Output = Column;

            fn $method(self, other: T) -> Column {
                self.binary($name, other)
            }
        }
    )*};
}
operators!(Add add "+", Sub sub "-", Mul mul "*", Div div "/", Rem rem "%");

impl ops::Neg for Column {
    type Output = Column;

    fn neg(self) -> Column {
        call("-", [self])
    }
}

impl ops::Not for Column {
    type Output = Column;

    fn not(self) -> Column {
        call("not", [self])
    }
}
