//! Sessions of a video service, from playback events as they come: how long somebody watched, and how much of it was waiting.
//!
//!     cargo run --example video_sessions
//!
//! Players send an event every few seconds. A session is over when a viewer has been silent for 30 seconds of event time; then
//! one row tells what it was. Operators for windows do not do this: what a session is hangs on the kind of its events. So a
//! function keeps a few numbers per viewer, and a timeout ends the session. Its rows have the time at which the session ended, so
//! an aggregation by windows could stand above it; here an ordinary query over its table counts sessions per minute. The events
//! are made here, and the query ends with them.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use millstream::{Error, GroupState, GroupStateTimeout, GroupsWithState, Result, ScalarValue, Session, Trigger, parse_schema};

const SESSION_GAP_MS: i64 = 30_000;

#[tokio::main]
async fn main() -> Result<()> {
    let dir = std::env::temp_dir().join(format!("millstream-video-sessions-{}", std::process::id()));
    make_events(&dir.join("events")).map_err(|error| Error::unavailable("the events could not be written").caused_by(error))?;

    let session = Session::new()?;
    let events = session
        .read_stream()
        .schema("viewer STRING, at TIMESTAMP, event STRING, seconds BIGINT")
        .option("maxFilesPerTrigger", 4)
        .json(dir.join("events"))
        .await?
        .with_watermark("at", "10 seconds")?;
    let spec = GroupsWithState::new(
        "video_sessions",
        parse_schema("viewer STRING, ended TIMESTAMP, watched BIGINT, waited BIGINT, n_stalls BIGINT")?,
        parse_schema("watched BIGINT, waited BIGINT, n_stalls BIGINT, ends_ms BIGINT")?,
    )
    .timeout(GroupStateTimeout::EventTime)
    .event_time("ended");
    let sessions = events.group_by(["viewer"]).flat_map_groups_with_state(spec, one_viewer);

    let query = sessions
        .write_stream()
        .format("parquet")
        .trigger(Trigger::AvailableNow)
        // The last sessions end with the input.
        .option("flush", true)
        .checkpoint(dir.join("checkpoint"))
        .start_path(dir.join("sessions"))
        .await?;
    query.await_termination(None).await?;

    session.read().parquet(dir.join("sessions")).await?.create_or_replace_temp_view("sessions");
    let by_minute = "SELECT date_trunc('MINUTE', ended) AS minute, count(*) AS sessions, sum(watched) AS watched, \
                     round(100.0 * sum(waited) / sum(watched + waited), 1) AS percent_waited, max(n_stalls) AS most_stalls \
                     FROM sessions GROUP BY 1 ORDER BY 1";
    session.sql(by_minute).await?.show().await?;
    std::fs::remove_dir_all(dir).map_err(|error| Error::unavailable("the folder could not be removed").caused_by(error))
}

/// What a viewer's new events make of the session; when its time is over, the session as a row.
fn one_viewer(viewer: &[ScalarValue], events: &[RecordBatch], state: &mut GroupState) -> Result<Vec<RecordBatch>> {
    let number = |column| Ok::<i64, Error>(state.value(column)?.unwrap_or(0));
    let (mut watched, mut waited, mut n_stalls) = (number("watched")?, number("waited")?, number("n_stalls")?);
    let mut ends_ms = number("ends_ms")?;
    if state.has_timed_out() {
        state.remove();
        return session_row(viewer, ends_ms + 1, [watched, waited, n_stalls]);
    }
    ends_ms = ends_ms.max(state.current_watermark_ms()?);
    for batch in events {
        let column = |name: &str| batch.column_by_name(name).ok_or_else(|| Error::internal(format!("events without '{name}'")));
        let (at, kinds) = (column("at")?.as_primitive::<TimestampMicrosecondType>(), column("event")?.as_string::<i32>());
        let seconds = column("seconds")?.as_primitive::<Int64Type>();
        for ((at, kind), seconds) in at.iter().zip(kinds).zip(seconds) {
            match kind {
                Some("stall") => (waited, n_stalls) = (waited + seconds.unwrap_or(0), n_stalls + 1),
                _ => watched += seconds.unwrap_or(0),
            }
            ends_ms = ends_ms.max(at.unwrap_or(0) / 1000 + SESSION_GAP_MS);
        }
    }
    state.update([watched.into(), waited.into(), n_stalls.into(), ends_ms.into()])?;
    state.set_timeout_timestamp(ends_ms)?;
    Ok(Vec::new())
}

fn session_row(viewer: &[ScalarValue], ended_ms: i64, numbers: [i64; 3]) -> Result<Vec<RecordBatch>> {
    let viewer = match viewer {
        [ScalarValue::Utf8(viewer)] => viewer.clone(),
        _ => None,
    };
    let ended = TimestampMicrosecondArray::from(vec![ended_ms * 1000]).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = vec![Arc::new(StringArray::from(vec![viewer])), Arc::new(ended)];
    columns.extend(numbers.map(|number| Arc::new(Int64Array::from(vec![number])) as ArrayRef));
    let schema = parse_schema("viewer STRING, ended TIMESTAMP, watched BIGINT, waited BIGINT, n_stalls BIGINT")?;
    Ok(vec![RecordBatch::try_new(schema, columns)?])
}

/// Ten minutes of 200 viewers, who come and go; each file has fifteen seconds.
fn make_events(dir: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let mut random = 1_u64;
    for file in 0..40_i64 {
        let mut text = String::new();
        for second in (file * 15..file * 15 + 15).step_by(5) {
            for viewer in 0..200_i64 {
                // Somebody watches for a while, and then not.
                if (viewer * 37 + second / 90) % 3 != 0 {
                    continue;
                }
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (event, seconds) = if (random >> 33).is_multiple_of(12) { ("stall", 2) } else { ("play", 5) };
                let at = format!("2026-01-01T20:{:02}:{:02}Z", second / 60, second % 60);
                _ = writeln!(text, "{{\"viewer\":\"v{viewer}\",\"at\":\"{at}\",\"event\":\"{event}\",\"seconds\":{seconds}}}");
            }
        }
        std::fs::write(dir.join(format!("{file:02}.json")), text)?;
    }
    Ok(())
}
