//! Options of file sources and sinks that are not the format's own.

use std::time::Duration;

use millstream_core::{Error, OptionSpec, Options, Result};
use millstream_formats::datetime::{Zone, parse_timestamp};

use super::format::FileFormat;
use super::glob_path::NameFilter;

/// What every file source knows.
const SOURCE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("path", "the folder, file or glob to read"),
    OptionSpec::new("basePath", "where partition folders begin, default the path"),
    OptionSpec::new("maxFilesPerTrigger", "files per micro-batch at most (exclusive of maxBytesPerTrigger)"),
    OptionSpec::new("maxBytesPerTrigger", "bytes per micro-batch at most, but one file at least"),
    OptionSpec::new("latestFirst", "read the newest files first, default false"),
    OptionSpec::new("maxFileAge", "pass over files older than the newest by more than this, default 7d"),
    OptionSpec::new("fileNameOnly", "two files of one name are the same file whatever their folder, default false"),
    OptionSpec::new("cleanSource", "what to do with read files: off (default), archive or delete"),
    OptionSpec::new("sourceArchiveDir", "where cleanSource 'archive' moves files"),
    OptionSpec::new("pathGlobFilter", "read only files whose name matches"),
    OptionSpec::new("recursiveFileLookup", "read all folders below, without partition columns, default false"),
    OptionSpec::new("modifiedBefore", "batch only: files modified before this time (2020-06-01T13:00:00)"),
    OptionSpec::new("modifiedAfter", "batch only: files modified after this time (2020-06-01T13:00:00)"),
    OptionSpec::new("ignoreCorruptFiles", "leave out the unreadable rest of damaged files, default false"),
    OptionSpec::new("ignoreMissingFiles", "leave out files that vanish before they are read, default false"),
    OptionSpec::new("maxCachedFiles", "has no effect here: every listed file is kept until it is read"),
    OptionSpec::new("discardCachedInputRatio", "has no effect here: every listed file is kept until it is read"),
    OptionSpec::new("inferSchema", "infer the schema (csv: the types) from the files"),
    OptionSpec::new("streamingSchemaInference", "whether a stream may infer its schema (spark.sql.streaming.schemaInference)"),
    OptionSpec::new("partitionColumnTypeInference", "infer the types of partition columns, default true"),
    OptionSpec::new("metadataColumn", "whether the hidden column _metadata can be named; readers and tables set it"),
    OptionSpec::new("pathMustExist", "false: a folder that is not there yet is empty (tables that a job will write), default true"),
    OptionSpec::new("deadLetter", "set bad records aside, default false"),
];

/// How an object store is reached; both sources and sinks.
pub const STORE_OPTIONS: &[OptionSpec] = &[
    OptionSpec::secret("aws_*", "settings of S3 as object_store names them"),
    OptionSpec::new("allow_http", "whether plain http endpoints are allowed"),
    OptionSpec::secret("fs.s3a.*", "settings of S3 as Spark names them"),
    OptionSpec::secret("spark.hadoop.fs.s3a.*", "settings of S3 as Spark names them"),
    OptionSpec::secret("google_*", "settings of GCS as object_store names them"),
    OptionSpec::secret("azure_*", "settings of Azure as object_store names them"),
];

const SINK_OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("path", "the folder to write into"),
    OptionSpec::new("compression", "parquet: snappy (default), none, gzip, zstd, lz4, brotli; else none (default), gzip, bzip2, zstd"),
    OptionSpec::new("maxRecordsPerFile", "rows per file at most, default no limit"),
    OptionSpec::new("commitInterval", "how often batches are committed under the default trigger, default 1s, 0 = every batch"),
    OptionSpec::new("mode", "batch only: append, overwrite, error or ignore"),
];

/// The options of a source of this format.
pub(super) fn source_specs(format: FileFormat) -> Vec<OptionSpec> {
    let mut specs = [SOURCE_OPTIONS, STORE_OPTIONS, format.read_options()].concat();
    if format == FileFormat::Parquet {
        specs.push(OptionSpec::new(
            "mergeSchema",
            "the schema is that of all files together, default false: that of the first by path (spark.sql.parquet.mergeSchema)",
        ));
    }
    specs
}

/// The options of a sink of this format.
pub(super) fn sink_specs(format: FileFormat) -> Vec<OptionSpec> {
    [SINK_OPTIONS, STORE_OPTIONS, format.write_options()].concat()
}

/// What to do with files that were read and committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CleanSource {
    /// Leave them.
    Off,
    /// Delete them.
    Delete,
    /// Move them below this folder.
    Archive(String),
}

/// Options of a source, read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FileSourceOptions {
    /// The folder, file or glob.
    pub path: String,
    /// Where partition folders begin.
    pub base_path: Option<String>,
    /// Files per micro-batch.
    pub max_files: Option<u64>,
    /// Bytes per micro-batch.
    pub max_bytes: Option<u64>,
    /// Newest first.
    pub latest_first: bool,
    /// The age limit; `None` when it does not apply.
    pub max_file_age: Option<Duration>,
    /// Compare names only.
    pub file_name_only: bool,
    /// What to do with read files.
    pub clean_source: CleanSource,
    /// All folders below, no partition columns.
    pub recursive: bool,
    /// Microseconds; exclusive.
    pub modified_before_us: Option<i64>,
    /// Microseconds; exclusive.
    pub modified_after_us: Option<i64>,
    /// Whether partition columns get types.
    pub infer_partition_types: bool,
    /// Whether the hidden column `_metadata` is in the schema.
    pub metadata_column: bool,
    pub(super) name_filter: Option<NameFilter>,
}

impl FileSourceOptions {
    /// Reads and checks.
    pub fn parse(format: FileFormat, options: &Options, is_streaming: bool, zone: Zone) -> Result<Self> {
        let specs = source_specs(format);
        options.check(&format!("{} source", format.name()), &specs)?;
        let flag = |name: &str| Ok::<_, Error>(options.get_bool(name)?.unwrap_or(false));
        let max_files = options.get_u64("maxFilesPerTrigger")?;
        let max_bytes = options.get_bytes("maxBytesPerTrigger")?;
        if max_files.is_some() && max_bytes.is_some() {
            return Err(Error::invalid("options 'maxFilesPerTrigger' and 'maxBytesPerTrigger' exclude each other"));
        }
        for (name, value) in [("maxFilesPerTrigger", max_files), ("maxBytesPerTrigger", max_bytes)] {
            if value == Some(0) {
                return Err(Error::invalid(format!("option '{name}' is 0: expected a positive number")));
            }
        }
        let latest_first = flag("latestFirst")?;
        let age = options.get_duration("maxFileAge")?.unwrap_or(Duration::from_secs(7 * 86_400));
        // With a limit the newest files would hide all older ones that still wait, as Spark notes too.
        let max_file_age = (is_streaming && !(latest_first && (max_files.is_some() || max_bytes.is_some()))).then_some(age);
        let time = |name: &str| {
            let Some(text) = options.get(name) else { return Ok(None) };
            if is_streaming {
                return Err(Error::unsupported(format!("option '{name}' is for batch reads only")));
            }
            parse_timestamp(text, zone)
                .map(Some)
                .ok_or_else(|| Error::invalid(format!("option '{name}' is '{text}': expected a time such as 2020-06-01T13:00:00")))
        };
        let clean_source = match options.get("cleanSource").unwrap_or("off").to_ascii_lowercase().as_str() {
            "off" => CleanSource::Off,
            "delete" => CleanSource::Delete,
            "archive" => CleanSource::Archive(options.require("sourceArchiveDir")?.to_owned()),
            other => {
                return Err(Error::invalid(format!("option 'cleanSource' is '{other}': expected off, archive or delete")));
            }
        };
        Ok(Self {
            path: options.require("path")?.to_owned(),
            base_path: options.get("basePath").map(str::to_owned),
            max_files,
            max_bytes,
            latest_first,
            max_file_age,
            file_name_only: flag("fileNameOnly")?,
            clean_source,
            recursive: flag("recursiveFileLookup")?,
            modified_before_us: time("modifiedBefore")?,
            modified_after_us: time("modifiedAfter")?,
            infer_partition_types: options.get_bool("partitionColumnTypeInference")?.unwrap_or(true),
            metadata_column: flag("metadataColumn")?,
            name_filter: options.get("pathGlobFilter").map(NameFilter::parse).transpose()?,
        })
    }
}

/// What a batch write does when there is something already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveMode {
    /// Adds files.
    Append,
    /// Replaces everything that was there.
    Overwrite,
    /// Refuses to write.
    ErrorIfExists,
    /// Writes nothing.
    Ignore,
}

/// Options of a sink, read.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FileSinkOptions {
    /// The folder.
    pub path: String,
    /// Rows per file.
    pub max_records_per_file: Option<u64>,
    /// Set for batch writes only.
    pub save_mode: Option<SaveMode>,
}

impl FileSinkOptions {
    /// Reads and checks.
    pub fn parse(format: FileFormat, options: &Options) -> Result<Self> {
        let specs = sink_specs(format);
        options.check(&format!("{} sink", format.name()), &specs)?;
        let save_mode = match options.get("mode").map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("append") => Some(SaveMode::Append),
            Some("overwrite") => Some(SaveMode::Overwrite),
            Some("error" | "errorifexists" | "default") => Some(SaveMode::ErrorIfExists),
            Some("ignore") => Some(SaveMode::Ignore),
            Some(other) => {
                return Err(Error::invalid(format!("option 'mode' is '{other}': expected append, overwrite, error or ignore")));
            }
        };
        // Finished data has no batches to commit; a wrong value is one all the same.
        options.get_duration("commitInterval")?;
        Ok(Self {
            path: options.require("path")?.to_owned(),
            // 0 means no limit, as in Spark.
            max_records_per_file: options.get_u64("maxRecordsPerFile")?.filter(|limit| *limit > 0),
            save_mode,
        })
    }
}
