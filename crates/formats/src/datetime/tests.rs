//! Casts between text and time against what Spark 4.3 answers.

use super::*;

fn ts(text: &str, zone: &str) -> Option<String> {
    let us = parse_timestamp(text, Zone::parse(zone).unwrap())?;
    let mut out = String::new();
    push_timestamp(&mut out, us, Zone::UTC);
    Some(out)
}

#[test]
fn timestamps_are_cast_as_spark_casts_them() {
    for (text, want) in [
        ("2021-01-01", Some("2021-01-01 00:00:00")),
        ("2021-1-1 10:00", Some("2021-01-01 10:00:00")),
        (" 2021-01-01T01:02:03.123456789+01:00 ", Some("2021-01-01 00:02:03.123456")),
        ("2021", Some("2021-01-01 00:00:00")),
        ("2021-07", Some("2021-07-01 00:00:00")),
        ("1234567", None),
        ("x", None),
        ("", None),
        ("10:00:00", None),
        ("2021-01-01 12", Some("2021-01-01 12:00:00")),
        ("2021-01-01T", None),
        ("2021-01-01 12:30Z", None),
        ("2021-01-01 10:00 Europe/Berlin", None),
        ("2021-01-01T10:00:00GMT+01:00", Some("2021-01-01 09:00:00")),
        ("2021-07-01T10:00:00 Europe/Berlin", Some("2021-07-01 08:00:00")),
        ("2021-01-01T10:00:00.5Z", Some("2021-01-01 10:00:00.5")),
        ("2021-01-01T10:00:00+1:0", Some("2021-01-01 09:00:00")),
        ("2021-02-30", None),
        ("-0044-03-15 12:00:00", Some("-0044-03-15 12:00:00")),
        ("+12021-03-15", Some("+12021-03-15 00:00:00")),
        ("2021-01-01 24:00:00", None),
        ("2021-01-01 23:59:60", None),
    ] {
        assert_eq!(ts(text, "UTC").as_deref(), want, "{text}");
    }
}

#[test]
fn a_time_alone_is_on_the_day_of_the_callers_clock() {
    let now = parse_timestamp("2021-05-05 23:30:00", Zone::UTC);
    let zone = Zone::parse("+01:00").unwrap();
    assert_eq!(parse_timestamp_at("10:30", zone, now), parse_timestamp("2021-05-06 09:30:00", Zone::UTC));
    assert_eq!(parse_timestamp_at("T10:30:01", zone, now), parse_timestamp("2021-05-06 09:30:01", Zone::UTC));
}

#[test]
fn a_gap_moves_forward_and_an_overlap_takes_the_earlier() {
    assert_eq!(ts("2021-03-28 02:30:00", "Europe/Berlin").as_deref(), Some("2021-03-28 01:30:00"));
    assert_eq!(ts("2021-10-31 02:30:00", "Europe/Berlin").as_deref(), Some("2021-10-31 00:30:00"));
    assert_eq!(ts("2011-12-30 10:00:00", "Pacific/Apia").as_deref(), Some("2011-12-30 20:00:00"));
    assert_eq!(ts("1800-01-01 00:00:00", "America/Los_Angeles").as_deref(), Some("1800-01-01 07:52:58"));
}

#[test]
fn dates_are_cast_as_spark_casts_them() {
    let date = |text: &str| {
        let mut out = String::new();
        push_date(&mut out, parse_date(text)?);
        Some(out)
    };
    for (text, want) in [
        ("2021-01-01", Some("2021-01-01")),
        ("2021-1-1 anything", Some("2021-01-01")),
        ("2021-01-01T", Some("2021-01-01")),
        ("2021-01", Some("2021-01-01")),
        ("2021-01 x", None),
        ("18262", Some("+18262-01-01")),
        ("202", None),
        ("2021-02-29", None),
        ("-0001-12-31", Some("-0001-12-31")),
        ("2021-1-1x", None),
        ("\t2021-12-1\n", Some("2021-12-01")),
    ] {
        assert_eq!(date(text).as_deref(), want, "{text}");
    }
    assert_eq!(parse_date("1970-01-01"), Some(0));
}

#[test]
fn zones_are_read_as_java_time_reads_them() {
    for (text, want) in
        [("Z", "Z"), ("+1", "+01:00"), ("-08:30", "-08:30"), ("+1:2", "+01:02"), ("GMT+8", "+08:00"), ("UTC", "Z"), ("+0530", "+05:30")]
    {
        assert_eq!(Zone::parse(text).unwrap().name(), want, "{text}");
    }
    assert_eq!(Zone::parse("PST").unwrap().name(), "America/Los_Angeles");
    for text in ["", "europe/berlin", "+19:00", "+1:60", "Mars/Base", "+"] {
        assert!(Zone::parse(text).is_err(), "{text}");
    }
}

#[test]
fn every_day_of_a_long_time_comes_back() {
    for days in (-800_000..800_000).step_by(37).chain([i64::from(i32::MIN), i64::from(i32::MAX)]) {
        let civil = Civil::from_days(days);
        assert_eq!(days_from_civil(civil.year, civil.month, civil.day), Some(days));
    }
    assert_eq!(weekday(0), 4);
    for us in [i64::MIN, i64::MAX, 0, -1] {
        assert_eq!(Civil::from_local_micros(us).to_local_micros(), Some(us));
        let mut out = String::new();
        push_timestamp(&mut out, us, Zone::parse("Europe/Berlin").unwrap());
    }
}

fn written(push: impl Fn(&mut String)) -> String {
    let mut out = String::new();
    push(&mut out);
    out
}

#[test]
fn intervals_print_as_spark_prints_them() {
    assert_eq!(written(|out| push_year_month_interval(out, 14, None)), "INTERVAL '1-2' YEAR TO MONTH");
    assert_eq!(written(|out| push_year_month_interval(out, -14, None)), "INTERVAL '-1-2' YEAR TO MONTH");
    assert_eq!(written(|out| push_day_time_interval(out, 93_784_500_000, None)), "INTERVAL '1 02:03:04.5' DAY TO SECOND");
    let hours = Some((IntervalField::Hour, IntervalField::Minute));
    assert_eq!(written(|out| push_day_time_interval(out, -93_784_500_000, hours)), "INTERVAL '-26:03' HOUR TO MINUTE");
    assert_eq!(calendar_interval_text(14, 3, 3_661_500_000), "1 years 2 months 3 days 1 hours 1 minutes 1.5 seconds");
    assert_eq!(calendar_interval_text(0, 0, 0), "0 seconds");
}
