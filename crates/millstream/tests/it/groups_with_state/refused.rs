//! Output modes and chains, by Spark's rules: what a function with state may not do is refused before the start.

use millstream::{DataFrame, GroupStateTimeout, Session, functions};

use super::bench::{Bench, row, spec, totals, totals_of};

async fn start(frame: &DataFrame, mode: &str) -> Result<(), String> {
    match frame.write_stream().format("noop").output_mode(mode).start().await {
        Ok(query) => {
            query.stop().await;
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

async fn events(bench: &Bench, session: &Session) -> DataFrame {
    bench.feed(&[(Some("a"), 1, 1)]);
    bench.events(session).await
}

fn updating(events: &DataFrame) -> DataFrame {
    let spec = spec(GroupStateTimeout::None).output_mode("update").unwrap();
    events.group_by(["k"]).flat_map_groups_with_state(spec, |key, rows, state| Ok(vec![totals(key, rows, state, GroupStateTimeout::None)?]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_and_its_query_have_one_mode() {
    let bench = Bench::new();
    let session = bench.session(2);
    let events = events(&bench, &session).await;
    let (append, update) = (totals_of(&events, GroupStateTimeout::None), updating(&events));
    start(&append, "append").await.unwrap();
    start(&update, "update").await.unwrap();
    for (frame, mode, text) in [
        (&append, "update", "flatMapGroupsWithState 'totals' in append mode under output mode update on a stream"),
        (&update, "append", "flatMapGroupsWithState 'totals' in update mode under output mode append on a stream"),
        (&append, "complete", "no streaming aggregations"),
    ] {
        let error = start(frame, mode).await.unwrap_err();
        assert!(error.contains(text), "{mode}: {error}");
    }
    let map = events.group_by(["k"]).map_groups_with_state(spec(GroupStateTimeout::None), |key, _, _| row(key, 0, 0, ""));
    start(&map, "update").await.unwrap();
    let error = start(&map, "append").await.unwrap_err();
    assert!(error.contains("mapGroupsWithState 'totals' in output mode append"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_replace_each_other_feed_nothing_that_remembers() {
    let bench = Bench::new();
    let session = bench.session(2);
    let events = events(&bench, &session).await;
    let counted = |frame: &DataFrame| frame.group_by(["k"]).agg([functions::count(1).alias("c")]);
    let (append, update) = (totals_of(&events, GroupStateTimeout::None), updating(&events));
    // In append mode nothing is missing but an event time for the groups to become final.
    for mode in ["update", "complete"] {
        start(&counted(&append), mode).await.unwrap();
        assert!(start(&counted(&update), mode).await.unwrap_err().contains("in update mode with an aggregation"));
    }
    start(&append.drop_duplicates(["k"]), "append").await.unwrap();
    start(&totals_of(&append.select_expr(["k", "n AS v"]).unwrap(), GroupStateTimeout::None), "append").await.unwrap();
    let error = start(&update.drop_duplicates(["k"]), "update").await.unwrap_err();
    assert!(error.contains("in update mode below an operator that remembers"), "{error}");
    let above = counted(&events).select_expr(["k", "c AS v"]).unwrap();
    let error = start(&counted(&totals_of(&above, GroupStateTimeout::None)), "complete").await.unwrap_err();
    assert!(error.contains("above an aggregation in output mode complete") || error.contains("aggregating what a stream"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_by_event_time_needs_a_watermark() {
    let bench = Bench::new();
    let session = bench.session(2);
    bench.feed(&[(Some("a"), 1, 1)]);
    let reader = session.read_stream().schema("k STRING, ts TIMESTAMP, v BIGINT");
    let events = reader.json(bench.path().join("in")).await.unwrap();
    let error = start(&totals_of(&events, GroupStateTimeout::EventTime), "append").await.unwrap_err();
    assert!(error.contains("a timeout by event time in flatMapGroupsWithState 'totals' on a stream without watermark"), "{error}");
    let with_time = spec(GroupStateTimeout::None).event_time("n");
    let wrong = events.group_by(["k"]).flat_map_groups_with_state(with_time, |_, _, _| Ok(vec![]));
    assert!(start(&wrong, "append").await.unwrap_err().contains("the event time 'n' of 'totals' is of type BIGINT"));
}
