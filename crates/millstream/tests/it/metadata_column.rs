//! `_metadata` of file sources: found by name wherever Spark finds it, and made only for those who ask. The expectations
//! are Spark 4.3.0's answers to the same statements; paths and row numbers are in the gold of readers (`meta-*`).

use std::path::Path;

use millstream::{Session, Trigger};

const NOT_FOUND: &str = "UNRESOLVED_COLUMN.WITH_SUGGESTION";

/// `tab`: the ids 1 and 2 in one file, 3 in another; and two views of it.
async fn session(dir: &Path) -> Session {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    std::fs::write(dir.join("in/a b.json"), "{\"id\":1}\n{\"id\":2}\n").unwrap();
    std::fs::write(dir.join("in/z.json"), "{\"id\":3}\n").unwrap();
    let session = Session::new().unwrap();
    session.sql(&format!("CREATE TABLE tab (id INT) USING json OPTIONS (path '{}/in')", dir.display())).await.unwrap();
    session.sql("CREATE TEMPORARY VIEW v AS SELECT * FROM tab").await.unwrap();
    session.sql("CREATE TEMPORARY VIEW named AS SELECT id, _metadata FROM tab").await.unwrap();
    session
}

async fn answer(session: &Session, sql: &str) -> Result<String, String> {
    let frame = match session.sql(sql).await {
        Ok(frame) => frame,
        Err(error) => return Err(error.error_class().unwrap_or("no class").to_owned()),
    };
    let rows = frame.text_rows().await.map_err(|error| error.error_class().unwrap_or("no class").to_owned())?;
    let mut rows: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
    rows.sort();
    Ok(rows.join(" "))
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_found_where_spark_finds_it() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path()).await;
    let names = "a%20b.json a%20b.json z.json";
    for (sql, expected) in [
        ("SELECT * FROM tab", Ok("1 2 3")),
        ("SELECT tab.* FROM tab", Ok("1 2 3")),
        ("SELECT _metadata.file_name FROM tab", Ok(names)),
        ("SELECT _METADATA.FILE_NAME FROM tab", Ok(names)),
        ("SELECT tab._metadata.file_name FROM tab", Ok(names)),
        ("SELECT x._metadata.file_name FROM tab x", Ok(names)),
        ("SELECT _metadata.file_name FROM (SELECT id FROM tab)", Ok(names)),
        ("SELECT q._metadata.file_name FROM (SELECT id FROM tab) q", Ok(names)),
        ("SELECT m.file_name FROM (SELECT _metadata AS m FROM tab)", Ok(names)),
        ("SELECT e, _metadata.file_name FROM tab LATERAL VIEW explode(array(id)) x AS e", Ok("1|a%20b.json 2|a%20b.json 3|z.json")),
        ("SELECT explode(array(id)), _metadata.file_name FROM tab", Ok("1|a%20b.json 2|a%20b.json 3|z.json")),
        ("SELECT _metadata.file_name FROM (SELECT id, row_number() OVER (ORDER BY id) r FROM tab)", Ok(names)),
        ("SELECT id FROM tab WHERE _metadata.file_name LIKE 'z%'", Ok("3")),
        ("SELECT id FROM tab ORDER BY _metadata.file_name DESC LIMIT 1", Ok("3")),
        ("SELECT count(*) FROM tab GROUP BY _metadata.file_name", Ok("1 2")),
        ("SELECT _metadata.file_name, count(*) FROM tab GROUP BY 1", Ok("a%20b.json|2 z.json|1")),
        ("SELECT count(*) FROM tab GROUP BY id HAVING max(_metadata.file_size) > 10", Ok("1 1")),
        ("SELECT _metadata.file_name FROM tab a LEFT SEMI JOIN tab b ON a.id = b.id", Ok(names)),
        ("SELECT a._metadata.file_name FROM tab a JOIN tab b ON a.id = b.id", Ok(names)),
        ("SELECT a.id, b.id FROM tab a JOIN tab b ON a._metadata.file_name = b._metadata.file_name", Ok("1|1 1|2 2|1 2|2 3|3")),
        ("SELECT id, (SELECT max(_metadata.file_size) FROM tab) FROM tab", Ok("1|18 2|18 3|18")),
        ("SELECT id FROM tab x WHERE EXISTS (SELECT 1 FROM v WHERE id = x._metadata.file_size - 17)", Ok("1 2")),
        ("SELECT id FROM tab WHERE id IN (SELECT id FROM tab WHERE _metadata.file_size < 10)", Ok("3")),
        ("SELECT _metadata.file_size, _metadata.file_block_start, _metadata.file_block_length FROM tab WHERE id = 1", Ok("18|0|18")),
        ("SELECT _metadata.file_name FROM named", Ok(names)),
        ("SELECT id AS _metadata FROM tab", Ok("1 2 3")),
        ("SELECT _metadata.file_name FROM v", Err(NOT_FOUND)),
        ("WITH c AS (SELECT id FROM tab) SELECT _metadata.file_name FROM c", Err(NOT_FOUND)),
        ("SELECT _metadata.file_name FROM (SELECT id FROM tab UNION ALL SELECT id FROM tab)", Err(NOT_FOUND)),
        ("SELECT _metadata.file_name FROM (SELECT id, count(*) FROM tab GROUP BY id)", Err(NOT_FOUND)),
        ("SELECT _metadata.file_name FROM tab a JOIN tab b USING (id)", Err(NOT_FOUND)),
        ("SELECT _metadata.file_name FROM tab a JOIN tab b ON a.id = b.id", Err("AMBIGUOUS_REFERENCE")),
        ("SELECT _metadata.nosuch FROM tab", Err("FIELD_NOT_FOUND")),
        ("SELECT _metadata.file_name FROM (SELECT id AS _metadata FROM tab)", Err("INVALID_EXTRACT_BASE_FIELD_TYPE")),
    ] {
        assert_eq!(answer(&session, sql).await, expected.map(str::to_owned).map_err(str::to_owned), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dataframes_find_it_above_a_select_and_never_show_it() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path()).await;
    let frame = session.read().schema("id INT").json(dir.path().join("in")).await.unwrap();
    let columns = |frame: &millstream::DataFrame| {
        let frame = frame.clone();
        async move { frame.schema().await.unwrap().fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>() }
    };
    assert_eq!(columns(&frame).await, ["id"]);
    let above = frame.select_expr(["id + 1 AS x"]).unwrap().select_expr(["_metadata.file_name"]).unwrap();
    assert_eq!(above.text_rows().await.unwrap().len(), 3);
    let replaced = frame.with_column("_metadata", millstream::lit(1));
    assert_eq!(columns(&replaced).await, ["id", "_metadata"]);
    let written = frame.select_expr(["*", "_metadata"]).unwrap();
    written.write().parquet(dir.path().join("out")).await.unwrap();
    // The table has a column of that name now, which hides the one of its own files.
    let read = session.read().parquet(dir.path().join("out")).await.unwrap();
    assert_eq!(columns(&read).await, ["id", "_metadata"]);
    let sizes = read.select_expr(["max(_metadata.file_size)"]).unwrap().text_rows().await.unwrap();
    assert_eq!(sizes, [["18"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_have_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path()).await;
    let path = dir.path().join("in").display().to_string();
    for (nth, sql) in [
        "SELECT id, _metadata.file_name AS f FROM STREAM tab".to_owned(),
        format!("SELECT id, _metadata.file_name AS f FROM STREAM read_files('{path}', format => 'json', schema => 'id INT')"),
    ]
    .into_iter()
    .enumerate()
    {
        let table = format!("out{nth}");
        let writer = session.sql(&sql).await.unwrap().write_stream().format("memory").query_name(&table).trigger(Trigger::AvailableNow);
        writer.start().await.unwrap().await_termination(None).await.unwrap();
        assert_eq!(answer(&session, &format!("SELECT * FROM {table}")).await.unwrap(), "1|a%20b.json 2|a%20b.json 3|z.json");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_does_not_name_it_does_not_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path()).await;
    let explained = |sql: &'static str| {
        let session = session.clone();
        async move { session.sql(sql).await.unwrap().explain_string().await.unwrap() }
    };
    for sql in [
        "SELECT * FROM tab",
        "SELECT explode(array(id)) FROM tab",
        "SELECT a.* FROM tab a JOIN tab b ON a.id = b.id ORDER BY 1",
        "SELECT DISTINCT id FROM v",
    ] {
        let plan = explained(sql).await;
        assert!(!plan.contains("_metadata"), "{sql}: {plan}");
    }
    assert!(explained("SELECT _metadata.file_name FROM tab").await.contains("_metadata"));
}
