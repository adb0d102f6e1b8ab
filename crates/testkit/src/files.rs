//! Input files for queries that run meanwhile.

use std::path::Path;

/// Puts a file there whole, as a producer should: a query that looks at the folder while it is written must not find a part of it,
/// which it would take for all. Folders above are made.
///
/// # Panics
/// If the machine cannot write.
pub fn put_file(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = path.as_ref();
    let folder = path.parent().expect("a file has a folder");
    let name = path.file_name().expect("a file has a name").to_string_lossy();
    // Sources do not look at hidden names.
    let unfinished = folder.join(format!(".unfinished-{name}"));
    std::fs::create_dir_all(folder).expect("the folder is made");
    std::fs::write(&unfinished, bytes).expect("the file is written");
    std::fs::rename(&unfinished, path).expect("the file gets its name");
}
