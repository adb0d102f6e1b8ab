//! Every physical plan can be sent elsewhere: encoded with our codec, decoded, the copy gives the same rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use datafusion_proto::bytes::{physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec};
use millstream::Session;
use millstream_core::{BatchId, QueryId, RunEpoch};
use millstream_engine::physical::{PlanCodec, RowRecordExec, guard_rows};
use millstream_engine::{BatchFacts, BatchWatermarks};

const QUERIES: &[&str] = &[
    "SELECT * FROM people",
    "SELECT upper(name) AS n, id + 1 AS next, CAST(id AS STRING) AS text FROM people WHERE id > 1",
    "SELECT id, tag FROM people LATERAL VIEW explode(tags) t AS tag",
    "SELECT name, count(*) AS n, sum(id) AS s FROM people GROUP BY name",
    "SELECT a.id, b.name FROM people a JOIN people b ON a.id = b.id",
    "SELECT id, current_timestamp() IS NOT NULL AS now FROM people",
    "SELECT id, rand(3), randn(5), spark_partition_id(), monotonically_increasing_id(), uuid() IS NOT NULL FROM people",
    "SELECT id FROM people ORDER BY id DESC LIMIT 2",
    "SELECT DISTINCT name FROM people UNION ALL SELECT 'x'",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_decoded_plan_gives_the_same_rows() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("people.json"),
        "{\"id\":1,\"name\":\"Ann\",\"tags\":[\"a\",\"b\"]}\n{\"id\":2,\"name\":\"Bob\",\"tags\":[]}\n{\"id\":3,\"name\":\"Ann\",\"tags\":[\"c\"]}\n",
    )
    .unwrap();
    let session = Session::new().unwrap();
    let path = dir.path().display();
    session
        .sql(&format!("CREATE TABLE people (id BIGINT, name STRING, tags ARRAY<STRING>) USING json OPTIONS (path '{path}')"))
        .await
        .unwrap();
    let engine = session.engine();
    let codec = PlanCodec::new(Arc::clone(engine.registry()));
    let decoding = SessionContext::new();
    for function in millstream_functions::all_scalar() {
        decoding.register_udf(function.as_ref().clone());
    }
    for function in millstream_functions::all_aggregate() {
        decoding.register_udaf(function.as_ref().clone());
    }
    for function in millstream_analyzer::functions() {
        decoding.register_udf(function.as_ref().clone());
    }
    let mut plans = Vec::new();
    for sql in QUERIES {
        let want = sorted(session.sql(sql).await.unwrap().text_rows().await.unwrap());
        plans.push((*sql, want, session.sql(sql).await.unwrap().physical_plan().await.unwrap()));
    }
    plans.push(guarded_plan(&session, dir.path()).await);
    plans.push(plan_with_records(&session).await);
    for (sql, want, filled) in plans {
        let bytes = physical_plan_to_bytes_with_extension_codec(filled, &codec).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let copy = physical_plan_from_bytes_with_extension_codec(&bytes, &decoding.task_ctx(), &codec)
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        let facts = BatchFacts {
            query_id: QueryId(uuid::Uuid::nil()),
            epoch: RunEpoch(1),
            batch_id: BatchId(0),
            attempt: 0,
            clock_us: 0,
            watermarks: BatchWatermarks::NONE,
        };
        let (rows, _) = engine.runner().collect(copy, facts).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let frame = session.create_dataframe(rows[0].schema(), rows).unwrap();
        assert_eq!(sorted(frame.text_rows().await.unwrap()), want, "{sql}");
    }
}

/// A plan that sets rows aside, its source filled as for a batch; one of its rows fails.
async fn guarded_plan(session: &Session, dir: &Path) -> (&'static str, Vec<Vec<String>>, Arc<dyn ExecutionPlan>) {
    let sql = "SELECT 10 DIV (id - 2) AS n FROM letters WHERE name IS NOT NULL";
    let create = "CREATE TABLE letters (id BIGINT, name STRING) USING json OPTIONS (path '{0}', deadLetterPath '{0}/_dead')";
    session.sql(&create.replace("{0}", &dir.display().to_string())).await.unwrap();
    let filled = session.sql(sql).await.unwrap().physical_plan().await.unwrap();
    let guarded = guard_rows(&filled, &BTreeMap::from([("letters".to_owned(), "some files".to_owned())])).unwrap();
    assert_eq!(guarded.name(), "RowGuardExec");
    (sql, vec![vec!["-10".to_owned()], vec!["10".to_owned()]], guarded)
}

/// A plan whose rows have the record beside them that they were made of.
async fn plan_with_records(session: &Session) -> (&'static str, Vec<Vec<String>>, Arc<dyn ExecutionPlan>) {
    let (sql, kept) = ("SELECT id, name, tags FROM people", "SELECT id, struct(tags, name) AS record FROM people");
    let want = sorted(session.sql(kept).await.unwrap().text_rows().await.unwrap());
    let filled = session.sql(sql).await.unwrap().physical_plan().await.unwrap();
    (sql, want, Arc::new(RowRecordExec::new(filled, 1, vec![2, 1])))
}

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}
