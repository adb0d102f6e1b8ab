//! What may change between two starts of a query.

use serde_json::json;

use super::*;

fn job() -> JobDescription {
    JobDescription {
        sources: [("trail".to_owned(), json!({"format": "json", "path": "/in"}))].into(),
        sinks: [("main".to_owned(), json!({"format": "parquet", "path": "/out"}))].into(),
        columns: vec![("a".to_owned(), "Int32".to_owned())],
    }
}

#[test]
fn the_same_job_goes_on() {
    assert!(job().check_change(&job()).is_ok());
}

#[test]
fn another_source_sink_or_column_is_named() {
    let mut now = job();
    now.sources = [("trail".to_owned(), json!({"format": "json", "path": "/elsewhere"}))].into();
    let message = now.check_change(&job()).unwrap_err().message().to_owned();
    assert!(message.contains("source 'trail'") && message.contains("/elsewhere"), "{message}");
    let mut now = job();
    now.sinks = [("main".to_owned(), json!({"format": "parquet", "path": "/other"}))].into();
    assert!(now.check_change(&job()).unwrap_err().message().contains("sink 'main'"));
    let mut now = job();
    now.columns.push(("b".to_owned(), "Utf8".to_owned()));
    assert!(now.check_change(&job()).unwrap_err().message().contains("(a Int32, b Utf8)"));
    let mut now = job();
    now.sources.clear();
    assert!(now.check_change(&job()).unwrap_err().message().contains("is gone"));
}
