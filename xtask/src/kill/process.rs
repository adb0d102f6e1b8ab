//! One process of the binary under test: started in the run's folder, watched, killed or awaited.
//!
//! A progress file tells how many batches it has done, so that a kill can be aimed behind the n-th commit; the rest
//! of the kills fall at a drawn time, which also hits start and recovery.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::rng::Rng;
use crate::run::{Outcome, status};

/// A process that takes longer than this hangs.
const HUNG_AFTER: Duration = Duration::from_secs(120);
/// `stopTimeout` is 10 s; twice that is a hang.
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// What a process that aborts itself ends by.
const SIGABRT: i32 = 6;
const LOOK_EVERY: Duration = Duration::from_micros(300);

/// The variable that makes the process abort itself.
const CRASH_AT: &str = "MILLSTREAM_CRASH_AT";
/// Its points where a sink's commit is the decision.
pub const CRASH_POINTS_DECIDING: &[&str] = &[
    "after-start",
    "after-run",
    "after-prepare",
    "after-state",
    "after-proposed",
    "after-decision",
    "after-prepared",
    "after-commit",
    "after-source-commit",
    "after-roll-forward",
    "after-fact",
];
/// Its other points; `after-intent` is for sinks whose effects show early.
pub const CRASH_POINTS: &[&str] = &[
    "after-start",
    "after-run",
    "after-prepare",
    "after-state",
    "after-prepared",
    "after-commit",
    "after-source-commit",
    "after-roll-forward",
    "after-fact",
];

/// When to kill.
pub enum Moment {
    /// So long after the start.
    After(Duration),
    /// So long after this many batches were reported.
    AfterBatches(u64, Duration),
    /// Not from outside: the process aborts itself behind a step of the commit protocol, such as `after-state:2`.
    At(String),
    /// Not at all.
    Never,
}

impl Moment {
    /// Draws a moment; `typical` is how long a whole run takes, `crash_points` the steps that it has.
    pub fn draw(rng: &mut Rng, typical: Duration, crash_points: &[&str]) -> Self {
        let micros = u64::try_from(typical.as_micros()).unwrap_or(u64::MAX / 8);
        match rng.range(0, 3) {
            0 => Self::After(Duration::from_micros(rng.range(0, micros + micros / 8))),
            1 => Self::AfterBatches(rng.range(0, 6), Duration::from_micros(rng.range(0, 15_000))),
            _ => Self::At(format!("{}:{}", rng.pick(crash_points).unwrap_or(&""), rng.range(1, 5))),
        }
    }
}

/// How a process ended.
pub enum End {
    /// By our kill, or by its own at a crash point.
    Killed,
    /// By itself, with exit code 0, after so long.
    Done(Duration),
}

/// Runs `command` in `folder` and kills it at `moment` unless it ends first. An exit code that is not 0 is an error.
pub fn run(command: &mut Command, folder: &Path, progress: &Path, moment: &Moment) -> Outcome<End> {
    run_to_any_end(command, folder, progress, moment)?.map_err(|status| format!("the process ended with {status}; see log"))
}

/// The same, where another exit code is an end, too.
pub fn run_to_any_end(command: &mut Command, folder: &Path, progress: &Path, moment: &Moment) -> Outcome<Result<End, ExitStatus>> {
    let mut batches = Batches::new(progress);
    let start = Instant::now();
    if let Moment::At(point) = moment {
        command.env(CRASH_AT, point);
    }
    let mut child = spawn(command, folder)?;
    let mut kill_at = match moment {
        Moment::After(after) => Some(start + *after),
        Moment::AfterBatches(0, after) => Some(start + *after),
        Moment::AfterBatches(..) | Moment::At(_) | Moment::Never => None,
    };
    loop {
        let ended = child.try_wait().map_err(|e| format!("cannot wait for the process: {e}"))?;
        if let Some(status) = ended {
            return if status.success() {
                Ok(Ok(End::Done(start.elapsed())))
            } else if matches!(moment, Moment::At(_)) && status.signal() == Some(SIGABRT) {
                Ok(Ok(End::Killed))
            } else {
                Ok(Err(status))
            };
        }
        let now = Instant::now();
        if kill_at.is_some_and(|at| now >= at) {
            kill(&mut child)?;
            return Ok(Ok(End::Killed));
        }
        if let (None, Moment::AfterBatches(n, after)) = (kill_at, moment)
            && batches.count() >= *n
        {
            kill_at = Some(now + *after);
        }
        if now.duration_since(start) > HUNG_AFTER {
            kill(&mut child)?;
            return Err(format!("the process hung for {} s", HUNG_AFTER.as_secs()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Runs `command` in `folder` until `ready`, then asks it to stop; it must end well, and soon.
pub fn run_until(command: &mut Command, folder: &Path, mut ready: impl FnMut() -> bool) -> Outcome {
    let mut child = spawn(command, folder)?;
    let start = Instant::now();
    let mut asked: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().map_err(|e| format!("cannot wait for the process: {e}"))? {
            let well = status.success() && asked.is_some();
            return if well { Ok(()) } else { Err(format!("the process ended with {status}, stop asked: {}; see log", asked.is_some())) };
        }
        if asked.is_none() && ready() {
            status(Command::new("kill").arg("-TERM").arg(child.id().to_string()))?;
            asked = Some(Instant::now());
        }
        if start.elapsed() > HUNG_AFTER || asked.is_some_and(|a| a.elapsed() > STOP_WITHIN) {
            kill(&mut child)?;
            return Err(format!(
                "the process hung, {:.0} s after its start, stop asked: {}",
                start.elapsed().as_secs_f64(),
                asked.is_some()
            ));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts `command` in `folder`, with its output appended to the run's log.
fn spawn(command: &mut Command, folder: &Path) -> Outcome<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(folder.join("log"));
    let log = log.map_err(|e| format!("cannot open the log of the run: {e}"))?;
    let log_too = log.try_clone().map_err(|e| format!("cannot open the log of the run: {e}"))?;
    command.current_dir(folder).stdin(Stdio::null()).stdout(log).stderr(log_too);
    command.spawn().map_err(|e| format!("cannot start {}: {e}", command.get_program().to_string_lossy()))
}

/// SIGKILL, and wait.
fn kill(child: &mut Child) -> Outcome {
    child.kill().map_err(|e| format!("cannot kill the process: {e}"))?;
    child.wait().map(drop).map_err(|e| format!("cannot wait for the process: {e}"))
}

/// Counts how often the progress file grew.
struct Batches<'a> {
    file: &'a Path,
    len: u64,
    n: u64,
}

impl<'a> Batches<'a> {
    fn new(file: &'a Path) -> Self {
        let mut batches = Self { file, len: 0, n: 0 };
        batches.count();
        batches.n = 0;
        batches
    }

    fn count(&mut self) -> u64 {
        let len = fs::metadata(self.file).map_or(0, |m| m.len());
        if len > self.len {
            self.n += 1;
        }
        self.len = len;
        self.n
    }
}
