//! Restarts of changed jobs.

use millstream_engine::Trigger;

use crate::harness::{Harness, rows};

#[tokio::test(flavor = "multi_thread")]
async fn another_source_is_refused_before_anything_runs() {
    let t = Harness::new();
    let (a, b) = (t.stream("a"), t.stream("b"));
    a.add(rows([1])).unwrap();
    b.add(rows([2])).unwrap();
    let plan = t.plan(&a, None).await;
    let query = t.start(t.definition(plan, t.sink("memory", "out").await, Trigger::AvailableNow)).await;
    query.await_termination(None).await.unwrap();
    let plan = t.plan(&b, None).await;
    let error = t.manager.start(t.definition(plan, t.sink("memory", "out").await, Trigger::AvailableNow)).await.unwrap_err();
    assert!(error.message().contains("source 'a'") && error.message().contains("source 'b'"), "{error}");
    assert!(error.hint_text().unwrap().contains("checkpointLocation"));
    assert_eq!(t.table("out"), [1]);
}
