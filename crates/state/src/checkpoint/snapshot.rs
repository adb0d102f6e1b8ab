//! Snapshots of what sources remember: so that the log need not keep every range since the first batch.
//!
//! ```text
//!  sources/<name>/00000000000000000041.snap      | frame: {v, source, batch} | frame: the source's bytes |
//! ```
//! Written in the background, each whole or not at all; an older one is removed when a newer one is durable. A
//! snapshot of a batch is only ever written after the batch's record is durable: one that is ahead of the log shows
//! that the log has lost records.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use futures::TryStreamExt;
use millstream_core::{BatchId, Error, Result};
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::chain::damaged;
use super::object;
use crate::frame;
use crate::fs::blocking;
use crate::location::{Location, store_error};

/// The folder of the sources in the checkpoint folder.
pub const SOURCES_DIR: &str = "sources";

#[derive(Debug, Serialize, Deserialize)]
struct SnapshotHeader {
    v: u32,
    source: String,
    batch: BatchId,
}

/// The folder of a source within a checkpoint: its snapshots, and whatever it keeps there itself.
pub fn source_location(checkpoint: &Location, source: &str) -> Location {
    checkpoint.join(SOURCES_DIR).join(&folder_name(source))
}

/// Writes a snapshot, then removes older ones of the source.
pub async fn write(checkpoint: &Location, source: &str, batch: BatchId, bytes: &[u8]) -> Result<()> {
    let header = SnapshotHeader { v: 1, source: source.to_owned(), batch };
    let header = serde_json::to_vec(&header).map_err(|error| Error::internal(error.to_string()))?;
    let mut content = Vec::new();
    frame::encode(&header, 0, &mut content)?;
    frame::encode(bytes, 0, &mut content)?;
    let dir = source_location(checkpoint, source);
    match dir.join(&file_name(batch)) {
        Location::Local { fs, path } => {
            blocking(move || {
                let dir = crate::fs::parent_of(&path);
                fs.create_dir_all(dir)?;
                for left in fs.list(dir)?.iter().filter(|entry| entry.name.ends_with(".snap.tmp")) {
                    // Left by a crash.
                    fs.remove(&dir.join(&left.name))?;
                }
                Ok(fs.replace_synced(&path, &content)?)
            })
            .await?;
        }
        Location::Object { store, prefix, .. } => {
            store.put(&prefix, PutPayload::from(content)).await.map_err(store_error)?;
        }
    }
    for older in list(&dir).await?.into_iter().filter(|older| *older < batch) {
        remove(&dir.join(&file_name(older))).await?;
    }
    Ok(())
}

/// The newest snapshot of every source that has one. `owned` means that the caller is going to rely on them: a killed run
/// may have renamed one into place without syncing the folder.
pub async fn read_all(checkpoint: &Location, owned: bool) -> Result<BTreeMap<String, (BatchId, Bytes)>> {
    let place = checkpoint.to_string();
    let root = checkpoint.join(SOURCES_DIR);
    let mut snapshots = BTreeMap::new();
    for folder in folders(&root).await? {
        let dir = root.join(&folder);
        if let (true, Location::Local { fs, path }) = (owned, dir.clone()) {
            blocking(move || Ok(fs.sync_dir(&path)?)).await?;
        }
        let Some(batch) = list(&dir).await?.into_iter().max() else { continue };
        let name = format!("{SOURCES_DIR}/{folder}/{}", file_name(batch));
        let Some(content) = read(&dir.join(&file_name(batch))).await? else { continue };
        let (header, bytes) = split(&content).map_err(|why| damaged(&place, &format!("file '{name}': {why}")))?;
        if header.batch != batch || folder_name(&header.source) != folder {
            return Err(damaged(&place, &format!("file '{name}' is the snapshot of batch {} of '{}'", header.batch, header.source)));
        }
        snapshots.insert(header.source, (batch, bytes));
    }
    Ok(snapshots)
}

fn split(content: &Bytes) -> Result<(SnapshotHeader, Bytes), String> {
    let frame::Next::Frame { payload, end } = frame::next(content, 0) else { return Err("its header is damaged".to_owned()) };
    let header: SnapshotHeader = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if header.v > 1 {
        return Err(format!("its format version is {} and this build reads up to 1: use a newer build", header.v));
    }
    let payload = frame::only(content, end)?;
    Ok((header, content.slice_ref(payload)))
}

async fn folders(root: &Location) -> Result<Vec<String>> {
    match root.clone() {
        Location::Local { fs, path } => {
            blocking(move || match fs.list(&path) {
                Ok(entries) => Ok(entries.into_iter().filter(|entry| entry.is_dir).map(|entry| entry.name).collect()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            })
            .await
        }
        Location::Object { store, prefix, .. } => {
            let listed = store.list_with_delimiter(Some(&prefix)).await.map_err(store_error)?;
            Ok(listed.common_prefixes.iter().filter_map(|prefix| prefix.filename().map(str::to_owned)).collect())
        }
    }
}

/// The batches of the snapshots in a source's folder.
async fn list(dir: &Location) -> Result<Vec<BatchId>> {
    let names: Vec<String> = match dir.clone() {
        Location::Local { fs, path } => {
            blocking(move || Ok(fs.list(&path)?.into_iter().map(|entry| entry.name).collect::<Vec<String>>())).await?
        }
        Location::Object { store, prefix, .. } => {
            let listed: Vec<_> = store.list(Some(&prefix)).try_collect().await.map_err(store_error)?;
            listed.iter().filter_map(|meta| meta.location.filename().map(str::to_owned)).collect()
        }
    };
    Ok(names.iter().filter_map(|name| parse_name(name)).collect())
}

async fn read(file: &Location) -> Result<Option<Bytes>> {
    match file.clone() {
        Location::Local { fs, path } => {
            blocking(move || match fs.read(&path) {
                Ok(bytes) => Ok(Some(Bytes::from(bytes))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error.into()),
            })
            .await
        }
        Location::Object { store, prefix, .. } => object::get(&store, &prefix).await,
    }
}

async fn remove(file: &Location) -> Result<()> {
    match file.clone() {
        Location::Local { fs, path } => blocking(move || Ok(fs.remove(&path)?)).await,
        Location::Object { store, prefix, .. } => match store.delete(&prefix).await {
            Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(store_error(error)),
        },
    }
}

/// A source's name as the name of a folder: letters, digits, `_` and `-` as they are, other bytes as `~XX`. Long names
/// are cut and told apart by their checksum.
fn folder_name(source: &str) -> String {
    const LEN_MAX: usize = 120;
    let mut name = String::new();
    for byte in source.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("~{byte:02x}")),
        }
    }
    if name.len() > LEN_MAX || name.is_empty() {
        name.truncate(LEN_MAX);
        name.push_str(&format!("~~{:08x}", crc32c::crc32c(source.as_bytes())));
    }
    name
}

fn file_name(batch: BatchId) -> String {
    format!("{:020}.snap", batch.0)
}

fn parse_name(name: &str) -> Option<BatchId> {
    let batch = BatchId(name.strip_suffix(".snap")?.parse().ok()?);
    (file_name(batch) == name).then_some(batch)
}
