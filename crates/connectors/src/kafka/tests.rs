//! Tests of `kafka`, on a real broker where the environment names one.

mod client;
mod testkit;

use millstream_testkit::kafka::TestKafka;

/// The broker of this run of the tests; `None` = the test is skipped, which was told.
fn kafka() -> Option<TestKafka> {
    TestKafka::from_env()
}
