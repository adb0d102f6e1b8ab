//! What a running query says of itself in its progress file.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// The lines of a progress file that are whole.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// What the state took of memory after the last batch that was told of.
pub fn state_bytes(progress: &Path) -> Option<f64> {
    lines(progress).last()?.get("stateOperators")?.get(0)?.get("memoryUsedBytes")?.as_f64()
}
