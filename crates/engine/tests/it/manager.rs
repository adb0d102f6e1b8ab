//! The queries of a session: which run, which have ended, who hears of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use datafusion::logical_expr::{col, lit};
use millstream_core::Clock;
use millstream_engine::{QueryEvent, StreamingQuery, StreamingQueryListener, Trigger};
use millstream_testkit::ManualClock;

use crate::harness::{Harness, rows};

/// Nothing here takes longer, unless it hangs.
const HUNG_AFTER: Duration = Duration::from_secs(60);

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HUNG_AFTER, work).await.expect("it hangs")
}

/// An endless query over the stream `name`, which fails when it is given a 0.
async fn start(t: &Harness, name: &str) -> StreamingQuery {
    let plan = t.plan(&t.stream(name), Some((lit(10i64) / col("v")).gt(lit(1i64)))).await;
    let mut definition = t.definition(plan, t.sink("noop", name).await, Trigger::AsSoonAsPossible);
    definition.name = Some(name.to_owned());
    definition.checkpoint = definition.checkpoint.join(name);
    t.start(definition).await
}

fn names(queries: &[StreamingQuery]) -> Vec<&str> {
    queries.iter().filter_map(StreamingQuery::name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn active_queries_are_found_and_ended_ones_are_not() {
    let t = Harness::new();
    assert!(t.manager.active().is_empty());
    let (a, b) = (start(&t, "a").await, start(&t, "b").await);
    assert_eq!(names(&t.manager.active()), ["a", "b"]);
    assert_eq!(t.manager.get(b.id()).unwrap().run_id(), b.run_id());

    let plan = t.plan(&t.stream("c"), None).await;
    let mut same_name = t.definition(plan, t.sink("noop", "c").await, Trigger::AsSoonAsPossible);
    same_name.name = Some("a".to_owned());
    let error = t.manager.start(same_name).await.unwrap_err();
    assert_eq!(error.message(), "a query named 'a' is already active");

    a.stop().await;
    assert_eq!(names(&t.manager.active()), ["b"]);
    assert!(t.manager.get(a.id()).is_none());
    // The name is free again, and the query goes on as the same one.
    let again = start(&t, "a").await;
    assert_eq!((again.id(), again.run_id() == a.run_id()), (a.id(), false));
    assert_eq!(t.manager.get(a.id()).unwrap().run_id(), again.run_id());
    again.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_end_is_waited_for_and_told_until_it_is_reset() {
    let clock = Arc::new(ManualClock::new(0));
    let t = Harness::with_clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let (a, b) = (start(&t, "a").await, start(&t, "b").await);
    let (ended, ()) = in_time(async { tokio::join!(t.manager.await_any_termination(None), b.stop()) }).await;
    assert!(ended.unwrap());
    // It stays told, although another runs.
    assert!(in_time(t.manager.await_any_termination(None)).await.unwrap());
    t.manager.reset_terminated();
    let wait = t.manager.await_any_termination(Some(Duration::from_secs(5)));
    let pass = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        clock.advance(Duration::from_secs(5));
    };
    let (ended, ()) = in_time(async { tokio::join!(wait, pass) }).await;
    assert!(!ended.unwrap(), "nothing ended in time");
    assert_eq!(names(&t.manager.active()), ["a"]);

    // One that ends well does not hide one that failed, before or after.
    a.stop().await;
    let failing = start(&t, "failing").await;
    t.stream("failing").add(rows([0])).unwrap();
    in_time(failing.await_termination(None)).await.unwrap_err();
    start(&t, "c").await.stop().await;
    let error = in_time(t.manager.await_any_termination(None)).await.unwrap_err();
    assert!(error.to_string().contains("batch 0"), "{error}");
    t.manager.reset_terminated();
    assert!(t.manager.active().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_is_started_while_somebody_waits_is_waited_for_too() {
    let t = Harness::new();
    let later = async {
        let query = start(&t, "late").await;
        t.stream("late").add(rows([0])).unwrap();
        in_time(query.await_termination(None)).await.unwrap_err();
    };
    let (ended, ()) = in_time(async { tokio::join!(t.manager.await_any_termination(None), later) }).await;
    ended.unwrap_err();
}

#[derive(Default)]
struct Runs(Mutex<Vec<String>>);

impl StreamingQueryListener for Runs {
    fn on_event(&self, event: &QueryEvent) {
        if let QueryEvent::Started { name, .. } = event {
            self.0.lock().unwrap().push(name.clone().unwrap_or_default());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_hears_of_every_query_until_it_is_removed() {
    let t = Harness::new();
    let (kept, removed) = (Arc::new(Runs::default()), Arc::new(Runs::default()));
    t.manager.add_listener(Arc::clone(&kept) as Arc<dyn StreamingQueryListener>);
    let id = t.manager.add_listener(Arc::clone(&removed) as Arc<dyn StreamingQueryListener>);
    start(&t, "a").await.stop().await;
    t.manager.flush_listeners().await;
    t.manager.remove_listener(id);
    start(&t, "b").await.stop().await;
    t.manager.flush_listeners().await;
    assert_eq!(*kept.0.lock().unwrap(), ["a", "b"]);
    assert_eq!(*removed.0.lock().unwrap(), ["a"]);
}
