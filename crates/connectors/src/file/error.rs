//! Errors of the file layer, naming the file.

use millstream_core::Error;

/// What went wrong while a file or folder was written.
pub(super) fn write_error(path: &str, error: std::io::Error) -> Error {
    Error::from(error).context(format!("writing '{path}'"))
}
