//! One job, three lives: the table of the stream must be that of the batch, and that of a stream killed many times.
//!
//! The benchmark's own job on the benchmark's data, so that this holds at a size where batches are not toys.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::workdir;
use crate::kill::jobs::batch_of;
use crate::kill::process::{self, End, Moment};
use crate::kill::rng::Rng;
use crate::run::{Outcome, root, shown};

/// Files per batch in the killed run: many commits to hit.
const FILES_PER_BATCH: &str = "maxFilesPerTrigger '5'";

/// Runs the other two lives of the job in `sql` over `data`, and compares them with `stream`, the output of the first.
pub fn check(python: &Path, program: &Path, sql: &Path, data: &Path, stream: &Path, n_kills: u64, seed: u64) -> Outcome {
    let text = fs::read_to_string(sql).map_err(|e| format!("cannot read {}: {e}", sql.display()))?;
    let write = |path: &Path, text: &str| fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()));

    let batch = workdir("life-batch", Some(data))?;
    write(&batch.join("job.sql"), &batch_of(&text))?;
    process::run(Command::new(program).args(["run", "job.sql"]), &batch, &batch.join("progress"), &Moment::Never)?;
    compare(python, "batch", stream, &batch.join("out"))?;

    let killed = workdir("life-killed", Some(data))?;
    write(&killed.join("job.sql"), &text.replace("maxFilesPerTrigger '200'", FILES_PER_BATCH))?;
    let progress = killed.join("progress");
    let mut rng = Rng::new(seed, 0);
    let mut n_landed = 0;
    let run = |moment: &Moment| {
        let mut command = Command::new(program);
        process::run(command.args(["run", "job.sql", "--progress-file"]).arg(&progress), &killed, &progress, moment)
    };
    while n_landed < n_kills {
        // Few batches a life, so that the input lasts for all the kills.
        let moment = Moment::AfterBatches(rng.range(1, 4), Duration::from_micros(rng.range(0, 20_000)));
        match run(&moment)? {
            End::Killed => n_landed += 1,
            End::Done(_) => break,
        }
    }
    run(&Moment::Never)?;
    compare(python, &format!("stream killed {n_landed} times"), stream, &killed.join("out"))?;
    if n_landed < n_kills { Err(format!("the input was used up after {n_landed} of {n_kills} kills")) } else { Ok(()) }
}

fn compare(python: &Path, life: &str, left: &Path, right: &Path) -> Outcome {
    let mut command = Command::new(python);
    command.arg(root().join("benches/compare.py")).arg(left).arg(right);
    let output = command.output().map_err(|e| format!("cannot start {}: {e}", shown(&command)))?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    println!("{life}: {said}");
    if output.status.success() { Ok(()) } else { Err(format!("{life} differs: {said} {}", String::from_utf8_lossy(&output.stderr))) }
}
