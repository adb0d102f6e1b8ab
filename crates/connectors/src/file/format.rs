//! The formats of files: their names, and which of their options the format itself knows.

use std::str::FromStr;

use millstream_core::{Error, OptionSpec, Options, Result};
use millstream_formats::csv::{CSV_READ_OPTIONS, CSV_WRITE_OPTIONS};
use millstream_formats::json::{JSON_READ_OPTIONS, JSON_WRITE_OPTIONS};
use millstream_formats::text::{TEXT_READ_OPTIONS, TEXT_WRITE_OPTIONS};

/// A format that is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// A JSON value per line (or per file with `multiLine`).
    Json,
    /// Comma-separated values and their dialects.
    Csv,
    /// Lines of text, or whole files with `wholetext`.
    Text,
    /// Apache Parquet.
    Parquet,
}

impl FileFormat {
    /// The name users write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Text => "text",
            Self::Parquet => "parquet",
        }
    }

    /// The format's own reader options.
    pub(super) fn read_options(self) -> &'static [OptionSpec] {
        match self {
            Self::Json => JSON_READ_OPTIONS,
            Self::Csv => CSV_READ_OPTIONS,
            Self::Text => TEXT_READ_OPTIONS,
            Self::Parquet => &[],
        }
    }

    /// The format's own writer options.
    pub(super) fn write_options(self) -> &'static [OptionSpec] {
        match self {
            Self::Json => JSON_WRITE_OPTIONS,
            Self::Csv => CSV_WRITE_OPTIONS,
            Self::Text => TEXT_WRITE_OPTIONS,
            Self::Parquet => &[],
        }
    }

    /// Whether a file of this format may be cut at line ends.
    pub(super) fn is_cut_at_lines(self, options: &Options) -> bool {
        let is_set = |name: &str| options.get_bool(name).ok().flatten().unwrap_or(false);
        let whole = is_set("multiLine") || is_set("wholetext") || options.get("lineSep").is_some();
        match self {
            Self::Json | Self::Text => !whole,
            // A header that must be compared with the columns is seen by the first piece only.
            Self::Csv => !(whole || is_set("header") && options.get_bool("enforceSchema").ok().flatten() == Some(false)),
            Self::Parquet => false,
        }
    }
}

/// A text as a format, or what Spark has and we do not.
impl FromStr for FileFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "text" => Ok(Self::Text),
            "parquet" => Ok(Self::Parquet),
            other => Err(Error::unsupported(format!("file format '{other}' is not supported yet"))
                .hint("supported file formats are json, csv, text and parquet")),
        }
    }
}
