//! What tasks tell the driver of a file sink, and what a prepared record holds. Stored: fields are added, never changed.

use bytes::Bytes;
use millstream_core::{Error, Result, TaskOutput};
use serde::{Deserialize, Serialize};

use crate::wire;

/// A finished, invisible output file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StagedFile {
    /// Where it will be: below the sink's folder, or a whole key.
    #[serde(rename = "to")]
    pub(super) target: String,
    /// Local: where it is now, below the sink's folder.
    #[serde(rename = "from", default, skip_serializing_if = "Option::is_none")]
    pub(super) staged: Option<String>,
    /// Object stores: the upload that `commit` completes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) upload: Option<Upload>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

/// An upload with all its parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) parts: Vec<String>,
}

/// All files of a task, or of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StagedFiles {
    pub(super) files: Vec<StagedFile>,
    /// Batch writes with mode `ignore` that found something: nothing is written.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) ignored: bool,
}

impl StagedFiles {
    pub(super) fn to_payload(&self) -> Result<Bytes> {
        if self.files.is_empty() {
            return Ok(Bytes::new());
        }
        wire::to_json(self).map(Bytes::from)
    }

    /// The files of all tasks, in the order of tasks.
    pub(super) fn of(mut outputs: Vec<TaskOutput>) -> Result<Self> {
        outputs.sort_by_key(|output| output.task_id);
        let mut all = Self::default();
        for output in outputs.iter().filter(|output| !output.payload.is_empty()) {
            let task: Self = serde_json::from_slice(&output.payload)
                .map_err(|error| Error::internal(format!("a task's output cannot be decoded: {error}")))?;
            all.files.extend(task.files);
        }
        Ok(all)
    }
}
