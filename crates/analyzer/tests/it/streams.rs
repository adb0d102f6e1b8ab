//! Streaming plans: what carries the flag, what is refused.

use millstream_core::ErrorKind;

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
fn what_comes_with_state_is_refused_by_name() {
    let refused = [
        ("SELECT eventName, count(*) FROM events GROUP BY eventName", "aggregation on a stream"),
        ("SELECT count(*) FROM events", "aggregation on a stream"),
        ("SELECT DISTINCT eventName FROM events", "removing duplicates on a stream"),
        ("SELECT * FROM events ORDER BY ts", "sorting on a stream"),
        ("SELECT eventName FROM events ORDER BY ts", "sorting on a stream"),
        ("SELECT * FROM events LIMIT 1", "LIMIT and OFFSET on a stream"),
        ("SELECT eventName FROM events UNION SELECT eventName FROM names", "UNION on a stream"),
        ("SELECT eventName FROM names EXCEPT SELECT eventName FROM events", "EXCEPT on a stream"),
        ("SELECT * FROM events a JOIN events b ON a.eventName = b.eventName", "a inner join of two streams"),
        ("SELECT * FROM events a RIGHT JOIN names b USING (eventName)", "a right outer join with the stream on the left"),
        ("SELECT * FROM events a FULL JOIN names b USING (eventName)", "a full outer join with the stream on the left"),
        ("SELECT * FROM names a LEFT JOIN events b USING (eventName)", "a left outer join with the stream on the right"),
        ("SELECT * FROM names a LEFT SEMI JOIN events b USING (eventName)", "a left semi join with the stream on the right"),
        ("SELECT row_number() OVER (ORDER BY ts) FROM events", "a window function on a stream"),
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
        "SELECT eventName FROM events UNION ALL SELECT eventName FROM names",
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
