//! What every query of a job did so far, heard as a listener; also writes the progress file.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use millstream::{Error, QueryEvent, Result, StreamingQueryListener, StreamingQueryProgress};

use crate::print::line;

/// See the module's documentation.
pub struct Totals {
    by_query: Mutex<BTreeMap<String, Total>>,
    file: Option<Mutex<File>>,
    failure: Mutex<Option<Error>>,
    verbose: bool,
}

/// What one query did so far.
#[derive(Debug, Clone, Default)]
pub struct Total {
    pub n_batches: u64,
    pub n_rows_in: u64,
    pub n_rows_out: u64,
    pub last: Option<StreamingQueryProgress>,
}

impl Totals {
    pub fn new(file: Option<&Path>, verbose: bool) -> Result<Self> {
        let open = |path: &Path| {
            let opened = OpenOptions::new().create(true).append(true).open(path);
            opened.map_err(|error| Error::from(error).context(format!("opening progress file '{}'", path.display())))
        };
        let file = file.map(open).transpose()?.map(Mutex::new);
        Ok(Self { by_query: Mutex::default(), file, failure: Mutex::default(), verbose })
    }

    pub fn of(&self, name: &str) -> Total {
        self.by_query.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned().unwrap_or_default()
    }

    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl StreamingQueryListener for Totals {
    fn on_event(&self, event: &QueryEvent) {
        let QueryEvent::Progress(progress) = event else { return };
        if let Some(file) = &self.file {
            let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
            if let Err(error) = writeln!(file, "{}", progress.json()) {
                *self.failure.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(Error::from(error).context("writing the progress file"));
            }
        }
        let name = progress.name.clone().unwrap_or_else(|| progress.id.clone());
        if self.verbose {
            line(&format!(
                "{name}: batch {} read {} rows, wrote {}, {} ms",
                progress.batch_id, progress.num_input_rows, progress.sink.num_output_rows, progress.batch_duration
            ));
        }
        let mut by_query = self.by_query.lock().unwrap_or_else(PoisonError::into_inner);
        let total = by_query.entry(name).or_default();
        total.n_batches += 1;
        total.n_rows_in += progress.num_input_rows;
        total.n_rows_out += u64::try_from(progress.sink.num_output_rows).unwrap_or(0);
        total.last = Some((**progress).clone());
    }
}
