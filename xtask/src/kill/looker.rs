//! A Millstream reader beside the run: unlike a foreign one it must see whole committed batches only.
//!
//! It asks the real binary again and again while the job runs and is killed, and remembers the ids of each answer.
//! Whether an answer is whole is judged after the run, when all inputs are known.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::run::Outcome;

const PAUSE: Duration = Duration::from_millis(40);

/// A thread that asks.
pub struct Looker {
    stop: std::sync::Arc<AtomicBool>,
    thread: JoinHandle<Outcome<Vec<Vec<String>>>>,
}

impl Looker {
    /// Starts asking for the ids of the table in `output` (its folder, and its format). Files that a program of its own
    /// `replaces` may change while they are read: the reader then says so, which is no answer.
    pub fn start(mut command: Command, folder: &Path, output: &str, format: &str, replaces: bool) -> Outcome<Self> {
        let sql = folder.join("look.sql");
        let text = format!("CREATE TABLE t (id STRING) USING {format} OPTIONS (path '{output}');\nSELECT id FROM t;\n");
        fs::write(&sql, text).map_err(|e| format!("cannot write {}: {e}", sql.display()))?;
        command.args(["sql", "--format", "json", "-f", "look.sql"]).current_dir(folder).stdin(Stdio::null());
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let (stopped, there) = (stop.clone(), folder.join(output));
        let thread = std::thread::spawn(move || looks(&mut command, &there, &stopped, replaces));
        Ok(Self { stop, thread })
    }

    /// Stops, and returns the ids of every answer.
    pub fn stop(self) -> Outcome<Vec<Vec<String>>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the looking thread panicked".to_owned())?
    }
}

fn looks(command: &mut Command, there: &Path, stop: &AtomicBool, replaces: bool) -> Outcome<Vec<Vec<String>>> {
    let mut looks = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(PAUSE);
        // Before the first batch there is no table to read.
        if !there.exists() {
            continue;
        }
        let output = command.output().map_err(|e| format!("cannot start the Millstream reader: {e}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if replaces && said.contains("FILE_CHANGED") {
                continue;
            }
            return Err(format!("the Millstream reader ended with {}: {said}", output.status));
        }
        let mut ids = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines().filter(|l| l.starts_with('{')) {
            let row: Value = serde_json::from_str(line).map_err(|e| format!("the Millstream reader printed {line:?}: {e}"))?;
            ids.push(row.get("id").and_then(Value::as_str).unwrap_or_default().to_owned());
        }
        looks.push(ids);
    }
    Ok(looks)
}
