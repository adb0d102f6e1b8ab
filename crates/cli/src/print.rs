//! What the command prints. A reader that has gone (`| head`) is no failure, and never a panic.

use std::io::{ErrorKind, Write, stderr, stdout};

use millstream::{Error, Result};

/// Writes the answer of a command to standard output.
pub fn answer(bytes: &[u8]) -> Result<()> {
    let mut stdout = stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::from(error).context("writing to standard output")),
        _ => Ok(()),
    }
}

/// A line for the user, on standard error: standard output is the console sink's.
pub fn line(text: &str) {
    told(&format!("{text}\n"));
}

/// Text for the user, on standard error.
pub fn told(text: &str) {
    // If nobody listens there is nobody to tell.
    let _ = stderr().lock().write_all(text.as_bytes());
}
