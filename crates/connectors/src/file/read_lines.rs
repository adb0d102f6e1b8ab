//! Line formats: bytes of files pushed through the decoders of `millstream-formats`, piece by piece.
//!
//! A piece that begins within a file takes the lines that begin in it: it starts to look one byte earlier for the end of
//! the line before, and reads on over its end until its last line is complete.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_core::{Error, ErrorKind, Options, RejectedRecord, Result};
use millstream_formats::csv::{CsvDecoder, CsvInferrer, CsvReadOptions};
use millstream_formats::datetime::Zone;
use millstream_formats::json::{JsonDecoder, JsonInferrer, JsonReadOptions};
use millstream_formats::text::{TextDecoder, TextReadOptions};
use millstream_formats::{DecodeSettings, Decoder, Inferrer};
use millstream_state::Location;
use millstream_state::fs::blocking;

use super::decompress::{BUFFER_BYTES, OpenFile};
use super::format::FileFormat;
use super::listing::FoundFile;
use super::splits::FilePiece;

/// A decoder for files with the columns `file_schema`, of which `projection` is wanted. Csv files name their columns by
/// place, so their decoder must know all of them.
pub(super) fn decoder(
    format: FileFormat,
    file_schema: &Schema,
    projection: &[usize],
    options: &Options,
    zone: Zone,
    settings: DecodeSettings,
) -> Result<Box<dyn Decoder>> {
    let wanted = file_schema.project(projection)?;
    match format {
        FileFormat::Json => Ok(Box::new(JsonDecoder::new(&wanted, JsonReadOptions::new(options, zone)?, settings)?)),
        FileFormat::Csv => {
            let options = CsvReadOptions::new(options, zone)?;
            Ok(Box::new(CsvDecoder::new(file_schema, Some(projection), options, settings)?))
        }
        FileFormat::Text => Ok(Box::new(TextDecoder::new(&wanted, &TextReadOptions::new(options)?, settings)?)),
        FileFormat::Parquet => Err(Error::internal("parquet is not a line format")),
    }
}

/// The options for a piece that does not begin its file: it has no header line.
pub(super) fn inner_options(options: &Options) -> Options {
    options.clone().with("header", "false")
}

/// The schema of some files, found by reading them.
pub(super) async fn infer_schema(
    format: FileFormat,
    options: &Options,
    base: &Location,
    files: &[FoundFile],
    zone: Zone,
) -> Result<SchemaRef> {
    let (options, base, files) = (options.clone(), base.clone(), files.to_vec());
    blocking(move || {
        let ignores_corrupt = options.get_bool("ignoreCorruptFiles")?.unwrap_or(false);
        let mut inferrer = match format {
            FileFormat::Json => AnyInferrer::Json(Box::new(JsonInferrer::new(JsonReadOptions::new(&options, zone)?))),
            FileFormat::Csv => AnyInferrer::Csv(Box::new(CsvInferrer::new(CsvReadOptions::new(&options, zone)?)?)),
            FileFormat::Text | FileFormat::Parquet => return Err(Error::internal("this format is not inferred from lines")),
        };
        for file in &files {
            let FoundFile { path, size, mtime_us } = file.clone();
            let piece = FilePiece { path, size, mtime_us, range: None, values: Vec::new() };
            match infer_file(&base, &piece, &mut inferrer) {
                Err(error) if ignores_corrupt && error.kind() == ErrorKind::Data => {
                    tracing::warn!(file = piece.path, %error, "the rest of a damaged file does not count for the schema");
                }
                other => other?,
            }
            if inferrer.is_done() {
                break;
            }
        }
        // Files that hold nothing make a table without columns, as in Spark.
        Ok(Arc::new(inferrer.get().finish()?))
    })
    .await
}

enum AnyInferrer {
    Json(Box<JsonInferrer>),
    Csv(Box<CsvInferrer>),
}

impl AnyInferrer {
    fn get(&mut self) -> &mut dyn Inferrer {
        match self {
            Self::Json(inferrer) => inferrer.as_mut(),
            Self::Csv(inferrer) => inferrer.as_mut(),
        }
    }

    /// Whether more would change nothing.
    fn is_done(&self) -> bool {
        matches!(self, Self::Csv(inferrer) if inferrer.is_done())
    }
}

fn infer_file(base: &Location, piece: &FilePiece, inferrer: &mut AnyInferrer) -> Result<()> {
    let Some(mut file) = OpenFile::open(base, piece, None)? else { return Ok(()) };
    let mut buffer = vec![0; BUFFER_BYTES];
    inferrer.get().begin(&piece.path);
    while !inferrer.is_done() {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        inferrer.get().push(buffer.get(..n).unwrap_or_default())?;
    }
    inferrer.get().end()
}

/// What [`read_piece`] reports to.
pub(super) trait PieceSink {
    /// Rows of the decoder's schema.
    fn rows(&mut self, rows: RecordBatch) -> Result<()>;

    /// Called after every push: counts and rejected records of the decoder may have changed.
    fn progress(&mut self, decoder: &mut dyn Decoder, fix: &mut dyn FnMut(&mut RejectedRecord) -> Result<()>) -> Result<()>;
}

/// Pushes a piece through a decoder. `Ok(false)` if the file is gone. Rows may still wait in the decoder.
pub(super) fn read_piece(base: &Location, piece: &FilePiece, decoder: &mut dyn Decoder, sink: &mut dyn PieceSink) -> Result<bool> {
    let start = piece.range.map_or(0, |(start, _)| start);
    let read_from = start.saturating_sub(1);
    let opened = OpenFile::open(base, piece, (start > 0).then_some((read_from, piece.size)))?;
    let Some(mut file) = opened else { return Ok(false) };
    let mut window = Window::new(piece);
    let mut buffer = vec![0; BUFFER_BYTES];
    decoder.begin(&piece.path);
    let mut lines_before: Option<i64> = None;
    let mut fix = |record: &mut RejectedRecord| -> Result<()> {
        if start > 0
            && let Some(position) = record.position
        {
            // Rare, so that the price is paid only by who has bad records.
            let before = match lines_before {
                Some(before) => before,
                None => *lines_before.insert(count_lines(base, piece, start)?),
            };
            record.position = Some(position + before);
        }
        Ok(())
    };
    let located = |error: Error| {
        let error = if start > 0 { error.context(format!("lines counted from byte {start}")) } else { error };
        if error.to_string().contains(&piece.path) { error } else { error.context(format!("reading '{}'", piece.path)) }
    };
    while !window.is_done {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            break;
        }
        let bytes = window.take(buffer.get(..n).unwrap_or_default());
        if !bytes.is_empty() {
            decoder.push(bytes, &mut |rows| sink.rows(rows)).map_err(located)?;
            sink.progress(decoder, &mut fix)?;
        }
    }
    decoder.end(&mut |rows| sink.rows(rows)).map_err(located)?;
    sink.progress(decoder, &mut fix)?;
    Ok(true)
}

/// Which of the bytes read belong to the piece.
struct Window {
    /// Where the next bytes are in the file.
    at: u64,
    end: u64,
    /// The line before the piece is still being passed over.
    is_before: bool,
    is_cut: bool,
    is_done: bool,
}

impl Window {
    fn new(piece: &FilePiece) -> Self {
        let (start, end) = piece.range.unwrap_or((0, piece.size));
        let is_cut = piece.range.is_some() && end < piece.size;
        Self { at: start.saturating_sub(1), end, is_before: start > 0, is_cut, is_done: start >= end && piece.range.is_some() }
    }

    fn take<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        if self.is_before {
            let passed = memchr::memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
            self.is_before = passed == bytes.len() && !bytes.ends_with(b"\n");
            self.at += passed as u64;
            bytes = bytes.get(passed..).unwrap_or_default();
            if self.at >= self.end && self.is_cut {
                // No line begins in the piece.
                self.is_done = true;
                return &[];
            }
        }
        if self.is_cut && self.at + bytes.len() as u64 >= self.end {
            // The line that holds the byte before the end is the last.
            let from = usize::try_from((self.end - 1).saturating_sub(self.at)).unwrap_or(usize::MAX);
            if let Some(at) = bytes.get(from..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                self.is_done = true;
                return bytes.get(..=from + at).unwrap_or_default();
            }
        }
        self.at += bytes.len() as u64;
        bytes
    }
}

fn count_lines(base: &Location, piece: &FilePiece, end: u64) -> Result<i64> {
    let Some(mut file) = OpenFile::open(base, piece, Some((0, end)))? else { return Ok(0) };
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut n_lines = 0;
    let mut is_partial = false;
    loop {
        let n = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else { break };
        n_lines += memchr::memchr_iter(b'\n', bytes).count() as i64;
        is_partial = !bytes.ends_with(b"\n");
    }
    // A line that began before the piece belongs to the piece before.
    Ok(n_lines + i64::from(is_partial))
}

/// A batch ends after so many bytes of input even if it has few rows: large records must not add up to large batches,
/// of which several are on their way at once.
const BATCH_BYTES: usize = 8 << 20;

/// The settings for a decoder.
pub(super) fn settings(batch_rows: usize, keeps_rejects: bool) -> DecodeSettings {
    let mut settings = DecodeSettings::default().with_batch_rows(batch_rows);
    settings.batch_bytes = BATCH_BYTES;
    if keeps_rejects { settings.with_rejects(millstream_formats::Rejects::Keep) } else { settings }
}

/// The decoder's schema must be the one asked for, or columns would be mixed up.
pub(super) fn check_schema(decoder: &dyn Decoder, wanted: &SchemaRef) -> Result<()> {
    if decoder.schema().fields().len() == wanted.fields().len() {
        return Ok(());
    }
    let given = Arc::clone(decoder.schema());
    Err(Error::internal(format!("a decoder gives {given} instead of {wanted}")))
}
