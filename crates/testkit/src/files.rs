//! Input files for queries that run meanwhile.

use std::path::Path;

/// Puts a file there whole, as a producer should: a query that looks at the folder while it is written must not find a part of it,
/// which it would take for all. Folders above are made.
pub fn put_file(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
    let path = path.as_ref();
    // Sources do not look at hidden names.
    let unfinished = path.with_file_name(format!(".unfinished-{}", path.file_name().unwrap_or_default().display()));
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, path)
}
