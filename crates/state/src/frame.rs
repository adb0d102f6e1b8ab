//! Frames: how one record lies in a file. A frame is whole or it is not there; nothing is ever half-read.
//!
//! ```text
//!  0      4        8          12
//!  | MSR1 | len u32 | crc32c u32 | payload (len bytes) |      little endian
//!
//!  the checksum covers: len, payload, and the offset of the frame in its file (u64)
//! ```
//! The offset keeps a frame from being taken for one where it does not belong: within a row that somebody sent us, or in a
//! block of an older file. Knows nothing of what a payload means, and nothing of files.

use millstream_core::{Error, Result};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 12;

const MAGIC: [u8; 4] = *b"MSR1";

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole frame, and where the next one begins.
    Frame {
        /// Its payload.
        payload: &'a [u8],
        /// The offset behind it.
        end: usize,
    },
    /// The bytes end here.
    End,
    /// Something that is no whole frame, and why.
    Bad(&'static str),
}

/// Appends a frame around `payload`; `out` will stand at offset `base` of the file.
pub fn encode(payload: &[u8], base: u64, out: &mut Vec<u8>) -> Result<()> {
    out.reserve(HEADER_BYTES + payload.len());
    encode_with(base, out, |out| {
        out.extend_from_slice(payload);
        Ok(())
    })
}

/// As [`encode`], where the payload is what `write` appends: a large one is not copied.
pub fn encode_with(base: u64, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
    let begin = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    write(out)?;
    let payload = out.get(begin + HEADER_BYTES..).unwrap_or_default();
    let len = u32::try_from(payload.len())
        .map_err(|_| Error::exhausted(format!("a record of {} bytes is over the limit of 4294967295", payload.len())))?
        .to_le_bytes();
    let checksum = checksum(&len, payload, base + begin as u64).to_le_bytes();
    let header = MAGIC.into_iter().chain(len).chain(checksum);
    out.iter_mut().skip(begin).zip(header).for_each(|(byte, of_header)| *byte = of_header);
    Ok(())
}

/// Looks at the frame that begins at `at`; `bytes` is the file from its beginning.
pub fn next(bytes: &[u8], at: usize) -> Next<'_> {
    next_in(bytes, at, 0)
}

/// As [`next`], where `bytes` is the file from offset `base` on; `at` counts from there.
pub fn next_in(bytes: &[u8], at: usize, base: u64) -> Next<'_> {
    let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) else { return Next::End };
    let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else { return Next::Bad("the header is cut") };
    let [m0, m1, m2, m3, l0, l1, l2, l3, c0, c1, c2, c3] = *header;
    if [m0, m1, m2, m3] != MAGIC {
        return Next::Bad("no record begins here");
    }
    let len = [l0, l1, l2, l3];
    let Some(payload) = usize::try_from(u32::from_le_bytes(len)).ok().and_then(|len| rest.get(..len)) else {
        return Next::Bad("the record is cut");
    };
    if checksum(&len, payload, base + at as u64) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Next::Bad("the checksum does not match");
    }
    Next::Frame { payload, end: at + HEADER_BYTES + payload.len() }
}

/// How long the frame is that begins with `header`, if one does.
pub fn len_of(header: &[u8]) -> Option<u64> {
    match header {
        [m0, m1, m2, m3, l0, l1, l2, l3, ..] if [*m0, *m1, *m2, *m3] == MAGIC => {
            Some(HEADER_BYTES as u64 + u64::from(u32::from_le_bytes([*l0, *l1, *l2, *l3])))
        }
        _ => None,
    }
}

/// The first offset at or behind `from` where a whole frame begins: tells damage in the middle from a torn tail.
pub fn find(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(MAGIC.len())
        .enumerate()
        .filter(|(_, window)| *window == MAGIC)
        .map(|(at, _)| from + at)
        .find(|at| matches!(next(bytes, *at), Next::Frame { .. }))
}

/// The payload of a file that has nothing but one frame from `at` on.
pub fn only(bytes: &[u8], at: usize) -> Result<&[u8], &'static str> {
    match next(bytes, at) {
        Next::Frame { payload, end } if end == bytes.len() => Ok(payload),
        Next::Frame { .. } => Err("there are bytes behind the record"),
        Next::End => Err("it is empty"),
        Next::Bad(why) => Err(why),
    }
}

fn checksum(len: &[u8; 4], payload: &[u8], at: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(len), payload), &at.to_le_bytes())
}

#[cfg(test)]
mod tests;
