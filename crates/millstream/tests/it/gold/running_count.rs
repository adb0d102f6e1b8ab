//! The function with state of gold's scenarios: `running_count` in `/gold/scenarios.py`.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::compute::max;
use arrow::datatypes::TimestampMicrosecondType;
use datafusion::scalar::ScalarValue;
use millstream::{DataFrame, GroupState, GroupStateTimeout, GroupsWithState, Result, parse_schema};

/// Counts the rows of a key. Its state times out 10 s behind its newest row, if states time out.
pub fn running_count(frame: &DataFrame, keys: Vec<&str>, timeout: &str, mode: &str) -> Result<DataFrame> {
    let timeout = match timeout {
        "NoTimeout" => GroupStateTimeout::None,
        "ProcessingTimeTimeout" => GroupStateTimeout::ProcessingTime,
        "EventTimeTimeout" => GroupStateTimeout::EventTime,
        other => panic!("{other} is no timeout"),
    };
    let spec = GroupsWithState::new("running_count", parse_schema("k STRING, n BIGINT, what STRING")?, parse_schema("n BIGINT")?);
    let spec = spec.timeout(timeout).output_mode(mode)?;
    Ok(frame.group_by(keys).flat_map_groups_with_state(spec, move |key, rows, state| Ok(vec![count(key, rows, state, timeout)?])))
}

fn count(key: &[ScalarValue], rows: &[RecordBatch], state: &mut GroupState, timeout: GroupStateTimeout) -> Result<RecordBatch> {
    let before = state.value::<i64>("n")?.unwrap_or(0);
    if state.has_timed_out() {
        state.remove();
        return said(key, before, "gone");
    }
    let n = before + rows.iter().map(|rows| rows.num_rows() as i64).sum::<i64>();
    state.update([n.into()])?;
    if timeout == GroupStateTimeout::EventTime {
        let newest = rows.iter().filter_map(|rows| max(rows["ts"].as_primitive::<TimestampMicrosecondType>())).max().unwrap();
        // A deadline before the watermark is an error.
        state.set_timeout_timestamp((newest / 1000 + 10_000).max(state.current_watermark_ms()? + 1))?;
    }
    said(key, n, "here")
}

fn said(key: &[ScalarValue], n: i64, what: &str) -> Result<RecordBatch> {
    let schema = parse_schema("k STRING, n BIGINT, what STRING")?;
    let key = key[0].to_array().unwrap();
    Ok(RecordBatch::try_new(schema, vec![key, Arc::new(Int64Array::from(vec![n])), Arc::new(StringArray::from(vec![what]))])?)
}
