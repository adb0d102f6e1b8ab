//! What may change between two starts of a query.

use serde_json::json;

use super::*;

fn job() -> JobDescription {
    JobDescription {
        sources: [("trail".to_owned(), json!({"format": "json", "path": "/in"}))].into(),
        sinks: [("main".to_owned(), json!({"format": "parquet", "path": "/out"}))].into(),
        columns: vec![("a".to_owned(), "Int32".to_owned())],
        source_columns: BTreeMap::new(),
    }
}

#[test]
fn the_same_job_goes_on() {
    assert!(job().check_change(&job(), ColumnRule::Same).is_ok());
}

#[test]
fn another_source_sink_or_column_is_named() {
    let mut now = job();
    now.sources = [("trail".to_owned(), json!({"format": "json", "path": "/elsewhere"}))].into();
    let message = now.check_change(&job(), ColumnRule::Same).unwrap_err().message().to_owned();
    assert!(message.contains("source 'trail'") && message.contains("/elsewhere"), "{message}");
    let mut now = job();
    now.sinks = [("main".to_owned(), json!({"format": "parquet", "path": "/other"}))].into();
    assert!(now.check_change(&job(), ColumnRule::Same).unwrap_err().message().contains("sink 'main'"));
    let mut now = job();
    now.columns.push(("b".to_owned(), "Utf8".to_owned()));
    assert!(now.check_change(&job(), ColumnRule::Same).unwrap_err().message().contains("(a Int32, b Utf8)"));
    let mut now = job();
    now.sources.clear();
    assert!(now.check_change(&job(), ColumnRule::Same).unwrap_err().message().contains("is gone"));
}

#[test]
fn a_query_that_remembers_may_give_more_columns_and_wider_ones_where_no_files_are_written() {
    let before = job();
    let with = |columns: &[(&str, &str)], sink: serde_json::Value| JobDescription {
        sinks: [("main".to_owned(), sink)].into(),
        columns: columns.iter().map(|(name, ty)| ((*name).to_owned(), (*ty).to_owned())).collect(),
        source_columns: BTreeMap::new(),
        ..job()
    };
    let plain = || json!({"format": "parquet", "path": "/out"});
    let grown = with(&[("b", "Utf8"), ("a", "Int32")], plain());
    assert!(grown.check_change(&before, ColumnRule::MayGrow).is_ok());
    assert!(grown.check_change(&before, ColumnRule::Same).is_err());
    let wider = [("a", "Int64")];
    assert!(with(&wider, plain()).check_change(&before, ColumnRule::MayGrow).is_ok());
    assert!(with(&[("a", "Int16")], plain()).check_change(&before, ColumnRule::MayGrow).is_err());
    assert!(with(&[("b", "Int32")], plain()).check_change(&before, ColumnRule::MayGrow).is_err());
    // Files say their columns, and keep the types of those that they have.
    let files = |columns: &str| json!({"kind": "file", "path": "/out", "columns": columns});
    let table = with(&[("a", "Int32")], files("a"));
    assert!(with(&[("a", "Int32"), ("b", "Utf8")], files("a, b")).check_change(&table, ColumnRule::MayGrow).is_ok());
    assert!(with(&wider, files("a")).check_change(&table, ColumnRule::MayGrow).is_err());
    assert!(with(&[("a", "Int32")], json!({"kind": "file", "path": "/other"})).check_change(&table, ColumnRule::MayGrow).is_err());
}

#[test]
fn a_side_table_may_have_other_columns_and_the_main_one_may_not() {
    let with = |name: &str, columns: &str| JobDescription {
        sinks: [(name.to_owned(), json!({"kind": "file", "path": "/out", "columns": columns}))].into(),
        ..job()
    };
    let check = |name: &str| with(name, "raw, error, topic").check_change(&with(name, "raw, error"), ColumnRule::Same);
    assert!(check("trail.deadLetters").is_ok());
    assert!(check("main").is_err());
}
