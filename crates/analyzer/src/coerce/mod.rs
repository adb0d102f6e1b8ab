//! Which type two types have in common, and which casts happen by themselves: Spark's ANSI rules.
//!
//! These are tables over types only; `expr::cast` applies them to expressions. One table serves comparison,
//! `CASE`, `coalesce`, `IN`, set operations and arrays, so that they cannot drift apart.

mod args;
mod decimal;

use millstream_sql::ir::{DataType, StructField};

pub(crate) use decimal::{bounded, decimal_for_integral, wider_decimal};

/// TINYINT, SMALLINT, INT or BIGINT.
pub(crate) fn is_integral(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Byte | DataType::Short | DataType::Int | DataType::Long)
}

/// A number of any kind.
pub(crate) fn is_numeric(data_type: &DataType) -> bool {
    is_integral(data_type) || matches!(data_type, DataType::Float | DataType::Double | DataType::Decimal { .. })
}

/// STRING, CHAR or VARCHAR.
pub(crate) fn is_string(data_type: &DataType) -> bool {
    matches!(data_type, DataType::String | DataType::Char(_) | DataType::Varchar(_))
}

/// DATE, TIMESTAMP or TIMESTAMP_NTZ.
pub(crate) fn is_datetime(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Date | DataType::Timestamp | DataType::TimestampNtz)
}

/// INTERVAL YEAR TO MONTH or DAY TO SECOND.
pub(crate) fn is_ansi_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::YearMonthInterval { .. } | DataType::DayTimeInterval { .. })
}

/// Neither array, map, struct nor void.
pub(crate) fn is_atomic(data_type: &DataType) -> bool {
    !matches!(
        data_type,
        DataType::Array { .. }
            | DataType::Map { .. }
            | DataType::Struct(_)
            | DataType::Null
            | DataType::CalendarInterval
            | DataType::Variant
    )
}

/// Whether values of the type can be put in order. Maps, calendar intervals and variants cannot.
pub(crate) fn is_orderable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map { .. } | DataType::CalendarInterval | DataType::Variant => false,
        DataType::Array { element, .. } => is_orderable(element),
        DataType::Struct(fields) => fields.iter().all(|field| is_orderable(&field.data_type)),
        _ => true,
    }
}

/// The same type in the sense of comparison: nullability inside does not count, CHAR is STRING, names of fields do not count.
pub(crate) fn same_type(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::Array { element: l, .. }, DataType::Array { element: r, .. }) => same_type(l, r),
        (DataType::Map { key: lk, value: lv, .. }, DataType::Map { key: rk, value: rv, .. }) => same_type(lk, rk) && same_type(lv, rv),
        (DataType::Struct(l), DataType::Struct(r)) => {
            l.len() == r.len()
                && l.iter().zip(r).all(|(l, r)| l.name.eq_ignore_ascii_case(&r.name) && same_type(&l.data_type, &r.data_type))
        }
        (l, r) => l == r || (is_string(l) && is_string(r)),
    }
}

/// The type that both sides of a comparison, all branches of a `CASE` or all members of a union become; none when there is none.
pub(crate) fn common_type(left: &DataType, right: &DataType) -> Option<DataType> {
    tightest_common(left, right)
        .or_else(|| common_decimal(left, right))
        .or_else(|| common_with_string(left, right))
        .or_else(|| common_nested(left, right))
}

/// [`common_type`] of many; void for none.
pub(crate) fn common_type_of<'a>(types: impl IntoIterator<Item = &'a DataType>) -> Option<DataType> {
    // Strings last: their promotion is not associative ("1", 2, date), Spark also puts them at one end.
    let (strings, others): (Vec<_>, Vec<_>) = types.into_iter().partition(|t| is_string(t));
    let mut out = DataType::Null;
    for data_type in others.into_iter().chain(strings) {
        out = common_type(&out, data_type)?;
    }
    Some(out)
}

/// Whether a value of type `from` becomes `to` by itself where a function wants `to`.
pub(crate) fn can_cast_implicitly(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (from, to) if same_type(from, to) => true,
        (DataType::Null, _) => true,
        (from, to) if is_string(from) => is_atomic(to),
        (from, to) => can_store(from, to),
    }
}

/// Whether a value may be stored in a column of another type (Spark's ANSI store assignment).
pub(crate) fn can_store(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (from, to) if same_type(from, to) => true,
        (DataType::Null, _) => true,
        (from, to) if is_numeric(from) && is_numeric(to) => true,
        (from, to) if is_string(to) => is_atomic(from) || *from == DataType::CalendarInterval,
        (from, to) if is_datetime(from) && is_datetime(to) => true,
        (DataType::YearMonthInterval { .. }, DataType::YearMonthInterval { .. }) => true,
        (DataType::DayTimeInterval { .. }, DataType::DayTimeInterval { .. }) => true,
        (DataType::Array { element: from, .. }, DataType::Array { element: to, .. }) => can_store(from, to),
        (DataType::Map { key: fk, value: fv, .. }, DataType::Map { key: tk, value: tv, .. }) => can_store(fk, tk) && can_store(fv, tv),
        (DataType::Struct(from), DataType::Struct(to)) => {
            from.len() == to.len() && from.iter().zip(to).all(|(from, to)| can_store(&from.data_type, &to.data_type))
        }
        _ => false,
    }
}

/// Whether `CAST(from AS to)` is legal at all in ANSI mode.
pub(crate) fn can_cast(from: &DataType, to: &DataType, is_try: bool) -> bool {
    use DataType as T;
    match (from, to) {
        (from, to) if same_type(from, to) => true,
        (T::Null, _) => true,
        (_, to) if is_string(to) => true,
        (from, T::Binary) => is_string(from) || is_integral(from) && !is_try,
        (from, to) if is_string(from) => is_atomic(to) || *to == T::CalendarInterval,
        (T::Boolean, to) => is_numeric(to),
        (from, T::Boolean) => is_numeric(from),
        (from, to) if is_numeric(from) && is_numeric(to) => true,
        (from, to) if is_datetime(from) && is_datetime(to) => true,
        (from, T::Timestamp) => is_numeric(from),
        (T::Timestamp, to) => is_numeric(to),
        (T::YearMonthInterval { .. }, T::YearMonthInterval { .. }) | (T::DayTimeInterval { .. }, T::DayTimeInterval { .. }) => true,
        (T::YearMonthInterval { start, end }, to) => start == end && (is_integral(to) || matches!(to, T::Decimal { .. })),
        (T::DayTimeInterval { start, end }, to) => start == end && (is_integral(to) || matches!(to, T::Decimal { .. })),
        (from, T::YearMonthInterval { start, end }) => start == end && (is_integral(from) || matches!(from, T::Decimal { .. })),
        (from, T::DayTimeInterval { start, end }) => start == end && (is_integral(from) || matches!(from, T::Decimal { .. })),
        (T::Array { element: from, .. }, T::Array { element: to, .. }) => can_cast(from, to, is_try),
        (T::Map { key: fk, value: fv, .. }, T::Map { key: tk, value: tv, .. }) => can_cast(fk, tk, is_try) && can_cast(fv, tv, is_try),
        (T::Struct(from), T::Struct(to)) => {
            from.len() == to.len() && from.iter().zip(to).all(|(from, to)| can_cast(&from.data_type, &to.data_type, is_try))
        }
        _ => false,
    }
}

/// Whether Spark takes the result of this cast for nullable although the value is not (`Cast.forceNullable`).
pub(crate) fn forces_nullable(from: &DataType, to: &DataType) -> bool {
    use DataType as T;
    match (from, to) {
        (from, to) if from == to => false,
        (T::Null, _) | (_, T::String) => false,
        (from, T::Binary) if is_string(from) => false,
        (from, _) if is_string(from) => true,
        (T::Timestamp, T::Byte | T::Short | T::Int) => true,
        (T::Float | T::Double, T::Timestamp) => true,
        (T::Timestamp, T::Date) | (T::Date, T::Timestamp) => false,
        (_, T::Date) | (T::Date, _) | (_, T::CalendarInterval) => true,
        (from, T::Decimal { precision, scale }) => match (from, decimal_for_integral(from)) {
            (T::Boolean, _) => i16::from(*precision) - i16::from(*scale) < 1,
            (_, Some(T::Decimal { precision: p, scale: s })) => {
                i16::from(*precision) - i16::from(*scale) < i16::from(p) - i16::from(s) || *scale < s
            }
            _ => true,
        },
        (T::Float | T::Double | T::Decimal { .. }, to) => is_integral(to),
        _ => false,
    }
}

fn tightest_common(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType as T;
    match (left, right) {
        (l, r) if l == r => Some(l.clone()),
        (T::Null, t) | (t, T::Null) => Some(t.clone()),
        (l, r) if is_string(l) && is_string(r) => Some(T::String),
        (l, r) if is_rankable(l) && is_rankable(r) => {
            let wider = if rank(l) >= rank(r) { l } else { r };
            // An integer as FLOAT would lose digits, so the two meet in DOUBLE.
            Some(if *wider == T::Float { T::Double } else { wider.clone() })
        }
        (T::Date, T::Timestamp) | (T::Timestamp, T::Date | T::TimestampNtz) | (T::TimestampNtz, T::Timestamp) => Some(T::Timestamp),
        (T::Date, T::TimestampNtz) | (T::TimestampNtz, T::Date) => Some(T::TimestampNtz),
        (T::DayTimeInterval { start: s1, end: e1 }, T::DayTimeInterval { start: s2, end: e2 }) => {
            Some(T::DayTimeInterval { start: *s1.min(s2), end: *e1.max(e2) })
        }
        (T::YearMonthInterval { start: s1, end: e1 }, T::YearMonthInterval { start: s2, end: e2 }) => {
            Some(T::YearMonthInterval { start: *s1.min(s2), end: *e1.max(e2) })
        }
        _ => None,
    }
}

/// Numbers other than decimals, by precedence.
fn rank(data_type: &DataType) -> u8 {
    match data_type {
        DataType::Byte => 0,
        DataType::Short => 1,
        DataType::Int => 2,
        DataType::Long => 3,
        DataType::Float => 4,
        _ => 5,
    }
}

fn is_rankable(data_type: &DataType) -> bool {
    is_numeric(data_type) && !matches!(data_type, DataType::Decimal { .. })
}

fn common_decimal(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType as T;
    match (left, right) {
        (T::Decimal { .. }, T::Float | T::Double) | (T::Float | T::Double, T::Decimal { .. }) => Some(T::Double),
        (l, r) if is_numeric(l) && is_numeric(r) => wider_decimal(&decimal_for_integral(l)?, &decimal_for_integral(r)?),
        _ => None,
    }
}

/// What a string becomes beside another type, when Spark can tell.
pub(crate) fn common_with_string(left: &DataType, right: &DataType) -> Option<DataType> {
    match (is_string(left), is_string(right)) {
        (true, false) => string_beside(right),
        (false, true) => string_beside(left),
        _ => None,
    }
}

fn string_beside(other: &DataType) -> Option<DataType> {
    match other {
        other if is_integral(other) => Some(DataType::Long),
        other if is_numeric(other) => Some(DataType::Double),
        other if is_ansi_interval(other) => None,
        other if is_atomic(other) => Some(other.clone()),
        _ => None,
    }
}

fn common_nested(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (DataType::Array { element: l, contains_null: ln }, DataType::Array { element: r, contains_null: rn }) => {
            Some(DataType::Array { element: Box::new(common_type(l, r)?), contains_null: *ln || *rn })
        }
        (DataType::Map { key: lk, value: lv, value_contains_null: ln }, DataType::Map { key: rk, value: rv, value_contains_null: rn }) => {
            Some(DataType::Map {
                key: Box::new(common_type(lk, rk)?),
                value: Box::new(common_type(lv, rv)?),
                value_contains_null: *ln || *rn,
            })
        }
        (DataType::Struct(l), DataType::Struct(r)) if l.len() == r.len() => {
            let fields = l.iter().zip(r).map(|(l, r)| common_field(l, r)).collect::<Option<Vec<_>>>()?;
            Some(DataType::Struct(fields))
        }
        _ => None,
    }
}

fn common_field(left: &StructField, right: &StructField) -> Option<StructField> {
    if !left.name.eq_ignore_ascii_case(&right.name) {
        return None;
    }
    let data_type = common_type(&left.data_type, &right.data_type)?;
    Some(StructField { nullable: left.nullable || right.nullable, ..StructField::new(&left.name, data_type) })
}

#[cfg(test)]
mod tests;
