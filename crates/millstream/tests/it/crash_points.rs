//! Every named crash point is hit once, and every pair of a crash and a crash during the recovery from it.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use millstream::crash::{CRASH, CrashPoint, CrashPoints};
use millstream::{Result, Session, Trigger};

use crate::stream_script::Armed;

struct Bench {
    session: Session,
    armed: Arc<Armed>,
    dir: tempfile::TempDir,
    next: i64,
}

impl Bench {
    async fn new() -> Self {
        let armed = Arc::new(Armed::default());
        let session = Session::builder().crash_points(Arc::clone(&armed) as Arc<dyn CrashPoints>).build().unwrap();
        session.memory_stream("numbers", millstream::parse_schema("v BIGINT").unwrap()).unwrap();
        session.sql("CREATE TABLE numbers USING memory OPTIONS (stream 'numbers')").await.unwrap();
        Self { session, armed, dir: tempfile::tempdir().unwrap(), next: 0 }
    }

    fn add(&mut self) {
        let stream = self.session.find_memory_stream("numbers").unwrap();
        stream.add(RecordBatch::try_new(stream.schema(), vec![Arc::new(Int64Array::from(vec![self.next]))]).unwrap()).unwrap();
        self.next += 1;
    }

    /// One run over what is there, into Parquet files; whether it crashed.
    async fn run(&self, crash: Option<CrashPoint>) -> bool {
        *self.armed.0.lock().unwrap() = crash.map(|point| (point, 1));
        let ended = self.try_run().await;
        let fired = self.armed.0.lock().unwrap().take().is_none() && crash.is_some();
        match ended {
            Ok(()) => assert!(!fired),
            Err(error) => assert_eq!(error.error_class(), Some(CRASH), "{error:?}"),
        }
        fired
    }

    async fn try_run(&self) -> Result<()> {
        let frame = self.session.sql("SELECT v FROM STREAM numbers LIMIT 3").await?;
        let writer = frame.write_stream().format("parquet").trigger(Trigger::AvailableNow).checkpoint(self.dir.path().join("checkpoint"));
        writer.start_path(self.dir.path().join("out")).await?.await_termination(None).await.map(|_| ())
    }

    async fn rows(&self) -> Vec<i64> {
        let frame = self.session.read().parquet(self.dir.path().join("out")).await.unwrap();
        let mut rows: Vec<i64> = Vec::new();
        for batch in frame.collect().await.unwrap() {
            rows.extend(batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values());
        }
        rows.sort();
        rows
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_of_crashes_loses_and_doubles_nothing() {
    let mut n_fired = 0;
    for first in CrashPoint::ALL {
        for second in CrashPoint::ALL {
            let mut t = Bench::new().await;
            t.add();
            t.run(None).await;
            t.add();
            n_fired += u32::from(t.run(Some(first)).await);
            t.add();
            n_fired += u32::from(t.run(Some(second)).await);
            t.add();
            t.run(None).await;
            // The query counts the rows that have passed: state that was lost or counted twice would show.
            assert_eq!(t.rows().await, [0, 1, 2], "{first}, then {second}");
        }
    }
    // after-intent is for sinks that need one; after-roll-forward needs a crash before it.
    assert!(n_fired > 90, "{n_fired}");
}
