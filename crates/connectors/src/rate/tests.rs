//! Tests of `rate`.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use async_trait::async_trait;
use millstream_core::{Admission, ConnectorRegistry, Result, RowPlaces, Source, SourceStart};
use millstream_testkit::ManualClock;
use millstream_testkit::source_contract::{SourceHarness, check_source, read_range, read_splits};

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
    // Each row: rowsPerSecond, rampUpTime in seconds, and what RateStreamProvider.valueAtSecond of Spark 4.3.0 gives for SECONDS.
    const SECONDS: [u64; 13] = [0, 1, 2, 3, 4, 5, 6, 10, 11, 59, 60, 61, 3600];
    const SPARKS: [(u64, u64, [u64; 13]); 7] = [
        (10, 4, [0, 2, 6, 12, 20, 30, 40, 80, 90, 570, 580, 590, 35980]),
        (8, 2, [0, 2, 6, 14, 22, 30, 38, 70, 78, 462, 470, 478, 28790]),
        (5, 0, [0, 5, 10, 15, 20, 25, 30, 50, 55, 295, 300, 305, 18000]),
        (100, 10, [0, 9, 27, 54, 90, 135, 189, 495, 595, 5395, 5495, 5595, 359_495]),
        // Fewer rows per second than seconds of the ramp: nothing until its end.
        (3, 10, [0, 0, 0, 0, 0, 0, 0, 0, 3, 147, 150, 153, 10770]),
        (7, 3, [0, 1, 3, 6, 13, 20, 27, 55, 62, 398, 405, 412, 25185]),
        (
            1_000_000,
            60,
            [0, 16393, 49179, 98358, 163_930, 245_895, 344_253, 901_615, 1_081_938, 29_015_610, 29_999_190, 30_999_190, 3_569_999_190],
        ),
    ];
    for (rows_per_second, ramp_up_s, values) in SPARKS {
        let rate = RateOptions { rows_per_second, ramp_up_s, num_partitions: None };
        assert_eq!(SECONDS.map(|second| rate.rows_at(second).unwrap()), values, "{rows_per_second}, {ramp_up_s}");
    }
    let fast = RateOptions { rows_per_second: i64::MAX as u64, ramp_up_s: 0, num_partitions: None };
    assert_eq!(fast.rows_at(1).unwrap(), i64::MAX as u64);
    let error = fast.rows_at(3).unwrap_err();
    assert_eq!(error.error_class(), Some("INCORRECT_END_OFFSET"));
    assert_eq!(error.message(), "max offset with 9223372036854775807 rowsPerSecond is 1, but it's 3 now");
}

#[test]
fn the_ramp_is_given_as_a_length_of_time_or_in_seconds() {
    let ramp = |rows: &str, time: &str| RateOptions::parse(&options(&[("rowsPerSecond", rows), ("rampUpTime", time)]));
    // As Spark 4.3.0 reads them.
    for (time, seconds) in [("5s", 5), ("5", 5), ("0", 0), ("0s", 0), ("1m", 60), ("1h", 3600), ("1d", 86_400), ("1500ms", 1), ("500ms", 0)]
    {
        assert_eq!(ramp("10", time).unwrap().ramp_up_s, seconds, "{time}");
    }
    assert_eq!(RateOptions::parse(&options(&[])).unwrap().ramp_up_s, 0);
    for wrong in ["-1s", "-1", "abc", "", "10000000000000000000s", "99999999999999999999"] {
        let error = ramp("10", wrong).unwrap_err();
        assert!(error.message().starts_with(&format!("option 'rampUpTime' is '{wrong}': ")), "{error}");
    }
    for (rows, time, message) in [
        (
            "10",
            "9223372036854775807",
            "max offset with 10 rowsPerSecond is 922337203685477580, but 'rampUpTimeSeconds' is 9223372036854775807",
        ),
        (
            "10",
            "18446744073709551615",
            "max offset with 10 rowsPerSecond is 922337203685477580, but 'rampUpTimeSeconds' is 18446744073709551615",
        ),
        ("9223372036854775807", "2s", "max offset with 9223372036854775807 rowsPerSecond is 1, but 'rampUpTimeSeconds' is 2"),
        ("1000000000000000000", "10s", "max offset with 1000000000000000000 rowsPerSecond is 9, but 'rampUpTimeSeconds' is 10"),
    ] {
        let error = ramp(rows, time).unwrap_err();
        assert_eq!((error.error_class(), error.message()), (Some("INCORRECT_RAMP_UP_RATE"), message));
    }
    assert!(ramp("1000000000000000000", "9s").is_ok());
}

/// The seconds that end each range when all of `seconds` are there at once.
async fn cuts(options: &[(&'static str, &'static str)], seconds: u64, admission: Admission) -> Vec<u64> {
    let rate = Rate::new(options);
    let mut source = rate.source().await.unwrap();
    let mut position = source.start(SourceStart::Fresh).await.unwrap();
    rate.clock.advance(Duration::from_secs(seconds));
    let mut ends = Vec::new();
    while let Some(range) = source.plan(&position, &admission).await.unwrap() {
        ends.push(range.end.0["seconds"].as_u64().unwrap());
        position = range.end;
    }
    ends
}

#[tokio::test]
async fn a_byte_limit_cuts_at_seconds_and_takes_at_least_one_with_rows() {
    // 16 bytes a row: a timestamp and a value.
    let ten = [("rowsPerSecond", "10")];
    assert_eq!(cuts(&ten, 7, Admission::bytes(Some(480))).await, [3, 6, 7]);
    assert_eq!(cuts(&ten, 3, Admission::bytes(Some(1))).await, [1, 2, 3]);
    assert_eq!(cuts(&ten, 7, Admission::default()).await, [7]);
    assert_eq!(cuts(&ten, 7, Admission::ALL).await, [7]);
    // No row comes before the ramp ends.
    assert_eq!(cuts(&[("rowsPerSecond", "3"), ("rampUpTime", "10s")], 12, Admission::bytes(Some(1))).await, [11, 12]);
    // 0, 2, 6, 12, 20, 30 rows: at most 10 each.
    assert_eq!(cuts(&[("rowsPerSecond", "10"), ("rampUpTime", "4")], 5, Admission::bytes(Some(160))).await, [2, 3, 4, 5]);
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

#[tokio::test]
async fn rows_stand_at_their_values() {
    let rate = Rate::new(&[("rowsPerSecond", "10"), ("numPartitions", "3")]);
    let mut source = rate.source().await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    rate.clock.advance(Duration::from_millis(2000));
    let range = source.plan(&start, &Admission::ALL).await.unwrap().unwrap();
    let splits = source.splits(&range, 3).await.unwrap();
    let mut n_rows = 0;
    for chunk in read_splits(&rate.registry, &source.reader(), &splits).await.unwrap() {
        let RowPlaces::Numbered { first, step } = chunk.places else { panic!("{:?}", chunk.places) };
        let values = chunk.rows.column_by_name("value").unwrap().as_primitive::<Int64Type>().values().to_vec();
        let numbers: Vec<i64> = (0..values.len() as i64).map(|row| first as i64 + row * step as i64).collect();
        assert_eq!(values, numbers);
        n_rows += values.len();
    }
    assert!(n_rows >= 20, "{n_rows}");
}
