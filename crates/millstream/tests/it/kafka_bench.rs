//! A topic as the table `events` of a session, and queries over it that are run again and again, with crashes on request: what tests of
//! Kafka through a session begin with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millstream::crash::{CRASH, CrashPoint, CrashPoints};
use millstream::{DataStreamWriter, Result, Session, StreamingQuery, Trigger};
use millstream_testkit::kafka::TestKafka;
use millstream_testkit::rows::sorted_row_texts;

use crate::stream_script::Armed;

pub struct KafkaBench {
    pub kafka: TestKafka,
    pub session: Session,
    /// The topic that is read.
    pub from: String,
    armed: Arc<Armed>,
    dir: tempfile::TempDir,
}

impl KafkaBench {
    /// An empty topic of so many partitions.
    pub async fn new(kafka: TestKafka, n_partitions: usize) -> Self {
        let armed = Arc::new(Armed::default());
        let session = Session::builder().crash_points(Arc::clone(&armed) as Arc<dyn CrashPoints>).build().unwrap();
        let from = kafka.create_topic("from", n_partitions).await.unwrap();
        Self { kafka, session, from, armed, dir: tempfile::tempdir().unwrap() }
    }

    /// Makes it the table `events`, read from the beginning, with more options (`, name 'value'`).
    pub async fn create_events(&self, options: &str) {
        let servers = self.kafka.bootstrap_servers();
        self.create_events_at(servers, options).await;
    }

    /// The same, reached at another listener of the broker.
    pub async fn create_events_at(&self, servers: &str, options: &str) {
        let from = &self.from;
        self.sql(&format!(
            "CREATE TABLE events USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{from}', startingOffsets 'earliest'{options})"
        ))
        .await;
    }

    /// A path in a folder of this test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The rows of a statement as texts, sorted.
    pub async fn sql(&self, sql: &str) -> Vec<String> {
        rows(&self.session, sql).await
    }

    /// Runs a stream over all that is there, on from the checkpoint of this test.
    pub async fn run(&self, writer: DataStreamWriter) -> Result<StreamingQuery> {
        run_to_the_end(writer.checkpoint(self.path("checkpoint"))).await
    }

    /// The same, with a crash when a point is passed for the n-th time; whether it crashed.
    pub async fn run_armed(&self, crash: Option<(CrashPoint, u32)>, writer: DataStreamWriter) -> bool {
        *self.armed.0.lock().unwrap() = crash;
        let ended = self.run(writer).await;
        let fired = self.armed.0.lock().unwrap().take().is_none() && crash.is_some();
        match ended {
            Ok(_) => assert!(!fired),
            Err(error) => assert_eq!(error.error_class(), Some(CRASH), "{crash:?}: {error:?}"),
        }
        fired
    }
}

/// The rows of a statement as texts, sorted.
pub async fn rows(session: &Session, sql: &str) -> Vec<String> {
    sorted_row_texts(&session.sql(sql).await.unwrap().collect().await.unwrap()).unwrap()
}

/// Runs a stream over all that is there.
pub async fn run_to_the_end(writer: DataStreamWriter) -> Result<StreamingQuery> {
    let query = writer.trigger(Trigger::AvailableNow).start().await?;
    tokio::time::timeout(Duration::from_secs(120), query.await_termination(None)).await.expect("it ends")?;
    Ok(query)
}
