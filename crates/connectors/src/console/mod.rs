//! `console`: prints each micro-batch, as a table like Spark's or as JSON lines for programs.
//!
//! Printing happens in `prepare`, after the batch's intent is durable: after a crash the last batch may be printed again,
//! with the same number. Never a place to keep data.

mod options;
mod sink;

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_core::connector::SinkRequest;
use millstream_core::{Connector, Error, OptionSpec, Result, Sink, WriterFactory, WriterSpec};

use self::options::ConsoleFormat;
use crate::in_process::InProcessSink;
use crate::wire::RowsToDriver;

/// Where the console sink prints: standard output, or a writer given by a test or a user interface.
#[derive(Clone)]
pub struct ConsoleOutput(Arc<Mutex<dyn Write + Send>>);

impl ConsoleOutput {
    /// Prints to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(out)))
    }

    /// Writes one whole text, so that the batches of two queries do not mix.
    fn print(&self, text: &str) -> Result<()> {
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }
}

impl Default for ConsoleOutput {
    fn default() -> Self {
        Self::new(std::io::stdout())
    }
}

impl fmt::Debug for ConsoleOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsoleOutput")
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct ConsoleConnector {
    output: ConsoleOutput,
}

impl ConsoleConnector {
    /// Prints to `output`.
    pub fn new(output: ConsoleOutput) -> Self {
        Self { output }
    }
}

#[async_trait]
impl Connector for ConsoleConnector {
    fn name(&self) -> &'static str {
        "console"
    }

    fn formats(&self) -> &'static [&'static str] {
        &["console"]
    }

    fn takes_changes(&self) -> bool {
        true
    }

    fn sink_options(&self, _format: &str) -> Vec<OptionSpec> {
        options::OPTIONS.to_vec()
    }

    async fn sink(&self, request: SinkRequest) -> Result<Arc<dyn Sink>> {
        let options = options::ConsoleOptions::parse(&request.options)?;
        if !request.partition_by.is_empty() {
            return Err(Error::unsupported("partitionBy does not apply to the console sink"));
        }
        let (output, is_stream, time_zone) = (self.output.clone(), request.output_mode.is_some(), request.time_zone.clone());
        let printer = sink::ConsolePrinter { output, options, given: request.options, is_stream, time_zone };
        Ok(Arc::new(InProcessSink::new(printer, request.schema, request.time_zone)))
    }

    fn writer(&self, spec: &WriterSpec) -> Result<Arc<dyn WriterFactory>> {
        let rows = RowsToDriver::new(Arc::clone(&spec.schema));
        Ok(Arc::new(match options::ConsoleOptions::parse(&spec.options)?.format {
            // One more says that there are more.
            ConsoleFormat::Table { num_rows, .. } => rows.first(num_rows.saturating_add(1)),
            ConsoleFormat::Json => rows,
        }))
    }
}

#[cfg(test)]
mod tests;
