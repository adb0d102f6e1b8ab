//! Names, types, plans and errors, each by a small query.

use millstream_analyzer::{Analyzer, SessionSettings, referenced_relations};
use millstream_core::ErrorKind;
use millstream_sql::ir::{Expr, Plan};

use crate::harness::{TestCatalog, analyze, rows, schema_of, schema_text};

fn catalog() -> TestCatalog {
    TestCatalog::default()
        .view("t", "SELECT * FROM VALUES (1, 'a'), (2, 'b'), (3, NULL) AS t(v, s)")
        .view("u", "SELECT * FROM VALUES (1, 10L), (3, 30L), (3, 31L) AS u(v, n)")
        .view("loop", "SELECT * FROM loop")
}

async fn check(sql: &str, schema: &str, expected: &[&str]) {
    let catalog = catalog();
    let analyzed = analyze(&catalog, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(schema_text(&analyzed), schema, "{sql}");
    let got = rows(&catalog, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(got, expected, "{sql}");
}

fn refused(sql: &str) -> millstream_core::Error {
    analyze(&catalog(), sql).map(|analyzed| analyzed.plan).unwrap_err()
}

#[tokio::test]
async fn one_column_may_come_twice() {
    check("SELECT v, v, V FROM t WHERE v = 1", "v int, v int, V int", &["1|1|1"]).await;
    check("SELECT v, v FROM t ORDER BY v DESC LIMIT 1", "v int, v int", &["3|3"]).await;
}

#[tokio::test]
async fn earlier_columns_of_the_list_can_be_used() {
    check("SELECT v AS a, a + 1 AS b, b * 2 AS c FROM t WHERE v = 2", "a int, b int, c int", &["2|3|6"]).await;
}

#[tokio::test]
async fn order_by_sees_the_list_and_the_input() {
    check("SELECT s FROM t ORDER BY v DESC", "s string", &["null", "b", "a"]).await;
    check("SELECT -v AS v FROM t ORDER BY v", "v int", &["-3", "-2", "-1"]).await;
    check("SELECT s, v FROM t ORDER BY 1", "s string, v int", &["null|3", "a|1", "b|2"]).await;
    check("SELECT v, sum(n) FROM u GROUP BY v ORDER BY max(n) DESC", "v int, sum(n) bigint", &["3|61", "1|10"]).await;
}

#[tokio::test]
async fn joins_name_their_columns_as_in_spark() {
    check("SELECT * FROM t JOIN u USING (v) ORDER BY n", "v int, s string, n bigint", &["1|a|10", "3|null|30", "3|null|31"]).await;
    check("SELECT * FROM t NATURAL LEFT JOIN u WHERE n IS NULL", "v int, s string, n bigint", &["2|b|null"]).await;
    check("SELECT v, t.v, u.v FROM t FULL JOIN u USING (v) WHERE s = 'b'", "v int, v int, v int", &["2|2|null"]).await;
    check("SELECT a.v, b.v FROM t a JOIN t b ON a.v < b.v ORDER BY 1, 2", "v int, v int", &["1|2", "1|3", "2|3"]).await;
    check("SELECT v FROM t LEFT ANTI JOIN u USING (v)", "v int", &["2"]).await;
}

#[tokio::test]
async fn grouping_sets_know_their_keys() {
    let sql = "SELECT v, n, grouping(n), grouping_id(), count(*) FROM u GROUP BY ROLLUP (v, n) ORDER BY v, n";
    let expected = ["null|null|1|3|3", "1|null|1|1|1", "1|10|0|0|1", "3|null|1|1|2", "3|30|0|0|1", "3|31|0|0|1"];
    check(sql, "v int, n bigint, grouping(n) tinyint, grouping_id() bigint, count(1) bigint", &expected).await;
}

#[tokio::test]
async fn unions_widen_and_match_by_name() {
    check("SELECT v FROM t UNION ALL SELECT n FROM u ORDER BY v DESC LIMIT 1", "v bigint", &["31"]).await;
    check("SELECT v FROM t INTERSECT SELECT v FROM u ORDER BY v", "v int", &["1", "3"]).await;
    check("SELECT v FROM u EXCEPT ALL SELECT v FROM t", "v int", &["3"]).await;
}

#[tokio::test]
async fn subqueries_stand_in_filters_and_lists() {
    check("SELECT v FROM t WHERE v IN (SELECT v FROM u) ORDER BY v", "v int", &["1", "3"]).await;
    check("SELECT v FROM t WHERE NOT EXISTS (SELECT 1 FROM u WHERE u.v = t.v)", "v int", &["2"]).await;
    check("SELECT v, v IN (SELECT v FROM u) AS x FROM t ORDER BY v", "v int, x boolean", &["1|true", "2|false", "3|true"]).await;
    check("SELECT v, (SELECT max(n) FROM u WHERE u.v = t.v) AS m FROM t ORDER BY v", "v int, m bigint", &["1|10", "2|null", "3|31"]).await;
}

#[test]
fn errors_show_class_place_and_nearest_name() {
    let error = refused("SELECT v,\n  vv FROM t");
    assert_eq!(error.error_class(), Some("UNRESOLVED_COLUMN.WITH_SUGGESTION"));
    assert_eq!(error.message(), "column 'vv' cannot be found at line 2, column 3; did you mean 'v'?\n   |\n 2 |   vv FROM t\n   |   ^^");
    let classes = [
        ("SELECT * FROM tt", "TABLE_OR_VIEW_NOT_FOUND"),
        ("SELECT v FROM t JOIN u ON t.v = u.v", "AMBIGUOUS_REFERENCE"),
        ("SELECT uper(s) FROM t", "UNRESOLVED_ROUTINE"),
        ("SELECT v, count(*) FROM t GROUP BY s", "MISSING_AGGREGATION"),
        ("SELECT count(*) FROM t GROUP BY count(*)", "GROUP_BY_AGGREGATE"),
        ("SELECT v FROM t UNION ALL SELECT v, n FROM u", "NUM_COLUMNS_MISMATCH"),
        ("SELECT v FROM t WHERE v", "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN"),
        ("SELECT date(v) FROM t", "DATATYPE_MISMATCH.CAST_WITH_FUNC_SUGGESTION"),
        ("SELECT upper() FROM t", "WRONG_NUM_ARGS.WITHOUT_SUGGESTION"),
        ("SELECT * FROM loop", "RECURSIVE_VIEW"),
    ];
    for (sql, class) in classes {
        let error = refused(sql);
        assert_eq!(error.error_class(), Some(class), "{sql}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}");
    }
}

#[test]
fn what_is_not_offered_is_named() {
    for sql in
        ["SELECT * FROM STREAM t IDENTIFIED BY x", "SELECT aggregate(array(1), 0, (a, x) -> a + x)", "SELECT input_file_name() FROM t"]
    {
        assert_eq!(refused(sql).kind(), ErrorKind::Unsupported, "{sql}");
    }
}

#[test]
fn relations_of_a_query_are_found_before_it_is_resolved() {
    let sql = "WITH a AS (SELECT * FROM x) SELECT * FROM a JOIN STREAM b.y ON EXISTS (SELECT 1 FROM z) \
               WHERE 1 IN (SELECT i FROM w) UNION ALL SELECT * FROM read_files('p', format => 'json') CROSS JOIN range(3)";
    let plan = millstream_sql::parse_query(sql).unwrap();
    let found = referenced_relations(&plan);
    let mut names: Vec<String> =
        found.iter().map(|relation| relation.name().map_or("a source".to_owned(), |name| name.join("."))).collect();
    names.sort();
    assert_eq!(names, ["a source", "b.y", "w", "x", "z"]);
    assert!(found.iter().any(|relation| relation.read.is_streaming));
}

#[test]
fn expressions_resolve_over_a_given_schema() {
    let catalog = catalog();
    let analyzer = Analyzer::new(SessionSettings::default(), &catalog);
    let schema = datafusion::common::DFSchema::try_from(schema_of("a INT, b STRUCT<c: STRING>").as_ref().clone()).unwrap();
    let analyzed = analyzer.analyze_expr(&millstream_sql::parse_expression("upper(b.c) || A").unwrap(), &schema).unwrap();
    assert_eq!(analyzed.column.name, "concat(upper(b.c), A)");
    assert_eq!(analyzed.column.data_type.simple_string(), "string");
    assert_eq!(analyzer.analyze_exprs(&[Expr::star()], &schema).unwrap().len(), 2);
}

#[test]
fn legacy_mode_is_refused() {
    let mut settings = SessionSettings::default();
    settings.ansi = false;
    let catalog = catalog();
    let plan = millstream_sql::parse_query("SELECT 1").unwrap();
    assert_eq!(Analyzer::new(settings, &catalog).analyze(&plan).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn columns_are_added_and_replaced_by_name() {
    use millstream_sql::ir::Plan;
    let catalog = catalog();
    let columns = |pairs: &[(&str, &str)]| -> Vec<(String, Expr)> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), millstream_sql::parse_expression(text).unwrap())).collect()
    };
    let plan = Plan::table("t", false).with_columns(columns(&[("V", "v * 10"), ("rn", "row_number() OVER (ORDER BY v DESC)")]));
    let analyzed = Analyzer::new(SessionSettings::default(), &catalog).analyze(&plan).unwrap();
    assert_eq!(schema_text(&analyzed), "V int, s string, rn int");
    let plan = Plan::table("t", false)
        .with_columns(columns(&[("x", "explode(array(v, v))")]))
        .with_columns_renamed(vec![("x".into(), "y".into())]);
    let analyzed = Analyzer::new(SessionSettings::default(), &catalog).analyze(&plan).unwrap();
    assert_eq!(schema_text(&analyzed), "v int, s string, y int");
    assert_eq!(crate::harness::run(&analyzed).await.unwrap().iter().map(|batch| batch.num_rows()).sum::<usize>(), 6);
}

/// One text for every kind of relation and expression that there is.
const EVERY_KIND: &[&str] = &[
    "SELECT * FROM STREAM t IDENTIFIED BY x",
    "VALUES (1)",
    "SELECT 1",
    "SELECT a.v FROM t AS a WHERE v > 1 ORDER BY v LIMIT 1 OFFSET 1",
    "SELECT v, count(*) FROM t GROUP BY v HAVING count(*) > 0",
    "SELECT v FROM t QUALIFY row_number() OVER (ORDER BY v) = 1",
    "SELECT * FROM t JOIN u USING (v)",
    "SELECT v FROM t UNION ALL SELECT v FROM u",
    "SELECT v FROM t EXCEPT SELECT v FROM u",
    "SELECT v FROM t DISTRIBUTE BY v",
    "SELECT DISTINCT v FROM t",
    "SELECT ts FROM (SELECT TIMESTAMP'2020-01-01 00:00:00' AS ts) WATERMARK ts DELAY OF INTERVAL 1 MINUTE",
    "SELECT x FROM t LATERAL VIEW explode(array(v)) e AS x",
    "WITH c AS (SELECT 1 AS a) SELECT a FROM c",
    "SELECT /*+ BROADCAST(t) */ v FROM t",
    "SELECT v FROM t TABLESAMPLE (10 PERCENT)",
    "SELECT sum(v) OVER w FROM t WINDOW w AS (ORDER BY v)",
    "SELECT * FROM t PIVOT (max(v) FOR s IN ('a'))",
    "SELECT * FROM u UNPIVOT (x FOR y IN (v, n))",
    "SELECT CAST(v AS STRING), -v, DATE'2020-01-01', array(v)[0], transform(array(v), x -> x + 1), (SELECT max(n) FROM u) FROM t",
    "SELECT v FROM t WHERE EXISTS (SELECT 1 FROM u) AND v IN (SELECT v FROM u)",
    "SELECT upper(s => 'a')",
    "SELECT :name",
    "SELECT ? + 1",
];

#[test]
fn every_kind_of_relation_and_expression_resolves_or_is_refused_by_its_name() {
    let catalog = catalog();
    let mut built = vec![
        Plan::Local(millstream_sql::ir::LocalId(1)),
        Plan::Range { start: 0, end: 3, step: 1, partitions: None },
        Plan::table("t", false).with_columns(vec![("x".to_owned(), Expr::lit(1))]),
        Plan::table("t", false).with_columns_renamed(vec![("v".into(), "w".into())]),
        Plan::Drop { input: Box::new(Plan::table("t", false)), columns: vec![Expr::col("v")], span: millstream_sql::Span::NONE },
        Plan::ToDF { input: Box::new(Plan::table("t", false)), names: vec!["a".into(), "b".into()], span: millstream_sql::Span::NONE },
    ];
    let child = Box::new(Expr::call("struct", vec![Expr::col("v")]));
    let update = Expr::UpdateFields { child, field: "v".into(), value: Some(Box::new(Expr::lit(1))), span: millstream_sql::Span::NONE };
    built.push(Plan::table("t", false).project(vec![update]));
    built.push(Plan::table("t", false).project(vec![Expr::SortOrder(Box::new(Expr::col("v").asc()))]));
    built.extend(EVERY_KIND.iter().map(|sql| millstream_sql::parse_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"))));
    for plan in built {
        let Err(error) = Analyzer::new(SessionSettings::default(), &catalog).analyze(&plan) else { continue };
        // A refusal that says nothing of what was refused would be a hole.
        let says = ["IDENTIFIED BY", "withField", "local rows", "sort order", "parameter", "argument"]
            .iter()
            .any(|name| error.to_string().contains(name));
        assert!(says, "{plan:?}: {error}");
    }
}

#[tokio::test]
async fn equal_grouping_sets_count_apart_and_the_total_of_no_rows_is_none_as_in_spark() {
    check("SELECT count(*) AS n FROM t WHERE v > 1000 GROUP BY ROLLUP (v)", "n bigint", &[]).await;
    check("SELECT count(*) AS n FROM t WHERE v > 1000 GROUP BY GROUPING SETS (())", "n bigint", &["0"]).await;
    let equal = "SELECT v, grouping_id() AS g FROM t WHERE v = 1 GROUP BY GROUPING SETS ((v), (v))";
    check(equal, "v int, g bigint", &["1|0", "1|0"]).await;
}

#[tokio::test]
async fn windows_over_groups_may_stand_in_order_by_and_qualify_where_spark_wants_them_in_the_list() {
    let groups = "SELECT k, sum(v) AS s FROM VALUES ('a', 1), ('b', 2), ('a', 3), ('c', 9) AS t(k, v) GROUP BY k";
    let sorted = format!("{groups} ORDER BY max(sum(v)) OVER (PARTITION BY k = 'b'), k DESC");
    check(&sorted, "k string, s bigint", &["b|2", "c|9", "a|4"]).await;
    check(&format!("{groups} QUALIFY sum(v) > avg(sum(v)) OVER ()"), "k string, s bigint", &["c|9"]).await;
}
