//! Tests of `rate`.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use async_trait::async_trait;
use millstream_core::{Admission, ConnectorRegistry, Result, Source, SourceStart};
use millstream_testkit::ManualClock;
use millstream_testkit::source_contract::{SourceHarness, check_source, read_range};

use super::RateOptions;
use crate::harness::{options, registry, source, source_request};

struct Rate {
    registry: ConnectorRegistry,
    clock: Arc<ManualClock>,
    options: Vec<(&'static str, &'static str)>,
}

impl Rate {
    fn new(options: &[(&'static str, &'static str)]) -> Self {
        let clock = Arc::new(ManualClock::new(1_600_000_000_250));
        Self { registry: registry().0, clock, options: options.to_vec() }
    }
}

#[async_trait]
impl SourceHarness for Rate {
    async fn source(&self) -> Result<Box<dyn Source>> {
        let mut request = source_request("rate", &self.options, None);
        request.clock = self.clock.clone();
        source(&self.registry, request).await
    }

    async fn add_data(&self, step: usize) -> Result<()> {
        self.clock.advance(Duration::from_millis(1300 + 1000 * step as u64));
        Ok(())
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    check_source(&Rate::new(&[("rowsPerSecond", "7")])).await.unwrap();
    // No ramp here: as in Spark, the timestamps within a range follow from the range's mean rate, so they depend on where
    // an undecided range is cut.
    check_source(&Rate::new(&[("rowsPerSecond", "10"), ("numPartitions", "3")])).await.unwrap();
}

#[tokio::test]
async fn rows_follow_from_the_seconds_of_the_range() {
    let rate = Rate::new(&[("rowsPerSecond", "2")]);
    let mut source = rate.source().await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    rate.clock.advance(Duration::from_millis(2999));
    let range = source.plan(&start, &Admission::default()).await.unwrap().unwrap();
    let spec = source.reader();
    let rows: Vec<RecordBatch> = read_range(&rate, source.as_mut(), &spec, &range, 1).await.unwrap();
    let values: Vec<i64> = rows.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(values, [0, 1, 2, 3]);
    let times: Vec<i64> = rows.iter().flat_map(|b| b.column(0).as_primitive::<TimestampMicrosecondType>().values().to_vec()).collect();
    let base = 1_600_000_000_250_000;
    assert_eq!(times, [base, base + 500_000, base + 1_000_000, base + 1_500_000]);
    assert!(source.plan(&range.end, &Admission::default()).await.unwrap().is_none());
    // The clock jumping back gives nothing, and harms nothing.
    rate.clock.set_wall_ms(1_500_000_000_000);
    assert!(source.plan(&range.end, &Admission::default()).await.unwrap().is_none());
}

#[test]
fn the_ramp_grows_as_sparks() {
    // Spark's RateStreamProviderSuite: "compute rate" with rowsPerSecond 100, ramp 10 s and so on.
    let rate = |rows, ramp| RateOptions { rows_per_second: rows, ramp_up_s: ramp, num_partitions: None };
    let at = |rows, ramp, seconds| rate(rows, ramp).rows_at(seconds).unwrap();
    assert_eq!([at(5, 0, 0), at(5, 0, 1), at(5, 0, 10)], [0, 5, 50]);
    assert_eq!([at(8, 2, 0), at(8, 2, 1), at(8, 2, 2), at(8, 2, 3), at(8, 2, 4)], [0, 2, 6, 14, 22]);
    assert!(rate(u64::MAX, 0).rows_at(3).is_err());
}

#[tokio::test]
async fn refuses_wrong_options_and_batch_reads() {
    let (registry, _) = registry();
    let unknown = source(&registry, source_request("rate", &[("rowsPerSecnd", "1")], None)).await.unwrap_err();
    assert_eq!(unknown.message(), "unknown option 'rowsPerSecnd' of the rate source");
    assert_eq!(unknown.hint_text(), Some("did you mean 'rowsPerSecond'?"));
    assert!(RateOptions::parse(&options(&[("rowsPerSecond", "0")])).is_err());
    assert!(RateOptions::parse(&options(&[("numPartitions", "0")])).is_err());
    let mut batch = source_request("rate", &[], None);
    batch.is_streaming = false;
    let error = source(&registry, batch).await.unwrap_err();
    assert_eq!(error.message(), "format 'rate' can only be read as a stream");
}
