//! Tests of the shapes the parser builds. Which texts are taken, and how they nest, is compared with
//! Spark in `tests/it/gold.rs`; here stands what that cannot see: names, spans, clauses, messages.

use crate::ir::{
    CalendarInterval, Command, DataType, DatasetKind, DedupColumns, Expr, Grouping, InsertMode, JoinCondition, JoinKind, Literal,
    PartitionField, Plan, Property, ReadSource, Show, ViewKind,
};
use crate::{
    SqlErrorKind, parse_data_type, parse_expression, parse_expressions, parse_interval, parse_query, parse_schema, parse_script,
    parse_statement,
};

fn expr(text: &str) -> Expr {
    parse_expression(text).unwrap_or_else(|e| panic!("{}", e.render(text)))
}

fn query(text: &str) -> Plan {
    parse_query(text).unwrap_or_else(|e| panic!("{}", e.render(text)))
}

fn command(text: &str) -> Command {
    parse_statement(text).unwrap_or_else(|e| panic!("{}", e.render(text))).command
}

fn refused(text: &str) -> String {
    parse_script(text).unwrap_err().to_string()
}

// --- expressions

#[test]
fn text_and_builder_give_the_same_expression() {
    let built = Expr::call("+", vec![Expr::col("t.a"), Expr::call("*", vec![Expr::lit(2), Expr::col("b")])]).alias("c");
    assert_eq!(expr("t.a + 2 * b AS c"), built);
    assert_eq!(expr("CAST(a AS BIGINT)"), Expr::col("a").cast(DataType::Long));
    assert_eq!(expr("a[0]"), Expr::col("a").extract(Expr::lit(0)));
    assert_eq!(expr("f(x).y"), Expr::call("f", vec![Expr::col("x")]).field("y"));
    assert_eq!(expr("a != 1"), Expr::call("==", vec![Expr::col("a"), Expr::lit(1)]).negate());
    assert_eq!(expr("t.*"), Expr::col("t.*"));
}

#[test]
fn function_names_keep_their_case_and_numbers_their_scale() {
    let Expr::UnresolvedFunction(call) = expr("Sqrt(1.50)") else { panic!() };
    assert_eq!(call.name, "Sqrt");
    assert_eq!(call.args, [Expr::lit(Literal::Decimal { unscaled: 150, precision: 3, scale: 2 })]);
    assert_eq!(expr("0.05"), Expr::lit(Literal::Decimal { unscaled: 5, precision: 2, scale: 2 }));
    assert_eq!(expr("1e3"), Expr::lit(1000.0));
    assert_eq!(expr("-2147483648"), Expr::lit(i32::MIN));
    assert_eq!(expr("2147483648"), Expr::lit(2_147_483_648_i64));
}

#[test]
fn lambda_arguments_are_told_apart_from_columns() {
    let Expr::UnresolvedFunction(call) = expr("transform(a, X -> x.b + c)") else { panic!() };
    let Some(Expr::Lambda { body, .. }) = call.args.get(1) else { panic!() };
    let Expr::UnresolvedFunction(sum) = &**body else { panic!() };
    assert!(matches!(sum.args.as_slice(), [Expr::LambdaVariable { parts, .. }, Expr::UnresolvedAttribute { .. }] if parts == &["x", "b"]));
}

#[test]
fn words_between_arguments_become_arguments() {
    let call = |name: &str, args: &[Expr]| Expr::call(name, args.to_vec());
    let (a, x) = (Expr::col("a"), Expr::lit("x"));
    assert_eq!(expr("TRIM(LEADING 'x' FROM a)"), call("ltrim", &[x.clone(), a.clone()]));
    assert_eq!(expr("EXTRACT(YEAR FROM a)"), call("extract", &[Expr::lit("YEAR"), a.clone()]));
    assert_eq!(expr("SUBSTRING(a FROM 2 FOR 3)"), call("substring", &[a.clone(), Expr::lit(2), Expr::lit(3)]));
    assert_eq!(expr("POSITION('x' IN a)"), call("locate", &[x.clone(), a.clone()]));
    assert_eq!(expr("dateadd(day, 1, a)"), call("timestampadd", &[Expr::lit("DAY"), Expr::lit(1), a.clone()]));
    assert_eq!(expr("CASE a WHEN 'x' THEN 1 ELSE 2 END"), call("when", &[call("==", &[a, x]), Expr::lit(1), Expr::lit(2)]));
}

#[test]
fn row_values_are_parted_before_a_subquery() {
    assert!(matches!(expr("(a, b) IN (SELECT 1, 2)"), Expr::InSubquery { values, .. } if values.len() == 2));
    assert!(matches!(expr("a NOT IN (SELECT 1)"), Expr::UnresolvedFunction(call) if call.name == "not"));
}

#[test]
fn expression_lists_have_aliases_and_stars() {
    let list = parse_expressions("a, b + 1 AS c, *, t.*").unwrap();
    assert_eq!(list.len(), 4);
    assert!(matches!(&list[1], Expr::Alias { names, .. } if names[0].name == "c"));
}

#[test]
fn spans_cover_the_written_text() {
    let text = "SELECT a,\n  foo(b, 1) + c\nFROM t";
    let Plan::Project { exprs, .. } = query(text) else { panic!() };
    let span = exprs[1].span();
    assert_eq!((span.line, span.column), (2, 3));
    assert_eq!(&text[span.offset as usize..span.end() as usize], "foo(b, 1) + c");
    let Expr::UnresolvedFunction(sum) = &exprs[1] else { panic!() };
    let span = sum.args[0].span();
    assert_eq!(&text[span.offset as usize..span.end() as usize], "foo(b, 1)");
}

// --- queries

#[test]
fn a_select_nests_as_in_spark() {
    let plan = query("SELECT DISTINCT a, count(*) n FROM t WHERE b GROUP BY a HAVING n > 1 ORDER BY 1 LIMIT 2 OFFSET 3");
    let Plan::Limit { input, .. } = plan else { panic!() };
    let Plan::Offset { input, .. } = *input else { panic!() };
    let Plan::Sort { input, is_global: true, .. } = *input else { panic!() };
    let Plan::Deduplicate { input, columns: DedupColumns::Distinct, .. } = *input else { panic!() };
    let Plan::Having { input, .. } = *input else { panic!() };
    let Plan::Aggregate { input, grouping: Grouping::Plain(keys), aggregates, .. } = *input else { panic!() };
    assert_eq!((keys.len(), aggregates.len()), (1, 2));
    assert!(matches!(*input, Plan::Filter { .. }));
}

#[test]
fn duplicates_are_dropped_from_any_relation() {
    let from = |text: &str| {
        let Plan::Project { input, .. } = query(&format!("SELECT * FROM {text}")) else { panic!() };
        *input
    };
    let Plan::Deduplicate { input, columns: DedupColumns::Names(names), within_watermark: false, span } =
        from("drop_duplicates(STREAM t, 'k', 'ts')")
    else {
        panic!()
    };
    assert_eq!(names.iter().map(|name| name.name.as_str()).collect::<Vec<_>>(), ["k", "ts"]);
    assert_eq!((span.offset, span.len), (14, 36));
    assert!(matches!(*input, Plan::Read(read) if read.is_streaming));
    let text = "Drop_Duplicates_Within_Watermark((SELECT * FROM t) WATERMARK ts DELAY OF INTERVAL 1 SECOND AS q) AS d";
    let Plan::SubqueryAlias { input, .. } = from(text) else { panic!() };
    let Plan::Deduplicate { input, columns: DedupColumns::All, within_watermark: true, .. } = *input else { panic!() };
    assert!(matches!(*input, Plan::WithWatermark { .. }));
    let Plan::Join { left, right, .. } = from("drop_duplicates(a JOIN b USING (k), 'k') d, drop_duplicates(f(1))") else { panic!() };
    assert!(matches!(*left, Plan::SubqueryAlias { .. }));
    assert!(matches!(*right, Plan::Deduplicate { input, .. } if matches!(*input, Plan::Read(_))));
    for (text, message) in [
        ("drop_duplicates()", "expected a relation without duplicates"),
        ("drop_duplicates(t, k)", "expected a column's name as a string"),
        ("drop_duplicates(t, 'k'", "expected"),
        ("STREAM drop_duplicates(t, 'k')", "write drop_duplicates(STREAM t, ...)"),
        ("STREAM(drop_duplicates(t))", "write drop_duplicates(STREAM t, ...)"),
    ] {
        let error = parse_query(&format!("SELECT * FROM {text}")).unwrap_err();
        assert!(error.message.contains(message), "{text}: {}", error.message);
    }
    // It is a name like any other elsewhere.
    assert!(matches!(from("drop_duplicates"), Plan::Read(_)));
    assert!(matches!(from("a.drop_duplicates(1)"), Plan::Read(_)));
}

#[test]
fn text_and_builder_give_the_same_plan() {
    let built =
        Plan::table("db.t", true).alias("x").filter(Expr::call(">", vec![Expr::col("a"), Expr::lit(1)])).project(vec![Expr::col("a")]);
    assert_eq!(query("SELECT a FROM STREAM db.t AS x WHERE a > 1"), built);
    assert_eq!(query("SELECT a FROM STREAM(db.t) x WHERE a > 1"), built);
}

#[test]
fn streams_are_read_by_every_spelling() {
    for text in ["FROM STREAM t", "FROM stream t", "FROM STREAM(t)", "FROM STREAM `t`", "FROM STREAM f(1)", "FROM STREAM(f(1))"] {
        let Plan::Read(read) = query(text) else { panic!("{text}") };
        assert!(read.is_streaming, "{text}");
    }
    for text in ["FROM stream", "FROM stream AS s", "SELECT stream.a FROM stream", "FROM stream, u", "FROM t stream"] {
        assert!(!format!("{:?}", query(text)).contains("is_streaming: true"), "{text}");
    }
    let Plan::Read(read) = query("FROM STREAM t WITH (maxFilesPerTrigger = 10, 'k' = true)") else { panic!() };
    assert_eq!(read.options, [Property::new("maxFilesPerTrigger", "10"), Property::new("k", "true")]);
}

#[test]
fn a_table_function_keeps_named_arguments() {
    let Plan::SubqueryAlias { input, alias, .. } = query("FROM STREAM read_files('p', format => 'json') AS f") else { panic!() };
    let Plan::Read(read) = *input else { panic!() };
    let ReadSource::Function { name, args } = read.source else { panic!() };
    assert_eq!((alias.name.as_str(), name.last(), args.len()), ("f", "read_files", 2));
    assert!(matches!(&args[1], Expr::NamedArgument { name, .. } if name.name == "format"));
}

#[test]
fn a_watermark_stands_above_an_alias_and_below_that_of_a_function() {
    let ten = CalendarInterval::from_micros(10_000_000);
    let Plan::WithWatermark { input, delay, name: None, .. } = query("FROM STREAM t WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS e") else {
        panic!()
    };
    assert_eq!(delay, ten);
    assert!(matches!(*input, Plan::SubqueryAlias { .. }));
    let Plan::SubqueryAlias { input, .. } = query("FROM STREAM f() WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS e") else { panic!() };
    assert!(matches!(*input, Plan::WithWatermark { .. }));
    let plan = query("FROM t WATERMARK to_timestamp(s) AS ts DELAY OF INTERVAL '1' MONTH");
    let Plan::WithWatermark { name: Some(name), event_time: Expr::UnresolvedFunction(_), delay, .. } = plan else { panic!() };
    assert_eq!((name.name.as_str(), delay.months), ("ts", 1));
}

#[test]
fn stream_watermark_and_delay_are_ordinary_names() {
    let plan = query("SELECT stream, watermark, delay FROM delay watermark WHERE watermark.stream > delay");
    assert!(format!("{plan:?}").contains("\"watermark\""));
    query("SELECT * FROM watermark watermark JOIN stream delay ON watermark.a = delay.a");
}

#[test]
fn joins_keep_their_kind_and_condition() {
    let join = |text: &str| match query(&format!("FROM a {text}")) {
        Plan::Join { kind, condition, lateral, .. } => (kind, condition, lateral),
        other => panic!("{other:?}"),
    };
    assert_eq!(join("JOIN b ON x").0, JoinKind::Inner);
    assert_eq!(join("LEFT JOIN b USING (x, y)").1, JoinCondition::Using(vec!["x".into(), "y".into()]));
    assert_eq!(join("NATURAL FULL JOIN b"), (JoinKind::FullOuter, JoinCondition::Natural, false));
    assert_eq!(join(", LATERAL explode(a.x) e"), (JoinKind::Cross, JoinCondition::None, true));
    assert_eq!(join("LEFT ANTI JOIN b ON x").0, JoinKind::LeftAnti);
    // The comma binds looser than a join.
    let Plan::Join { left, kind: JoinKind::Cross, .. } = query("FROM a, b JOIN c ON x") else { panic!() };
    assert!(matches!(*left, Plan::Read(_)));
}

#[test]
fn groupings_are_told_apart() {
    let grouping = |text: &str| match query(&format!("SELECT 1 FROM t GROUP BY {text}")) {
        Plan::Aggregate { grouping, .. } => grouping,
        other => panic!("{other:?}"),
    };
    assert!(matches!(grouping("a, b"), Grouping::Plain(keys) if keys.len() == 2));
    assert!(matches!(grouping("ALL"), Grouping::All(_)));
    assert!(matches!(grouping("a, b WITH ROLLUP"), Grouping::Rollup(keys) if keys.len() == 2));
    assert!(matches!(grouping("CUBE (a, (b, c))"), Grouping::Cube(keys) if keys[1].len() == 2));
    assert!(matches!(grouping("a, b GROUPING SETS ((a), ())"), Grouping::Sets { keys, sets } if keys.len() == 2 && sets[1].is_empty()));
    assert!(matches!(grouping("GROUPING SETS (CUBE (a, b))"), Grouping::Sets { sets, .. } if sets.len() == 4));
    assert!(matches!(grouping("a, ROLLUP (b)"), Grouping::Several(parts) if parts.len() == 2));
}

// --- statements

#[test]
fn the_job_of_the_readme_is_read() {
    let job = "
        SET spark.sql.session.timeZone = UTC;
        CREATE TABLE trail (Records ARRAY<STRUCT<eventTime: STRING, userIdentity: STRUCT<type: STRING, arn: STRING>>>)
          USING json OPTIONS (path 'data/cloudtrail', maxFilesPerTrigger '100');
        CREATE TEMPORARY VIEW events AS SELECT r.*, to_timestamp(r.eventTime) AS ts
          FROM (SELECT explode(Records) AS r FROM STREAM trail);
        CREATE STREAMING TABLE events_by_day
          USING parquet PARTITIONED BY (day) LOCATION 'out/events'
          OPTIONS (checkpointLocation 'out/_checkpoint', trigger 'available-now')   -- ours
          AS SELECT ts, userIdentity.arn AS arn, date(ts) AS day FROM STREAM events;
        CREATE MATERIALIZED VIEW daily AS SELECT day, count(*) AS n FROM events_by_day GROUP BY day;
    ";
    let script = parse_script(job).unwrap();
    assert_eq!(script.len(), 5);
    assert!(matches!(&script[0].command, Command::Set { key, value, .. } if key == "spark.sql.session.timeZone" && value == "UTC"));
    let Command::CreateTable(table) = &script[1].command else { panic!() };
    assert_eq!(table.clauses.options, [Property::new("path", "data/cloudtrail"), Property::new("maxFilesPerTrigger", "100")]);
    assert_eq!(table.columns[0].data_type.sql(), "ARRAY<STRUCT<eventTime: STRING, userIdentity: STRUCT<type: STRING, arn: STRING>>>");
    let Command::CreateView(view) = &script[2].command else { panic!() };
    assert!(view.kind == ViewKind::Temporary && view.query_text.starts_with("SELECT r.*") && view.query_text.ends_with("trail)"));
    let Command::CreateDataset(dataset) = &script[3].command else { panic!() };
    assert_eq!((dataset.kind, dataset.clauses.location.as_deref()), (DatasetKind::StreamingTable, Some("out/events")));
    assert!(matches!(dataset.clauses.partitioned_by.as_slice(), [PartitionField::Column(name)] if name.last() == "day"));
    assert_eq!(dataset.clauses.options[1], Property::new("trigger", "available-now"));
    assert!(matches!(&script[4].command, Command::CreateDataset(d) if d.kind == DatasetKind::MaterializedView && d.query.is_some()));
    assert_eq!((script[4].span.line, script[4].span.column), (11, 9));
}

#[test]
fn settings_take_the_raw_rest() {
    let set = |text: &str| match command(text) {
        Command::Set { key, value, .. } => (key, value),
        other => panic!("{other:?}"),
    };
    let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    assert_eq!(set("SET a.b=it's (odd"), pair("a.b", "it's (odd"));
    assert_eq!(set("SET spark.sql.session.timeZone = Europe/Berlin ;"), pair("spark.sql.session.timeZone", "Europe/Berlin"));
    assert_eq!(set("set a = x = y"), pair("a", "x = y"));
    assert_eq!(set("SET `a b` = `c d`"), pair("a b", "c d"));
    assert_eq!(set("SET a ="), pair("a", ""));
    assert_eq!(set("SET TIME ZONE 'UTC'"), pair("spark.sql.session.timeZone", "UTC"));
    assert_eq!(command("SET"), Command::SetShowAll);
    assert!(matches!(command("SET a.b"), Command::SetShow { key, .. } if key == "a.b"));
    assert!(matches!(command("RESET a.b-c;"), Command::Reset { key: Some(key), .. } if key == "a.b-c"));
    let script = parse_script("SET a = 'x;y'; SELECT 1").unwrap();
    assert!(matches!(&script[0].command, Command::Set { value, .. } if value == "'x;y'"));
    assert_eq!(script.len(), 2);
}

#[test]
fn inserts_keep_their_clauses() {
    let Command::Insert(insert) = command("INSERT OVERWRITE TABLE db.t PARTITION (a = 1, b) IF NOT EXISTS SELECT 2, 3") else { panic!() };
    assert_eq!((insert.mode, insert.partition.len(), insert.if_not_exists), (InsertMode::Overwrite, 2, true));
    let Command::Insert(insert) = command("WITH x AS (SELECT 1) INSERT INTO t (a) SELECT * FROM x") else { panic!() };
    assert!(insert.columns.len() == 1 && matches!(insert.query, Plan::With { .. }));
    let Command::Insert(insert) = command("INSERT INTO table SELECT 1") else { panic!() };
    assert_eq!(insert.target.last(), "table");
    let Command::Insert(insert) = command("INSERT INTO t BY NAME SELECT 1 AS a") else { panic!() };
    assert!(insert.by_name);
}

#[test]
fn tables_take_all_their_clauses_in_any_order() {
    let text = "CREATE OR REPLACE TABLE db.t (a INT NOT NULL DEFAULT 1 COMMENT 'x', b STRING) COMMENT 'c' LOCATION 'l' USING csv
                PARTITIONED BY (b, days(ts), c DATE) TBLPROPERTIES ('k' = 'v', n = -1.5) OPTIONS (header true)";
    let Command::CreateTable(table) = command(text) else { panic!() };
    assert!(table.or_replace && !table.columns[0].nullable && table.columns[0].default.is_some());
    assert_eq!(table.columns[0].comment.as_deref(), Some("x"));
    assert_eq!(
        (table.clauses.format.unwrap().name.as_str(), table.clauses.location.as_deref(), table.clauses.comment.as_deref()),
        ("csv", Some("l"), Some("c"))
    );
    assert_eq!(table.clauses.properties[1], Property::new("n", "-1.5"));
    assert!(matches!(&table.clauses.partitioned_by[1], PartitionField::Transform(Expr::UnresolvedFunction(call)) if call.name == "days"));
    assert!(matches!(&table.clauses.partitioned_by[2], PartitionField::Declared(column) if column.data_type == DataType::Date));
}

#[test]
fn the_smaller_statements_are_read() {
    assert!(matches!(command("DROP TABLE IF EXISTS t"), Command::Drop { if_exists: true, .. }));
    assert!(matches!(command("EXPLAIN EXTENDED SELECT 1"), Command::Explain { .. }));
    assert!(matches!(command("DESC FORMATTED t c"), Command::DescribeTable { extended: true, column: Some(_), .. }));
    assert!(matches!(command("DESCRIBE SELECT 1"), Command::DescribeQuery { .. }));
    assert!(matches!(command("DESCRIBE extended"), Command::DescribeTable { extended: false, .. }));
    assert!(
        matches!(command("SHOW TABLES IN db LIKE 'x*'"), Command::Show { what: Show::Tables { pattern: Some(p), .. }, .. } if p == "x*")
    );
    assert!(matches!(command("CREATE FLOW f AS INSERT INTO t BY NAME SELECT * FROM STREAM s"), Command::CreateFlow { .. }));
    assert!(matches!(command("CREATE OR REFRESH STREAMING TABLE t"), Command::CreateDataset(d) if d.or_refresh && d.query.is_none()));
    assert!(matches!(command("CREATE TEMP VIEW v (a INT) USING csv OPTIONS (path 'p')"), Command::CreateViewUsing { schema: Some(_), .. }));
}

// --- types and intervals

#[test]
fn schemas_are_read_in_both_forms() {
    let schema = parse_schema("a INT NOT NULL, `b c` STRUCT<d: ARRAY<STRING>> COMMENT 'x'").unwrap();
    assert_eq!(schema.to_ddl(), "a INT NOT NULL,`b c` STRUCT<d: ARRAY<STRING>> COMMENT 'x'");
    assert_eq!(parse_schema("struct<a: int>").unwrap(), parse_schema("a int").unwrap());
    assert_eq!(DataType::parse("a int").unwrap(), DataType::structure([("a", DataType::Int)]));
    assert_eq!(DataType::parse("array<int>").unwrap(), DataType::array(DataType::Int));
    assert_eq!(parse_data_type("interval day to second").unwrap(), DataType::DAY_TIME);
    for text in ["boolean", "struct<a b:int", "map<string,decimal(10,2)>"] {
        if let Ok(parsed) = parse_data_type(text) {
            assert_eq!(parse_data_type(&parsed.simple_string()).unwrap(), parsed);
        }
    }
}

#[test]
fn interval_strings_are_read() {
    let micros = |text| parse_interval(text).unwrap().micros;
    assert_eq!(micros("10 seconds"), 10_000_000);
    assert_eq!(micros("  1 MINUTE 30 seconds "), 90_000_000);
    assert_eq!(micros("interval -2 hours"), -7_200_000_000);
    assert_eq!(micros("0.5 seconds"), 500_000);
    assert_eq!(micros("250 milliseconds 7 microseconds"), 250_007);
    assert_eq!(parse_interval("1 month 2 weeks").unwrap(), CalendarInterval { months: 1, days: 14, micros: 0 });
    assert_eq!(parse_interval("1 day").unwrap().to_micros_for_delay(), Some(86_400_000_000));
    for (text, why) in [
        ("", "it is empty"),
        ("10", "the unit behind 10 is missing"),
        ("seconds", "expected a number"),
        ("10 secnds", "did you mean 'second'?"),
        ("1.5 minutes", "only seconds may have a fraction"),
        ("99999999999999999999 days", "too long"),
    ] {
        let message = parse_interval(text).unwrap_err().to_string();
        assert!(message.contains(why), "{text}: {message}");
    }
}

// --- refusals

#[test]
fn refusals_name_the_place_and_the_nearest_word() {
    for (text, message) in [
        ("SELECT a FORM t", "unexpected 't', expected ';' or the end of the text at line 1, column 15; did you mean 'FROM'?"),
        ("SELCT a", "unexpected 'SELCT', expected a statement at line 1, column 1; did you mean 'SELECT'?"),
        ("SELECT a FROM t\nWHRE b", "unexpected 'b', expected ';' or the end of the text at line 2, column 6; did you mean 'WHERE'?"),
        ("SELECT a,\nFROM t", "unexpected 'FROM', expected an expression at line 2, column 1"),
        ("SELECT (a", "the text ends, expected ')' at line 1, column 10"),
        ("SELECT CAST(a AS STRNG)", "'STRNG' is not a data type at line 1, column 18; did you mean 'STRING'?"),
        (
            "CREATE TABEL t (a INT)",
            "unexpected 'TABEL', expected one of TABLE, VIEW, TEMPORARY, STREAMING, MATERIALIZED, FLOW, SCHEMA at line 1, column 8; did you mean 'TABLE'?",
        ),
        ("SELECT INTERVAL 1 DYA", "unexpected 'DYA', expected a unit such as DAY or SECOND at line 1, column 19; did you mean 'day'?"),
        ("SELECT 'abc", "unclosed string at line 1, column 8"),
        ("SELECT a FROM my-table", "a name with '-' must stand in backticks: `my-table` at line 1, column 15"),
        ("FROM STREAM t WATERMARK ts DELAY INTERVAL 1 DAY", "unexpected 'INTERVAL', expected OF at line 1, column 34"),
        ("CREATE TABLE t (a INT) LOCATION 'a' LOCATION 'b'", "LOCATION is given twice at line 1, column 37"),
        ("SELECT 128Y", "the number 128Y does not fit TINYINT at line 1, column 8"),
    ] {
        assert_eq!(refused(text), message, "{text}");
    }
}

#[test]
fn what_millstream_lacks_is_refused_by_name() {
    for (text, feature) in [
        ("MERGE INTO t USING s ON a WHEN MATCHED THEN DELETE", "MERGE INTO is not supported at line 1, column 1"),
        ("CREATE FUNCTION f AS 'x'", "CREATE FUNCTION is not supported"),
        ("SELECT * FROM t VERSION AS OF 1", "time travel (VERSION AS OF, TIMESTAMP AS OF) is not supported at line 1, column 17"),
        ("CREATE FLOW f AS AUTO CDC INTO t FROM STREAM s KEYS (k) SEQUENCE BY ts", "CREATE FLOW ... AS AUTO CDC is not supported"),
        ("CREATE TABLE t (a INT) CLUSTERED BY (a) INTO 4 BUCKETS", "CLUSTERED BY is not supported at line 1, column 24"),
        ("SELECT TRANSFORM(a) USING 'cat' FROM t", "a script transformation (TRANSFORM ... USING) is not supported"),
        ("SELECT a:b FROM t", "extraction from a variant by ':' is not supported at line 1, column 9"),
    ] {
        let error = parse_script(text).unwrap_err();
        assert_eq!(error.kind, SqlErrorKind::Unsupported, "{text}: {error}");
        assert!(error.to_string().starts_with(feature), "{text}: {error}");
    }
}

#[test]
fn secrets_are_starred_out() {
    for text in [
        "CREATE TABLE t USING x OPTIONS (kafka.sasl.password = 'canary', k = )",
        "CREATE TABLE t USING x OPTIONS ('fs.s3a.secret.key' 'canary', k = )",
        "CREATE TABLE t USING x OPTIONS (token 'canary' 'canary')",
        "SET fs.s3a.access.key = canary; FOO",
        "SELECT * FROM read_files('p', password => 'canary', )",
        "SET a.password = 'canary",
        "CREATE TABLE t OPTIONS (password 'canary",
    ] {
        let Err(error) = parse_script(text) else { continue };
        let shown = error.render(text);
        assert!(!shown.contains("canary"), "{shown}");
    }
    let Command::CreateTable(table) = command("CREATE TABLE t OPTIONS (password 'canary', a 'b')") else { panic!() };
    assert_eq!(table.clauses.options[0].value, "canary");
    assert!(!format!("{table:?}").contains("canary"));
}

#[test]
fn the_place_is_drawn() {
    let text = "SELECT a,\n       sum(b\nFROM t";
    let error = parse_query(text).unwrap_err();
    assert_eq!(error.render(text), "unexpected 'FROM', expected ')' at line 3, column 1\n   |\n 3 | FROM t\n   | ^^^^");
}
