//! An input cut into pieces that its format can take: whole lines, or, where records may hold line ends, all that is
//! not taken yet.

use millstream_core::Result;

use crate::lines::{LineCutter, LineEnd, check_record_bytes};

/// A part of an input.
pub(crate) enum Piece<'a> {
    /// Whole lines with their terminators. The last line of an input may lack it.
    Lines(&'a [u8]),
    /// The input from the first byte that was not taken; more follows unless `is_end`.
    Open { input: &'a [u8], is_end: bool },
}

/// How inputs are cut.
pub(crate) struct CutOptions {
    pub line_end: LineEnd,
    /// Records may hold line ends.
    pub multi_line: bool,
    pub record_bytes_max: usize,
}

/// Cuts one input after the other. Who takes the pieces says how many bytes of an open one it took.
#[derive(Debug)]
pub(crate) struct InputCutter {
    lines: LineCutter,
    /// What is not taken yet, where records may hold line ends.
    open: Option<Vec<u8>>,
    record_bytes_max: usize,
}

impl InputCutter {
    pub fn new(options: CutOptions) -> Self {
        let CutOptions { line_end, multi_line, record_bytes_max } = options;
        Self { lines: LineCutter::new(line_end, record_bytes_max), open: multi_line.then(Vec::new), record_bytes_max }
    }

    /// A new input begins.
    pub fn begin(&mut self) {
        self.lines.begin();
        if let Some(open) = &mut self.open {
            open.clear();
        }
    }

    /// More bytes of the input.
    pub fn push(&mut self, bytes: &[u8], take: &mut dyn FnMut(Piece<'_>) -> Result<usize>) -> Result<()> {
        let Some(open) = &mut self.open else {
            return self.lines.push(bytes, &mut |lines| take(Piece::Lines(lines)).map(|_| ()));
        };
        open.extend_from_slice(bytes);
        let n_taken = take(Piece::Open { input: open, is_end: false })?;
        open.drain(..n_taken);
        check_record_bytes(open.len(), self.record_bytes_max)
    }

    /// The input ends.
    pub fn end(&mut self, take: &mut dyn FnMut(Piece<'_>) -> Result<usize>) -> Result<()> {
        let n_taken = match &mut self.open {
            Some(open) => take(Piece::Open { input: &std::mem::take(open), is_end: true }),
            None => take(Piece::Lines(&self.lines.end())),
        };
        n_taken.map(|_| ())
    }
}
