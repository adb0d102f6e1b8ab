//! The places where DataFusion and Spark part silently; each trap has a test.

use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use millstream_analyzer::{EventTimeWatermarkNode, RowFactNode};

use crate::harness::{TestCatalog, analyze, rows, schema_text, with_constant_time};

fn catalog() -> TestCatalog {
    TestCatalog::default()
        .view("t", "SELECT * FROM VALUES (1, 'a'), (2, 'b'), (3, NULL) AS t(v, s)")
        .view("lists", "SELECT 1 AS id, array(10, 20) AS l UNION ALL SELECT 2, array() UNION ALL SELECT 3, NULL")
        .table("wide", "ts TIMESTAMP, a INT, b INT, c INT, d INT", true)
}

async fn check(sql: &str, expected: &[&str]) {
    let got = rows(&catalog(), sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(got, expected, "{sql}");
}

#[tokio::test]
async fn and_and_or_do_not_evaluate_what_is_decided() {
    check("SELECT v FROM t WHERE v != 1 AND 10 / (v - 1) > 1 ORDER BY v", &["2", "3"]).await;
    check("SELECT v FROM t WHERE v = 1 OR 10 / (v - 1) > 5 ORDER BY v", &["1", "2"]).await;
    check("SELECT v != 1 AND CAST(CASE WHEN v = 1 THEN 'x' ELSE 'true' END AS BOOLEAN) FROM t ORDER BY v", &["false", "true", "true"])
        .await;
    check("SELECT v FROM t WHERE v > 1 AND v > 2 AND 6 / (v - 1) > 1 AND 6 / (v - 2) > 1", &["3"]).await;
}

#[tokio::test]
async fn failing_literal_in_a_dead_branch_does_not_fail() {
    check("SELECT v FROM t WHERE false AND CAST('x' AS INT) = 1", &[]).await;
    check("SELECT CASE WHEN v > 0 THEN 'ok' ELSE CAST(CAST('x' AS INT) AS STRING) END FROM t WHERE v = 1", &["ok"]).await;
}

#[test]
fn current_time_is_a_column_and_never_a_literal() {
    let analyzed =
        analyze(&catalog(), "SELECT v, current_timestamp() AS now, current_date AS day FROM t WHERE now() > DATE'2020-01-01'").unwrap();
    assert_eq!(schema_text(&analyzed), "v int, now timestamp, day date");
    let optimized = SessionContext::new().state().optimize(&analyzed.plan).unwrap();
    assert_eq!(count_nodes::<RowFactNode>(&optimized), 2, "{optimized}");
}

#[tokio::test]
async fn current_time_is_the_same_in_a_whole_query() {
    check("SELECT DISTINCT now() = current_timestamp(), CAST(now() AS DATE) = current_date() FROM t", &["true|true"]).await;
    check("SELECT count(*) FROM t GROUP BY current_date()", &["3"]).await;
}

#[test]
fn nodes_of_streams_keep_only_the_columns_that_are_used() {
    let sql = "SELECT a, current_timestamp() AS now FROM STREAM wide WATERMARK ts DELAY OF INTERVAL 1 SECOND";
    let analyzed = analyze(&catalog(), sql).unwrap();
    let optimized = SessionContext::new().state().optimize(&analyzed.plan).unwrap();
    assert_eq!(count_nodes::<EventTimeWatermarkNode>(&optimized), 1);
    assert!(
        optimized.to_string().contains("projection=[ts, a]") || format!("{}", optimized.display_indent()).contains("projection=[ts, a]"),
        "{}",
        optimized.display_indent()
    );
}

#[test]
fn written_names_do_not_depend_on_ids() {
    let one = analyze(&catalog(), "SELECT v, v + 1, s FROM t").unwrap();
    let two = analyze(&catalog(), "SELECT v, v + 1, s FROM (SELECT *, 1 AS x FROM (SELECT * FROM t))").unwrap();
    assert_eq!(one.schema, two.schema);
    let names: Vec<&String> = one.plan.schema().fields().iter().map(|field| field.name()).collect();
    assert_eq!(names, ["v", "(v + 1)", "s"]);
}

#[test]
fn casts_and_zones_are_literal_arguments() {
    let analyzed = analyze(&catalog(), "SELECT CAST(s AS DECIMAL(10,2)) FROM t").unwrap();
    let text = analyzed.plan.display_indent().to_string();
    assert!(text.contains("Utf8(\"decimal(10,2)\"), Utf8(\"ansi\"), Utf8(\"UTC\")"), "{text}");
}

#[tokio::test]
async fn explode_outer_keeps_empty_and_null_lists() {
    check("SELECT id, explode(l) FROM lists ORDER BY 1, 2", &["1|10", "1|20"]).await;
    check("SELECT id, explode_outer(l) FROM lists ORDER BY 1, 2", &["1|10", "1|20", "2|null", "3|null"]).await;
    check(
        "SELECT id, p, x FROM lists LATERAL VIEW OUTER posexplode(l) q AS p, x ORDER BY 1, 2",
        &["1|0|10", "1|1|20", "2|null|null", "3|null|null"],
    )
    .await;
}

#[test]
fn columns_have_sparks_names() {
    let names = [
        ("CAST(v AS STRING)", "v"),
        ("count(*)", "count(1)"),
        ("SQRT(4)", "SQRT(4)"),
        ("substring(s, 5)", "substring(s, 5, 2147483647)"),
        ("V", "V"),
        ("t.v", "v"),
        ("sum(DISTINCT v)", "sum(DISTINCT v)"),
        ("v + 1", "(v + 1)"),
    ];
    for (expr, name) in names {
        let analyzed = analyze(&catalog(), &format!("SELECT {expr} FROM t GROUP BY ALL")).unwrap_or_else(|error| panic!("{expr}: {error}"));
        assert_eq!(analyzed.schema[0].name, name, "{expr}");
    }
}

#[tokio::test]
async fn types_are_sparks_whatever_datafusion_returns() {
    let sql = "SELECT md5(s), row_number() OVER (ORDER BY v), nvl(s, 'x'), size(array(1)), upper(s) FROM t ORDER BY v";
    let analyzed = analyze(&catalog(), sql).unwrap();
    let types: Vec<String> = analyzed.schema.iter().map(|column| column.data_type.simple_string()).collect();
    assert_eq!(types, ["string", "int", "string", "int", "string"]);
    for (field, column) in analyzed.plan.schema().fields().iter().zip(&analyzed.schema) {
        assert_eq!(*field.data_type(), millstream_analyzer::types::to_arrow(&column.data_type).unwrap(), "{}", column.name);
    }
    check(sql, &["0cc175b9c0f1b6a831c399e269772661|1|a|1|A", "92eb5ffee6ae2fec3ad71c777531578f|2|b|1|B", "null|3|x|1|null"]).await;
}

#[tokio::test]
async fn words_of_streaming_clauses_are_ordinary_names() {
    let catalog = TestCatalog::default().view("stream", "SELECT 1 AS watermark, 2 AS delay");
    let got = rows(&catalog, "SELECT watermark, delay AS stream FROM stream").await.unwrap();
    assert_eq!(got, ["1|2"]);
}

/// How many nodes of a kind the plan has.
fn count_nodes<N: 'static>(plan: &LogicalPlan) -> usize {
    let own = match plan {
        LogicalPlan::Extension(extension) => usize::from(extension.node.as_any().is::<N>()),
        _ => 0,
    };
    own + plan.inputs().into_iter().map(count_nodes::<N>).sum::<usize>()
}

#[test]
fn constant_time_of_tests_replaces_every_node() {
    let analyzed = analyze(&catalog(), "SELECT now() FROM t").unwrap();
    assert_eq!(count_nodes::<RowFactNode>(&with_constant_time(analyzed.plan).unwrap()), 0);
}
