//! Patterns against what java.time and Spark 4.3 print and read.

use super::*;

fn format(pattern: &str, text: &str, zone: &str) -> String {
    let zone = Zone::parse(zone).unwrap();
    let us = crate::datetime::parse_timestamp(text, zone).unwrap();
    let mut out = String::new();
    DateTimePattern::for_format(pattern).unwrap().format_timestamp(&mut out, us, zone).unwrap();
    out
}

fn parse(pattern: &str, text: &str) -> Option<String> {
    let us = DateTimePattern::for_parse(pattern).unwrap().parse_timestamp(text, Zone::UTC)?;
    let mut out = String::new();
    crate::datetime::push_timestamp(&mut out, us, Zone::UTC);
    Some(out)
}

#[test]
fn every_letter_formats_as_java_time_does() {
    let ts = "2021-03-09 15:04:05.123456";
    for (pattern, want) in [
        ("yyyy-MM-dd HH:mm:ss.SSS", "2021-03-09 15:04:05.123"),
        ("y yy yyy yyyy yyyyy", "2021 21 2021 2021 02021"),
        ("M MM MMM MMMM L LLL", "3 03 Mar March 3 Mar"),
        ("d dd D DDD", "9 09 68 068"),
        ("E EEE EEEE", "Tue Tue Tuesday"),
        ("Q QQ QQQ QQQQ q", "1 01 Q1 1st quarter 1"),
        ("G GGGG y", "AD Anno Domini 2021"),
        ("h hh K k H a", "3 03 3 15 15 PM"),
        ("S SSSSSS SSSSSSSSS", "1 123456 123456000"),
        ("X XX XXX x xx xxx Z ZZZZ ZZZZZ", "+01 +0100 +01:00 +01 +0100 +01:00 +0100 GMT+01:00 +01:00"),
        ("VV z O OOOO", "Europe/Berlin CET GMT+1 GMT+01:00"),
        ("'T''x'''", "T'x'"),
        ("yyyy[-MM]", "2021-03"),
        ("F", "2"),
    ] {
        assert_eq!(format(pattern, ts, "Europe/Berlin"), want, "{pattern}");
    }
    assert_eq!(format("X XXX x xxx Z", ts, "UTC"), "Z Z +00 +00:00 +0000");
}

#[test]
fn parsing_is_strict_about_widths_and_ranges() {
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(parse("yyyy-MM-dd HH:mm:ss", "2021-03-09 15:04:05"), some("2021-03-09 15:04:05"));
    assert_eq!(parse("yyyy-MM-dd", "2021-3-09"), None);
    assert_eq!(parse("yyyy-M-d", "2021-3-9"), some("2021-03-09 00:00:00"));
    assert_eq!(parse("yyyyMMdd", "20210309"), some("2021-03-09 00:00:00"));
    assert_eq!(parse("yyyy-MM-dd", "2021-02-29"), None);
    assert_eq!(parse("yyyy-MM-dd", "12021-02-28"), None);
    assert_eq!(parse("yyyy-MM-dd", "+12021-02-28"), some("+12021-02-28 00:00:00"));
    assert_eq!(parse("dd/MMM/yyyy:HH:mm:ss Z", "10/oct/2000:13:55:36 -0700"), some("2000-10-10 20:55:36"));
    assert_eq!(parse("yyyy-MM-dd HH:mm:ss[.SSS][XXX]", "2021-03-09 15:04:05.5+01:00"), some("2021-03-09 14:04:05.5"));
    assert_eq!(parse("yyyy-MM-dd HH:mm:ss[.SSS][XXX]", "2021-03-09 15:04:05Z"), some("2021-03-09 15:04:05"));
    assert_eq!(parse("h:mm a", "3:04 PM"), some("1970-01-01 15:04:00"));
    assert_eq!(parse("yyyy D", "2020 366"), some("2020-12-31 00:00:00"));
    assert_eq!(parse("yyyy D", "2021 366"), None);
    assert_eq!(parse("yyyy-MM-dd VV", "2021-07-01 Europe/Berlin"), some("2021-06-30 22:00:00"));
    assert_eq!(parse("yy", "21"), some("2021-01-01 00:00:00"));
    assert_eq!(parse("HH:mm", "25:00"), None);
    assert_eq!(parse("yyyy", "2021 "), None);
}

#[test]
fn letters_that_spark_refuses_are_named() {
    for (pattern, usage, part) in [
        ("YYYY", Usage::Format, "'Y'"),
        ("u", Usage::Format, "'u'"),
        ("A", Usage::Format, "'A'"),
        ("E", Usage::Parse, "'E'"),
        ("MMMMM", Usage::Format, "'M'"),
        ("yyyy#", Usage::Format, "'#'"),
        ("yyyy-MM-dd'T", Usage::Format, "not closed"),
        ("b", Usage::Format, "'b'"),
    ] {
        let error = DateTimePattern::new(pattern, usage).unwrap_err().to_string();
        assert!(error.contains(part), "{pattern}: {error}");
    }
    for (pattern, usage, class) in [
        ("EEE, dd MMM", Usage::Parse, "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION"),
        ("u", Usage::Format, "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION"),
        ("e", Usage::Format, "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_WEEK_BASED_PATTERN"),
        ("qqq", Usage::Parse, "INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER"),
        ("b", Usage::Format, "INVALID_DATETIME_PATTERN.WITH_SUGGESTION"),
    ] {
        assert_eq!(DateTimePattern::new(pattern, usage).unwrap_err().error_class(), Some(class), "{pattern}");
    }
    assert!(DateTimePattern::for_format("'Y'").is_ok());
}

#[test]
fn a_date_has_no_hours() {
    let pattern = DateTimePattern::for_format("yyyy HH").unwrap();
    assert!(pattern.format_date(&mut String::new(), 0).is_err());
    let mut out = String::new();
    DateTimePattern::for_format("dd.MM.yyyy[ HH]").unwrap().format_date(&mut out, 19_000).unwrap();
    assert_eq!(out, "08.01.2022");
}
