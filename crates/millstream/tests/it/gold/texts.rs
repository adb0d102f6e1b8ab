//! Texts for people: `show`, `print_schema`, and schema texts.

use millstream::{Result, Session, ShowOptions, TableLayout, type_name};
use millstream_testkit::gold::{Report, lines};
use serde_json::Value;

use super::{finish, session_with_views};

#[tokio::test(flavor = "multi_thread")]
async fn show_prints_as_spark_prints() {
    let session = session_with_views().await;
    let (mut tables, mut trees) = (Report::new("show").unwrap(), Report::new("print-schema").unwrap());
    for case in lines("show.jsonl").unwrap() {
        let id = case["id"].as_str().unwrap();
        let table = show(&session, &case).await.map_err(|error| error.to_string());
        tables.text(id, case["show"].as_str().unwrap(), table.as_deref().map_err(Clone::clone));
        let tree = tree(&session, &case).await.map_err(|error| error.to_string());
        trees.text(id, case["print_schema"].as_str().unwrap(), tree.as_deref().map_err(Clone::clone));
    }
    finish(tables);
    finish(trees);
}

async fn show(session: &Session, case: &Value) -> Result<String> {
    let number = |key: &str| usize::try_from(case[key].as_u64().unwrap()).unwrap();
    let width_max = Some(number("truncate")).filter(|width| *width > 0);
    let frame = session.sql(case["sql"].as_str().unwrap()).await?;
    let layout = if case["vertical"] == Value::Bool(true) { TableLayout::Vertical } else { TableLayout::Horizontal };
    frame.show_string(ShowOptions { n_rows: number("n_rows"), width_max, layout }).await
}

async fn tree(session: &Session, case: &Value) -> Result<String> {
    session.sql(case["sql"].as_str().unwrap()).await?.schema_tree().await
}

#[test]
fn schema_texts_mean_what_they_mean_to_spark() {
    let mut report = Report::new("ddl").unwrap();
    for case in lines("ddl.jsonl").unwrap() {
        let (id, ddl) = (case["id"].as_str().unwrap(), case["ddl"].as_str().unwrap());
        let ours = millstream::parse_schema(ddl).map(|schema| {
            let fields: Vec<_> = schema.fields().iter().map(|f| format!("{}:{}", f.name(), type_name(f.data_type()))).collect();
            format!("struct<{}>", fields.join(","))
        });
        match (case.get("type").and_then(Value::as_str), ours) {
            // A schema is a struct: a type alone is none.
            (Some(expected), Err(_)) if !expected.starts_with("struct") => report.text(id, "", Ok("")),
            (Some(expected), ours) => report.text(id, expected, ours.as_deref().map_err(ToString::to_string)),
            (None, Err(_)) => report.text(id, "", Ok("")),
            (None, Ok(ours)) => report.text(id, "an error", Ok(&ours)),
        }
    }
    finish(report);
}
