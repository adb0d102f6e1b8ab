//! `memory`: streams that a program feeds by hand, and a sink that is a table in memory.
//!
//! Both live in the process (a [`MemoryStore`] per session) and are gone with it; what they promise, they promise while
//! the process lives. Tests use them most; the sink also serves a user who looks at a stream interactively.

mod reader;
mod sink;
mod source;
mod store;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::connector::{SinkRequest, SourceRequest};
use millstream_core::{Connector, Error, OptionSpec, OutputMode, ReaderSpec, Result, Sink, Source, SplitReader, WriterFactory, WriterSpec};

use crate::in_process::InProcessSink;
use crate::wire::RowsToDriver;

pub use store::{MemoryStore, MemoryStream};

const SOURCE_OPTIONS: [OptionSpec; 2] = [
    OptionSpec::new("stream", "the name of the stream in the session"),
    OptionSpec::new("maxChunksPerTrigger", "how many added chunks a micro-batch takes, default all"),
];
const SINK_OPTIONS: [OptionSpec; 2] = [
    OptionSpec::new("table", "the table's name, default the query's name"),
    OptionSpec::new("mode", "of batch writes: has no effect here"),
];

/// See the [module](self).
#[derive(Debug)]
pub struct MemoryConnector {
    store: Arc<MemoryStore>,
}

impl MemoryConnector {
    /// Over the streams and tables of `store`.
    pub fn new(store: Arc<MemoryStore>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl Connector for MemoryConnector {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn formats(&self) -> &'static [&'static str] {
        &["memory"]
    }

    fn takes_changes(&self) -> bool {
        true
    }

    fn source_options(&self, _format: &str) -> Vec<OptionSpec> {
        SOURCE_OPTIONS.to_vec()
    }

    fn sink_options(&self, _format: &str) -> Vec<OptionSpec> {
        SINK_OPTIONS.to_vec()
    }

    async fn source(&self, request: SourceRequest) -> Result<Box<dyn Source>> {
        request.options.check("memory source", &SOURCE_OPTIONS)?;
        let stream = self.store.find_stream(request.options.require("stream")?)?;
        if request.schema.as_ref().is_some_and(|given| given.fields() != stream.schema().fields()) {
            return Err(Error::invalid(format!("memory stream '{}' has another schema than the one given", stream.name())));
        }
        Ok(Box::new(source::MemorySource::new(stream, &request)?))
    }

    async fn sink(&self, request: SinkRequest) -> Result<Arc<dyn Sink>> {
        request.options.check("memory sink", &SINK_OPTIONS)?;
        if !request.partition_by.is_empty() {
            return Err(Error::unsupported("partitionBy does not apply to the memory sink"));
        }
        let name = request.options.get("table").or(request.query_name.as_deref());
        let name =
            name.ok_or_else(|| Error::invalid("the memory sink needs a query name: it is the table's name").hint("set queryName"))?;
        let table = sink::MemoryTable {
            store: Arc::clone(&self.store),
            name: name.to_owned(),
            is_complete: request.output_mode == Some(OutputMode::Complete),
        };
        Ok(Arc::new(InProcessSink::new(table, request.schema, request.time_zone)))
    }

    fn reader(&self, spec: &ReaderSpec) -> Result<Arc<dyn SplitReader>> {
        let stream = self.store.find_stream(spec.options.require("stream")?)?;
        Ok(Arc::new(reader::MemoryReader::new(stream, spec)?))
    }

    fn writer(&self, spec: &WriterSpec) -> Result<Arc<dyn WriterFactory>> {
        Ok(Arc::new(RowsToDriver::new(Arc::clone(&spec.schema))))
    }
}

#[cfg(test)]
mod tests;
