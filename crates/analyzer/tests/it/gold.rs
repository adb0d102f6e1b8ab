//! Expressions, queries and documented examples of functions, compared with Spark 4.3.0.

use millstream_analyzer::{Analyzed, SessionSettings};
use millstream_core::{Error, ErrorKind};
use millstream_testkit::gold::{Case, Outcome, Report, cases, rows_of, tables};

use crate::harness::{TestCatalog, analyze_with, of_datafusion, run};

#[tokio::test(flavor = "multi_thread")]
async fn expressions_agree_with_spark() {
    suite("expressions", "expressions.jsonl", &TestCatalog::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_agree_with_spark() {
    let catalog = TestCatalog::with_views(&tables().unwrap());
    suite("queries", "queries.jsonl", &catalog).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_functions_agree_with_spark() {
    suite("functions", "functions.jsonl", &TestCatalog::default()).await;
}

async fn suite(name: &'static str, file: &str, catalog: &TestCatalog) {
    let mut report = Report::new(name).unwrap();
    for case in cases(file).unwrap() {
        let outcome = outcome(catalog, &case).await;
        if let Ok(path) = std::env::var("MILLSTREAM_GOLD_DUMP") {
            dump(&path, name, &case, &outcome);
        }
        report.case(&case.id, &case.expected, case.is_ordered, &outcome);
    }
    match report.finish() {
        Ok(text) => println!("{text}"),
        Err(text) => panic!("{text}"),
    }
}

async fn outcome(catalog: &TestCatalog, case: &Case) -> Outcome {
    match answer(catalog, case).await {
        Ok((analyzed, rows)) => Outcome::Rows {
            schema: analyzed.schema.iter().map(|column| (column.name.clone(), column.data_type.simple_string())).collect(),
            rows,
        },
        Err(error) => Outcome::Error {
            class: error.error_class().map(str::to_owned),
            message: error.to_string(),
            is_unsupported: matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Internal),
        },
    }
}

async fn answer(catalog: &TestCatalog, case: &Case) -> Result<(Analyzed, Vec<Vec<serde_json::Value>>), Error> {
    let mut settings = SessionSettings::default();
    for (key, value) in &case.conf {
        match key.as_str() {
            "spark.sql.session.timeZone" => settings = settings.with_time_zone(value),
            other => return Err(Error::unsupported(format!("the setting {other}"))),
        }
    }
    let analyzed = analyze_with(catalog, settings, &case.sql)?;
    let batches = run(&analyzed).await.map_err(of_datafusion)?;
    let rows = rows_of(&batches).map_err(Error::internal)?;
    Ok((analyzed, rows))
}

/// One line a case, for looking into differences.
fn dump(path: &str, suite: &str, case: &Case, outcome: &Outcome) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    writeln!(file, "{suite}\t{}\t{}\t{:?}\t{outcome:?}", case.id, case.sql.replace('\n', " "), case.expected).unwrap();
}
