//! `state`: what the stateful operators of a query remember, read as a table, and `state-metadata`: which operators there are.
//!
//! Spark's state data source (`statestore`, `state-metadata`), with Spark's options and columns where we have the same thing.
//! Reads the files of a checkpoint: the query that it belongs to may run meanwhile, and nothing is locked or changed. Never
//! reads as a stream, never writes.

mod metadata;
mod options;
mod reader;
mod source;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::{Connector, Error, OptionSpec, ReaderSpec, Result, Source, SplitReader};
use millstream_state::FileSystem;

pub use options::STATE_FORMATS;

use metadata::{MetadataReader, MetadataSource};
use options::{METADATA_FORMAT, StateOptions, metadata_specs, state_specs};
use reader::StateReader;
use source::StateSource;

/// See the [module](self).
#[derive(Debug)]
pub struct StateConnector {
    fs: Arc<dyn FileSystem>,
}

impl StateConnector {
    /// Over a layer of local files.
    pub fn new(fs: Arc<dyn FileSystem>) -> Self {
        Self { fs }
    }
}

#[async_trait]
impl Connector for StateConnector {
    fn name(&self) -> &'static str {
        "state"
    }

    fn formats(&self) -> &'static [&'static str] {
        STATE_FORMATS
    }

    fn source_options(&self, format: &str) -> Vec<OptionSpec> {
        if is_metadata(format) { metadata_specs() } else { state_specs() }
    }

    async fn source(&self, request: SourceRequest) -> Result<Box<dyn Source>> {
        if request.is_streaming {
            return Err(Error::unsupported(format!("format '{}' cannot be read as a stream", request.format))
                .hint("read it with read: it is the state after one batch"));
        }
        if request.schema.is_some() {
            return Err(Error::invalid(format!("format '{}' has the columns that the checkpoint says", request.format))
                .hint("leave the schema out"));
        }
        if is_metadata(&request.format) {
            return Ok(Box::new(MetadataSource::open(&self.fs, &request).await?));
        }
        Ok(Box::new(StateSource::open(&self.fs, StateOptions::parse(&request.options)?, &request).await?))
    }

    fn reader(&self, spec: &ReaderSpec) -> Result<Arc<dyn SplitReader>> {
        if is_metadata(&spec.format) {
            return Ok(Arc::new(MetadataReader::new(spec)?));
        }
        Ok(Arc::new(StateReader::new(&self.fs, spec)?))
    }
}

fn is_metadata(format: &str) -> bool {
    format.eq_ignore_ascii_case(METADATA_FORMAT)
}

#[cfg(test)]
mod tests;
