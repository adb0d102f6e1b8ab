//! Logs to standard error, by `tracing`.

use std::io::{IsTerminal, stderr};

use millstream::{Error, Result};
use tracing_subscriber::EnvFilter;

use crate::args::{LogArgs, LogFormat};

/// Starts logging.
pub fn start(args: &LogArgs) -> Result<()> {
    let filter =
        EnvFilter::try_new(&args.log_level).map_err(|error| Error::invalid(format!("--log-level '{}': {error}", args.log_level)))?;
    // A log that nobody reads any more stops nothing: of an error of its own the library would tell on the same closed stream, and panic.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    let builder = builder.log_internal_errors(false);
    let started = match args.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| Error::internal(format!("logging cannot start: {error}")))
}
