//! `socket`: lines of text from a TCP server, as Spark's source of that name.
//!
//! A socket cannot be read again. Without `writeAheadLog` a row is delivered at most once: what was received and not yet
//! committed when the process ends is lost. With it a row counts only when it is durable in a log beside the checkpoint,
//! and can then be read any number of times. A lost connection is made again; what the server sends in between is lost
//! at the server, and the outage is told. A line cut off by the end of a connection is never a row.

mod options;
mod reader;
mod receiver;
mod source;
mod split;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use millstream_core::connector::SourceRequest;
use millstream_core::{Connector, Error, OptionSpec, ReaderSpec, Result, Source, SplitReader};
use millstream_state::{FileSystem, OsFileSystem};

/// See the [module](self).
#[derive(Debug)]
pub struct SocketConnector {
    fs: Arc<dyn FileSystem>,
}

impl SocketConnector {
    /// With the write-ahead log on this file layer.
    pub fn new(fs: Arc<dyn FileSystem>) -> Self {
        Self { fs }
    }
}

impl Default for SocketConnector {
    fn default() -> Self {
        Self::new(Arc::new(OsFileSystem))
    }
}

#[async_trait]
impl Connector for SocketConnector {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn formats(&self) -> &'static [&'static str] {
        &["socket"]
    }

    fn source_options(&self, _format: &str) -> Vec<OptionSpec> {
        options::OPTIONS.to_vec()
    }

    async fn source(&self, request: SourceRequest) -> Result<Box<dyn Source>> {
        if !request.is_streaming {
            return Err(Error::unsupported("format 'socket' can only be read as a stream"));
        }
        if request.schema.is_some() {
            return Err(Error::invalid("format 'socket' has a schema of its own (value STRING)").hint("leave the schema out"));
        }
        let options = options::SocketOptions::parse(&request.options)?;
        Ok(Box::new(source::SocketSource::new(Arc::clone(&self.fs), options, request)))
    }

    fn reader(&self, spec: &ReaderSpec) -> Result<Arc<dyn SplitReader>> {
        Ok(Arc::new(reader::SocketReader::new(Arc::clone(&self.fs), spec)?))
    }
}

/// value, and timestamp if asked for.
fn schema(includes_timestamp: bool) -> SchemaRef {
    let mut fields = vec![Field::new("value", DataType::Utf8, true)];
    if includes_timestamp {
        fields.push(Field::new("timestamp", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true));
    }
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests;
