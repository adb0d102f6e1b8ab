//! Goes through the records of CSV inputs, a line each or, with `multiLine`, with line ends in them. Blank lines and comments
//! are no records.

use millstream_core::Result;

use super::options::CsvReadOptions;
use super::split::{Cut, Splitter};
use crate::input::Piece;
use crate::lines::{BOM, LineEnd, LineWalk};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct RecordWalk {
    splitter: Splitter,
    lines: LineWalk,
    comment: Option<u8>,
    origin: String,
    at_start: bool,
}

impl RecordWalk {
    pub fn new(options: &CsvReadOptions, line_end: LineEnd) -> Self {
        let (splitter, comment) = (Splitter::new(options), options.comment);
        Self { splitter, lines: LineWalk::new(line_end), comment, origin: String::new(), at_start: true }
    }

    /// A new input begins.
    pub fn begin(&mut self, origin: &str) {
        origin.clone_into(&mut self.origin);
        self.lines.line = 0;
        self.at_start = true;
    }

    /// Gives each record of a piece to `record`: the splitter that has just cut it, its bytes and its line. Tells how many
    /// bytes of an open piece they were; at the end of the input the last record is whole.
    pub fn each(&mut self, piece: Piece<'_>, record: impl FnMut(&Splitter, &[u8], u64) -> Result<()>) -> Result<usize> {
        match piece {
            Piece::Lines(lines) => self.each_line(lines, record).map(|()| lines.len()),
            Piece::Open { input, is_end } => self.each_open(input, is_end, record),
        }
    }

    fn each_line(&mut self, lines: &[u8], mut record: impl FnMut(&Splitter, &[u8], u64) -> Result<()>) -> Result<()> {
        let mut at = 0;
        while let Some((_, line)) = self.lines.next(lines, &mut at) {
            if line.iter().all(|byte| *byte <= b' ') || self.is_comment(line) {
                continue;
            }
            self.cut(line, self.lines.line)?;
            record(&self.splitter, line, self.lines.line)?;
        }
        Ok(())
    }

    fn each_open(&mut self, input: &[u8], is_end: bool, mut record: impl FnMut(&Splitter, &[u8], u64) -> Result<()>) -> Result<usize> {
        let mut at = 0;
        if self.at_start {
            if input.len() < BOM.len() && !is_end {
                return Ok(0);
            }
            if input.starts_with(BOM) {
                at = BOM.len();
            }
            self.at_start = false;
        }
        while let Some(rest) = input.get(at..).filter(|rest| !rest.is_empty()) {
            // Blank lines and comments end at the next line end even if they hold quotes.
            let (line, length) = self.lines.end.first_line(rest);
            if line.is_empty() || self.is_comment(line) {
                if length == line.len() && !is_end {
                    break;
                }
                self.lines.line += 1;
                at += length;
                continue;
            }
            let cut = self.cut(rest, self.lines.line + 1)?;
            if cut.open && !is_end {
                break;
            }
            let bytes = rest.get(..cut.consumed).unwrap_or_default();
            self.lines.line += 1;
            record(&self.splitter, bytes, self.lines.line)?;
            self.lines.line += memchr::memchr_iter(b'\n', bytes.strip_suffix(b"\n").unwrap_or(bytes)).count() as u64;
            at += cut.consumed;
        }
        Ok(at)
    }

    fn is_comment(&self, line: &[u8]) -> bool {
        self.comment.is_some() && line.first().copied() == self.comment
    }

    fn cut(&mut self, bytes: &[u8], line: u64) -> Result<Cut> {
        self.splitter.cut(bytes).map_err(|error| error.context(format!("{}, line {line}", self.origin)))
    }
}
