//! What a checkpoint calls the columns of state, and what it says that they are computed from.

use datafusion::logical_expr::LogicalPlan;
use millstream_analyzer::streaming::{ColumnOrigins, StatefulAggregateNode, for_output_mode};
use millstream_core::OutputMode;

use crate::harness::{TestCatalog, analyze};

fn catalog() -> TestCatalog {
    TestCatalog::default()
        .table("t", "k STRING, v INT, x BIGINT, ts TIMESTAMP", true)
        .table("u", "k STRING, v INT, ts TIMESTAMP", true)
        .table("names", "k STRING, title STRING", false)
}

fn aggregate(plan: &LogicalPlan) -> Option<StatefulAggregateNode> {
    let here = match plan {
        LogicalPlan::Extension(extension) => extension.node.as_any().downcast_ref::<StatefulAggregateNode>().cloned(),
        _ => None,
    };
    here.or_else(|| plan.inputs().into_iter().find_map(aggregate))
}

/// Of the first aggregation from the top: name and origin of each of its columns, and the steps to it.
fn columns(sql: &str) -> (Vec<(String, String)>, Vec<String>) {
    let analyzed = analyze(&catalog(), sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let plan = for_output_mode(&analyzed.plan, OutputMode::Update).unwrap();
    let origins = ColumnOrigins::of(&plan).unwrap();
    let node = aggregate(&plan).unwrap();
    let names = node.aggregate().schema.fields().iter().map(|field| field.name().clone()).filter(|name| name.starts_with('#'));
    (names.map(|name| (origins.name(&name), origins.origin(&name))).collect(), origins.steps(node.operator()).into_iter().collect())
}

/// A query; name and origin of each column; steps.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

#[test]
fn columns_are_known_down_to_their_sources() {
    let cases: &[Case] = &[
        ("SELECT k, max(v) FROM STREAM t GROUP BY k", &[("k", "t.k"), ("max(t.v)", "max(t.v)")], &[]),
        // Wherever the column stands, and whatever it is called on its way.
        (
            "SELECT a, max(b) FROM (SELECT v + 1 AS b, upper(k) AS a FROM STREAM t) WHERE b > 2 GROUP BY a",
            &[("a", "spark_upper(t.k)"), ("max(spark_add(t.v, 1))", "max(spark_add(t.v, 1))")],
            &["WHERE spark_add(t.v, 1) > 2"],
        ),
        // A cast that changes no value is none.
        ("SELECT k, max(CAST(v AS BIGINT)) FROM STREAM t GROUP BY k", &[("k", "t.k"), ("max(t.v)", "max(t.v)")], &[]),
        // Rows of two streams; of a table that is joined.
        (
            "SELECT k, max(v) FROM (SELECT k, v FROM STREAM t UNION ALL SELECT k, v FROM STREAM u) GROUP BY k",
            &[("k", "t.k | u.k"), ("max(t.v | u.v)", "max(t.v | u.v)")],
            &[],
        ),
        (
            "SELECT title, max(v) FROM STREAM t JOIN names ON t.k = names.k GROUP BY title",
            &[("title", "names.title"), ("max(t.v)", "max(t.v)")],
            &["Inner JOIN ON t.k = names.k"],
        ),
        // What a schema has beside the fields that are taken does not matter.
        (
            "SELECT e.a, max(e.b) FROM (SELECT from_json(k, 'a STRING, b INT, c INT') AS e FROM STREAM t) GROUP BY e.a",
            &[
                ("a", "spark_get_struct_field(spark_from_json(t.k, 'UTC'), 'a')"),
                (
                    "max(spark_get_struct_field(spark_from_json(t.k, 'UTC'), 'b'))",
                    "max(spark_get_struct_field(spark_from_json(t.k, 'UTC'), 'b'))",
                ),
            ],
            &[],
        ),
    ];
    for (sql, want, steps) in cases {
        let (found, found_steps) = columns(sql);
        let found: Vec<(&str, &str)> = found.iter().map(|(name, origin)| (name.as_str(), origin.as_str())).collect();
        assert_eq!(found, *want, "{sql}");
        assert_eq!(found_steps, *steps, "{sql}");
    }
}

/// What is no number of the plan's, and what tells two things apart.
#[test]
fn a_text_is_the_same_wherever_its_query_stands_and_another_one_for_another_thing() {
    let value = |sql: &str| columns(sql).0.pop().unwrap().1;
    let both = |sql: &str| (value(&sql.replace("{}", "k, v")), value(&sql.replace("{}", "*")));
    for (sql, want) in [
        ("SELECT k, max(n) FROM (SELECT {}, current_timestamp() AS n FROM STREAM t) GROUP BY k", "max(current_timestamp())"),
        ("SELECT k, max(n) FROM (SELECT {}, rand(7) AS n FROM STREAM t) GROUP BY k", "spark_max(rand(7))"),
        ("SELECT k, max(n) FROM (SELECT {}, randn() AS n FROM STREAM t) GROUP BY k", "spark_max(randn())"),
    ] {
        let (few, all) = both(sql);
        assert_eq!((few.as_str(), all.as_str()), (want, want));
    }
    let (few, all) = both("SELECT k, max(size(filter(a, q -> q > 1))) FROM (SELECT {}, array(v, v + 1) AS a FROM STREAM t) GROUP BY k");
    assert!(few == all && few.contains("lambda1"), "{few} {all}");
    let other = |one: &str, two: &str| assert_ne!(value(one), value(two), "{one}");
    other(
        "SELECT k, max(e.p) FROM (SELECT k, from_csv(k, 'p INT, q INT') AS e FROM STREAM t) GROUP BY k",
        "SELECT k, max(e.p) FROM (SELECT k, from_csv(k, 'q INT, p INT') AS e FROM STREAM t) GROUP BY k",
    );
    other(
        "SELECT k, max(v + (SELECT max(length(title)) FROM names)) FROM STREAM t GROUP BY k",
        "SELECT k, max(v + (SELECT min(length(title)) FROM names)) FROM STREAM t GROUP BY k",
    );
    other(
        "SELECT l.k, max(l.v) FROM STREAM t AS l JOIN STREAM t AS r ON l.k = r.k GROUP BY l.k",
        "SELECT l.k, max(r.v) FROM STREAM t AS l JOIN STREAM t AS r ON l.k = r.k GROUP BY l.k",
    );
    other(
        "SELECT k, max(CAST(k AS BINARY) = X'303132333435363738393031') FROM STREAM t GROUP BY k",
        "SELECT k, max(CAST(k AS BINARY) = X'303132333435363738393032') FROM STREAM t GROUP BY k",
    );
    let steps = |function: &str| {
        columns(&format!("SELECT k, max(v) FROM STREAM t WHERE v > (SELECT {function}(length(title)) FROM names) GROUP BY k")).1
    };
    assert_ne!(steps("min"), steps("max"));
}

#[test]
fn a_long_text_is_told_by_its_beginning_and_a_hash_of_all() {
    let sum = |last: &str| {
        let sql = format!("SELECT k, max({}{last}) FROM STREAM t GROUP BY k", "v * 2 - ".repeat(60));
        columns(&sql).0.pop().unwrap().1
    };
    let (one, other) = (sum("x"), sum("v"));
    assert!(one.chars().count() < 230 && one != other && one[..100] == other[..100], "{one}");
    assert_eq!(one, sum("x"));
}
