//! The options of a streaming write that are the engine's own.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use millstream_connectors::STORE_OPTIONS;
use millstream_core::connector::SinkRequest;
use millstream_core::{Error, Options, OutputMode, Result, Sink};
use millstream_engine::physical::late_table::{KeptLateRows, late_rows_schema};
use millstream_engine::stream::definition::CheckpointLife;
use millstream_engine::{QueryDefinition, Trigger};
use millstream_state::Location;

use super::ROW_ERRORS;
use crate::session::Session;
use crate::settings;

/// The stateful operators that may begin afresh, by name, divided by commas.
pub(crate) const ALLOW_STATE_DROP: &str = "allowStateDrop";

/// How many key groups state is divided into.
pub(super) const STATE_KEY_GROUPS: &str = "stateKeyGroups";

/// The folder of the rows that came too late.
pub(crate) const LATE_ROWS_PATH: &str = "lateRowsPath";

/// Whether rows that are late for some of their windows only go there, too.
pub(crate) const PARTLY_LATE_ROWS: &str = "partlyLateRows";

/// Says that the result does not hang on how the input is cut, where that cannot be seen: `millstream verify` then compares.
pub(crate) const INDEPENDENT_OF_CUTS: &str = "independentOfCuts";

/// The options of a stream writer that are the engine's own; the rest goes to the sink's format.
pub(super) const ENGINE_OPTIONS: &[&str] = &[
    "checkpointLocation",
    "outputMode",
    "trigger",
    "queryName",
    "stopTimeout",
    "commitInterval",
    "maxBytesPerBatch",
    "targetBatchDuration",
    "flush",
    "changes",
    "upsertKey",
    LATE_ROWS_PATH,
    PARTLY_LATE_ROWS,
    ALLOW_STATE_DROP,
    STATE_KEY_GROUPS,
    INDEPENDENT_OF_CUTS,
    ROW_ERRORS,
];

pub(super) fn batch_bytes_max(own: &Options) -> Result<u64> {
    match own.get_bytes("maxBytesPerBatch")? {
        Some(0) => Err(Error::invalid("option 'maxBytesPerBatch' is 0: expected a positive number")),
        Some(bytes_max) => Ok(bytes_max),
        None => Ok(QueryDefinition::BATCH_BYTES_MAX),
    }
}

pub(super) fn target_batch_duration(own: &Options) -> Result<Option<Duration>> {
    match own.get_duration("targetBatchDuration")? {
        Some(Duration::ZERO) => Err(Error::invalid("option 'targetBatchDuration' is 0: expected a positive length of time")),
        target => Ok(target),
    }
}

/// `upsertKey`: columns, by their names, with commas between them.
pub(super) fn upsert_key(own: &Options) -> Result<Option<Vec<String>>> {
    let Some(text) = own.get("upsertKey") else { return Ok(None) };
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err(Error::invalid(format!("option 'upsertKey' is '{text}': expected columns with commas between them")));
    }
    Ok(Some(names))
}

/// `lateRowsPath`: a Parquet table of the rows that came too late.
pub(super) async fn late_rows(session: &Session, own: &Options, written: &Options) -> Result<Option<Arc<dyn Sink>>> {
    let Some(path) = own.get(LATE_ROWS_PATH) else { return Ok(None) };
    let request = SinkRequest {
        format: "parquet".to_owned(),
        options: written.only(STORE_OPTIONS).with("path", path),
        schema: late_rows_schema(),
        partition_by: Vec::new(),
        query_name: None,
        output_mode: Some(OutputMode::Append),
        time_zone: session.time_zone(),
        clock: Arc::clone(session.engine().clock()),
    };
    session.engine().registry().for_format(&request.format)?.sink(request).await.map(Some)
}

/// `partlyLateRows`: which rows go there.
pub(super) fn kept_late_rows(own: &Options) -> Result<KeptLateRows> {
    let also_partly = own.get_bool(PARTLY_LATE_ROWS)?.unwrap_or(false);
    if also_partly && own.get(LATE_ROWS_PATH).is_none() {
        return Err(Error::invalid(format!("{PARTLY_LATE_ROWS} needs {LATE_ROWS_PATH}: the folder of the table that the rows go to")));
    }
    Ok(if also_partly { KeptLateRows::AlsoPartly } else { KeptLateRows::Late })
}

/// `flush`: when the input has ended, everything is final.
pub(super) fn flushes(own: &Options, trigger: Trigger) -> Result<bool> {
    let flushes = own.get_bool("flush")?.unwrap_or(false);
    if flushes && trigger != Trigger::AvailableNow {
        return Err(Error::invalid("flush applies to trigger 'available-now' only: other input has no end"));
    }
    Ok(flushes)
}

/// The most key groups; Flink's limit, too.
const KEY_GROUPS_MAX: u32 = 1 << 15;

/// `stateKeyGroups`: how many tasks can share the state at most.
pub(super) fn key_groups(own: &Options) -> Result<Option<NonZeroU32>> {
    let Some(n) = own.get_u64(STATE_KEY_GROUPS)? else { return Ok(None) };
    match u32::try_from(n).ok().filter(|n| *n <= KEY_GROUPS_MAX).and_then(NonZeroU32::new) {
        Some(n) => Ok(Some(n)),
        None => Err(Error::invalid(format!("option '{STATE_KEY_GROUPS}' is {n}, and must be from 1 to {KEY_GROUPS_MAX}"))),
    }
}

/// Under the default trigger file sinks make at most one batch in this time, or millisecond batches would make a flood
/// of small files.
const FILE_COMMIT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn commit_interval(own: &Options, is_file: bool) -> Result<Duration> {
    match own.get_duration("commitInterval")? {
        Some(_) if !is_file => Err(Error::invalid("commitInterval applies to file sinks only")),
        Some(interval) => Ok(interval),
        None if is_file => Ok(FILE_COMMIT_INTERVAL),
        None => Ok(Duration::ZERO),
    }
}

/// `checkpointLocation`, else a folder under `spark.sql.streaming.checkpointLocation`, else (not for files) a temporary one.
pub(super) fn checkpoint_location(
    session: &Session,
    own: &Options,
    name: Option<&str>,
    sink_options: &Options,
    is_file: bool,
) -> Result<(Location, CheckpointLife)> {
    let location = |path: &str| Location::parse_on(Arc::clone(session.files()), path, sink_options);
    let kept = |path: &str| Ok((location(path)?, CheckpointLife::Kept));
    if let Some(path) = own.get("checkpointLocation") {
        return kept(path);
    }
    let unnamed = || session.engine().ids().new_uuid().to_string();
    if let Some(root) = session.get(settings::CHECKPOINT_LOCATION) {
        let folder = name.map_or_else(unnamed, str::to_owned);
        return kept(&format!("{}/{folder}", root.trim_end_matches('/')));
    }
    if is_file {
        return Err(Error::invalid("option 'checkpointLocation' is missing")
            .hint("name a folder where the query keeps what it has done, one per query"));
    }
    let folder = std::env::temp_dir().join(format!("millstream-{}", unnamed()));
    tracing::warn!(
        folder = %folder.display(),
        "the query has a temporary checkpoint: a restart will not go on from it, and it is removed when the query ends without \
         an error ({} = true: after an error, too)",
        settings::FORCE_DELETE_TEMP_CHECKPOINT
    );
    let even_if_failed = session.get(settings::FORCE_DELETE_TEMP_CHECKPOINT).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    Ok((location(&folder.to_string_lossy())?, CheckpointLife::Temporary { even_if_failed }))
}
