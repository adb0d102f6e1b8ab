//! What tests on a real Kafka broker share: topics of their own, records in and out of transactions, and what a reader of
//! committed records sees. The broker's address comes from `MILLSTREAM_TEST_KAFKA` (`cargo xtask test` sets it); tests that
//! kill a broker start one of their own ([`Broker`]).

mod broker;
mod cluster;
mod consume;
mod produce;
mod proxy;
mod secure;
mod topics;

use std::path::PathBuf;

pub use broker::Broker;
pub use cluster::Cluster;
pub use consume::ConsumedRecord;
pub use produce::{TestRecord, TestTransactions};
pub use proxy::{ProxiedBroker, Proxy};
pub use secure::{PLAIN_USER, SCRAM_USER, SecureBroker};
pub use topics::TestKafka;

/// The jars of a broker that a test starts by itself; `None` where there are none, told on stderr.
pub fn broker_jars() -> Option<PathBuf> {
    let jars = std::env::var_os("MILLSTREAM_TEST_KAFKA_JARS").map(PathBuf::from);
    if jars.is_none() {
        skipped("MILLSTREAM_TEST_KAFKA_JARS");
    }
    jars
}

/// Whether tests that take long are wanted (`cargo xtask test --full`).
pub fn takes_its_time() -> bool {
    std::env::var_os("MILLSTREAM_TEST_FULL").is_some()
}

fn skipped(variable: &str) {
    eprintln!("SKIPPED: {variable} is not set, so that this test has no Kafka broker; `cargo xtask test` starts one");
}

/// A failure of a helper, as an error of ours.
fn failed(what: &str) -> impl Fn(rdkafka::error::KafkaError) -> millstream_core::Error + '_ {
    move |error| millstream_core::Error::unavailable(format!("{what}: {error}")).caused_by(error)
}
