//! `MILLSTREAM_CRASH_AT=after-prepared:3`: the process aborts when it passes that point for the third time.
//! `MILLSTREAM_PAUSE_AT=after-proposed`: it stops there, as by SIGSTOP, until it gets SIGCONT: a zombie, once another has taken over.
//!
//! For tests with real processes; without the variables nothing happens.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream::crash::{AbortAt, CrashPoint, CrashPoints, NoCrash};
use millstream::{Error, Result};

const CRASH: &str = "MILLSTREAM_CRASH_AT";
const PAUSE: &str = "MILLSTREAM_PAUSE_AT";
/// A signal stops a process when one of its threads has looked at it, which may be another one, and later.
const STOPPED_AFTER: Duration = Duration::from_secs(2);

/// The crash points that the environment asks for.
pub fn from_environment() -> Result<Arc<dyn CrashPoints>> {
    if let Ok(text) = std::env::var(PAUSE) {
        let point =
            CrashPoint::from_name(&text).ok_or_else(|| Error::invalid(format!("{PAUSE}: '{text}' is no point of the commit protocol")))?;
        return Ok(Arc::new(PauseAt { point, has_paused: AtomicBool::new(false) }));
    }
    let Ok(text) = std::env::var(CRASH) else { return Ok(Arc::new(NoCrash)) };
    Ok(Arc::new(AbortAt::parse(&text).map_err(|error| error.context(CRASH))?))
}

/// Stops the process when it passes a point for the first time.
#[derive(Debug)]
struct PauseAt {
    point: CrashPoint,
    has_paused: AtomicBool,
}

impl CrashPoints for PauseAt {
    fn reach(&self, point: CrashPoint) -> Result<()> {
        if point == self.point && !self.has_paused.swap(true, Ordering::Relaxed) {
            Command::new("kill").args(["-STOP", &std::process::id().to_string()]).status()?;
            std::thread::sleep(STOPPED_AFTER);
        }
        Ok(())
    }
}
