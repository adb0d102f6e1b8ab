//! Compares the parser with Spark 4.3.0's on every text of `gold/parser.txt` (see `gold/parser.py`):
//! which texts are taken, how expressions and plans nest, how types print, what intervals come to.

use millstream_sql::ir::{Command, DataType};
use millstream_sql::{SqlError, SqlErrorKind, parse_data_type, parse_expression, parse_interval, parse_schema, parse_statement};
use serde_json::Value;

use super::spark_form::{expr_form, plan_nodes};

/// Texts on which we differ from Spark on purpose, and why.
const DIFFERENT: &[(&str, &str)] = &[
    ("a IS", KEYWORD),
    ("a AS", KEYWORD),
    ("CASE END", KEYWORD),
    ("SELECT a, FROM t", KEYWORD),
    ("SELECT a FROM", KEYWORD),
    ("SELECT a FROM t WHERE", KEYWORD),
    ("SELECT a FROM t AS", KEYWORD),
    ("SELECT * FROM people WHERE", KEYWORD),
    ("SELECT from FROM t", KEYWORD),
    ("SELECT * FROM stream WHERE a", KEYWORD),
    ("FROM t |>", KEYWORD),
    ("SELECT DISTINCT ON (a) b FROM t", KEYWORD),
    ("SELECT a, b, FROM t", KEYWORD),
    ("SELECT a and FROM t", KEYWORD),
    ("SELECT all FROM t", KEYWORD),
    ("SELECT distinct FROM t", KEYWORD),
    ("SELECT * FROM where", KEYWORD),
    ("SELECT * FROM lateral", KEYWORD),
    ("SELECT * FROM left", KEYWORD),
    ("CREATE OR REPLACE MATERIALIZED VIEW x AS SELECT 1", OURS),
    ("CREATE OR REPLACE STREAMING TABLE x AS SELECT 1", OURS),
    ("CREATE STREAMING TABLE x OPTIONS (a 'b') AS SELECT 1", OURS),
    ("CREATE STREAMING TABLE x LOCATION 'l' AS SELECT 1", OURS),
    ("DROP MATERIALIZED VIEW x", OURS),
    ("FROM t |> ORDER BY a LIMIT 3 OFFSET 2", "one step may hold what two would say"),
    ("``", "an empty name is a slip"),
    ("(a, b AS c)", "Spark's form repeats the alias"),
    ("IDENTIFIER('a.b')", "resolved at once, as only string literals are taken"),
    ("time(7)", "there is no such type, Spark says so later"),
    ("string collate utf8_binary", "the default collation is not kept in the type"),
    ("a: INT", "PySpark's own schema strings take the colon"),
    ("SELECT a FROM t LIMIT ALL", "no node is needed for no limit"),
    ("SELECT ((SELECT 1) UNION SELECT 2)", SUBQUERY),
    ("SELECT ((SELECT 1) + 1)", SUBQUERY),
    ("SELECT (SELECT 1) + ((SELECT 2))", SUBQUERY),
    ("SELECT * FROM t WHERE a IN (SELECT b FROM u) AND EXISTS (SELECT 1 FROM v)", SUBQUERY),
];

const KEYWORD: &str = "Spark takes a keyword for a name where a mistake is far more likely; backticks make it a name";
const OURS: &str = "Millstream's own";
const SUBQUERY: &str = "Spark lists the plans of subquery expressions among the nodes";

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What we make of a text: a form to compare, nothing to compare, or a refusal.
fn ours(kind: &str, text: &str) -> Result<Option<String>, SqlError> {
    match kind {
        "e" => parse_expression(text).map(|e| expr_form(&e)),
        "p" => parse_statement(text).map(|s| match s.command {
            Command::Query(plan) => plan_nodes(&plan).map(|n| n.join(" ")),
            _ => None,
        }),
        "i" => parse_interval(text).map(|i| Some(format!("{} {} {}", i.months, i.days, i.micros))),
        "t" => parse_data_type(text).map(|t| Some(t.sql())),
        _ => parse_schema(text).map(|t: DataType| Some(t.to_ddl())),
    }
}

/// How our answer to a text differs from Spark's.
enum Difference {
    WeTake(String),
    WeRefuse(String),
    OtherForm(String),
}

/// The difference, if there is one, and whether forms were compared.
fn compare(row: &Value) -> (Option<Difference>, bool) {
    let (kind, text) = (row["kind"].as_str().unwrap(), row["text"].as_str().unwrap());
    let theirs = match &row["ok"] {
        Value::String(form) => Some(form.clone()),
        Value::Array(nodes) => {
            Some(nodes.iter().map(|n| n.as_str().map_or_else(|| n.to_string(), str::to_owned)).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    match (theirs, ours(kind, text)) {
        (None, Ok(form)) => {
            let line = format!("{kind} {text}\n    Spark refuses: {}\n    we take: {form:?}", row["refused"]);
            (Some(Difference::WeTake(line)), false)
        }
        (Some(form), Err(e)) if e.kind != SqlErrorKind::Unsupported => {
            let line = format!("{kind} {text}\n    Spark takes: {form}\n    we refuse: {e}");
            (Some(Difference::WeRefuse(line)), false)
        }
        (Some(theirs), Ok(Some(ours))) => {
            let line = || format!("{kind} {text}\n    Spark: {theirs}\n    we:    {ours}");
            ((theirs != ours).then(|| Difference::OtherForm(line())), true)
        }
        _ => (None, false),
    }
}

#[test]
fn texts_are_taken_and_nested_as_by_spark() {
    let mut wrong = vec![];
    let mut compared = 0;
    for row in rows(include_str!("../../gold/spark-4.3.0/parser.jsonl")) {
        if DIFFERENT.iter().any(|(t, _)| row["text"] == *t) {
            continue;
        }
        let (difference, forms) = compare(&row);
        compared += usize::from(forms);
        if let Some(Difference::WeTake(line) | Difference::WeRefuse(line) | Difference::OtherForm(line)) = difference {
            wrong.push(line);
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(compared > 600, "only {compared} forms compared");
}

#[test]
fn mutated_texts_are_taken_only_if_spark_takes_them() {
    let (mut wrong, mut refused) = (vec![], vec![]);
    let rows = rows(include_str!("../../gold/spark-4.3.0/mutated.jsonl"));
    for row in &rows {
        // Whether a date is one is seen by the analyzer, which knows the session's time zone.
        let left_to_the_analyzer = row["refused"].as_str().is_some_and(|r| r.contains("INVALID_TYPED_LITERAL"));
        let different = DIFFERENT.iter().any(|(t, _)| row["text"] == *t) || row["text"].as_str().is_some_and(|t| t.contains("LIMIT ALL"));
        if left_to_the_analyzer || different {
            continue;
        }
        match compare(row).0 {
            Some(Difference::WeTake(line)) => wrong.push(line),
            Some(Difference::OtherForm(line)) => wrong.push(line),
            Some(Difference::WeRefuse(line)) => refused.push(line),
            None => {}
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
    // Spark takes clause words for names wherever a sentence can be made of it; we do not.
    assert!(refused.len() * 100 < rows.len() * 4, "{} refused:\n{}", refused.len(), refused.join("\n"));
}

/// The project's own gold: Spark's answers to expressions, queries and schema texts.
fn project_gold(file: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gold/spark-4.3.0").join(file);
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn schema_texts_give_sparks_types() {
    for row in project_gold("ddl.jsonl") {
        let ddl = row["ddl"].as_str().unwrap();
        match (DataType::parse(ddl), row["type"].as_str()) {
            (Ok(ours), Some(theirs)) => {
                assert_eq!(ours.simple_string(), theirs, "{ddl}");
                assert_eq!(serde_json::from_str::<Value>(&ours.to_json()).unwrap(), row["json"], "{ddl}");
            }
            (Err(e), Some(theirs)) => assert_eq!(e.kind, SqlErrorKind::Unsupported, "{ddl}: Spark reads {theirs}, we refuse: {e}"),
            // PySpark's own schema strings take the colon.
            (Ok(ours), None) => assert!(ddl.contains(':'), "{ddl}: Spark refuses, we read {ours}"),
            (Err(_), None) => {}
        }
    }
}

#[test]
fn all_gold_expressions_and_queries_are_read() {
    let mut refused = vec![];
    for file in ["expressions.jsonl", "queries.jsonl", "functions.jsonl"] {
        for row in project_gold(file) {
            // A text that Spark answers with an error may be refused by us at once.
            let text = row["sql"].as_str().map_or_else(|| format!("SELECT {}", row["expr"].as_str().unwrap()), str::to_owned);
            let differs = DIFFERENT.iter().any(|(t, _)| *t == text);
            if row["error"].is_null()
                && !differs
                && let Err(e) = parse_statement(&text)
                && e.kind != SqlErrorKind::Unsupported
            {
                refused.push(format!("{text}\n    {e}"));
            }
        }
    }
    assert!(refused.is_empty(), "{} refused:\n{}", refused.len(), refused.join("\n"));
}
