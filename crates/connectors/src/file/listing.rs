//! What files there are: walks a folder or a prefix, with globs, partition folders and hidden names as Spark treats them.
//!
//! A local folder that has not changed since its last visit is not read again, so that an idle stream costs one `stat`
//! per folder. Listing never opens a file.

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use futures::TryStreamExt;
use millstream_core::{Error, ErrorKind, Options, Result};
use millstream_state::Location;
use millstream_state::location::store_error;
use object_store::ObjectStoreExt;

use super::glob_path::GlobPath;
use super::names::{BOOKS, is_hidden, parse_partition_folder};
use super::options::FileSourceOptions;
use super::quiet::QuietFolder;

/// A folder whose time is this near to the clock may still change without its time changing.
const SETTLED_US: i64 = 2_000_000;

/// A file that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundFile {
    /// Absolute path, or the key in the object store.
    pub(super) path: String,
    pub(super) size: u64,
    pub(super) mtime_us: i64,
}

/// Lists a path again and again.
#[derive(Debug)]
pub(super) struct Lister {
    /// The folder that globs and partition folders are relative to.
    pub(super) base: Location,
    glob: GlobPath,
    recursive: bool,
    options: FileSourceOptions,
    settled: HashMap<PathBuf, Folder>,
    has_vanished: bool,
}

/// What a folder held at its last visit.
#[derive(Debug, Clone)]
struct Folder {
    mtime_us: i64,
    folders: Vec<String>,
    /// Whether a sink of ours has its books in it.
    has_books: bool,
}

impl Lister {
    pub(super) fn new(options: &FileSourceOptions, store_options: &Options) -> Result<Self> {
        let glob = GlobPath::parse(&options.path)?;
        let base = Location::parse(&glob.base, store_options)?;
        Ok(Self { base, glob, recursive: options.recursive, options: options.clone(), settled: HashMap::new(), has_vanished: false })
    }

    /// The path as progress shows it.
    pub(super) fn description(&self) -> String {
        if !self.glob.is_glob() {
            return self.base.url();
        }
        let below = self.options.path.strip_prefix(self.glob.base.as_str()).unwrap_or(&self.options.path);
        format!("{}/{}", self.base.url().trim_end_matches('/'), below.trim_start_matches('/'))
    }

    /// Whether something went away while it was listed, since the last [`Lister::forget`].
    pub(super) fn has_vanished(&self) -> bool {
        self.has_vanished
    }

    pub(super) fn is_glob(&self) -> bool {
        self.glob.is_glob()
    }

    /// The folder, when a listing would give nothing, and no sink of ours keeps books there: a local one that had nothing but files at
    /// its last visit, and is as it was. One `stat`, and the folder of the books need not be looked for.
    pub(super) fn quiet(&self) -> Option<QuietFolder> {
        let Location::Local { path, .. } = &self.base else { return None };
        let known = self.settled.get(path).filter(|known| known.folders.is_empty() && !known.has_books)?;
        let folder = QuietFolder::new(path.clone(), known.mtime_us);
        (!folder.is_changed()).then_some(folder)
    }

    /// All files for whose path `is_wanted` says yes. A local folder that has not changed gives nothing the second time.
    pub(super) async fn list(&mut self, now_us: i64, is_wanted: &(dyn Fn(&str) -> bool + Sync)) -> Result<Vec<FoundFile>> {
        match self.base.clone() {
            Location::Local { path, .. } => {
                let mut found = Vec::new();
                self.list_local(&path, now_us, is_wanted, &mut found)?;
                Ok(found)
            }
            Location::Object { store, prefix, .. } => self.list_store(store.as_ref(), &prefix, is_wanted).await,
            _ => Err(Error::unsupported("this kind of location cannot be listed")),
        }
    }

    async fn list_store(
        &self,
        store: &dyn object_store::ObjectStore,
        prefix: &object_store::path::Path,
        is_wanted: &(dyn Fn(&str) -> bool + Sync),
    ) -> Result<Vec<FoundFile>> {
        let mut found = Vec::new();
        // The path may be an object itself.
        let mut objects = store.list(Some(prefix));
        let mut seen_any = false;
        while let Some(meta) = objects.try_next().await.map_err(store_error)? {
            seen_any = true;
            let Some(segments) = meta.location.prefix_match(prefix) else { continue };
            let segments: Vec<String> = segments.map(|segment| segment.as_ref().to_owned()).collect();
            let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
            let path = meta.location.as_ref();
            if self.takes_path(&segments) && is_wanted(path) {
                let mtime_us = meta.last_modified.timestamp_micros();
                found.push(FoundFile { path: path.to_owned(), size: meta.size, mtime_us });
            }
        }
        if !seen_any && !prefix.as_ref().is_empty() {
            match store.head(prefix).await {
                Ok(meta) if is_wanted(prefix.as_ref()) => {
                    let mtime_us = meta.last_modified.timestamp_micros();
                    found.push(FoundFile { path: prefix.to_string(), size: meta.size, mtime_us });
                }
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        found.retain(|file| self.takes_time(file.mtime_us));
        Ok(found)
    }

    /// Whether a file with these segments below the base is asked for.
    fn takes_path(&self, segments: &[&str]) -> bool {
        let Some((name, folders)) = segments.split_last() else { return true };
        if is_hidden(name) || !self.takes_name(name) {
            return false;
        }
        // Without a glob the base is the root; with one the root is what matched.
        let n_roots = if !self.glob.is_glob() {
            Some(0)
        } else {
            (1..=segments.len()).find(|n| segments.get(..*n).is_some_and(|head| self.glob.matches(head)))
        };
        let Some(n_roots) = n_roots else { return false };
        folders.iter().all(|folder| !is_hidden(folder))
            && folders.iter().skip(n_roots).all(|folder| self.recursive || parse_partition_folder(folder).is_some())
    }

    fn takes_name(&self, name: &str) -> bool {
        self.options.name_filter.as_ref().is_none_or(|filter| filter.matches(name))
    }

    fn takes_time(&self, mtime_us: i64) -> bool {
        self.options.modified_before_us.is_none_or(|before| mtime_us < before)
            && self.options.modified_after_us.is_none_or(|after| mtime_us > after)
    }

    fn list_local(
        &mut self,
        base: &Path,
        now_us: i64,
        is_wanted: &(dyn Fn(&str) -> bool + Sync),
        found: &mut Vec<FoundFile>,
    ) -> Result<()> {
        let metadata = match std::fs::metadata(base) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(base, error)),
        };
        if metadata.is_file() {
            if !self.glob.is_glob() {
                self.take_file(base, &metadata, is_wanted, found);
            }
            return Ok(());
        }
        let mut stack: Vec<(PathBuf, Vec<String>)> = vec![(base.to_owned(), Vec::new())];
        while let Some((folder, segments)) = stack.pop() {
            for name in self.visit(&folder, &segments, now_us, is_wanted, found)? {
                let mut below = segments.clone();
                below.push(name.clone());
                stack.push((folder.join(name), below));
            }
        }
        Ok(())
    }

    /// Adds the files of a folder and gives its folders.
    fn visit(
        &mut self,
        folder: &Path,
        segments: &[String],
        now_us: i64,
        is_wanted: &(dyn Fn(&str) -> bool + Sync),
        found: &mut Vec<FoundFile>,
    ) -> Result<Vec<String>> {
        let vanished = |error: &std::io::Error| error.kind() == std::io::ErrorKind::NotFound && !segments.is_empty();
        let mtime_us = match std::fs::metadata(folder) {
            Ok(metadata) => modified_us(&metadata),
            Err(error) if vanished(&error) => {
                self.has_vanished = true;
                return Ok(Vec::new());
            }
            Err(error) => return Err(unreadable(folder, error)),
        };
        if let Some(known) = self.settled.get(folder)
            && known.mtime_us == mtime_us
        {
            return Ok(known.folders.clone());
        }
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if vanished(&error) => {
                self.has_vanished = true;
                return Ok(Vec::new());
            }
            Err(error) => return Err(unreadable(folder, error)),
        };
        let (mut folders, mut has_books) = (Vec::new(), false);
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(folder, error))?;
            // A name that is not UTF-8 cannot be written into a record; Spark's JVM mangles it.
            let Ok(name) = entry.file_name().into_string() else {
                tracing::warn!(folder = %folder.display(), "a file name that is not UTF-8 is passed over");
                continue;
            };
            if is_hidden(&name) {
                has_books |= name == BOOKS;
                continue;
            }
            let path = entry.path();
            let is_dir = match entry.file_type() {
                Ok(kind) if !kind.is_symlink() => kind.is_dir(),
                _ => path.is_dir(),
            };
            let below: Vec<&str> = segments.iter().map(String::as_str).chain([name.as_str()]).collect();
            if is_dir {
                if self.enters(&below) {
                    folders.push(name);
                }
            } else if self.takes_path(&below) && is_wanted(&path.to_string_lossy()) {
                match std::fs::metadata(&path) {
                    Ok(metadata) => self.take_file(&path, &metadata, &|_| true, found),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => self.has_vanished = true,
                    Err(error) => return Err(unreadable(&path, error)),
                }
            }
        }
        folders.sort();
        if now_us.saturating_sub(mtime_us) > SETTLED_US {
            self.settled.insert(folder.to_owned(), Folder { mtime_us, folders: folders.clone(), has_books });
        }
        Ok(folders)
    }

    /// Whether to look into a folder with these segments below the base.
    fn enters(&self, segments: &[&str]) -> bool {
        if self.glob.is_glob() {
            let n_roots = (1..=segments.len()).find(|n| segments.get(..*n).is_some_and(|head| self.glob.matches(head)));
            match n_roots {
                Some(n_roots) => segments.iter().skip(n_roots).all(|name| self.recursive || parse_partition_folder(name).is_some()),
                None => self.glob.leads_on(segments),
            }
        } else {
            self.recursive || segments.last().is_some_and(|name| parse_partition_folder(name).is_some())
        }
    }

    fn take_file(&self, path: &Path, metadata: &Metadata, is_wanted: &dyn Fn(&str) -> bool, found: &mut Vec<FoundFile>) {
        let mtime_us = modified_us(metadata);
        let text = path.to_string_lossy();
        if metadata.is_file() && self.takes_time(mtime_us) && is_wanted(&text) {
            found.push(FoundFile { path: text.into_owned(), size: metadata.len(), mtime_us });
        }
    }

    /// The folders between the root of partition columns and a file. The root is the option `basePath`, else the path, else
    /// what its glob matched.
    pub(super) fn partition_folders<'a>(&self, path: &'a str) -> Vec<&'a str> {
        let root = match &self.options.base_path {
            Some(base_path) => Location::parse(base_path, &Options::new()).ok(),
            None => None,
        };
        let base = root.as_ref().unwrap_or(&self.base);
        let base = match base {
            Location::Local { path, .. } => path.to_string_lossy().into_owned(),
            Location::Object { prefix, .. } => prefix.to_string(),
            _ => String::new(),
        };
        let Some(below) = path.strip_prefix(base.trim_end_matches('/')) else { return Vec::new() };
        let mut segments: Vec<&str> = below.split('/').filter(|segment| !segment.is_empty()).collect();
        if self.recursive {
            return Vec::new();
        }
        let n_roots = if root.is_none() && self.glob.is_glob() {
            (1..=segments.len()).find(|n| segments.get(..*n).is_some_and(|head| self.glob.matches(head))).unwrap_or(0)
        } else {
            0
        };
        segments.pop();
        segments.split_off(n_roots.min(segments.len()))
    }

    /// Forgets what was visited: the next listing gives everything again.
    pub(super) fn forget(&mut self) {
        self.settled.clear();
        self.has_vanished = false;
    }
}

/// The file as it is now; `None` if it is gone.
pub(super) async fn stat(base: &Location, path: &str) -> Result<Option<FoundFile>> {
    match base {
        Location::Local { .. } => match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(FoundFile { path: path.to_owned(), size: metadata.len(), mtime_us: modified_us(&metadata) })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unreadable(Path::new(path), error)),
        },
        Location::Object { store, .. } => match store.head(&object_store::path::Path::parse(path).unwrap_or_default()).await {
            Ok(meta) => {
                let mtime_us = meta.last_modified.timestamp_micros();
                Ok(Some(FoundFile { path: path.to_owned(), size: meta.size, mtime_us }))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error(error)),
        },
        _ => Err(Error::unsupported("this kind of location cannot be read")),
    }
}

/// Microseconds since the epoch.
pub(super) fn modified_us(metadata: &Metadata) -> i64 {
    let Ok(modified) = metadata.modified() else { return 0 };
    match modified.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotADirectory => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("'{}' cannot be listed: {error}", path.display())).caused_by(error)
}
