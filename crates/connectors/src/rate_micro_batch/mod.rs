//! `rate-micro-batch`: a fixed number of rows per micro-batch with timestamps that follow from the batch's number, as
//! Spark's source of that name. Fully deterministic, whatever the clock says. Never reads as a batch.

mod source;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::{Connector, OptionSpec, ReaderSpec, Result, Source, SplitReader};

use crate::rate::{RateReader, stream_only};

/// What the source knows.
pub(crate) const OPTIONS: [OptionSpec; 4] = [
    OptionSpec::new("rowsPerBatch", "rows per micro-batch, required"),
    OptionSpec::new("numPartitions", "splits per batch, default the parallelism"),
    OptionSpec::new("startTimestamp", "timestamp of the first batch in ms, default 0"),
    OptionSpec::new("advanceMillisPerBatch", "how much the timestamp grows per batch, default 1000"),
];

/// See the [module](self).
#[derive(Debug)]
pub struct RateMicroBatchConnector;

#[async_trait]
impl Connector for RateMicroBatchConnector {
    fn name(&self) -> &'static str {
        "rate-micro-batch"
    }

    fn formats(&self) -> &'static [&'static str] {
        &["rate-micro-batch"]
    }

    fn source_options(&self, _format: &str) -> Vec<OptionSpec> {
        OPTIONS.to_vec()
    }

    async fn source(&self, request: SourceRequest) -> Result<Box<dyn Source>> {
        stream_only(&request)?;
        Ok(Box::new(source::RateMicroBatchSource::new(&request)?))
    }

    fn reader(&self, spec: &ReaderSpec) -> Result<Arc<dyn SplitReader>> {
        Ok(Arc::new(RateReader::new(spec)?))
    }
}

#[cfg(test)]
mod tests;
