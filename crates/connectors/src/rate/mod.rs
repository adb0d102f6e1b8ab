//! `rate`: rows (timestamp, value) at a fixed rate, as Spark's source of that name.
//!
//! The position is a number of seconds since the query's first start, so a range says exactly which rows it holds; a
//! replay gives the same values and timestamps. Never reads as a batch: it has no end.

mod options;
mod reader;
mod source;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::{Connector, Error, OptionSpec, ReaderSpec, Result, Source, SplitReader};

pub use options::RateOptions;
pub(crate) use reader::{RateReader, RateSplit};

/// See the [module](self).
#[derive(Debug)]
pub struct RateConnector;

#[async_trait]
impl Connector for RateConnector {
    fn name(&self) -> &'static str {
        "rate"
    }

    fn formats(&self) -> &'static [&'static str] {
        &["rate"]
    }

    fn source_options(&self, _format: &str) -> Vec<OptionSpec> {
        options::OPTIONS.to_vec()
    }

    async fn source(&self, request: SourceRequest) -> Result<Box<dyn Source>> {
        stream_only(&request)?;
        let options = RateOptions::parse(&request.options)?;
        Ok(Box::new(source::RateSource::new(options, &request)))
    }

    fn reader(&self, spec: &ReaderSpec) -> Result<Arc<dyn SplitReader>> {
        Ok(Arc::new(RateReader::new(spec)?))
    }
}

/// Refuses a batch read and a schema of the user's.
pub(crate) fn stream_only(request: &SourceRequest) -> Result<()> {
    if !request.is_streaming {
        return Err(Error::unsupported(format!("format '{}' can only be read as a stream", request.format)));
    }
    match &request.schema {
        Some(given) if given.fields() != schema().fields() => {
            Err(Error::invalid(format!("format '{}' has a schema of its own (timestamp TIMESTAMP, value BIGINT)", request.format))
                .hint("leave the schema out"))
        }
        _ => Ok(()),
    }
}

/// timestamp, value.
pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        Field::new("value", DataType::Int64, true),
    ]))
}

#[cfg(test)]
mod tests;
