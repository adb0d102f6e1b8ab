//! `MILLSTREAM_CRASH_AT=after-prepared:3`: the process aborts when it passes that point for the third time.
//!
//! For the tests of crashes with a real process; without the variable nothing happens.

use std::sync::Arc;

use millstream::Result;
use millstream::crash::{AbortAt, CrashPoints, NoCrash};

const VARIABLE: &str = "MILLSTREAM_CRASH_AT";

/// The crash points that the environment asks for.
pub fn from_environment() -> Result<Arc<dyn CrashPoints>> {
    let Ok(text) = std::env::var(VARIABLE) else { return Ok(Arc::new(NoCrash)) };
    Ok(Arc::new(AbortAt::parse(&text).map_err(|error| error.context(VARIABLE))?))
}
