//! Plans of streams can be sent elsewhere: encoded with our codec and decoded they are the same operators.

use std::sync::Arc;

use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionContext;
use datafusion_proto::bytes::{physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec};
use millstream_analyzer::streaming::{OutputRequest, Shown, for_output_mode};
use millstream_core::OutputMode;
use millstream_engine::physical::stateful::{DeduplicateChangesExec, RecomputeAggregateExec, SessionChangesExec};
use millstream_engine::physical::{PlanCodec, RowPositionExec};

use crate::session::Session;

const COUNTS: &str = "SELECT k, g, count(*) AS n FROM STREAM e GROUP BY k, g";

async fn session(dir: &std::path::Path) -> Session {
    let session = Session::new().unwrap();
    let table = format!("CREATE TABLE e (ts TIMESTAMP, k STRING, g INT) USING json OPTIONS (path '{}')", dir.display());
    session.sql(&table).await.unwrap();
    session
}

/// The plan of a query in update mode whose sink is shown changes.
async fn plan(session: &Session, sql: &str) -> Arc<dyn ExecutionPlan> {
    let analyzed = session.sql(sql).await.unwrap().analyze().await.unwrap();
    let request = OutputRequest { mode: OutputMode::Update, shown: Shown::Changes, upsert_key: None, keeps_late_rows: false };
    let plan = for_output_mode(&analyzed.plan, request).unwrap_or_else(|error| panic!("{sql}: {error}"));
    session.engine().plans().plan(&plan).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// What the codec makes of a plan, and of what it made again of that.
fn sent(session: &Session, plan: &Arc<dyn ExecutionPlan>) -> (Vec<u8>, Arc<dyn ExecutionPlan>) {
    let codec = PlanCodec::new(Arc::clone(session.engine().registry()));
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
    let bytes = physical_plan_to_bytes_with_extension_codec(Arc::clone(plan), &codec).unwrap();
    let copy = physical_plan_from_bytes_with_extension_codec(&bytes, &decoding.task_ctx(), &codec).unwrap();
    (bytes.to_vec(), copy)
}

/// What the operators of a plan were made of.
fn specs(plan: &Arc<dyn ExecutionPlan>) -> Vec<String> {
    let recompute = plan.downcast_ref::<RecomputeAggregateExec>().map(|exec| format!("{:?}", exec.spec()));
    let deduplicate = plan.downcast_ref::<DeduplicateChangesExec>().map(|exec| format!("{:?}", exec.spec()));
    let session = plan.downcast_ref::<SessionChangesExec>().map(|exec| format!("{:?}", exec.spec()));
    let here = recompute.or(deduplicate).or(session);
    here.into_iter().chain(plan.children().into_iter().flat_map(specs)).collect()
}

/// The copy is the plan, to the last field of what the codec writes.
fn can_be_sent(session: &Session, plan: &Arc<dyn ExecutionPlan>, operators: &[&str]) {
    let text = displayable(plan.as_ref()).indent(true).to_string();
    for operator in operators {
        assert!(text.contains(operator), "{operator} is not in\n{text}");
    }
    let (bytes, copy) = sent(session, plan);
    assert_eq!(displayable(copy.as_ref()).indent(true).to_string(), text);
    assert_eq!(copy.schema(), plan.schema());
    assert_eq!(specs(&copy), specs(plan));
    assert!(sent(session, &copy).0 == bytes, "the copy is written otherwise than\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_over_changes_can_be_sent_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path()).await;
    let queries = [
        (format!("SELECT n, max(k) AS most FROM ({COUNTS}) GROUP BY n"), vec!["RecomputeAggregateExec", "SinkChangesExec"]),
        (format!("SELECT n, count(*) AS c FROM drop_duplicates((SELECT n, g FROM ({COUNTS})), 'n') GROUP BY n"), vec!["DeduplicateChangesExec"]),
        (
            "SELECT session_window.start AS at, count(*) AS c FROM (SELECT k, window.start AS at, max(g) AS g \
             FROM STREAM e WATERMARK ts DELAY OF INTERVAL 5 SECONDS GROUP BY k, window(ts, '10 seconds')) GROUP BY session_window(at, '20 seconds')"
                .to_owned(),
            vec!["SessionChangesExec"],
        ),
        (format!("SELECT a.n, b.ts FROM ({COUNTS}) AS a LEFT JOIN STREAM e AS b ON a.k = b.k AND a.n > b.g"), vec!["StreamJoinExec", "SinkChangesExec"]),
    ];
    for (sql, operators) in queries {
        can_be_sent(&session, &plan(&session, &sql).await, &operators);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_of_rows_can_be_sent_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let session = session(dir.path()).await;
    let rows = plan(&session, "SELECT k FROM STREAM e").await;
    let source = std::iter::successors(Some(rows), |plan| plan.children().first().map(|child| Arc::clone(child))).last().unwrap();
    can_be_sent(&session, &(Arc::new(RowPositionExec::new(source)) as Arc<dyn ExecutionPlan>), &["RowPositionExec"]);
}
