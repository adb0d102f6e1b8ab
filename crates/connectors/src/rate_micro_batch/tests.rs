//! Tests of `rate-micro-batch`.

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use async_trait::async_trait;
use millstream_core::{Admission, ConnectorRegistry, Result, Source, SourceStart};
use millstream_testkit::source_contract::{SourceHarness, check_source, read_range};

use crate::harness::{registry, source, source_request};

struct RateMicroBatch(ConnectorRegistry);

#[async_trait]
impl SourceHarness for RateMicroBatch {
    async fn source(&self) -> Result<Box<dyn Source>> {
        let options = [("rowsPerBatch", "10"), ("startTimestamp", "5000"), ("advanceMillisPerBatch", "50")];
        source(&self.0, source_request("rate-micro-batch", &options, None)).await
    }

    async fn add_data(&self, _step: usize) -> Result<()> {
        Ok(())
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.0
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    check_source(&RateMicroBatch(registry().0)).await.unwrap();
}

#[tokio::test]
async fn timestamps_follow_from_the_batch() {
    let harness = RateMicroBatch(registry().0);
    let mut source = harness.source().await.unwrap();
    let mut position = source.start(SourceStart::Fresh).await.unwrap();
    for expected_ms in [5000, 5050, 5100] {
        let range = source.plan(&position, &Admission::default()).await.unwrap().unwrap();
        let spec = source.reader();
        for rows in read_range(&harness, source.as_mut(), &spec, &range, 2).await.unwrap() {
            let times = rows.column(0).as_primitive::<TimestampMicrosecondType>();
            assert!(times.values().iter().all(|us| *us == expected_ms * 1000));
        }
        position = range.end;
    }
    assert_eq!(position.0, serde_json::json!({ "offset": 30, "timestamp": 5150 }));
}

#[tokio::test]
async fn rows_per_batch_is_required() {
    let error = source(&registry().0, source_request("rate-micro-batch", &[], None)).await.unwrap_err();
    assert_eq!(error.message(), "option 'rowsPerBatch' is missing");
}
