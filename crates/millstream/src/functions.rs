//! Spark's functions by name, for the DataFrame API: each builds the call that SQL text would.
//!
//! A function that is not listed here is called with [`call`].

use crate::column::{Column, call};

pub use crate::column::{col, expr, lit, star, when};

macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident($($arg:ident),*);)*) => {$(
        $(#[$doc])*
        pub fn $name($($arg: impl Into<Column>),*) -> Column {
            call(stringify!($name), [$($arg.into()),*])
        }
    )*};
}

functions! {
    /// The number of rows in which the column is not null; `count("*")` counts all rows.
    count(column);
    /// The sum.
    sum(column);
    /// The mean.
    avg(column);
    /// The least value.
    min(column);
    /// The greatest value.
    max(column);
    /// The first value.
    first(column);
    /// The last value.
    last(column);
    /// All values as an array.
    collect_list(column);
    /// The distinct values as an array.
    collect_set(column);
    /// About how many distinct values there are.
    approx_count_distinct(column);
    /// One row per element of an array or entry of a map.
    explode(column);
    /// As [`explode`], with a row of null for an empty or null collection.
    explode_outer(column);
    /// As [`explode`], with the position.
    posexplode(column);
    /// As [`explode_outer`], with the position.
    posexplode_outer(column);
    /// Upper case.
    upper(column);
    /// Lower case.
    lower(column);
    /// Without blanks around.
    trim(column);
    /// The number of characters.
    length(column);
    /// Part of a text, from a position counted from 1.
    substring(column, position, length);
    /// The parts of a text between matches of a Java regular expression.
    split(column, pattern);
    /// A group of the first match of a Java regular expression.
    regexp_extract(column, pattern, group);
    /// Every match of a Java regular expression replaced.
    regexp_replace(column, pattern, replacement);
    /// A timestamp from text.
    to_timestamp(column);
    /// A date from text or a timestamp.
    to_date(column);
    /// A date.
    date(column);
    /// A date or timestamp as text by a pattern.
    date_format(column, pattern);
    /// A timestamp truncated to a unit.
    date_trunc(unit, column);
    /// Seconds since 1970.
    unix_timestamp(column);
    /// The year.
    year(column);
    /// The month.
    month(column);
    /// The hour.
    hour(column);
    /// A struct, array or map from JSON text; the schema is DDL text as a literal.
    from_json(column, schema);
    /// JSON text of a struct, array or map.
    to_json(column);
    /// A part of JSON text by path.
    get_json_object(column, path);
    /// The element of an array at an index from 0, null outside.
    get(column, index);
    /// The element of an array at a position from 1, or a map's value.
    element_at(column, key);
    /// The number of elements.
    size(column);
    /// The batch's processing time.
    current_timestamp();
    /// The batch's date in the session's time zone.
    current_date();
    /// The last moment of a window: the event time of what was counted in it.
    window_time(window);
    /// The absolute value.
    abs(column);
    /// Rounded half up.
    round(column, scale);
}

/// The window of a width such as `10 minutes` that a time falls into. (With a shifted start: `expr("window(at, '1 hour', '1 hour', '15 minutes')")`.)
pub fn window(time: impl Into<Column>, width: &str) -> Column {
    call("window", [time.into(), lit(width)])
}

/// The windows of a width, one beginning every `slide`, that a time falls into.
pub fn sliding_window(time: impl Into<Column>, width: &str, slide: &str) -> Column {
    call("window", [time.into(), lit(width), lit(slide)])
}

/// The session of a time: rows that follow each other within `gap`. (With a gap by row: `expr("session_window(at, gap)")`.)
pub fn session_window(time: impl Into<Column>, gap: &str) -> Column {
    call("session_window", [time.into(), lit(gap)])
}

/// The first value that is not null.
pub fn coalesce(columns: impl IntoIterator<Item = Column>) -> Column {
    call("coalesce", columns)
}

/// The texts one after the other.
pub fn concat(columns: impl IntoIterator<Item = Column>) -> Column {
    call("concat", columns)
}

/// A struct of the columns.
pub fn struct_(columns: impl IntoIterator<Item = Column>) -> Column {
    call("struct", columns)
}

/// An array of the columns.
pub fn array(columns: impl IntoIterator<Item = Column>) -> Column {
    call("array", columns)
}

/// The number of distinct combinations without nulls.
pub fn count_distinct(columns: impl IntoIterator<Item = Column>) -> Column {
    let counted = call("count", columns);
    match counted.0 {
        millstream_sql::ir::Expr::UnresolvedFunction(mut count) => {
            count.is_distinct = true;
            Column(millstream_sql::ir::Expr::UnresolvedFunction(count))
        }
        other => Column(other),
    }
}
