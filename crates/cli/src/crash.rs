//! `MILLSTREAM_CRASH_AT=after-prepared:3`: the process aborts when it passes that point for the third time.
//!
//! For the tests of crashes with a real process; without the variable nothing happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream::crash::{CrashPoint, CrashPoints, NoCrash};
use millstream::{Error, Result};

const VARIABLE: &str = "MILLSTREAM_CRASH_AT";

/// The crash points that the environment asks for.
pub fn from_environment() -> Result<Arc<dyn CrashPoints>> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(Arc::new(NoCrash)) };
    let (name, n) = text.split_once(':').unwrap_or((&text, "1"));
    let point = CrashPoint::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = CrashPoint::ALL.into_iter().map(CrashPoint::name).collect();
        Error::invalid(format!("{VARIABLE}: '{name}' is not one of {}", known.join(", ")))
    })?;
    let left = n.parse().map_err(|_| Error::invalid(format!("{VARIABLE}: '{n}' is not a number")))?;
    Ok(Arc::new(AbortAt { point, left: AtomicU64::new(left) }))
}

#[derive(Debug)]
struct AbortAt {
    point: CrashPoint,
    left: AtomicU64,
}

impl CrashPoints for AbortAt {
    fn reach(&self, point: CrashPoint) -> Result<()> {
        if point == self.point && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
        Ok(())
    }
}
