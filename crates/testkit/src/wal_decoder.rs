//! A second decoder of the write-ahead log, for verdicts on socket jobs: what is in the log must come out.
//!
//! Written from the format's description (docs/design/0001), not with the engine's code, and it reads only: whole frames
//! up to the first that is not. Uses nothing but the standard library: `xtask`, which depends on no crate of ours,
//! compiles this same file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"MSR1";

/// The rows of every `*.wal` below a folder, by segment: their names are in the order in which they were written.
pub fn segments(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<String>>, String> {
    let mut paths = Vec::new();
    find(folder, &mut paths)?;
    let mut segments = BTreeMap::new();
    for path in paths {
        // The writer may trim a segment while nobody reads it; here nobody writes.
        let bytes = fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let mut rows = Vec::new();
        // The first frame is the segment's header.
        for group in frames(&bytes).into_iter().skip(1) {
            rows_of(group, &mut rows).ok_or(format!("{}: a whole frame that is no group of rows", path.display()))?;
        }
        segments.insert(path, rows);
    }
    Ok(segments)
}

fn find(folder: &Path, segments: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(folder).map_err(|e| format!("cannot list {}: {e}", folder.display()))?;
    for path in entries.filter_map(|e| e.ok().map(|e| e.path())) {
        if path.is_dir() {
            find(&path, segments)?;
        } else if path.extension().is_some_and(|e| e == "wal") {
            segments.push(path);
        }
    }
    Ok(())
}

/// Payloads of `| MSR1 | len u32 | crc32c u32 | payload |`, the checksum over len, payload and the frame's offset (u64).
pub fn frames(file: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    let mut bytes = file;
    while let Some(rest) = bytes.strip_prefix(MAGIC) {
        let Some((len, rest)) = rest.split_first_chunk::<4>() else { break };
        let Some((sum, rest)) = rest.split_first_chunk::<4>() else { break };
        let Some(payload) = usize::try_from(u32::from_le_bytes(*len)).ok().and_then(|len| rest.get(..len)) else { break };
        let at = ((file.len() - bytes.len()) as u64).to_le_bytes();
        if crc32c(len.iter().chain(payload).chain(&at)) != u32::from_le_bytes(*sum) {
            break;
        }
        frames.push(payload);
        bytes = rest.get(payload.len()..).unwrap_or_default();
    }
    frames
}

/// `n u32 | n x ( received_us i64 | len u32 | bytes )`.
fn rows_of(group: &[u8], rows: &mut Vec<String>) -> Option<()> {
    let (n, mut rest) = group.split_first_chunk::<4>()?;
    for _ in 0..u32::from_le_bytes(*n) {
        let (_received, behind) = rest.split_first_chunk::<8>()?;
        let (len, behind) = behind.split_first_chunk::<4>()?;
        let (row, behind) = behind.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
        rows.push(String::from_utf8_lossy(row).into_owned());
        rest = behind;
    }
    rest.is_empty().then_some(())
}

/// CRC-32C, a bit at a time: the logs are small.
pub fn crc32c<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    !crc
}
