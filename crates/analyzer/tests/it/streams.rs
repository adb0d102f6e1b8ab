//! Streaming plans: what carries the flag, what is refused.

use millstream_analyzer::streaming::for_output_mode;
use millstream_core::{ErrorKind, OutputMode};

use crate::harness::{TestCatalog, analyze, schema_text};

const TRAIL: &str = "Records ARRAY<STRUCT<eventTime: STRING, eventName: STRING, userIdentity: STRUCT<type: STRING, arn: STRING>, requestParameters: STRING>>";

fn catalog() -> TestCatalog {
    TestCatalog::default()
        .table("trail", TRAIL, true)
        .table("names", "eventName STRING, title STRING", false)
        .view("events", "SELECT r.*, to_timestamp(r.eventTime) AS ts FROM (SELECT explode(Records) AS r FROM STREAM trail)")
        .view("plain", "SELECT * FROM trail")
}

#[test]
fn cloudtrail_job_is_a_stream_with_sparks_schema() {
    let analyzed = analyze(&catalog(), "SELECT ts, eventName, userIdentity.arn AS arn, date(ts) AS day FROM STREAM events").unwrap();
    assert!(analyzed.is_streaming);
    assert_eq!(schema_text(&analyzed), "ts timestamp, eventName string, arn string, day date");
}

#[test]
fn view_with_stream_is_a_stream_without_the_word() {
    assert!(analyze(&catalog(), "SELECT * FROM events").unwrap().is_streaming);
    assert!(!analyze(&catalog(), "SELECT * FROM trail").unwrap().is_streaming);
    assert!(analyze(&catalog(), "SELECT * FROM STREAM trail").unwrap().is_streaming);
}

#[test]
fn batch_view_and_batch_table_are_no_streams() {
    for sql in ["SELECT * FROM STREAM plain", "SELECT * FROM STREAM names"] {
        let error = analyze(&catalog(), sql).unwrap_err();
        assert_eq!(error.error_class(), Some("NOT_A_STREAM"), "{error}");
    }
}

#[test]
fn what_no_mode_serves_is_refused_by_name() {
    let refused = [
        ("SELECT * FROM events ORDER BY ts", "sorting on a stream"),
        ("SELECT eventName FROM events ORDER BY ts", "sorting on a stream"),
        ("SELECT * FROM events LIMIT 1 OFFSET 1", "OFFSET on a stream"),
        ("SELECT eventName FROM events INTERSECT SELECT eventName FROM names", "INTERSECT on a stream"),
        ("SELECT eventName FROM names EXCEPT SELECT eventName FROM events", "EXCEPT on a stream"),
        ("SELECT eventName FROM events UNION ALL SELECT eventName FROM names", "UNION ALL of a stream and finished data"),
        ("SELECT eventName FROM names UNION SELECT eventName FROM events", "UNION of a stream and finished data"),
        ("SELECT eventName FROM events UNION ALL VALUES ('x') UNION ALL VALUES ('y')", "UNION ALL of a stream and finished data"),
        ("SELECT * FROM events a RIGHT JOIN names b USING (eventName)", "a right outer join with the stream on the left"),
        ("SELECT * FROM events a FULL JOIN names b USING (eventName)", "a full outer join with the stream on the left"),
        ("SELECT * FROM names a LEFT JOIN events b USING (eventName)", "a left outer join with the stream on the right"),
        ("SELECT * FROM names a LEFT SEMI JOIN events b USING (eventName)", "a left semi join with the stream on the right"),
        ("SELECT row_number() OVER (ORDER BY ts) FROM events", "a window function on a stream"),
        ("SELECT eventName, sum(count(*)) OVER () FROM events GROUP BY eventName", "a window function on a stream"),
        ("SELECT * FROM names WHERE eventName IN (SELECT eventName FROM events)", "a subquery on a stream"),
    ];
    for (sql, message) in refused {
        let error = analyze(&catalog(), sql).map(|_| sql).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{sql}: {error}");
        assert!(error.message().contains(message), "{sql}: {error}");
        assert!(error.hint_text().is_some(), "{sql}");
    }
}

#[test]
fn joins_that_need_no_state_are_allowed() {
    let allowed = [
        "SELECT * FROM events a JOIN names b USING (eventName)",
        "SELECT * FROM names b JOIN events a USING (eventName)",
        "SELECT * FROM events a LEFT JOIN names b USING (eventName)",
        "SELECT * FROM names b RIGHT JOIN events a USING (eventName)",
        "SELECT * FROM events a LEFT SEMI JOIN names b USING (eventName)",
        "SELECT * FROM events a LEFT ANTI JOIN names b USING (eventName)",
        "SELECT eventName FROM events UNION ALL SELECT r.eventName FROM STREAM trail LATERAL VIEW explode(Records) AS r",
        "SELECT * FROM events WHERE eventName IN (SELECT eventName FROM names)",
    ];
    for sql in allowed {
        assert!(analyze(&catalog(), sql).unwrap().is_streaming, "{sql}");
    }
}

#[test]
fn watermark_marks_its_column() {
    let sql = "SELECT eventName, ts FROM STREAM events WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS e";
    let analyzed = analyze(&catalog(), sql).unwrap();
    let marks: Vec<_> = analyzed.watermarks.iter().map(|mark| (mark.column_idx, mark.delay.to_micros_for_delay())).collect();
    assert_eq!(marks, [(1, Some(10_000_000))]);
    let error = analyze(&catalog(), "SELECT * FROM STREAM events WATERMARK eventName DELAY OF INTERVAL 10 SECONDS").unwrap_err();
    assert_eq!(error.error_class(), Some("EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE"));
}

const IN_TIME: &str = "FROM STREAM events WATERMARK ts DELAY OF INTERVAL 10 SECONDS";

/// The operators of a query in a mode, or why it is refused.
fn operators(sql: &str, mode: OutputMode) -> Result<Vec<String>, String> {
    let analyzed = analyze(&catalog(), sql).map_err(|error| format!("before the mode: {error}"))?;
    let plan = for_output_mode(&analyzed.plan, mode).map_err(|error| error.message().to_owned())?;
    let shown = plan.display_indent().to_string();
    let is_stateful =
        |line: &&str| ["StatefulAggregate:", "Deduplicate:", "StreamJoin:", "StreamLimit:"].iter().any(|kind| line.contains(kind));
    let operator = |line: &str| line.trim().split([' ', ',']).nth(1).unwrap().to_owned();
    Ok(shown.lines().filter(is_stateful).map(operator).collect())
}

/// Whether a row is taken once for each window that holds it.
fn is_expanded(sql: &str) -> bool {
    let catalog = TestCatalog::default().table("clicks", "ts TIMESTAMP, eventName STRING", true);
    analyze(&catalog, sql).unwrap().plan.display_indent().to_string().contains("Unnest")
}

#[test]
fn rows_of_overlapping_windows_are_expanded_only_where_something_asks_for_each_window() {
    let from = "FROM STREAM clicks WATERMARK ts DELAY OF INTERVAL 10 SECONDS";
    let of = |list: &str, keys: &str| format!("SELECT {list} {from} GROUP BY {keys}");
    let window = "window(ts, '1 minute', '10 seconds')";
    for (sql, expected) in [
        (of("window, count(*)", window), false),
        (of("window.end, eventName, max(eventName), count(DISTINCT eventName)", &format!("eventName, {window}")), false),
        (of("count(*)", window), false),
        (of("window, count(*) FILTER (WHERE eventName = 'a')", window), false),
        (of("window(ts, '1 minute'), count(*)", "window(ts, '1 minute')"), false),
        (of(&format!("max({window}.end)"), window), true),
        (of("count(*)", &format!("{window}.start")), true),
        (of(&format!("count(*) FILTER (WHERE {window}.start > ts)"), window), true),
        (of("eventName, count(*)", &format!("ROLLUP(eventName, {window})")), true),
    ] {
        assert_eq!(is_expanded(&sql), expected, "{sql}");
    }
    let long = "window(ts, '1 hour', '1 second')";
    assert!(!is_expanded(&of("window, count(*)", long)));
    let each = of(&format!("max({long}.end)"), long);
    assert!(is_expanded(&each));
    let catalog = TestCatalog::default().table("clicks", "ts TIMESTAMP, eventName STRING", true);
    for from in [from, "FROM clicks"] {
        let endless = format!("SELECT count(*) {from} GROUP BY window(ts, '1 hour', '100 microseconds')");
        let error = analyze(&catalog, &endless).map(|_| ()).unwrap_err();
        assert!(error.message().contains("more than 10000000 windows"), "{error}");
    }
}

#[test]
fn each_mode_serves_the_queries_that_spark_serves_in_it() {
    use OutputMode::{Append, Complete, Update};
    let windowed = format!("SELECT window(ts, '1 minute') AS w, count(*) AS n {IN_TIME} GROUP BY window(ts, '1 minute')");
    let chained =
        format!("SELECT window(window_time(w), '10 minutes'), sum(n) FROM ({windowed}) GROUP BY window(window_time(w), '10 minutes')");
    let again = format!("SELECT window(w, '10 minutes'), sum(n) FROM ({windowed}) GROUP BY window(w, '10 minutes')");
    let plain = "SELECT eventName, count(*) AS n FROM events GROUP BY eventName";
    let without = "not supported for streaming aggregations without watermark";
    type Served = Result<&'static [&'static str], &'static str>;
    let cases: Vec<(&str, OutputMode, Served)> = vec![
        (plain, Append, Err(without)),
        (plain, Update, Ok(&["aggregate-eventname"])),
        (plain, Complete, Ok(&["aggregate-eventname"])),
        ("SELECT count(*) FROM events", Append, Err(without)),
        ("SELECT count(*) FROM events", Update, Ok(&["aggregate"])),
        (&windowed, Append, Ok(&["aggregate-window"])),
        (&windowed, Update, Ok(&["aggregate-window"])),
        (&windowed, Complete, Ok(&["aggregate-window"])),
        (&chained, Append, Ok(&["aggregate-window-2", "aggregate-window"])),
        (&again, Append, Ok(&["aggregate-window-2", "aggregate-window"])),
        (&chained, Update, Ok(&["aggregate-window-2", "aggregate-window"])),
        (&chained, Complete, Ok(&["aggregate-window-2", "aggregate-window"])),
        ("SELECT * FROM events", Complete, Err("not supported for no streaming aggregations")),
        ("SELECT DISTINCT eventName FROM events", Append, Err(without)),
        ("SELECT DISTINCT eventName FROM events", Update, Ok(&["aggregate-eventname"])),
        ("SELECT eventName, count(*) AS n FROM events GROUP BY eventName ORDER BY n", Update, Err("sorting a stream in update mode")),
        ("SELECT eventName, count(*) AS n FROM events GROUP BY eventName ORDER BY n DESC LIMIT 3", Complete, Ok(&["aggregate-eventname"])),
        ("SELECT * FROM events LIMIT 3", Append, Ok(&["limit"])),
        ("SELECT * FROM events LIMIT 3", Update, Err("LIMIT on a stream in update mode")),
        (
            "SELECT eventName, count(*) FROM (SELECT * FROM events LIMIT 3) GROUP BY eventName",
            Complete,
            Ok(&["aggregate-eventname", "limit"]),
        ),
    ];
    for (sql, mode, want) in cases {
        match (operators(sql, mode), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{mode}: {sql}"),
            (Err(got), Err(want)) => assert!(got.contains(want), "{mode}: {sql}: {got}"),
            (got, want) => panic!("{mode}: {sql}: {got:?}, not {want:?}"),
        }
    }
}

#[test]
fn an_event_time_stays_one_through_aliases_and_windows_of_it() {
    let marks = |sql: &str| {
        let analyzed = analyze(&catalog(), sql).unwrap();
        analyzed.watermarks.iter().map(|mark| analyzed.schema[mark.column_idx].name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(marks(&format!("SELECT ts AS t2, ts, date(ts) AS day {IN_TIME}")), ["t2", "ts"]);
    assert_eq!(marks(&format!("SELECT window(ts, '1 minute') AS w {IN_TIME}")), ["w"]);
    let grouped = format!("SELECT window(ts, '1 minute') AS w, max(ts) AS latest {IN_TIME} GROUP BY window(ts, '1 minute')");
    assert_eq!(marks(&grouped), ["w"]);
    assert_eq!(marks(&format!("SELECT window_time(w) AS t, w.end AS e FROM ({grouped})")), ["t"]);
}
