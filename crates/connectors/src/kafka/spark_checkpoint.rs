//! How far a query of Spark's has got: the offsets in its checkpoint, for option `startingOffsetsFromSparkCheckpoint`.
//!
//! ```text
//!  offsets/N      v1 ⏎ {watermark, settings} ⏎ {"topic":{"0":23}} ⏎ ...   where batch N ends, a line per source ("-": nothing yet)
//!                 v2: each line begins with the source's name, as in 0:{"topic":{"0":23}}
//!  commits/N      batch N has been written out
//!  sources/S/0    \0 v1 ⏎ {"topic":{"0":0}}                              where a source over Kafka began
//! ```
//! Source: Spark's "Recovering from Failures with Checkpointing" and files that Spark 4.3.0 wrote (`gold/kafka_checkpoints.py`).

use std::io;
use std::path::Path;

use futures::TryStreamExt;
use millstream_core::{Error, Options, Result};
use millstream_state::Location;
use millstream_state::location::{join_key, store_error};
use object_store::{ObjectStore, ObjectStoreExt};

use super::cluster::Partitions;
use super::offsets::Offsets;

/// What the last committed batch ends with in partitions of these topics; what the query began with if it has committed none.
/// Partitions that Spark does not know are left out. A batch that was begun and not committed does not count.
pub(super) async fn committed_offsets(dir: &str, partitions: &Partitions) -> Result<Offsets> {
    let at = |error: Error| error.context(format!("option 'startingOffsetsFromSparkCheckpoint' is '{dir}'"));
    let base = Location::parse(dir, &Options::new()).map_err(at)?;
    let sources = of_sources(&base).await.map_err(at)?;
    merged(&sources, partitions).map_err(at)
}

/// The offsets of each source over Kafka.
async fn of_sources(base: &Location) -> Result<Vec<Offsets>> {
    let last = names(base, "commits").await?.iter().filter_map(|name| name.parse::<u64>().ok()).max();
    let mut sources = Vec::new();
    match last {
        Some(batch) => sources = parse(&read(base, &format!("offsets/{batch}")).await?)?,
        None => {
            for name in names(base, "sources").await? {
                let first = read(base, &format!("sources/{name}/0")).await?;
                sources.extend(first.trim_start_matches('\0').lines().nth(1).and_then(of_line));
            }
        }
    }
    if sources.is_empty() {
        return Err(Error::invalid("this is not the checkpoint of a Spark query that reads Kafka, or it has never begun")
            .hint("name the folder that has offsets, commits and sources in it"));
    }
    Ok(sources)
}

fn parse(log: &str) -> Result<Vec<Offsets>> {
    let mut lines = log.lines();
    let version = lines.next().unwrap_or_default();
    if !["v1", "v2"].contains(&version) {
        return Err(Error::unsupported(format!("Spark's offset log in version '{version}'")).hint("v1 and v2 can be read"));
    }
    // The second line has the watermark and settings.
    Ok(lines.skip(1).filter_map(of_line).collect())
}

/// Offsets by topic and partition, behind the name of the source or without one. Other sources write other things.
fn of_line(line: &str) -> Option<Offsets> {
    let json = line.get(line.find('{')?..)?;
    serde_json::from_str(json).ok().filter(|offsets: &Offsets| !offsets.is_empty())
}

fn merged(sources: &[Offsets], partitions: &Partitions) -> Result<Offsets> {
    let mut merged = Offsets::default();
    let all = sources.iter().flat_map(Offsets::iter);
    for (topic, partition, offset) in all.filter(|(topic, ..)| partitions.contains_key(*topic)) {
        match merged.get(topic, partition) {
            Some(other) if other != offset => {
                return Err(Error::invalid(format!("two sources of the Spark query are at {other} and {offset} of {topic}-{partition}"))
                    .hint("say where to begin with option startingOffsets"));
            }
            _ => merged.set(topic, partition, offset),
        }
    }
    if merged.is_empty() {
        let mut known: Vec<&str> = sources.iter().flat_map(Offsets::topics).collect();
        known.sort_unstable();
        known.dedup();
        return Err(Error::invalid(format!("the Spark query reads none of these topics; it reads {}", known.join(", "))));
    }
    let exists = |topic: &str, partition: i32| partitions.get(topic).is_some_and(|known| known.contains(&partition));
    if let Some((topic, partition, offset)) = merged.iter().find(|(topic, partition, _)| !exists(topic, *partition)) {
        return Err(Error::data(format!("the Spark query is at {offset} of {topic}-{partition}, which is not read or not there any more")));
    }
    Ok(merged)
}

/// The names in a folder; none if it does not exist.
async fn names(base: &Location, folder: &str) -> Result<Vec<String>> {
    match base {
        Location::Local { fs, path } => match fs.list(&path.join(folder)) {
            Ok(entries) => Ok(entries.into_iter().map(|entry| entry.name).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(unreadable(&path.join(folder), error)),
        },
        Location::Object { store, prefix, .. } => {
            let folder = join_key(prefix, folder);
            let mut names: Vec<String> = Vec::new();
            let mut objects = store.list(Some(&folder));
            while let Some(object) = objects.try_next().await.map_err(store_error)? {
                let name = object.location.prefix_match(&folder).and_then(|mut below| below.next().map(|part| part.as_ref().to_owned()));
                names.extend(name.filter(|name| names.last() != Some(name)));
            }
            Ok(names)
        }
        _ => Err(Error::unsupported("this kind of location cannot be listed")),
    }
}

async fn read(base: &Location, name: &str) -> Result<String> {
    let bytes = match base {
        Location::Local { fs, path } => fs.read(&path.join(name)).map_err(|error| unreadable(&path.join(name), error))?,
        Location::Object { store, prefix, .. } => {
            let found = store.get(&join_key(prefix, name)).await.map_err(store_error)?;
            found.bytes().await.map_err(store_error)?.to_vec()
        }
        _ => return Err(Error::unsupported("this kind of location cannot be read")),
    };
    String::from_utf8(bytes).map_err(|_| Error::data(format!("'{name}' is not text")))
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::from(error).context(format!("reading '{}'", path.display()))
}
