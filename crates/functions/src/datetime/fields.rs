//! Fields of dates, timestamps and intervals: `year`, `hour`, `extract`, `dayname`, ...

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{DataType, Date32Type, Int32Type, IntervalUnit, TimestampMicrosecondType};
use datafusion::common::Result;
use millstream_formats::datetime::{Civil, MICROS_PER_DAY, MICROS_PER_SECOND, Zone, weekday, year_day};

use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{internal, invalid};
use crate::interval_math::{Parts, interval_parts, zone_of};
use crate::rows::{number, text_rows};

const DATE: &[Arg] = &[Arg::Date];
const TIMESTAMP: &[Arg] = &[Arg::AnyTimestamp];

macro_rules! of_date {
    ($name:literal, $field:expr) => {
        FunctionDef::new($name, DATE, Returns::Int, |call| date_field(call, $field))
    };
}

macro_rules! of_time {
    ($name:literal, $field:expr) => {
        FunctionDef::new($name, TIMESTAMP, Returns::Int, |call| {
            let local = local_micros(&call.array(0)?, zone_of(call)?)?;
            let result: PrimitiveArray<Int32Type> = local.unary(|us| $field.of(us) as i32);
            Ok(Arc::new(result))
        })
        .zoned()
    };
}

pub(super) const FUNCTIONS: &[FunctionDef] = &[
    of_date!("year", Field::Year),
    of_date!("quarter", Field::Quarter),
    of_date!("month", Field::Month),
    of_date!("day", Field::Day).alias(&["dayofmonth"]),
    of_date!("dayofweek", Field::DayOfWeek),
    of_date!("weekday", Field::Weekday),
    of_date!("dayofyear", Field::DayOfYear),
    of_date!("weekofyear", Field::Week),
    of_time!("hour", Field::Hour),
    of_time!("minute", Field::Minute),
    of_time!("second", Field::Second),
    FunctionDef::new("dayname", DATE, Returns::String, |call| {
        name(call, |days| ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].get(weekday(days) as usize - 1).copied())
    }),
    FunctionDef::new("monthname", DATE, Returns::String, |call| {
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        name(call, |days| MONTHS.get(Civil::from_days(days).month as usize - 1).copied())
    }),
    FunctionDef::new("date_part", &[Arg::LiteralString, Arg::Any], Returns::Rule(part_type), date_part)
        .zoned()
        .alias(&["datepart", "extract"]),
];

/// A field of a local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Year,
    YearOfWeek,
    Quarter,
    Month,
    Week,
    Day,
    DayOfWeek,
    DayOfWeekIso,
    Weekday,
    DayOfYear,
    Hour,
    Minute,
    Second,
}

impl Field {
    fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "YEAR" | "Y" | "YEARS" | "YR" | "YRS" => Self::Year,
            "YEAROFWEEK" => Self::YearOfWeek,
            "QUARTER" | "QTR" => Self::Quarter,
            "MONTH" | "MON" | "MONS" | "MONTHS" => Self::Month,
            "WEEK" | "W" | "WEEKS" => Self::Week,
            "DAY" | "D" | "DAYS" => Self::Day,
            "DAYOFWEEK" | "DOW" => Self::DayOfWeek,
            "DAYOFWEEK_ISO" | "DOW_ISO" => Self::DayOfWeekIso,
            "DOY" => Self::DayOfYear,
            "HOUR" | "H" | "HOURS" | "HR" | "HRS" => Self::Hour,
            "MINUTE" | "M" | "MIN" | "MINS" | "MINUTES" => Self::Minute,
            "SECOND" | "S" | "SEC" | "SECONDS" | "SECS" => Self::Second,
            _ => return None,
        })
    }

    fn of(self, local_us: i64) -> i64 {
        let seconds = local_us.rem_euclid(MICROS_PER_DAY) / MICROS_PER_SECOND;
        match self {
            Self::Hour => seconds / 3600,
            Self::Minute => seconds / 60 % 60,
            Self::Second => seconds % 60,
            _ => self.of_day(local_us.div_euclid(MICROS_PER_DAY)),
        }
    }

    /// Dates reach further than timestamps, so they are not made into microseconds.
    fn of_day(self, days: i64) -> i64 {
        match self {
            Self::Hour | Self::Minute | Self::Second => 0,
            Self::DayOfWeek => i64::from(weekday(days) % 7 + 1),
            Self::DayOfWeekIso => i64::from(weekday(days)),
            Self::Weekday => i64::from(weekday(days)) - 1,
            Self::Week => iso_week(days).1,
            Self::YearOfWeek => iso_week(days).0,
            _ => {
                let civil = Civil::from_days(days);
                match self {
                    Self::Year => civil.year,
                    Self::Quarter => i64::from((civil.month - 1) / 3 + 1),
                    Self::Month => i64::from(civil.month),
                    Self::DayOfYear => i64::from(year_day(&civil)),
                    _ => i64::from(civil.day),
                }
            }
        }
    }
}

/// The ISO year and week: the week belongs to the year of its Thursday.
fn iso_week(days: i64) -> (i64, i64) {
    let thursday = Civil::from_days(days - i64::from(weekday(days)) + 4);
    (thursday.year, i64::from((year_day(&thursday) - 1) / 7 + 1))
}

fn date_field(call: &Call<'_>, field: Field) -> Result<ArrayRef> {
    let dates = call.primitive::<Date32Type>(0)?;
    let result: PrimitiveArray<Int32Type> = dates.unary(|days| field.of_day(days.into()) as i32);
    Ok(Arc::new(result))
}

fn name(call: &Call<'_>, of: impl Fn(i64) -> Option<&'static str>) -> Result<ArrayRef> {
    let dates = call.primitive::<Date32Type>(0)?;
    text_rows(call.n_rows(), |row, out| {
        let Some(days) = number(&dates, row) else { return Ok(false) };
        out.push_str(of(days.into()).unwrap_or(""));
        Ok(true)
    })
}

/// Local microseconds of a column of dates or timestamps.
pub(super) fn local_micros(array: &ArrayRef, zone: Zone) -> Result<PrimitiveArray<TimestampMicrosecondType>> {
    Ok(match array.data_type() {
        DataType::Date32 => array.as_primitive::<Date32Type>().unary(|days| i64::from(days).saturating_mul(MICROS_PER_DAY)),
        DataType::Timestamp(_, Some(_)) => array.as_primitive::<TimestampMicrosecondType>().unary(|us| zone.to_local(us)),
        DataType::Timestamp(_, None) => array.as_primitive::<TimestampMicrosecondType>().clone(),
        other => return Err(internal(format!("expected a date or timestamp, got {other}"))),
    })
}

fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Duration(_) | DataType::Interval(_))
}

fn field_of(name: Option<&str>, source: &DataType) -> Result<Field> {
    let name = name.ok_or_else(|| invalid("NON_FOLDABLE_ARGUMENT", "the field to extract must be a string literal"))?;
    let field = Field::parse(name).filter(|field| {
        !is_interval(source)
            || match field {
                Field::Year | Field::Month => !matches!(source, DataType::Duration(_)),
                Field::Day | Field::Hour | Field::Minute | Field::Second => source != &DataType::Interval(IntervalUnit::YearMonth),
                _ => false,
            }
    });
    field.ok_or_else(|| {
        invalid("INVALID_EXTRACT_FIELD", format!("cannot extract '{name}' from {}", crate::types::type_name(source).to_uppercase()))
    })
}

fn part_type(types: &Types<'_>) -> Result<DataType> {
    let source = types.at(1);
    Ok(match field_of(types.text(0), &source)? {
        Field::Second => DataType::Decimal128(8, 6),
        Field::Month | Field::Hour | Field::Minute if is_interval(&source) => DataType::Int8,
        _ => DataType::Int32,
    })
}

fn date_part(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.array(1)?;
    let field = field_of(call.text(0), array.data_type())?;
    if is_interval(array.data_type()) {
        return interval_part(call, &array, field);
    }
    if let Some(dates) = array.as_primitive_opt::<Date32Type>()
        && field != Field::Second
    {
        let result: PrimitiveArray<Int32Type> = dates.unary(|days| field.of_day(days.into()) as i32);
        return Ok(Arc::new(result));
    }
    let local = local_micros(&array, zone_of(call)?)?;
    if field == Field::Second {
        let micros = local.unary::<_, arrow::datatypes::Decimal128Type>(|us| i128::from(us.rem_euclid(60 * MICROS_PER_SECOND)));
        return Ok(Arc::new(micros.with_precision_and_scale(8, 6)?));
    }
    let result: PrimitiveArray<Int32Type> = local.unary(|us| field.of(us) as i32);
    Ok(Arc::new(result))
}

fn interval_part(call: &Call<'_>, array: &ArrayRef, field: Field) -> Result<ArrayRef> {
    let parts = interval_parts(array)?;
    if field == Field::Second {
        let seconds: Decimal128Array =
            parts.iter().map(|parts| parts.map(|parts| i128::from(parts.us % (60 * MICROS_PER_SECOND)))).collect();
        return Ok(Arc::new(seconds.with_precision_and_scale(8, 6)?));
    }
    let of = |parts: Parts| match field {
        Field::Year => parts.months / 12,
        Field::Month => parts.months % 12,
        Field::Day => parts.days,
        Field::Hour => parts.us / (3600 * MICROS_PER_SECOND),
        _ => parts.us / (60 * MICROS_PER_SECOND) % 60,
    };
    let values: PrimitiveArray<Int32Type> = parts.iter().map(|parts| parts.map(|parts| of(parts) as i32)).collect();
    Ok(arrow::compute::cast(&values, call.return_type())?)
}
