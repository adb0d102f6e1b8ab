//! What our own sinks have committed in a folder: `_millstream/<query>/committed/<epoch>.mark`, each `{"batch":N}`.
//!
//! ```text
//!  commit of batch N:  rename staged files ─► sync folders ─► replace committed/<epoch>.mark {"batch":N}
//!  a reader of ours:   read committed/*.mark ─► list files ─► of each query's files take those with batch <= N
//! ```
//! The mark is read before the files are listed, so a batch that counts is listed whole. A query without a `committed`
//! folder (a finished batch write, or files that were copied here) counts as it is, and so does one whose books are being
//! removed: a file `closed` beside that folder says so.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use futures::TryStreamExt;
use millstream_core::{BatchId, Error, QueryId, Result};
use millstream_state::Location;
use millstream_state::location::{join_key, store_error};
use object_store::ObjectStoreExt;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::names::BOOKS;

/// The file that says of a query's books that they are being removed.
pub(super) const CLOSED: &str = "closed";

/// Books that change all the time while they are read are given up after so many tries.
const READINGS_MAX: usize = 100;

/// The content of a mark.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) batch: BatchId,
    /// Files that this batch replaces (whole paths or keys): from the mark on they do not count, removed or not.
    #[serde(default, skip_serializing_if = "HashSet::is_empty")]
    pub(super) retired: HashSet<String>,
}

/// What counts in a folder.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Committed {
    /// For each query with books, the highest committed batch; `None` = nothing yet.
    queries: HashMap<QueryId, Option<BatchId>>,
    retired: HashSet<String>,
}

impl Committed {
    /// Whether there are no books, so that every file counts.
    pub(super) fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// Whether a file of this query and batch counts.
    pub(super) fn counts(&self, query: QueryId, batch: BatchId) -> bool {
        match self.queries.get(&query) {
            None => true,
            Some(highest) => highest.is_some_and(|highest| batch <= highest),
        }
    }

    /// Whether an `overwrite` has taken this file's place.
    pub(super) fn is_retired(&self, path: &str) -> bool {
        self.retired.contains(path)
    }

    fn add(&mut self, query: QueryId, mark: Option<Mark>) {
        let highest = self.queries.entry(query).or_default();
        if let Some(mark) = mark {
            *highest = (*highest).max(Some(mark.batch));
            self.retired.extend(mark.retired);
        }
    }

    /// Reads the books of a folder. A folder without books is everybody's.
    pub(super) async fn read(base: &Location) -> Result<Self> {
        for _ in 0..READINGS_MAX {
            if let Some(committed) = Self::read_once(base).await? {
                return Ok(committed);
            }
        }
        Err(Error::data(format!("what was committed in '{}' changed again and again while it was read", base.url())))
    }

    /// `None` if a mark went away while it was read: a newer one took its place, or the books are gone.
    async fn read_once(base: &Location) -> Result<Option<Self>> {
        match base {
            Location::Local { path, .. } => Self::read_local(path),
            Location::Object { store, prefix, .. } => {
                let books = join_key(prefix, BOOKS);
                let mut committed = Self::default();
                let mut objects = store.list(Some(&books));
                while let Some(meta) = objects.try_next().await.map_err(store_error)? {
                    let Some(segments) = meta.location.prefix_match(&books) else { continue };
                    let segments: Vec<String> = segments.map(|segment| segment.as_ref().to_owned()).collect();
                    let [query, folder, ..] = segments.as_slice() else { continue };
                    let Ok(query) = Uuid::try_parse(query) else { continue };
                    committed.add(QueryId(query), None);
                    if folder == "committed" {
                        let found = match store.get(&meta.location).await {
                            Ok(found) => found,
                            Err(object_store::Error::NotFound { .. }) => return Ok(None),
                            Err(error) => return Err(store_error(error)),
                        };
                        let bytes = found.bytes().await.map_err(store_error)?;
                        committed.add(QueryId(query), Some(parse_mark(&bytes, meta.location.as_ref())?));
                    }
                }
                Ok(Some(committed))
            }
            _ => Ok(Some(Self::default())),
        }
    }

    fn read_local(base: &Path) -> Result<Option<Self>> {
        let books = base.join(BOOKS);
        let mut committed = Self::default();
        let queries = match std::fs::read_dir(&books) {
            Ok(queries) => queries,
            // NotADirectory: the path is a single file.
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                return Ok(Some(committed));
            }
            Err(error) => return Err(Error::from(error).context(format!("reading '{}'", books.display()))),
        };
        for query in queries {
            let query = query?;
            let Some(id) = query.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok()) else { continue };
            match read_marks(&query.path().join("committed"))? {
                Marks::Vanished => return Ok(None),
                Marks::NoFolder => {}
                Marks::Found(marks) if marks.is_empty() && query.path().join(CLOSED).exists() => {}
                Marks::Found(marks) => {
                    committed.add(QueryId(id), None);
                    marks.into_iter().for_each(|mark| committed.add(QueryId(id), Some(mark)));
                }
            }
        }
        Ok(Some(committed))
    }
}

/// What a local folder of marks holds.
enum Marks {
    Found(Vec<Mark>),
    NoFolder,
    /// One went away before it was read.
    Vanished,
}

fn read_marks(folder: &Path) -> Result<Marks> {
    let marks = match std::fs::read_dir(folder) {
        Ok(marks) => marks,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Marks::NoFolder),
        Err(error) => return Err(Error::from(error).context(format!("reading '{}'", folder.display()))),
    };
    let mut read = Vec::new();
    for mark in marks {
        let path = mark?.path();
        if path.extension().is_none_or(|extension| extension != "mark") {
            continue;
        }
        match std::fs::read(&path) {
            Ok(bytes) => read.push(parse_mark(&bytes, &path.to_string_lossy())?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Marks::Vanished),
            Err(error) => return Err(Error::from(error).context(format!("reading '{}'", path.display()))),
        }
    }
    Ok(Marks::Found(read))
}

/// A mark; `path` is for the message.
pub(super) fn parse_mark(bytes: &[u8], path: &str) -> Result<Mark> {
    serde_json::from_slice(bytes).map_err(|error| Error::data(format!("committed mark '{path}' is damaged: {error}")))
}
