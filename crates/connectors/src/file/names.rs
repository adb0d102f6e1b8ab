//! Names of files and folders: what our sink calls its files, Spark's escaping of partition folders, hidden names.
//! Pure text work.

use std::fmt::Write;

use millstream_core::sink::WriteAttempt;
use millstream_core::{BatchId, QueryId, TaskId};
use uuid::Uuid;

/// The folder, beside the data, where the sink keeps its books; hidden from readers by its first letter.
pub(super) const BOOKS: &str = "_millstream";

/// The partition value that stands for null.
pub(super) const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

/// What the name of a file written by a streaming sink says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct OwnName {
    pub(super) query_id: QueryId,
    pub(super) batch_id: BatchId,
    pub(super) task_id: TaskId,
    pub(super) seq: u32,
}

impl OwnName {
    pub(super) fn new(attempt: &WriteAttempt, seq: u32) -> Self {
        Self { query_id: attempt.query_id, batch_id: attempt.batch_id, task_id: attempt.task_id, seq }
    }

    /// `part-<task>-<query>-<batch>-<seq><suffix>`.
    pub(super) fn format(&self, suffix: &str) -> String {
        format!("part-{:05}-{}-{:010}-{:03}{suffix}", self.task_id.0, self.query_id, self.batch_id.0, self.seq)
    }

    /// Reads a name of [`OwnName::format`]; any other name is a foreign file's.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_prefix("part-")?;
        let stem = stem.get(..stem.find('.').unwrap_or(stem.len()))?;
        let (task, rest) = stem.split_once('-')?;
        let (query, rest) = rest.split_at_checked(36)?;
        let (batch, seq) = rest.strip_prefix('-')?.split_once('-')?;
        let number = |text: &str, digits: usize| -> Option<u64> {
            (text.len() >= digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
        };
        Some(Self {
            query_id: QueryId(Uuid::try_parse(query).ok()?),
            batch_id: BatchId(number(batch, 10)?),
            task_id: TaskId(u32::try_from(number(task, 5)?).ok()?),
            seq: u32::try_from(number(seq, 3)?).ok()?,
        })
    }
}

/// Whether readers pass over a file or folder of this name.
pub(super) fn is_hidden(name: &str) -> bool {
    (name.starts_with('_') && !name.contains('=')) || name.starts_with('.') || name.ends_with("._COPYING_")
}

/// `key=value` of a folder's name, unescaped; `None` is null.
pub(super) fn parse_partition_folder(name: &str) -> Option<(String, Option<String>)> {
    let (key, value) = name.split_once('=')?;
    if key.is_empty() {
        return None;
    }
    let value = unescape(value);
    Some((unescape(key), (value != NULL_PARTITION).then_some(value)))
}

/// The folder of a partition, as Spark writes it: an empty text is null too.
pub(super) fn partition_folder(key: &str, value: Option<&str>) -> String {
    let mut name = escape(key);
    name.push('=');
    match value {
        Some(value) if !value.is_empty() => name.push_str(&escape(value)),
        _ => name.push_str(NULL_PARTITION),
    }
    name
}

/// Spark's `ExternalCatalogUtils.escapePathName`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        let is_special = matches!(
            c,
            '\u{1}'..='\u{1f}' | '"' | '#' | '%' | '\'' | '*' | '/' | ':' | '=' | '?' | '\\' | '\u{7f}' | '{' | '[' | ']' | '^'
        );
        if is_special {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{:02X}", u32::from(c));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'%').then(|| after.get(..2)).flatten();
        let code = code.and_then(|hex| std::str::from_utf8(hex).ok()).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) => {
                // One code is one character below 256; only ASCII is ever escaped.
                let mut utf8 = [0; 4];
                bytes.extend_from_slice(char::from(code).encode_utf8(&mut utf8).as_bytes());
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
