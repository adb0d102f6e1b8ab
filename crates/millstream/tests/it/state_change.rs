//! A changed query goes on from what its checkpoint remembers, or is refused before a row is read; also when runs die on the way.

mod chains;

use std::path::Path;
use std::sync::Arc;

use millstream::crash::{CRASH, CrashPoint, CrashPoints};
use millstream::{Error, Result, Session, StateFate, Trigger};

use crate::stream_script::Armed;

/// `v` is an INT.
const NARROW: &str = "SELECT k, max(v) AS m, count(*) AS n, sum(v) AS s FROM STREAM input GROUP BY k HAVING min(v) > -1000";
/// `v` is a BIGINT, another order, one aggregate less, a filter less, one column more.
const WIDE: &str = "SELECT k, count(*) AS n, sum(v) AS s, sum(v) / count(*) AS mean, max(v) AS m FROM STREAM input GROUP BY k";

fn feed(dir: &Path, name: &str, rows: &[(&str, i64)]) {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    let lines: Vec<String> = rows.iter().map(|(k, v)| format!("{{\"k\":\"{k}\",\"v\":{v}}}\n")).collect();
    std::fs::write(dir.join("in").join(name), lines.concat()).unwrap();
}

async fn session(dir: &Path, v: &str, armed: &Arc<Armed>) -> Session {
    let session = Session::builder().crash_points(Arc::clone(armed) as Arc<dyn CrashPoints>).build().unwrap();
    let table = format!("CREATE TABLE input (k STRING, v {v}) USING json OPTIONS (path '{}')", dir.join("in").display());
    session.sql(&table).await.unwrap();
    session
}

async fn run_with(dir: &Path, v: &str, query: &str, armed: &Arc<Armed>, options: &[(&str, &str)]) -> Result<()> {
    let session = session(dir, v, armed).await;
    let mut writer = session.sql(query).await?.write_stream().format("noop").output_mode("update").trigger(Trigger::AvailableNow);
    for (name, value) in options {
        writer = writer.option(name, *value);
    }
    writer.checkpoint(dir.join("checkpoint")).start().await?.await_termination(None).await.map(|_| ())
}

async fn run(dir: &Path, v: &str, query: &str) -> Result<()> {
    run_with(dir, v, query, &Arc::default(), &[]).await
}

/// What a crash leaves, if the run comes to the point.
async fn crash(dir: &Path, v: &str, query: &str, point: CrashPoint) -> bool {
    let armed = Arc::new(Armed::default());
    *armed.0.lock().unwrap() = Some((point, 1));
    let ended = run_with(dir, v, query, &armed, &[]).await;
    let fired = armed.0.lock().unwrap().is_none();
    match ended {
        Ok(()) => assert!(!fired),
        Err(error) => assert_eq!(error.error_class(), Some(CRASH), "{error:?}"),
    }
    fired
}

/// Key, count, sum, greatest.
async fn groups(dir: &Path) -> Vec<Vec<String>> {
    let query = format!(
        "SELECT key.k, value.`count(1)`, value.`sum(v)[sum]`, value.`max(v)` FROM read_state('{}')",
        dir.join("checkpoint").display()
    );
    let frame = Session::new().unwrap().sql(&query).await.unwrap();
    let mut rows: Vec<Vec<String>> = frame.text_rows().await.unwrap();
    rows.sort();
    rows
}

const LARGE: i64 = 5_000_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_aggregation_goes_on_with_every_row() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    feed(dir, "a.json", &[("a", 1), ("b", 7)]);
    run(dir, "INT", NARROW).await.unwrap();
    let session = session(dir, "BIGINT", &Arc::default()).await;
    let writer = session.sql(WIDE).await.unwrap().write_stream().format("noop").output_mode("update");
    let place = dir.join("checkpoint").display().to_string();
    let comparison = writer.checkpoint(dir.join("checkpoint")).compare_with(&place).await.unwrap();
    let change = &comparison.changes[0];
    assert_eq!((change.operator.as_str(), change.fate), ("aggregate-k", StateFate::Migrated));
    assert_eq!(change.reasons, ["the state of max(v) was int and is bigint", "min(v) is gone, and what it kept is forgotten"]);

    feed(dir, "b.json", &[("a", LARGE), ("c", 3)]);
    run(dir, "BIGINT", WIDE).await.unwrap();
    let large = [["a", "2", "5000000001", "5000000000"], ["b", "1", "7", "7"], ["c", "1", "3", "3"]];
    assert_eq!(groups(dir).await, large);
    // Older batches are read with the columns of now.
    let older = format!("SELECT key.k, value.`max(v)`, typeof(value.`max(v)`) FROM read_state('{place}', version => 0) ORDER BY 1");
    let older = session.sql(&older).await.unwrap().text_rows().await.unwrap();
    assert_eq!(older, [["a", "1", "bigint"], ["b", "7", "bigint"]]);

    // The same query goes on; the files of both layouts are read.
    feed(dir, "c.json", &[("b", LARGE)]);
    run(dir, "BIGINT", WIDE).await.unwrap();
    assert_eq!(groups(dir).await[1], ["b", "2", "5000000007", "5000000000"]);

    let back: Error = run(dir, "BIGINT", &format!("{WIDE} HAVING min(v) > -1000")).await.unwrap_err();
    assert!(back.message().contains("min(v) is new: it would be of the rows to come only"), "{back}");
    assert!(back.hint_text().unwrap().contains("allowStateDrop 'aggregate-k'"), "{back}");
    let narrow: Error = run(dir, "INT", WIDE).await.unwrap_err();
    assert!(narrow.message().contains("m Int64) and are (k Utf8, n Int64, s Int64, mean Float64, m Int32)"), "{narrow}");
    assert_eq!(groups(dir).await[1], ["b", "2", "5000000007", "5000000000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_die_while_state_changes_lose_and_double_nothing() {
    let mut n_fired = 0;
    for first in CrashPoint::ALL {
        for second in [CrashPoint::AfterStart, CrashPoint::AfterState, CrashPoint::AfterPrepared, CrashPoint::AfterCommit] {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            feed(dir, "a.json", &[("a", 1), ("b", 7)]);
            run(dir, "INT", NARROW).await.unwrap();
            feed(dir, "b.json", &[("a", LARGE), ("c", 3)]);
            n_fired += u32::from(crash(dir, "BIGINT", WIDE, first).await);
            feed(dir, "c.json", &[("b", 2)]);
            n_fired += u32::from(crash(dir, "BIGINT", WIDE, second).await);
            feed(dir, "d.json", &[("c", 4)]);
            run(dir, "BIGINT", WIDE).await.unwrap();
            let all = [["a", "2", "5000000001", "5000000000"], ["b", "2", "9", "7"], ["c", "2", "7", "4"]];
            assert_eq!(groups(dir).await, all, "{first}, then {second}");
        }
    }
    assert!(n_fired > 50, "{n_fired}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_go_on_is_refused_or_begins_afresh_if_the_user_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    feed(dir, "a.json", &[("a", 1), ("a", 2)]);
    run(dir, "INT", "SELECT k, count(*) AS n, sum(v) AS s, max(v) AS m FROM STREAM input GROUP BY k").await.unwrap();
    feed(dir, "b.json", &[("a", 10)]);
    let with_min = "SELECT k, count(*) AS n, sum(v) AS s, max(v) AS m, min(v) AS low FROM STREAM input GROUP BY k";
    let refused = run(dir, "INT", with_min).await.unwrap_err();
    assert!(refused.message().contains("'aggregate-k': min(v) is new: it would be of the rows to come only"), "{refused}");
    assert_eq!(groups(dir).await, [["a", "2", "3", "2"]]);
    let typo = run_with(dir, "INT", with_min, &Arc::default(), &[("allowStateDrop", "aggregate-v")]).await.unwrap_err();
    assert_eq!(typo.hint_text(), Some("there are 'aggregate-k'"));
    let dropped = [("allowStateDrop", "aggregate-k")];
    run_with(dir, "INT", with_min, &Arc::default(), &dropped).await.unwrap();
    assert_eq!(groups(dir).await, [["a", "1", "10", "10"]]);
    let place = dir.join("checkpoint").display().to_string();
    let before = Session::new().unwrap().sql(&format!("SELECT * FROM read_state('{place}', version => 0)")).await.unwrap().collect().await;
    assert!(before.unwrap_err().message().contains("began afresh behind batch 0"));
    // The option may stay: what can go on is kept.
    feed(dir, "c.json", &[("a", 5)]);
    run_with(dir, "INT", with_min, &Arc::default(), &dropped).await.unwrap();
    assert_eq!(groups(dir).await, [["a", "2", "15", "10"]]);

    // Another key is another operator: the one goes, the other would begin without what went by.
    let by_v = "SELECT v AS k, count(*) AS n, sum(v) AS s, max(v) AS m, min(v) AS low FROM STREAM input GROUP BY v";
    let error = run(dir, "INT", by_v).await.unwrap_err();
    assert!(error.message().contains("the output columns were"), "{error}");
    assert!(error.message().contains("of its state 'aggregate-k': it is gone from the query; 'aggregate-v': it is new"), "{error}");
    let by_both = "SELECT k, count(*) AS n, sum(v) AS s, max(v) AS m, min(v) AS low FROM STREAM input GROUP BY k, v";
    let error = run(dir, "INT", by_both).await.unwrap_err();
    assert!(error.message().contains("'aggregate-k': it is gone") && error.message().contains("'aggregate-k-v': it is new"), "{error}");
    let one_of_two = run_with(dir, "INT", by_both, &Arc::default(), &dropped).await.unwrap_err();
    assert!(!one_of_two.message().contains("it is gone") && one_of_two.message().contains("'aggregate-k-v': it is new"), "{one_of_two}");
    feed(dir, "d.json", &[("a", 5), ("a", 6)]);
    run_with(dir, "INT", by_both, &Arc::default(), &[("allowStateDrop", "aggregate-k, aggregate-k-v")]).await.unwrap();
    assert_eq!(groups(dir).await, [["a", "1", "5", "5"], ["a", "1", "6", "6"]]);
    // And back: what an operator of this name remembered two runs ago is not its own.
    feed(dir, "e.json", &[("a", 100)]);
    run_with(dir, "INT", with_min, &Arc::default(), &[("allowStateDrop", "aggregate-k, aggregate-k-v")]).await.unwrap();
    assert_eq!(groups(dir).await, [["a", "1", "100", "100"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_get_the_new_column_and_keep_their_types() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let run = async |v: &str, query: &str| {
        let session = session(dir, v, &Arc::default()).await;
        let writer = session.sql(query).await?.write_stream().format("parquet").trigger(Trigger::AvailableNow);
        writer.checkpoint(dir.join("checkpoint")).start_path(dir.join("out")).await?.await_termination(None).await.map(|_| ())
    };
    feed(dir, "a.json", &[("a", 1), ("a", 1)]);
    let first = "SELECT k, v FROM STREAM input LIMIT 3";
    run("INT", first).await.unwrap();
    feed(dir, "b.json", &[("b", 2), ("c", 3)]);
    let error = run("BIGINT", first).await.unwrap_err();
    assert!(error.message().contains("the output columns were (k Utf8, v Int32) and are (k Utf8, v Int64)"), "{error}");
    run("INT", "SELECT k, v * 2 AS twice, v FROM STREAM input LIMIT 3").await.unwrap();
    let all = Session::new().unwrap().read().option("mergeSchema", "true").parquet(dir.join("out")).await.unwrap();
    let mut rows = all.select(["k", "v", "twice"]).text_rows().await.unwrap();
    rows.sort();
    assert_eq!(rows, [["a", "1", "NULL"], ["a", "1", "NULL"], ["b", "2", "4"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aggregate_that_goes_with_its_column_is_named_and_goes_if_the_user_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    feed(dir, "a.json", &[("a", 1), ("a", 2)]);
    run(dir, "INT", "SELECT k, count(*) AS n, sum(v) AS s, max(v) AS m FROM STREAM input GROUP BY k").await.unwrap();
    let less = "SELECT k, count(*) AS n, max(v) AS m FROM STREAM input GROUP BY k";
    let place = dir.join("checkpoint").display().to_string();
    let compared = async |allowed: &str| {
        let session = session(dir, "INT", &Arc::default()).await;
        let writer = session.sql(less).await.unwrap().write_stream().format("noop").output_mode("update").option("allowStateDrop", allowed);
        writer.checkpoint(dir.join("checkpoint")).compare_with(&place).await.unwrap()
    };
    let comparison = compared("").await;
    assert!(comparison.is_refused());
    assert_eq!(comparison.changes[0].to_string(), "migrated  aggregate-k: sum(v) is gone, and what it kept is forgotten");
    let refusal = comparison.query_refusal.unwrap();
    assert!(refusal.message.contains("the output columns were (k Utf8, n Int64, s Int64, m Int32)"), "{refusal:?}");
    assert!(refusal.hint.contains("allowStateDrop 'aggregate-k'"), "{refusal:?}");
    let error = run(dir, "INT", less).await.unwrap_err();
    assert!(error.message().contains("of its state 'aggregate-k': sum(v) is gone"), "{error}");
    let comparison = compared("aggregate-k").await;
    assert!(!comparison.is_refused() && comparison.query_refusal.is_none(), "{comparison:?}");

    // What can go on goes on, though it might begin afresh.
    feed(dir, "b.json", &[("a", 7)]);
    run_with(dir, "INT", less, &Arc::default(), &[("allowStateDrop", "aggregate-k")]).await.unwrap();
    let rows = Session::new().unwrap().sql(&format!("SELECT value.`count(1)`, value.`max(v)` FROM read_state('{place}')")).await.unwrap();
    assert_eq!(rows.text_rows().await.unwrap(), [["3", "7"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_of_an_operator_that_began_afresh_name_the_versions_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    feed(dir, "a.json", &[("a", 1)]);
    run(dir, "INT", "SELECT k, sum(v) AS s FROM STREAM input GROUP BY k").await.unwrap();
    let other = "SELECT k, sum(v) AS s, max(v) AS m FROM STREAM input GROUP BY k";
    let dropped = [("allowStateDrop", "aggregate-k")];
    let place = dir.join("checkpoint").display().to_string();
    let versions = async || {
        let metadata = Session::new().unwrap().read().format("state-metadata").load_path(&place).await.unwrap();
        metadata.select(["minBatchId", "maxBatchId"]).text_rows().await.unwrap()
    };
    assert_eq!(versions().await, [["0", "0"]]);
    // A run without a batch.
    run_with(dir, "INT", other, &Arc::default(), &dropped).await.unwrap();
    assert_eq!(versions().await, [["NULL", "NULL"]]);
    feed(dir, "b.json", &[("a", 2)]);
    run_with(dir, "INT", other, &Arc::default(), &dropped).await.unwrap();
    assert_eq!(versions().await, [["1", "1"]]);
    let read = format!("SELECT value.`max(v)` FROM read_state('{place}', version => 1)");
    assert_eq!(Session::new().unwrap().sql(&read).await.unwrap().text_rows().await.unwrap(), [["2"]]);
}
