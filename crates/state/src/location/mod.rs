//! Places: a path or URL of the user becomes a local folder behind the durable file layer, or an object store.
//!
//! Used by checkpoints, file sources and file sinks, so that one spelling means one place everywhere. Paths are taken
//! as written, as Spark does: no percent-decoding. A bare path is relative to the working directory. Never touches the
//! place itself: nothing is opened, created or looked up here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millstream_core::{Error, Options, Result};
use object_store::ObjectStore;
use object_store::multipart::MultipartStore;
use object_store::path::Path as ObjectPath;

use crate::fs::{FileSystem, OsFileSystem};

mod cloud;
mod memory;

/// An object store with both of its interfaces.
pub trait Store: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Store for T {}

/// A place where files are kept.
#[derive(Clone)]
#[non_exhaustive]
pub enum Location {
    /// A folder or file of this machine.
    Local {
        /// The file layer it is reached by.
        fs: Arc<dyn FileSystem>,
        /// The path, absolute unless the working directory is unknown.
        path: PathBuf,
    },
    /// A place in an object store.
    Object {
        /// The store.
        store: Arc<dyn ObjectStore>,
        /// The same store, for uploads that are completed later and perhaps by another process.
        multipart: Arc<dyn MultipartStore>,
        /// The key or the common prefix of the keys.
        prefix: ObjectPath,
        /// As the user wrote it, without a trailing slash; holds no secrets.
        url: String,
    },
}

impl Location {
    /// Reads a path or URL. Options (and for s3 the environment variables `AWS_*`) say how a store is reached:
    /// `aws_endpoint`, `aws_region`, `aws_access_key_id`, ... as object_store names them, or Spark's `fs.s3a.*`.
    pub fn parse(text: &str, options: &Options) -> Result<Self> {
        Self::parse_on(Arc::new(OsFileSystem), text, options)
    }

    /// As [`Location::parse`], with another local file layer.
    pub fn parse_on(fs: Arc<dyn FileSystem>, text: &str, options: &Options) -> Result<Self> {
        if text.trim().is_empty() {
            return Err(Error::invalid("a path is empty"));
        }
        let Some((scheme, rest)) = split_scheme(text) else { return Self::local(fs, text) };
        if scheme == "file" {
            return Self::local(fs, file_path(text, rest)?);
        }
        let Some(rest) = rest.strip_prefix("//") else {
            return Err(Error::invalid(format!("'{text}' is not a URL: '{scheme}:' must be followed by '//'")));
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') && !matches!(scheme.as_str(), "abfs" | "abfss") {
            return Err(Error::invalid(format!("a '{scheme}' URL must not hold credentials"))
                .hint("give them as options (aws_access_key_id, aws_secret_access_key) or in the environment"));
        }
        let store = match scheme.as_str() {
            "memory" => memory::named(authority)?,
            "s3" | "s3a" | "s3n" => cloud::s3(text, authority, options)?,
            "gs" => cloud::gcs(text, authority, options)?,
            "az" | "azure" | "abfs" | "abfss" | "wasb" | "wasbs" | "adl" => cloud::azure(text, authority, options)?,
            _ => {
                return Err(Error::unsupported(format!("paths of scheme '{scheme}' are not supported: '{text}'"))
                    .hint("known schemes are file, s3, s3a, gs, az, abfs and memory"));
            }
        };
        let prefix = object_path(text, path)?;
        Ok(Self::object(store, &format!("{scheme}://{authority}"), prefix))
    }

    /// A place in a store; `root_url` is what its root is called.
    pub fn object(store: Arc<dyn Store>, root_url: &str, prefix: ObjectPath) -> Self {
        let url = format!("{root_url}/{prefix}").trim_end_matches('/').to_owned();
        Self::Object { multipart: Arc::clone(&store) as Arc<dyn MultipartStore>, store, prefix, url }
    }

    /// A local path, made absolute.
    pub fn local(fs: Arc<dyn FileSystem>, path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // Without a working directory (it was removed) the path stays relative, and the first access says why.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Ok(Self::Local { fs, path: path.components().collect() })
    }

    /// The place of this name within this one. `name` may have several segments divided by `/`.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Local { fs, path } => {
                let path = name.split('/').filter(|segment| !segment.is_empty()).fold(path.clone(), |path, segment| path.join(segment));
                Self::Local { fs: Arc::clone(fs), path }
            }
            Self::Object { store, multipart, prefix, url } => {
                let mut prefix = prefix.clone();
                let mut url = url.clone();
                for segment in name.split('/').filter(|segment| !segment.is_empty()) {
                    prefix = join_key(&prefix, segment);
                    url.push('/');
                    url.push_str(segment);
                }
                Self::Object { store: Arc::clone(store), multipart: Arc::clone(multipart), prefix, url }
            }
        }
    }

    /// The local path, if it is one.
    pub fn as_local(&self) -> Option<&Path> {
        match self {
            Self::Local { path, .. } => Some(path),
            Self::Object { .. } => None,
        }
    }

    /// Whether it is on this machine's disks.
    pub fn is_local(&self) -> bool {
        self.as_local().is_some()
    }

    /// As a URL: `file:/data/in` (Spark's form) or `s3://bucket/in`. What identities and progress show.
    pub fn url(&self) -> String {
        match self {
            Self::Local { path, .. } => format!("file:{}", path.display()),
            Self::Object { url, .. } => url.clone(),
        }
    }
}

/// Shown as the user would write it: a plain path, or the URL.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { path, .. } => write!(f, "{}", path.display()),
            Self::Object { url, .. } => f.write_str(url),
        }
    }
}

/// The store is left out: its settings are long and may hold what must not be shown.
impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Location({self})")
    }
}

/// A child of a key, its name taken as it is (`ObjectPath::join` would encode `%` and others once more).
pub fn join_key(prefix: &ObjectPath, name: &str) -> ObjectPath {
    let whole = if prefix.as_ref().is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
    ObjectPath::parse(&whole).unwrap_or_else(|_| prefix.clone().join(name))
}

/// An error of an object store as ours.
pub fn store_error(error: object_store::Error) -> Error {
    use object_store::Error as E;
    let message = error.to_string();
    let ours = match &error {
        E::NotFound { path, .. } => Error::invalid(format!("object '{path}' does not exist")),
        E::AlreadyExists { path, .. } => Error::invalid(format!("object '{path}' exists already")),
        E::InvalidPath { .. } | E::PermissionDenied { .. } | E::Unauthenticated { .. } | E::UnknownConfigurationKey { .. } => {
            Error::invalid(message)
        }
        E::NotSupported { .. } | E::NotImplemented { .. } => Error::unsupported(message),
        _ => Error::unavailable(message),
    };
    ours.caused_by(error)
}

/// `scheme:rest`, the scheme in lower case. One letter is a Windows drive, and a scheme has no slash before its colon.
fn split_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    // `events:2024.json` is a file name; only what looks like a URL is one.
    let is_url = is_scheme && (rest.starts_with("//") || (scheme.eq_ignore_ascii_case("file") && rest.starts_with('/')));
    is_url.then(|| (scheme.to_ascii_lowercase(), rest))
}

fn file_path<'a>(text: &str, rest: &'a str) -> Result<&'a str> {
    let Some(after) = rest.strip_prefix("//") else { return Ok(rest) };
    let (host, _) = after.split_once('/').unwrap_or((after, ""));
    match host {
        "" | "localhost" => Ok(after.get(host.len()..).filter(|path| !path.is_empty()).unwrap_or("/")),
        _ => Err(Error::invalid(format!("'{text}' names the host '{host}': write file:///path"))),
    }
}

fn object_path(text: &str, path: &str) -> Result<ObjectPath> {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    ObjectPath::parse(segments.join("/")).map_err(|error| Error::invalid(format!("path '{text}' is not valid: {error}")))
}

#[cfg(test)]
mod tests;
