//! Looking into checkpoints, for people and programs.

use millstream_core::{Error, Options, Result};
use millstream_state::Location;
use millstream_state::checkpoint;

/// How [`show`] prints records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShowFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The records of a checkpoint, one line each. Holds no secrets.
pub async fn show(dir: &str, format: ShowFormat) -> Result<Vec<String>> {
    let shown = checkpoint::show(&Location::parse(dir, &Options::new())?).await?;
    Ok(match format {
        ShowFormat::Text => shown.records.iter().map(ToString::to_string).collect(),
        ShowFormat::Json => shown.records.iter().map(|record| record.to_redacted_json().to_string()).collect(),
    })
}

/// Reads everything in a checkpoint; the report in words, or an error that says what is damaged.
pub async fn verify(dir: &str) -> Result<String> {
    let report = checkpoint::verify(&Location::parse(dir, &Options::new())?).await?;
    if report.is_ok() { Ok(report.to_string()) } else { Err(Error::data(report.to_string())) }
}
