//! What a run on Kafka has besides: topics that are fed with the records of the input files, and a broker that restarts.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::jobs::Job;
use super::reader::Reader;
use super::rng::Rng;
use crate::run::Outcome;
use crate::services::Kafka;

/// Of each topic. The records take turns, so that the partitions of a batch are about equally far in event time.
const N_PARTITIONS: u64 = 3;
/// How the records of a file come: without a transaction, in one, or in one behind another that was aborted.
const WAYS: &[&str] = &["plain", "transaction", "aborted"];

/// The topics of one run: `PREFIX-in`, its outputs, its markers.
pub struct Topics {
    servers: String,
    prefix: String,
    n_records: u64,
}

impl Topics {
    pub fn make(reader: &mut Reader, servers: String, prefix: &str, job: &Job) -> Outcome<Self> {
        let outputs = job.outputs.iter().filter(|output| output.is_topic()).map(|output| format!("{prefix}-{}", output.folder));
        let names: Vec<String> = outputs.chain([format!("{prefix}-in")]).collect();
        reader.ask(&json!({"do": "topics", "names": names, "partitions": N_PARTITIONS}))?;
        Ok(Self { servers, prefix: prefix.to_owned(), n_records: 0 })
    }

    /// A job file that reads and writes them.
    pub fn placed(&self, sql: &str) -> String {
        sql.replace("{servers}", &self.servers).replace("{topics}", &format!("{}-", self.prefix))
    }

    /// The lines of one more input file, as records.
    pub fn feed(&mut self, reader: &mut Reader, file: &Path, rng: &mut Rng) -> Outcome {
        let fed = reader.ask(&json!({
            "do": "produce",
            "topic": format!("{}-in", self.prefix),
            "partitions": N_PARTITIONS,
            "file": file,
            "first": self.n_records,
            "how": rng.pick(WAYS),
        }))?;
        self.n_records += fed.get("records").and_then(Value::as_u64).ok_or("the foreign reader did not say how much it wrote")?;
        Ok(())
    }

    /// The run is over, and well.
    pub fn forget(self, reader: &mut Reader) -> Outcome {
        reader.ask(&json!({"do": "forget", "prefix": format!("{}-", self.prefix)})).map(drop)
    }
}

/// Runs `life` while the broker, so long `after` its start, ends and comes back. It ends in order: one that is killed, and is all
/// there is, may come back without the marks of transactions that it has said are committed (design 0008).
pub fn while_broker_restarts<T>(kafka: &mut Kafka, after: Duration, life: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    std::thread::scope(|scope| {
        let broker = scope.spawn(|| {
            std::thread::sleep(after);
            kafka.restart()
        });
        let lived = life();
        broker.join().map_err(|_| "the thread of the broker died")??;
        lived
    })
}
