//! Names, types, traps and errors, each by a small query.

use crate::harness::{TestCatalog, analyze, rows, schema_text};

fn catalog() -> TestCatalog {
    TestCatalog::default().view("t", "SELECT * FROM VALUES (1, 'a'), (2, 'b'), (3, NULL) AS t(v, s)")
}

async fn check(sql: &str, schema: &str, expected: &[&str]) {
    let catalog = catalog();
    let analyzed = analyze(&catalog, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(schema_text(&analyzed), schema, "{sql}");
    let got = rows(&catalog, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(got, expected, "{sql}");
}

#[tokio::test]
async fn one_column_may_come_twice() {
    check("SELECT v, v, V FROM t WHERE v = 1", "v int, v int, V int", &["1|1|1"]).await;
}
