//! Readers give only the nested fields that a query uses, with the same answers.

use millstream::Session;

const LINES: &str = r#"{"file":"f1","Records":[{"eventTime":"t1","n":1,"who":{"arn":"a1","tags":["x"]}},{"eventTime":"t2","n":"no number","who":null}]}
{"file":"f2","Records":[]}
{"file":"f3","Records":null}
{"file":"f4","Records":[{"n":4,"who":{"tags":["y","z"]}},null]}
"#;

async fn rows(session: &Session, sql: &str) -> Vec<String> {
    let batches = session.sql(sql).await.unwrap().collect().await.unwrap();
    let text = |cell: &serde_json::Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    millstream_testkit::gold::rows_of(&batches).unwrap().iter().map(|row| row.iter().map(text).collect::<Vec<_>>().join("|")).collect()
}

async fn physical(session: &Session, sql: &str) -> String {
    let plans = session.sql(sql).await.unwrap().explain_string().await.unwrap();
    plans.split("== Physical Plan ==").last().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_parquet_read_only_the_fields_that_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let (json, parquet) = (dir.path().join("json"), dir.path().join("parquet"));
    std::fs::create_dir(&json).unwrap();
    std::fs::write(json.join("a.json"), LINES).unwrap();
    let session = Session::new().unwrap();
    let schema = "file STRING, Records ARRAY<STRUCT<eventTime: STRING, n: STRING, who: STRUCT<arn: STRING, tags: ARRAY<STRING>>>>";
    let table = |name: &str, format: &str, path: &std::path::Path| {
        format!("CREATE TABLE {name} ({schema}) USING {format} OPTIONS (path '{}')", path.display())
    };
    session.sql(&table("j", "json", &json)).await.unwrap();
    session.sql(&table("p", "parquet", &parquet)).await.unwrap();
    session.sql("INSERT INTO p SELECT * FROM j").await.unwrap();
    for name in ["j", "p"] {
        for (select, fields, expected) in [
            (
                "r.eventTime, r.who.arn FROM (SELECT explode(Records) AS r FROM t)",
                "columns=[Records.{eventTime, who.{arn}}]",
                vec!["t1|a1", "t2|null", "null|null", "null|null"],
            ),
            (
                "file, Records.n FROM t",
                "columns=[file, Records.{n}]",
                vec!["f1|[\"1\",\"no number\"]", "f2|[]", "f3|null", "f4|[\"4\",null]"],
            ),
            (
                "file, r.n, tag FROM t LATERAL VIEW explode(Records) x AS r LATERAL VIEW explode(r.who.tags) y AS tag",
                "columns=[file, Records.{n, who.{tags}}]",
                vec!["f1|1|x", "f4|4|y", "f4|4|z"],
            ),
            (
                "count(*), count(r) FROM (SELECT explode(Records) AS r FROM t)",
                "columns=[Records.{eventTime, n, who.{arn, tags}}]",
                vec!["4|3"],
            ),
            ("count(*) FROM (SELECT explode(Records) AS r FROM t)", "columns=[Records.{eventTime}]", vec!["4"]),
            ("file FROM t WHERE size(Records.n) = 2", "columns=[file, Records.{n}]", vec!["f1", "f4"]),
            (
                "file, pos FROM t LATERAL VIEW OUTER posexplode(Records) x AS pos, r",
                "columns=[file, Records.{eventTime}]",
                vec!["f1|0", "f1|1", "f2|null", "f3|null", "f4|0", "f4|1"],
            ),
        ] {
            let sql = format!("SELECT {}", select.replace("FROM t", &format!("FROM {name}")));
            let plan = physical(&session, &sql).await;
            assert!(plan.contains(fields), "{sql}\n{plan}");
            assert_eq!(rows(&session, &sql).await, expected, "{sql}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_parsed_once_and_only_the_fields_that_are_used() {
    let session = Session::new().unwrap();
    session.sql(r#"CREATE TEMPORARY VIEW t AS SELECT * FROM VALUES ('{"a":1,"b":"x","s":{"p":2,"q":"z"}}'), ('{"a":-1,"b":3}'), ('{"a":'), (NULL) AS t(v)"#).await.unwrap();
    let parsed = |options: &str| format!("(SELECT v, from_json(v, 'a INT, b STRING, s STRUCT<p: INT, q: STRING>'{options}) AS e FROM t)");
    for (select, schema, expected) in [
        ("e.a, e.a + 1 AS next FROM e WHERE e.a > 0", "struct<a:int>", vec!["1|2"]),
        ("e.s.q, e.b FROM e WHERE e.b IS NOT NULL", "struct<b:string,s:struct<q:string>>", vec!["z|x", "null|3"]),
        ("count(*) FROM e WHERE e.s IS NULL AND v IS NOT NULL", "struct<s:struct<p:int>>", vec!["2"]),
        ("to_json(e) FROM e WHERE e.a = -1", "a INT, b STRING, s STRUCT<p: INT, q: STRING>", vec![r#"{"a":-1,"b":"3"}"#]),
    ] {
        let sql = format!("SELECT {}", select.replace("FROM e", &format!("FROM {} AS x", parsed(""))));
        let plan = physical(&session, &sql).await;
        assert_eq!(plan.matches("spark_from_json").count(), 1, "{sql}\n{plan}");
        assert!(plan.contains(schema), "{sql}\n{plan}");
        assert_eq!(rows(&session, &sql).await, expected, "{sql}");
    }
    // Whether a record is malformed hangs on all of its fields.
    let sql = format!("SELECT e.a FROM {} AS x WHERE e.a > 0", parsed(", map('mode', 'FAILFAST')"));
    assert!(physical(&session, &sql).await.contains("b STRING"));
}
