//! Cuts pushed bytes into lines without copying those that lie whole within one piece.
//!
//! A line ends at `\n`, `\r` or `\r\n` as Hadoop's line reader has it, or at the separator of the option `lineSep`.
//! Only the unfinished last line of a piece is copied; it may not grow past a bound.

use memchr::{memchr2, memmem, memrchr2};

use millstream_core::{Error, Result};

/// The byte order mark of UTF-8, skipped at the start of an input.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// What ends a line: a separator, else any line end.
#[derive(Debug, Clone)]
pub(crate) struct LineEnd {
    separator: Option<Vec<u8>>,
}

impl LineEnd {
    pub fn new(separator: Option<&[u8]>) -> Self {
        Self { separator: separator.map(<[u8]>::to_vec) }
    }

    /// The first line of a region: its bytes without terminator, and how many bytes to go on.
    pub fn first_line<'a>(&self, region: &'a [u8]) -> (&'a [u8], usize) {
        let (end, skip) = match &self.separator {
            Some(separator) => (memmem::find(region, separator), separator.len()),
            None => {
                let end = memchr2(b'\n', b'\r', region);
                let crlf = end.is_some_and(|at| region.get(at..at + 2) == Some(b"\r\n"));
                (end, if crlf { 2 } else { 1 })
            }
        };
        match end {
            Some(at) => (region.get(..at).unwrap_or_default(), at + skip),
            None => (region, region.len()),
        }
    }
}

/// Holds the unfinished line between pushes.
#[derive(Debug)]
pub(crate) struct LineCutter {
    end: LineEnd,
    tail: Vec<u8>,
    /// Up to here the tail holds no separator.
    searched: usize,
    /// The last piece ended with `\r`: a `\n` that follows belongs to it.
    after_cr: bool,
    record_bytes_max: usize,
}

impl LineCutter {
    pub fn new(end: LineEnd, record_bytes_max: usize) -> Self {
        Self { end, tail: Vec::new(), searched: 0, after_cr: false, record_bytes_max }
    }

    pub fn begin(&mut self) {
        self.tail.clear();
        self.searched = 0;
        self.after_cr = false;
    }

    /// Gives regions of whole lines, each with its terminators, to `region`.
    pub fn push(&mut self, mut bytes: &[u8], region: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        if let Some(separator) = &self.end.separator {
            // A separator may lie across two pieces, so lines are cut from the joined bytes.
            self.tail.extend_from_slice(bytes);
            let unseen = self.tail.get(self.searched..).unwrap_or_default();
            if let Some(at) = memmem::find_iter(unseen, separator).last() {
                let rest = self.tail.split_off(self.searched + at + separator.len());
                let whole = std::mem::replace(&mut self.tail, rest);
                self.searched = 0;
                region(&whole)?;
            }
            self.searched = self.searched.max((self.tail.len() + 1).saturating_sub(separator.len()));
            return self.check();
        }
        if !self.tail.is_empty() {
            let Some(at) = memchr2(b'\n', b'\r', bytes) else {
                self.tail.extend_from_slice(bytes);
                return self.check();
            };
            let (head, rest) = bytes.split_at_checked(at + 1).unwrap_or((bytes, &[]));
            self.tail.extend_from_slice(head);
            let line = std::mem::take(&mut self.tail);
            region(&line)?;
            self.tail = line;
            self.tail.clear();
            bytes = rest;
            if head.ends_with(b"\r") {
                match bytes.strip_prefix(b"\n") {
                    Some(rest) => bytes = rest,
                    None => self.after_cr = bytes.is_empty(),
                }
            }
        }
        if let Some(at) = memrchr2(b'\n', b'\r', bytes) {
            let (whole, rest) = bytes.split_at_checked(at + 1).unwrap_or((bytes, &[]));
            region(whole)?;
            self.after_cr = rest.is_empty() && whole.ends_with(b"\r");
            bytes = rest;
        }
        self.tail.extend_from_slice(bytes);
        self.check()
    }

    /// The last line, if it had no terminator.
    pub fn end(&mut self) -> Vec<u8> {
        self.after_cr = false;
        self.searched = 0;
        std::mem::take(&mut self.tail)
    }

    fn check(&self) -> Result<()> {
        check_record_bytes(self.tail.len(), self.record_bytes_max)
    }
}

/// Goes through the regions of an input line by line, and counts.
#[derive(Debug)]
pub(crate) struct LineWalk {
    pub(crate) end: LineEnd,
    /// The line that was given last, from 1.
    pub(crate) line: u64,
}

impl LineWalk {
    pub fn new(end: LineEnd) -> Self {
        Self { end, line: 0 }
    }

    /// The line of `region` that begins at `at`, which moves behind it: where its bytes begin, and they, without the
    /// terminator and the byte order mark of an input's first line.
    #[inline]
    pub fn next<'a>(&mut self, region: &'a [u8], at: &mut usize) -> Option<(usize, &'a [u8])> {
        let rest = region.get(*at..).filter(|rest| !rest.is_empty())?;
        let (line, length) = self.end.first_line(rest);
        let start = *at;
        *at += length;
        self.line += 1;
        match line.strip_prefix(BOM) {
            Some(rest) if self.line == 1 => Some((start + BOM.len(), rest)),
            _ => Some((start, line)),
        }
    }
}

/// The bound of the option `maxRecordBytes`.
pub(crate) fn check_record_bytes(length: usize, max: usize) -> Result<()> {
    if length <= max {
        return Ok(());
    }
    Err(Error::new(millstream_core::ErrorKind::Exhausted, format!("a record is longer than {max} bytes"))
        .hint("raise the option 'maxRecordBytes', or set 'lineSep' or 'multiLine' if the records are not lines"))
}

#[cfg(test)]
mod tests;
