//! What a source is asked for when only some fields of its structs are used.

use std::sync::{Arc, Mutex};

use arrow::datatypes::SchemaRef;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::TableSource;
use datafusion::prelude::SessionContext;
use millstream_analyzer::prune_nested_fields;
use millstream_analyzer::types::from_arrow;

use crate::harness::{TestCatalog, analyze};

const LOGS: &str = "file STRING, \
    Records ARRAY<STRUCT<eventTime: STRING, n: INT, who: STRUCT<arn: STRING, tags: ARRAY<STRING>>, extra: MAP<STRING, STRING>>>, \
    head STRUCT<id: INT, note: STRING>, raw STRING";

/// The columns with nested types that the source is asked for; `whole` when it is not asked for less.
fn asked(sql: &str) -> String {
    let catalog = TestCatalog::default().table("logs", LOGS, true).view("recs", "SELECT file, explode(Records) AS r FROM logs");
    let analyzed = analyze(&catalog, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let asked = Mutex::new(vec![]);
    let narrow = |_: &Arc<dyn TableSource>, schema: SchemaRef| {
        let nested = schema.fields().iter().filter(|field| field.data_type().is_nested());
        let shown: Vec<String> =
            nested.map(|field| format!("{}: {}", field.name(), from_arrow(field.data_type()).unwrap().simple_string())).collect();
        asked.lock().unwrap().push(shown.join("; "));
        let table = MemTable::try_new(schema, vec![vec![]]).unwrap();
        Ok(Some(provider_as_source(Arc::new(table))))
    };
    let pruned = prune_nested_fields(&analyzed.plan, &narrow).unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert_eq!(pruned.schema(), analyzed.plan.schema(), "{sql}");
    SessionContext::new().state().optimize(&pruned).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let asked = asked.into_inner().unwrap();
    if asked.is_empty() { "whole".to_owned() } else { asked.join(" | ") }
}

#[test]
fn only_the_used_fields_are_read() {
    const HEAD: &str = "head: struct<id:int,note:string>";
    for (sql, expected) in [
        (
            "SELECT head.id FROM logs",
            "Records: array<struct<eventTime:string,n:int,who:struct<arn:string,tags:array<string>>,extra:map<string,string>>>; head: struct<id:int>",
        ),
        ("SELECT r.eventTime, r.who.arn FROM recs", &format!("Records: array<struct<eventTime:string,who:struct<arn:string>>>; {HEAD}")),
        ("SELECT r.n FROM recs WHERE r.who.arn = 'x'", &format!("Records: array<struct<n:int,who:struct<arn:string>>>; {HEAD}")),
        ("SELECT Records.eventTime FROM logs", &format!("Records: array<struct<eventTime:string>>; {HEAD}")),
        ("SELECT Records[0].who.arn FROM logs", &format!("Records: array<struct<who:struct<arn:string>>>; {HEAD}")),
        ("SELECT count(*) FROM recs", &format!("Records: array<struct<eventTime:string>>; {HEAD}")),
        ("SELECT eventTime FROM (SELECT r.* FROM recs)", &format!("Records: array<struct<eventTime:string>>; {HEAD}")),
        ("SELECT n FROM logs LATERAL VIEW inline(Records) x", &format!("Records: array<struct<n:int>>; {HEAD}")),
        ("SELECT pos, r.n FROM logs LATERAL VIEW posexplode(Records) x AS pos, r", &format!("Records: array<struct<n:int>>; {HEAD}")),
        (
            "SELECT t FROM recs LATERAL VIEW explode(r.who.tags) x AS t",
            &format!("Records: array<struct<who:struct<tags:array<string>>>>; {HEAD}"),
        ),
        ("SELECT r.n, count(r.eventTime) FROM recs GROUP BY r.n", &format!("Records: array<struct<eventTime:string,n:int>>; {HEAD}")),
        (
            "SELECT a.r.n FROM recs a JOIN recs b ON a.r.eventTime = b.r.eventTime",
            &format!("Records: array<struct<eventTime:string,n:int>>; {HEAD} | Records: array<struct<eventTime:string>>; {HEAD}"),
        ),
        ("SELECT r.n FROM STREAM(logs) LATERAL VIEW explode(Records) x AS r", &format!("Records: array<struct<n:int>>; {HEAD}")),
        ("SELECT r.who IS NULL FROM recs", &format!("Records: array<struct<who:struct<arn:string>>>; {HEAD}")),
        (
            "SELECT r.n, row_number() OVER (PARTITION BY r.eventTime ORDER BY r.n) FROM recs",
            &format!("Records: array<struct<eventTime:string,n:int>>; {HEAD}"),
        ),
        (
            "SELECT r.n FROM recs WHERE EXISTS (SELECT 1 FROM logs l WHERE l.head.id = 1)",
            &format!(
                "Records: array<struct<n:int>>; {HEAD} | Records: array<struct<eventTime:string,n:int,who:struct<arn:string,tags:array<string>>,extra:map<string,string>>>; head: struct<id:int>"
            ),
        ),
    ] {
        let got = asked(sql);
        let mut got: Vec<&str> = got.split(" | ").collect();
        let mut expected: Vec<&str> = expected.split(" | ").collect();
        got.sort_unstable();
        expected.sort_unstable();
        assert_eq!(got, expected, "{sql}");
    }
}

#[test]
fn what_is_used_whole_is_read_whole() {
    for sql in [
        "SELECT r FROM recs",
        "SELECT to_json(r), r.n FROM recs",
        "SELECT r.* FROM recs",
        "SELECT raw, file FROM logs",
        "SELECT DISTINCT head FROM logs",
        "SELECT count(*) FROM logs GROUP BY head",
        "SELECT size(transform(Records, x -> x.n)) FROM logs",
        "SELECT x.n FROM (SELECT r AS x FROM recs UNION ALL SELECT r FROM recs)",
        "SELECT (SELECT max(v) FROM VALUES (1) AS t(v) WHERE v = recs.r.n) FROM recs",
        "SELECT map_values(r.extra), r FROM recs",
    ] {
        assert_eq!(asked(sql), "whole", "{sql}");
    }
}
