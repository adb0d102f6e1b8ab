//! Options of the `socket` source.

use millstream_core::{Error, OptionSpec, Options, Result};

/// What the source knows.
pub(super) const OPTIONS: [OptionSpec; 4] = [
    OptionSpec::new("host", "the server's name or address, required"),
    OptionSpec::new("port", "the server's port, required"),
    OptionSpec::new("includeTimestamp", "add the column timestamp with the time of receipt, default false"),
    OptionSpec::new("writeAheadLog", "keep received rows in a log beside the checkpoint, default false"),
];

/// The options, read.
#[derive(Debug, Clone)]
pub(super) struct SocketOptions {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) includes_timestamp: bool,
    pub(super) has_log: bool,
}

impl SocketOptions {
    pub(super) fn parse(options: &Options) -> Result<Self> {
        options.check("socket source", &OPTIONS)?;
        let port = options.require("port")?;
        Ok(Self {
            host: options.require("host")?.to_owned(),
            port: port.trim().parse().map_err(|_| Error::invalid(format!("option 'port' is '{port}': expected 1 to 65535")))?,
            includes_timestamp: options.get_bool("includeTimestamp")?.unwrap_or(false),
            has_log: options.get_bool("writeAheadLog")?.unwrap_or(false),
        })
    }
}
