//! How the files of a range are shared out to tasks: small files together, big ones in pieces where the format allows.
//!
//! A piece of a line format begins and ends at any byte; its reader takes the lines that begin in it. A piece of a
//! parquet file takes the row groups whose middle lies in it. Planning opens no file.

use millstream_core::{Options, Result, Split};
use serde::{Deserialize, Serialize};

use super::decompress::Codec;
use super::format::FileFormat;
use super::listing::{FoundFile, Lister};
use super::partition::{PartitionValues, partition_values};
use crate::wire;

/// A file is not cut into pieces smaller than this.
const PIECE_BYTES_MIN: u64 = 8 << 20;

/// What opening a file costs, in bytes of reading.
const OPEN_COST_BYTES: u64 = 64 << 10;

/// A file, or a piece of one, to read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FilePiece {
    #[serde(rename = "p")]
    pub(super) path: String,
    #[serde(rename = "s")]
    pub(super) size: u64,
    #[serde(rename = "m")]
    pub(super) mtime_us: i64,
    /// The bytes `start..end`, unless it is the whole file.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) range: Option<(u64, u64)>,
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub(super) values: PartitionValues,
}

impl FilePiece {
    fn n_bytes(&self) -> u64 {
        self.range.map_or(self.size, |(start, end)| end - start)
    }
}

/// The payload of a split.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FileSplit {
    pub(super) pieces: Vec<FilePiece>,
}

/// Shares files out to at most `n_tasks` splits of about equal size; within a split they keep their order.
pub(super) fn pack(format: FileFormat, options: &Options, lister: &Lister, files: &[FoundFile], n_tasks: usize) -> Result<Vec<Split>> {
    let n_tasks = n_tasks.max(1);
    let total: u64 = files.iter().map(|file| file.size).sum();
    let fair = (total / n_tasks as u64).max(PIECE_BYTES_MIN);
    let cuts_lines = format.is_cut_at_lines(options);
    let mut pieces = Vec::with_capacity(files.len());
    for file in files {
        let whole = FilePiece {
            path: file.path.clone(),
            size: file.size,
            mtime_us: file.mtime_us,
            range: None,
            values: partition_values(lister.partition_folders(&file.path).into_iter()),
        };
        let can_be_cut = format == FileFormat::Parquet || (cuts_lines && Codec::of(&file.path)?.is_none());
        let n_pieces = if can_be_cut { (file.size.div_ceil(fair)).min(n_tasks as u64).max(1) } else { 1 };
        if n_pieces == 1 {
            pieces.push(whole);
            continue;
        }
        let bytes = file.size.div_ceil(n_pieces);
        for nth in 0..n_pieces {
            let range = (nth * bytes, ((nth + 1) * bytes).min(file.size));
            pieces.push(FilePiece { range: Some(range), ..whole.clone() });
        }
    }
    // The largest first, each to the task with the least so far.
    let mut order: Vec<usize> = (0..pieces.len()).collect();
    let cost = |idx: usize| pieces.get(idx).map_or(0, FilePiece::n_bytes) + OPEN_COST_BYTES;
    order.sort_by_key(|idx| std::cmp::Reverse(cost(*idx)));
    let mut tasks: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); n_tasks.min(pieces.len())];
    for idx in order {
        if let Some((load, task)) = tasks.iter_mut().min_by_key(|(load, _)| *load) {
            *load += cost(idx);
            task.push(idx);
        }
    }
    tasks
        .into_iter()
        .map(|(load, mut task)| {
            task.sort_unstable();
            let pieces = task.iter().filter_map(|idx| pieces.get(*idx).cloned()).collect();
            wire::split(&FileSplit { pieces }, load)
        })
        .collect()
}
