//! The sink's uploads and books on an object store.
//!
//! ```text
//!  task    create upload ─► put parts              nothing is visible
//!  record  upload ids and part tags                the decision
//!  commit  complete uploads ─► put committed/<epoch>.mark {"batch":N}
//! ```
//! An upload that was begun but never recorded is invisible, and only the store's AbortIncompleteMultipartUpload rule
//! removes it: nobody else knows its id.

use std::collections::HashSet;

use futures::{FutureExt, StreamExt, TryStreamExt};
use millstream_core::{BatchId, Error, QueryId, Result, RunEpoch};
use millstream_state::Location;
use millstream_state::location::{join_key, store_error};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};

use super::committed::{Mark, parse_mark};
use super::names::BOOKS;
use super::staged::{StagedFile, StagedFiles};
use crate::wire;

/// Uploads completed at the same time.
const PARALLEL: usize = 16;

/// Removes uploads that will not be completed.
pub(super) async fn abort_uploads(store: &dyn MultipartStore, files: &[StagedFile]) -> Result<()> {
    for file in files {
        let Some(upload) = &file.upload else { continue };
        match store.abort_multipart(&key(&file.target)?, &upload.id).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(store_error(error)),
        }
    }
    Ok(())
}

/// Makes the files of a decided batch visible; again and again with the same end.
pub(super) async fn publish(location: &Location, files: &StagedFiles) -> Result<()> {
    let Location::Object { store, multipart, .. } = location else {
        return Err(Error::internal("not an object store"));
    };
    let completions: Vec<_> = files.files.iter().map(|file| complete(store.as_ref(), multipart.as_ref(), file).boxed()).collect();
    futures::stream::iter(completions).buffer_unordered(PARALLEL).try_collect::<()>().await
}

async fn complete(store: &dyn ObjectStore, multipart: &dyn MultipartStore, file: &StagedFile) -> Result<()> {
    let key = key(&file.target)?;
    let Some(upload) = &file.upload else { return Err(Error::internal(format!("'{key}' has no upload"))) };
    let parts = upload.parts.iter().map(|part| PartId { content_id: part.clone() }).collect();
    let Err(error) = multipart.complete_multipart(&key, &upload.id, parts).await else { return Ok(()) };
    // Completed before a crash: the upload is gone and the object is there.
    match store.head(&key).await {
        Ok(meta) if meta.size == file.bytes => Ok(()),
        _ => Err(store_error(error)
            .context(format!("completing '{key}'"))
            .hint("the upload of a decided batch may have been removed by a lifecycle rule that is shorter than the outage")),
    }
}

/// The books of one query.
#[derive(Debug, Clone)]
pub(super) struct ObjectBooks {
    location: Location,
    prefix: ObjectPath,
}

impl ObjectBooks {
    pub(super) fn new(location: &Location, query: QueryId) -> Result<Self> {
        let Location::Object { prefix, .. } = location else { return Err(Error::internal("not an object store")) };
        let prefix = join_key(&join_key(prefix, BOOKS), &query.to_string());
        Ok(Self { location: location.clone(), prefix })
    }

    fn store(&self) -> Result<&dyn ObjectStore> {
        match &self.location {
            Location::Object { store, .. } => Ok(store.as_ref()),
            _ => Err(Error::internal("not an object store")),
        }
    }

    /// Carries the mark over to this run.
    pub(super) async fn start(&self, epoch: RunEpoch) -> Result<Option<BatchId>> {
        let store = self.store()?;
        let own = self.mark_key(epoch);
        let mut highest = None;
        let mut older = Vec::new();
        let committed = join_key(&self.prefix, "committed");
        let marks: Vec<_> = store.list(Some(&committed)).try_collect().await.map_err(store_error)?;
        for meta in marks {
            let bytes = store.get(&meta.location).await.map_err(store_error)?.bytes().await.map_err(store_error)?;
            highest = highest.max(Some(parse_mark(&bytes, meta.location.as_ref())?.batch));
            if meta.location != own {
                older.push(meta.location);
            }
        }
        if let Some(batch) = highest.filter(|_| !older.is_empty()) {
            self.mark(epoch, batch, HashSet::new()).await?;
            for key in older {
                store.delete(&key).await.map_err(store_error)?;
            }
        }
        Ok(highest)
    }

    fn mark_key(&self, epoch: RunEpoch) -> ObjectPath {
        join_key(&join_key(&self.prefix, "committed"), &format!("{epoch}.mark"))
    }

    /// `retired` are the keys that the batch replaces.
    pub(super) async fn mark(&self, epoch: RunEpoch, batch: BatchId, retired: HashSet<String>) -> Result<()> {
        let bytes = wire::to_json(&Mark { batch, retired })?;
        self.store()?.put(&self.mark_key(epoch), bytes.into()).await.map_err(store_error)?;
        Ok(())
    }

    /// Removes the query's books, its mark last: without it they would say that nothing is committed.
    pub(super) async fn remove(&self) -> Result<()> {
        let store = self.store()?;
        let keys: Vec<_> = store.list(Some(&self.prefix)).map_ok(|meta| meta.location).try_collect().await.map_err(store_error)?;
        let committed = join_key(&self.prefix, "committed");
        let (marks, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.prefix_matches(&committed));
        for key in others.iter().chain(&marks) {
            store.delete(key).await.map_err(store_error)?;
        }
        Ok(())
    }
}

fn key(text: &str) -> Result<ObjectPath> {
    ObjectPath::parse(text).map_err(|error| Error::internal(format!("key '{text}' is not valid: {error}")))
}
