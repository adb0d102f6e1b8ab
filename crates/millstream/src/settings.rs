//! The settings of a session, by Spark's names.

use std::collections::BTreeMap;

use millstream_core::options::{parse_bytes, parse_duration};
use millstream_core::{Error, Result};
use millstream_engine::stream::watermark_tracker::WatermarkPolicy;

/// Settings by name.
pub type Settings = BTreeMap<String, String>;

/// The session's time zone.
pub const TIME_ZONE: &str = "spark.sql.session.timeZone";
/// Whether names are compared with case.
pub const CASE_SENSITIVE: &str = "spark.sql.caseSensitive";
/// Whether arithmetic and casts fail on overflow and bad text; only `true` is offered.
pub const ANSI: &str = "spark.sql.ansi.enabled";
/// The folder of tables without a location.
pub const WAREHOUSE_DIR: &str = "spark.sql.warehouse.dir";
/// The folder under which queries without `checkpointLocation` keep their checkpoint.
pub const CHECKPOINT_LOCATION: &str = "spark.sql.streaming.checkpointLocation";
/// Whether streams over files may infer their schema.
pub const SCHEMA_INFERENCE: &str = "spark.sql.streaming.schemaInference";
/// Whether the schema of parquet tables is that of all their files.
pub const PARQUET_MERGE_SCHEMA: &str = "spark.sql.parquet.mergeSchema";
/// Whether partition columns get types.
pub const PARTITION_TYPES: &str = "spark.sql.sources.partitionColumnTypeInference.enabled";
/// Whether the unreadable rest of damaged files is left out.
pub const IGNORE_CORRUPT_FILES: &str = "spark.sql.files.ignoreCorruptFiles";
/// Whether files that vanish are left out.
pub const IGNORE_MISSING_FILES: &str = "spark.sql.files.ignoreMissingFiles";
/// Batches whose records are kept.
pub const MIN_BATCHES_TO_RETAIN: &str = "spark.sql.streaming.minBatchesToRetain";
/// How long a stop waits for the running batch.
pub const STOP_TIMEOUT: &str = "spark.sql.streaming.stopTimeout";
/// An idle query tells listeners so once in so many milliseconds.
pub const NO_DATA_PROGRESS_EVENT_INTERVAL: &str = "spark.sql.streaming.noDataProgressEventInterval";
/// Whether a batch without data runs when the watermark has moved and an operator can use it.
pub const NO_DATA_MICRO_BATCHES: &str = "spark.sql.streaming.noDataMicroBatches.enabled";
/// How the watermarks of several event times make that of a query: `min` or `max`; fixed at a query's first start.
pub const MULTIPLE_WATERMARK_POLICY: &str = WatermarkPolicy::SETTING;
/// Whether a temporary checkpoint is removed also when its query failed.
pub const FORCE_DELETE_TEMP_CHECKPOINT: &str = "spark.sql.streaming.forceDeleteTempCheckpointLocation";
/// The format of tables that name none.
pub const DEFAULT_FORMAT: &str = "spark.sql.sources.default";

/// The bytes of memory that the state of all queries may take; beyond it rows that nobody asks for go to disk. Without it there is no limit.
pub const STATE_MEMORY_LIMIT: &str = "state.memoryLimit";
/// The folder for state beyond the limit; the machine's folder for temporary files unless set.
pub const STATE_SPILL_DIR: &str = "state.spillDir";

/// What settings of state begin with.
const STATE_PREFIX: &str = "state.";

/// The settings of the memory of state.
pub const STATE_KEYS: [&str; 2] = [STATE_MEMORY_LIMIT, STATE_SPILL_DIR];

/// The settings that change results: recorded with every batch.
pub const RESULT_KEYS: [&str; 4] = [TIME_ZONE, ANSI, CASE_SENSITIVE, MULTIPLE_WATERMARK_POLICY];

const DEFAULTS: [(&str, &str); 12] = [
    (TIME_ZONE, "UTC"),
    (CASE_SENSITIVE, "false"),
    (ANSI, "true"),
    (WAREHOUSE_DIR, "millstream-warehouse"),
    (SCHEMA_INFERENCE, "false"),
    (MIN_BATCHES_TO_RETAIN, "100"),
    (STOP_TIMEOUT, "10s"),
    (NO_DATA_PROGRESS_EVENT_INTERVAL, "10000"),
    (NO_DATA_MICRO_BATCHES, "true"),
    (MULTIPLE_WATERMARK_POLICY, "min"),
    (FORCE_DELETE_TEMP_CHECKPOINT, "false"),
    (DEFAULT_FORMAT, "parquet"),
];

/// The options of sources that take their default from a setting.
pub const SOURCE_OPTIONS: [(&str, &str); 4] = [
    ("mergeSchema", PARQUET_MERGE_SCHEMA),
    ("partitionColumnTypeInference", PARTITION_TYPES),
    ("ignoreCorruptFiles", IGNORE_CORRUPT_FILES),
    ("ignoreMissingFiles", IGNORE_MISSING_FILES),
];

/// The default of a setting that has one.
pub fn default_of(key: &str) -> Option<&'static str> {
    DEFAULTS.iter().find(|(name, _)| *name == key).map(|(_, value)| *value)
}

/// Refuses values that a known setting cannot take. Unknown `spark.` settings are kept, as in Spark, with a warning.
pub fn check(key: &str, value: &str) -> Result<()> {
    match key {
        ANSI if !value.eq_ignore_ascii_case("true") => {
            Err(Error::unsupported("spark.sql.ansi.enabled = false: only ANSI semantics are offered").hint("use try_cast, try_add, ..."))
        }
        TIME_ZONE if millstream_formats::datetime::Zone::parse(value).is_err() => {
            Err(Error::invalid(format!("'{value}' is not a time zone"))
                .hint("use a region such as Europe/Berlin, an offset such as +01:00, or UTC"))
        }
        STOP_TIMEOUT if parse_duration(value).is_none() => Err(Error::invalid(format!("'{value}' is not a length of time"))),
        MIN_BATCHES_TO_RETAIN if !value.parse::<u64>().is_ok_and(|n| n > 0) => {
            Err(Error::invalid(format!("'{value}' is not a number of batches of 1 or more")))
        }
        NO_DATA_PROGRESS_EVENT_INTERVAL if parse_duration(value).is_none() => {
            Err(Error::invalid(format!("'{value}' is not a length of time")))
        }
        STATE_MEMORY_LIMIT if parse_bytes(value).is_none_or(|bytes| bytes == 0) => {
            Err(Error::invalid(format!("'{value}' is not a number of bytes of 1 or more")).hint("write it as 512m or 4g"))
        }
        // SET takes all behind the sign as it is, as in Spark: this would be a folder with quotes in its name.
        STATE_SPILL_DIR if value.starts_with(['\'', '"']) => {
            Err(Error::invalid(format!("the folder {value} is written with quotes"))
                .hint("write it without: SET takes the value as it stands"))
        }
        _ if key.starts_with(STATE_PREFIX) && !STATE_KEYS.contains(&key) => {
            Err(Error::invalid(format!("there is no setting '{key}'")).hint(format!("those of state are {}", STATE_KEYS.join(" and "))))
        }
        MULTIPLE_WATERMARK_POLICY => value.parse::<WatermarkPolicy>().map(|_| ()),
        CASE_SENSITIVE | SCHEMA_INFERENCE | FORCE_DELETE_TEMP_CHECKPOINT | NO_DATA_MICRO_BATCHES
            if !matches!(value.to_ascii_lowercase().as_str(), "true" | "false") =>
        {
            Err(Error::invalid(format!("'{value}' is neither true nor false")))
        }
        _ => {
            let is_known = key == CHECKPOINT_LOCATION || SOURCE_OPTIONS.iter().any(|(_, setting)| *setting == key);
            if default_of(key).is_none() && !is_known && key.starts_with("spark.") {
                tracing::warn!(key, "this setting is kept but has no effect");
            }
            Ok(())
        }
    }
}
