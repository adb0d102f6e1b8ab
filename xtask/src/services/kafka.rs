//! A Kafka broker: Kafka's own jars on the machine's Java.

#[allow(dead_code, reason = "tests also kill brokers")]
#[path = "../../../crates/testkit/src/kafka/broker.rs"]
mod broker;

use std::path::PathBuf;

use crate::run::{Outcome, target_dir};
use crate::tools;

/// A running broker; dropped, it is killed and its folder removed.
pub struct Kafka {
    broker: broker::Broker,
    jars: PathBuf,
}

impl Kafka {
    /// Fetches the jars if need be, starts a broker and waits until it takes clients.
    pub fn start() -> Outcome<Self> {
        let jars = tools::kafka()?;
        let folder = target_dir().join("services").join(format!("kafka-{}", std::process::id()));
        Ok(Self { broker: broker::Broker::start(&jars, &folder)?, jars })
    }

    /// For option `kafka.bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        self.broker.bootstrap_servers()
    }

    /// Ends it in order and starts it again with its data.
    pub fn restart(&mut self) -> Outcome {
        self.broker.stop()?;
        self.broker.start_again()
    }

    /// What tests and jobs read to find the broker, and to start others that they may kill.
    pub fn env(&self) -> [(&'static str, String); 2] {
        [("MILLSTREAM_TEST_KAFKA", self.broker.bootstrap_servers()), ("MILLSTREAM_TEST_KAFKA_JARS", self.jars.display().to_string())]
    }
}
