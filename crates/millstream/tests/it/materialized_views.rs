//! Materialized views of a job that does not end: refused without `refreshInterval`, and with it computed again each time it
//! has passed, from what the upstreams have committed. The clock is moved by hand.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream::job::{DatasetState, DatasetStatus, RunOptions};
use millstream::{Clock, Job, JobRun, Session, Trigger};
use millstream_testkit::{ManualClock, put_file};

/// Nothing here takes longer, unless it hangs.
const HUNG_AFTER: Duration = Duration::from_secs(60);

struct Running {
    session: Session,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
    job: Option<JobRun>,
}

impl Running {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let session = Session::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).build().unwrap();
        Self { session, clock, dir: tempfile::tempdir().unwrap(), job: None }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The streaming table `copy` of the numbers in `in`, and what follows.
    async fn start(&mut self, more: &str, trigger: Option<Trigger>) -> millstream::Result<()> {
        std::fs::create_dir_all(self.path("in")).unwrap();
        let text = format!(
            "CREATE TABLE numbers (n BIGINT) USING json OPTIONS (path '$dir/in');
             CREATE STREAMING TABLE copy USING parquet LOCATION '$dir/copy'
               OPTIONS (checkpointLocation '$dir/checkpoint', commitInterval '0s') AS SELECT n FROM STREAM numbers;
             {more}"
        );
        let job = Job::parse(&self.session, &text.replace("$dir", &self.path(""))).await?;
        self.job = Some(job.run(RunOptions { trigger, ..RunOptions::default() }).await?);
        Ok(())
    }

    fn status(&self, name: &str) -> DatasetStatus {
        self.job.as_ref().unwrap().statuses().into_iter().find(|status| status.name == name).unwrap()
    }

    /// Adds a file with one number; it is committed to `copy` when this returns.
    async fn add(&self, n: i64) {
        put_file(self.path(&format!("in/{n}.json")), format!("{{\"n\":{n}}}\n")).unwrap();
        until(async || self.status("copy").query.is_some()).await;
        self.status("copy").query.unwrap().process_all_available().await.unwrap();
    }

    /// The only value of a table of one row; `None` as long as there is no row.
    async fn value(&self, table: &str) -> Option<String> {
        if !Path::new(&self.path(table)).exists() {
            return None;
        }
        let rows = self.session.sql(&format!("SELECT * FROM parquet.`{}`", self.path(table))).await.ok()?.text_rows().await.ok()?;
        rows.into_iter().flatten().next()
    }

    /// Moves the clock by seconds until the value is there, and gives how many.
    async fn seconds_until(&self, table: &str, value: &str) -> u32 {
        let mut n_seconds = 0;
        until(async || {
            if self.value(table).await.as_deref() == Some(value) {
                return true;
            }
            self.clock.advance(Duration::from_secs(1));
            n_seconds += 1;
            false
        })
        .await;
        n_seconds
    }

    async fn stop(mut self) {
        let mut job = self.job.take().unwrap();
        job.stop();
        job.wait().await.unwrap();
        assert!(job.statuses().iter().all(|status| matches!(status.state, DatasetState::Ended)), "{:?}", job.statuses());
    }
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let looks = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(HUNG_AFTER, looks).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_computed_again_when_its_interval_has_passed_and_not_before() {
    let mut run = Running::new();
    let view = "CREATE MATERIALIZED VIEW total USING parquet LOCATION '$dir/total'
                  OPTIONS (refreshInterval '1 minute') AS SELECT coalesce(sum(n), 0) AS total FROM copy;";
    run.start(view, None).await.unwrap();
    // At once for the first time: of nothing.
    until(async || run.value("total").await.as_deref() == Some("0")).await;
    for (n, total) in [(1, "1"), (2, "3")] {
        run.add(n).await;
        assert!(run.seconds_until("total", total).await >= 60, "it was computed before its interval had passed");
    }
    assert_eq!(run.status("total").n_rows, Some(1));
    assert!(matches!(run.status("total").state, DatasetState::Running));
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_of_a_view_is_computed_again_too() {
    let mut run = Running::new();
    // The second stands first: order does not matter, and it waits for the other's first rows.
    let views = "CREATE MATERIALIZED VIEW twice USING parquet LOCATION '$dir/twice'
                   OPTIONS (refreshInterval '1 minute') AS SELECT total * 2 AS twice FROM total;
                 CREATE MATERIALIZED VIEW total USING parquet LOCATION '$dir/total'
                   OPTIONS (refreshInterval '10 seconds') AS SELECT coalesce(sum(n), 0) AS total FROM copy;";
    run.start(views, None).await.unwrap();
    until(async || run.value("twice").await.as_deref() == Some("0")).await;
    run.add(4).await;
    run.seconds_until("twice", "8").await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_joins_a_view_waits_for_its_first_rows() {
    let mut run = Running::new();
    let datasets = "CREATE MATERIALIZED VIEW names USING parquet LOCATION '$dir/names'
                      OPTIONS (refreshInterval '1 hour') AS SELECT coalesce(max(n), 7) AS n, 'seven' AS name FROM copy;
                    CREATE STREAMING TABLE named USING parquet LOCATION '$dir/named'
                      OPTIONS (checkpointLocation '$dir/checkpoint2', commitInterval '0s')
                      AS SELECT names.name FROM STREAM copy JOIN names ON copy.n = names.n;";
    run.start(datasets, None).await.unwrap();
    until(async || run.status("named").query.is_some()).await;
    assert_eq!(run.status("names").n_rows, Some(1));
    run.add(7).await;
    until(async || {
        run.status("named").query.unwrap().process_all_available().await.unwrap();
        run.value("named").await.as_deref() == Some("seven")
    })
    .await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_joins_with_what_a_view_holds_after_it_was_computed_again() {
    let mut run = Running::new();
    let datasets = "CREATE MATERIALIZED VIEW latest USING parquet LOCATION '$dir/latest'
                      OPTIONS (refreshInterval '1 minute') AS SELECT coalesce(max(n), 0) AS latest FROM copy;
                    CREATE STREAMING TABLE joined USING parquet LOCATION '$dir/joined'
                      OPTIONS (checkpointLocation '$dir/checkpoint2', commitInterval '0s')
                      AS SELECT copy.n, latest.latest FROM STREAM copy JOIN latest ON copy.n >= latest.latest;";
    run.start(datasets, None).await.unwrap();
    for n in 1..=5 {
        run.add(n).await;
        until(async || run.status("joined").query.is_some()).await;
        run.status("joined").query.unwrap().process_all_available().await.unwrap();
        run.seconds_until("latest", &n.to_string()).await;
    }
    let text = format!("SELECT n, n - latest AS behind FROM parquet.`{}` ORDER BY n", run.path("joined"));
    let rows = run.session.sql(&text).await.unwrap().text_rows().await.unwrap();
    assert_eq!(rows.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    // The clock may have moved on so far that the view was computed once more before the stream read the number.
    assert!(rows.iter().all(|row| ["0", "1"].contains(&row[1].as_str())), "{rows:?}");
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_without_an_interval_is_refused_by_name_before_anything_starts() {
    let total = "CREATE MATERIALIZED VIEW total USING parquet LOCATION '$dir/total' $options AS SELECT sum(n) AS total FROM copy;";
    let twice = "CREATE MATERIALIZED VIEW twice USING parquet LOCATION '$dir/twice' AS SELECT total FROM total;";
    for (options, more, message) in [
        ("", "", "materialized view 'total' reads a streaming table that never ends"),
        // Endless by what it reads reads.
        ("OPTIONS (refreshInterval '1 minute')", twice, "materialized view 'twice' reads a streaming table that never ends"),
        ("OPTIONS (refreshInterval 'often')", "", "option 'refreshInterval' is 'often'"),
        ("OPTIONS (refreshInterval '0s')", "", "option 'refreshInterval' is 0"),
    ] {
        let mut run = Running::new();
        let error = run.start(&(total.replace("$options", options) + more), None).await.unwrap_err();
        assert!(error.message().starts_with(message), "{error}");
        let made: Vec<_> = std::fs::read_dir(run.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(made, ["in"], "{options}");
    }
    let mut run = Running::new();
    let stream = "CREATE STREAMING TABLE more USING parquet LOCATION '$dir/more'
                    OPTIONS (checkpointLocation '$dir/checkpoint2', refreshInterval '1 minute') AS SELECT n FROM STREAM copy;";
    run.start(stream, Some(Trigger::AvailableNow)).await.unwrap();
    let error = run.job.take().unwrap().wait().await.unwrap_err();
    assert_eq!(error.message(), "unknown option 'refreshInterval' of the parquet sink");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_available_now_a_view_is_computed_once_whatever_its_interval() {
    let mut run = Running::new();
    std::fs::create_dir_all(run.path("in")).unwrap();
    std::fs::write(run.path("in/5.json"), "{\"n\":5}\n").unwrap();
    let view = "CREATE MATERIALIZED VIEW total USING parquet LOCATION '$dir/total'
                  OPTIONS (refreshInterval '1 minute') AS SELECT coalesce(sum(n), 0) AS total FROM copy;";
    run.start(view, Some(Trigger::AvailableNow)).await.unwrap();
    run.job.as_mut().unwrap().wait().await.unwrap();
    assert_eq!(run.value("total").await.as_deref(), Some("5"), "computed when its upstream had ended");
}
