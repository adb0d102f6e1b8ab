//! Rows of streams that nobody asked for, until the runner reads them.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use datafusion::execution::SendableRecordBatchStream;

/// See the module's documentation. Closed, it keeps none: they hold the batch that they belong to.
pub(super) struct UnreadRows {
    streams: Mutex<Option<Vec<SendableRecordBatchStream>>>,
}

impl UnreadRows {
    pub(super) fn new() -> Self {
        Self { streams: Mutex::new(Some(Vec::new())) }
    }

    pub(super) fn add(&self, rows: SendableRecordBatchStream) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        match streams.as_mut() {
            Some(streams) => streams.push(rows),
            None => {
                // Not under the lock: they may hold others that come here.
                drop(streams);
                drop(rows);
            }
        }
    }

    pub(super) fn take(&self) -> Vec<SendableRecordBatchStream> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn close(&self) {
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(streams);
    }
}

impl fmt::Debug for UnreadRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnreadRows").finish_non_exhaustive()
    }
}
