//! Known answers of Spark 4.3 (gold `datetime-*`, `timezone-*`).

use arrow::datatypes::{IntervalMonthDayNano, IntervalUnit};
use datafusion::common::ScalarValue as S;
use millstream_formats::datetime::{Zone, parse_date, parse_timestamp};

use crate::testing::eval;

fn s(text: &str) -> S {
    S::from(text)
}

fn ts(text: &str, zone: &str) -> S {
    let us = parse_timestamp(text, Zone::parse(zone).unwrap()).unwrap();
    S::TimestampMicrosecond(Some(us), Some("UTC".into()))
}

fn date(text: &str) -> S {
    S::Date32(parse_date(text))
}

#[test]
fn a_window_slice_begins_where_a_window_begins_or_ends() {
    let second = |n: i64| S::from(n * 1_000_000);
    let slice = |text: &str| eval("window_slice", vec![ts(text, "UTC"), second(10), second(4), second(1)]);
    for (time, expected) in [
        ("1970-01-01 00:00:01", "1970-01-01 00:00:01"),
        ("1970-01-01 00:00:02.999999", "1970-01-01 00:00:01"),
        ("1970-01-01 00:00:03", "1970-01-01 00:00:03"),
        ("1969-12-31 23:59:59", "1969-12-31 23:59:59"),
        ("1969-12-31 23:59:58", "1969-12-31 23:59:57"),
    ] {
        assert_eq!(slice(time), expected, "{time}");
    }
}

#[test]
fn the_windows_of_a_time_are_those_that_hold_it() {
    let second = |n: i64| S::from(n * 1_000_000);
    let windows = |text: &str, length: i64| eval("windows_of", vec![ts(text, "UTC"), second(length), second(4), second(1)]);
    let shown = |starts: &[&str], ends: &[&str]| {
        let window = |(start, end): (&&str, &&str)| format!("{{1970-01-01 00:00:{start}, 1970-01-01 00:00:{end}}}");
        format!("[{}]", starts.iter().zip(ends).map(window).collect::<Vec<_>>().join(", "))
    };
    assert_eq!(windows("1970-01-01 00:00:10", 10), shown(&["09", "05", "01"], &["19", "15", "11"]));
    assert_eq!(windows("1970-01-01 00:00:11", 10), shown(&["09", "05"], &["19", "15"]));
    assert_eq!(windows("1970-01-01 00:00:12.999999", 4), shown(&["09"], &["13"]));
}

#[test]
fn functions_in_utc() {
    let t = |text: &str| ts(text, "UTC");
    let utc = || s("UTC");
    let i = |value: i32| S::from(value);
    for (name, args, expected) in [
        ("to_timestamp", vec![s("02/01/2020 03:04"), s("dd/MM/yyyy HH:mm"), utc()], "2020-01-02 03:04:00"),
        ("to_timestamp", vec![s("2020-1-2"), s("yyyy-MM-dd"), utc()], "!CANNOT_PARSE_TIMESTAMP"),
        ("to_timestamp", vec![s("x"), utc()], "!CAST_INVALID_INPUT"),
        ("try_to_timestamp", vec![s("x"), utc()], "NULL"),
        ("to_date", vec![s("02.01.2020"), s("dd.MM.yyyy"), utc()], "2020-01-02"),
        ("date_format", vec![t("2020-01-02 15:04:05.678"), s("EEE HH"), utc()], "Thu 15"),
        ("date_trunc", vec![s("QUARTER"), t("2020-08-13 15:04:05"), utc()], "2020-07-01 00:00:00"),
        ("date_trunc", vec![s("WEEK"), t("2020-08-13 15:04:05"), utc()], "2020-08-10 00:00:00"),
        ("date_trunc", vec![s("foo"), t("2020-08-13 15:04:05"), utc()], "NULL"),
        ("date_trunc", vec![s("minute"), t("1960-08-13 15:04:05"), utc()], "1960-08-13 15:04:00"),
        ("trunc", vec![date("2020-08-13"), s("quarter")], "2020-07-01"),
        ("trunc", vec![date("2020-08-13"), s("day")], "NULL"),
        ("unix_timestamp", vec![s("x"), s("yyyy-MM-dd HH:mm:ss"), utc()], "!CANNOT_PARSE_TIMESTAMP"),
        ("from_unixtime", vec![S::from(1_577_934_245i64), utc()], "2020-01-02 03:04:05"),
        ("weekofyear", vec![date("2021-01-03")], "53"),
        ("dayofweek", vec![date("2020-08-13")], "5"),
        ("weekday", vec![date("2020-08-13")], "3"),
        ("dayofyear", vec![date("2020-08-13")], "226"),
        ("dayname", vec![date("2020-08-13")], "Thu"),
        ("date_part", vec![s("SECOND"), t("2020-08-13 15:04:05.678901"), utc()], "5.678901"),
        ("date_part", vec![s("foo"), date("2020-08-13"), utc()], "!INVALID_EXTRACT_FIELD"),
        ("date_part", vec![s("DAYS"), S::DurationMicrosecond(Some(273_906_000_000)), utc()], "3"),
        ("add_months", vec![date("2020-03-31"), i(-1)], "2020-02-29"),
        ("months_between", vec![t("2020-03-15 12:00:00"), t("2020-02-01"), utc()], "1.46774194"),
        ("months_between", vec![t("2020-03-31"), t("2020-02-29"), utc()], "1.0"),
        ("next_day", vec![date("2020-01-02"), s("thursday")], "2020-01-09"),
        ("next_day", vec![date("2020-01-02"), s("xx")], "!ILLEGAL_DAY_OF_WEEK"),
        ("make_date", vec![i(2021), i(2), i(29)], "!DATETIME_FIELD_OUT_OF_BOUNDS.WITHOUT_SUGGESTION"),
        ("timestampdiff", vec![s("MONTH"), t("2020-01-31"), t("2020-02-29"), utc()], "0"),
        ("timestampdiff", vec![s("HOUR"), t("2020-01-01"), t("2020-01-02 01:30:00"), utc()], "25"),
        ("timestampadd", vec![s("MONTH"), S::from(1i64), t("2020-01-31"), utc()], "2020-02-29 00:00:00"),
        ("from_utc_timestamp", vec![t("2020-07-01 12:00:00"), s("Foo/Bar")], "!INVALID_TIMEZONE"),
        ("from_utc_timestamp", vec![t("2020-07-01 12:00:00"), s("+05:30")], "2020-07-01 17:30:00"),
        ("date_add", vec![S::Date32(Some(i32::MAX)), i(1)], "!ARITHMETIC_OVERFLOW"),
        ("last_day", vec![S::Date32(Some(i32::MAX))], "+5881580-07-11"),
        ("year", vec![S::Date32(Some(i32::MIN))], "-5877641"),
    ] {
        assert_eq!(eval(name, args.clone()), expected, "{name} {args:?}");
    }
    let six = |second: i128| {
        let mut args: Vec<S> = [2020, 1, 2, 3, 4].map(S::from).to_vec();
        args.extend([S::Decimal128(Some(second), 16, 6), utc()]);
        eval("make_timestamp", args)
    };
    assert_eq!(six(5_678_000), "2020-01-02 03:04:05.678");
    assert_eq!(six(60_000_000), "2020-01-02 03:05:00");
    assert_eq!(six(61_000_000), "!DATETIME_FIELD_OUT_OF_BOUNDS.WITHOUT_SUGGESTION");
}

#[test]
fn functions_in_berlin() {
    let zone = "Europe/Berlin";
    let z = || s(zone);
    // Results print in UTC.
    assert_eq!(eval("date_trunc", vec![s("DAY"), ts("2021-03-28 12:00:00", zone), z()]), "2021-03-27 23:00:00");
    assert_eq!(eval("date_trunc", vec![s("HOUR"), ts("2021-10-31 01:30:00Z", zone), z()]), "2021-10-31 01:00:00");
    assert_eq!(eval("hour", vec![ts("2021-07-01 12:00:00Z", zone), z()]), "14");
    let day = S::DurationMicrosecond(Some(86_400_000_000));
    assert_eq!(eval("add_interval", vec![ts("2021-03-27 02:30:00", zone), day, z()]), "2021-03-28 01:30:00");
    let month = S::IntervalYearMonth(Some(1));
    assert_eq!(eval("add_interval", vec![ts("2021-01-31 12:00:00", zone), month, z()]), "2021-02-28 11:00:00");
    let difference = eval("subtract_timestamps", vec![ts("2021-03-29", zone), ts("2021-03-28", zone), z()]);
    assert_eq!(difference, "INTERVAL '1 00:00:00' DAY TO SECOND");
    assert_eq!(eval("to_utc_timestamp", vec![ts("2021-07-01 12:00:00", zone), s("America/New_York")]), "2021-07-01 14:00:00");
}

#[test]
fn intervals_are_scaled_and_added_without_losing_their_kind() {
    let day = || S::DurationMicrosecond(Some(86_400_000_000));
    assert_eq!(eval("divide_interval", vec![day(), S::from(0i64)]), "!INTERVAL_DIVIDED_BY_ZERO");
    assert_eq!(eval("divide_interval", vec![day(), S::from(2i64)]), "INTERVAL '0 12:00:00' DAY TO SECOND");
    let year = S::IntervalYearMonth(Some(12));
    assert_eq!(eval("multiply_interval", vec![year, S::Decimal128(Some(15), 2, 1)]), "INTERVAL '1-6' YEAR TO MONTH");
    let calendar = S::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(1, 2, 3_000_000_000)));
    assert_eq!(calendar.data_type(), arrow::datatypes::DataType::Interval(IntervalUnit::MonthDayNano));
    assert_eq!(eval("add_interval", vec![ts("2020-01-31", "UTC"), calendar, s("UTC")]), "2020-03-02 00:00:03");
    assert_eq!(eval("add_interval", vec![date("2020-01-31"), S::IntervalYearMonth(Some(1)), s("UTC")]), "2020-02-29");
}
