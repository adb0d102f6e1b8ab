//! `metadata.json`: which query a checkpoint belongs to and which format it has. Written once, never changed.

use millstream_core::QueryId;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The version of the checkpoint folder's layout that this build writes, and the newest it reads.
pub const FORMAT_VERSION: u32 = 1;

/// The name of the file in the checkpoint folder.
pub const METADATA_NAME: &str = "metadata.json";

/// What `metadata.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The query; the same after every restart.
    pub query_id: QueryId,
    /// The version of the layout.
    pub format_version: u32,
    /// When the checkpoint was made: processing time, microseconds.
    pub created_us: i64,
    /// By which build.
    pub created_by: String,
}

impl Metadata {
    /// Of a new checkpoint.
    pub fn new(query_id: QueryId, created_us: i64) -> Self {
        let created_by = concat!("millstream ", env!("CARGO_PKG_VERSION")).to_owned();
        Self { query_id, format_version: FORMAT_VERSION, created_us, created_by }
    }

    /// As the file's bytes: readable JSON with a checksum over the compact form.
    pub fn encode(&self) -> Vec<u8> {
        let body = json!(self);
        let text = format!("{:#}\n", json!({ "metadata": body, "crc32c": checksum(&body) }));
        text.into_bytes()
    }

    /// From the file's bytes; says why not.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let file: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
        let body = file.get("metadata").ok_or("it has no 'metadata'")?;
        if file.get("crc32c").and_then(Value::as_str) != Some(&checksum(body)) {
            return Err("the checksum does not match".to_owned());
        }
        let version = body.get("format_version").and_then(Value::as_u64).ok_or("it has no format version")?;
        if version > FORMAT_VERSION.into() {
            return Err(format!("its format version is {version} and this build reads up to {FORMAT_VERSION}: use a newer build"));
        }
        serde_json::from_value(body.clone()).map_err(|error| error.to_string())
    }
}

fn checksum(body: &Value) -> String {
    format!("{:08x}", crc32c::crc32c(body.to_string().as_bytes()))
}
