//! The task's half of a file source: the files of a split, in order, decoded with bounded memory.
//!
//! A split is read on a thread that may block (decompressing and decoding are work, reading blocks), a chunk ahead of
//! who asks. Partition and metadata columns are added here; a column that is not asked for is never made.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use millstream_core::{
    Error, ErrorKind, Options, ReaderSpec, RejectedRecord, Result, RowPlaces, Split, SplitChunk, SplitReader, SplitStream,
};
use millstream_formats::Decoder;
use millstream_formats::datetime::Zone;
use millstream_state::Location;

use super::decompress::vanished;
use super::format::FileFormat;
use super::metadata::{MetadataColumn, is_metadata};
use super::partition::{batch_of, constant, repeat};
use super::read_lines::{self, PieceSink};
use super::read_parquet::{self, RowNumbers, Strings, Wanted, packed_schema};
use super::source::location_of;
use super::splits::{FilePiece, FileSplit};
use crate::read_thread::read_on_thread;
use crate::wire;

/// Chunks decoded ahead of who asks.
const CHUNKS_AHEAD: usize = 1;

/// See the [module](self).
#[derive(Debug, Clone)]
pub(super) struct FileReader(Arc<ReaderInner>);

#[derive(Debug)]
struct ReaderInner {
    format: FileFormat,
    options: Options,
    inner_options: Options,
    base: Location,
    /// All columns, before the projection.
    whole: SchemaRef,
    schema: SchemaRef,
    zone: Zone,
    batch_rows: usize,
    keeps_rejects: bool,
    ignores_missing: bool,
    ignores_corrupt: bool,
}

impl FileReader {
    pub(super) fn new(spec: &ReaderSpec) -> Result<Self> {
        let options = spec.options.clone();
        let flag = |name: &str| Ok::<_, Error>(options.get_bool(name)?.unwrap_or(false));
        Ok(Self(Arc::new(ReaderInner {
            format: spec.format.parse()?,
            base: location_of(options.require("path")?, &options)?,
            whole: Arc::clone(&spec.schema),
            schema: spec.projected_schema()?,
            zone: Zone::parse(&spec.time_zone)?,
            batch_rows: spec.batch_rows.max(1),
            keeps_rejects: flag("deadLetter")?,
            ignores_missing: flag("ignoreMissingFiles")?,
            ignores_corrupt: flag("ignoreCorruptFiles")?,
            inner_options: read_lines::inner_options(&options),
            options,
        })))
    }
}

#[async_trait]
impl SplitReader for FileReader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.0.schema)
    }

    async fn read(&self, split: &Split) -> Result<SplitStream> {
        self.read_as(split, Strings::Whole)
    }

    fn packs(&self) -> bool {
        self.0.format == FileFormat::Parquet
    }

    async fn read_packed(&self, split: &Split) -> Result<SplitStream> {
        self.read_as(split, Strings::Packed)
    }
}

impl FileReader {
    fn read_as(&self, split: &Split, strings: Strings) -> Result<SplitStream> {
        let split: FileSplit = wire::split_payload(split)?;
        let inner = Arc::clone(&self.0);
        Ok(read_on_thread(CHUNKS_AHEAD, move |chunks| inner.read_pieces(&split.pieces, strings, &mut |chunk| chunks.send(chunk))))
    }
}

type Out<'a> = dyn FnMut(SplitChunk) -> Result<()> + 'a;

/// What is read of a file, and what is added.
struct FileColumns {
    /// The columns that the file holds.
    file_schema: SchemaRef,
    /// Those that are wanted.
    projection: Vec<usize>,
    data_schema: SchemaRef,
    /// All wanted columns, in order.
    columns: Vec<Column>,
}

/// Where a column of a file's rows comes from.
enum Column {
    Data(usize),
    Constant(ArrayRef),
    Metadata(MetadataColumn),
}

impl Column {
    /// Whether it is the same in all rows of this file, and another in the next file.
    fn is_of_one_file(&self) -> bool {
        !matches!(self, Self::Data(_))
    }
}

impl ReaderInner {
    fn read_pieces(&self, pieces: &[FilePiece], strings: Strings, out: &mut Out<'_>) -> Result<()> {
        let mut run = Run { reader: self, strings, decoder: None, n_given: 0 };
        for piece in pieces {
            run.piece(piece, out)?;
        }
        run.finish(out)
    }

    /// The columns of a file, and how its rows are put together.
    fn columns(&self, piece: &FilePiece) -> Result<FileColumns> {
        let value_of = |name: &str| piece.values.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        let is_data = |field: &Field| !is_metadata(field) && value_of(field.name()).is_none();
        let in_file: Vec<Arc<Field>> = self.whole.fields().iter().filter(|field| is_data(field)).cloned().collect();
        let mut projection = Vec::new();
        let mut columns = Vec::new();
        for field in self.schema.fields() {
            columns.push(if is_metadata(field) {
                Column::Metadata(MetadataColumn::new(&self.base, piece, self.format)?)
            } else if let Some((_, value)) = value_of(field.name()) {
                let one = constant(value.as_deref(), field.data_type(), self.zone, 1);
                Column::Constant(one.map_err(|error| error.context(format!("column '{}' of '{}'", field.name(), piece.path)))?)
            } else {
                let idx = in_file.iter().position(|known| known.name() == field.name());
                projection.push(idx.ok_or_else(|| Error::internal(format!("column '{}' is not in the schema", field.name())))?);
                Column::Data(projection.len() - 1)
            });
        }
        let file_schema = Arc::new(Schema::new(in_file));
        let data_schema = Arc::new(file_schema.project(&projection)?);
        Ok(FileColumns { file_schema, projection, data_schema, columns })
    }

    fn assemble(&self, columns: &[Column], data: &RecordBatch, row_numbers: Option<&RowNumbers>) -> Result<RecordBatch> {
        let n_rows = data.num_rows();
        let arrays = columns
            .iter()
            .map(|column| match column {
                Column::Data(idx) => data.columns().get(*idx).cloned().ok_or_else(|| Error::internal("a decoder gives too few columns")),
                Column::Constant(one) => repeat(one, n_rows),
                Column::Metadata(metadata) => metadata.rows(n_rows, row_numbers),
            })
            .collect::<Result<Vec<_>>>()?;
        batch_of(&packed_schema(&self.schema, &arrays), arrays, n_rows)
    }
}

/// The reading of one split.
struct Run<'a> {
    reader: &'a ReaderInner,
    strings: Strings,
    /// Kept from file to file while the files have the same columns, so that small files fill batches together.
    decoder: Option<Open>,
    n_given: u64,
}

struct Open {
    decoder: Box<dyn Decoder>,
    file_schema: SchemaRef,
    columns: Vec<Column>,
    has_constants: bool,
    is_inner: bool,
    n_dropped: u64,
}

impl Run<'_> {
    fn piece(&mut self, piece: &FilePiece, out: &mut Out<'_>) -> Result<()> {
        let reader = self.reader;
        let result = if reader.format == FileFormat::Parquet { self.parquet(piece, out) } else { self.lines(piece, out) };
        match result {
            Ok(true) => Ok(()),
            Ok(false) if reader.ignores_missing => {
                tracing::warn!(file = piece.path, "a file vanished before it was read; it is left out");
                Ok(())
            }
            Ok(false) => Err(vanished(&piece.path)),
            Err(error) if reader.ignores_corrupt && error.kind() == ErrorKind::Data && !is_no_damage(&error) => {
                tracing::warn!(file = piece.path, %error, "the rest of a damaged file is left out");
                self.finish(out)
            }
            Err(error) => Err(error),
        }
    }

    fn parquet(&mut self, piece: &FilePiece, out: &mut Out<'_>) -> Result<bool> {
        let columns = self.reader.columns(piece)?;
        let wanted = Wanted { schema: &columns.data_schema, batch_rows: self.reader.batch_rows, strings: self.strings };
        read_parquet::read_piece(&self.reader.base, piece, &wanted, &mut |data, row_numbers| {
            let rows = self.reader.assemble(&columns.columns, &data, Some(row_numbers))?;
            out(SplitChunk::of(rows, RowPlaces::Untold))
        })
    }

    fn lines(&mut self, piece: &FilePiece, out: &mut Out<'_>) -> Result<bool> {
        let reader = self.reader;
        let file = reader.columns(piece)?;
        let has_constants = file.columns.iter().any(Column::is_of_one_file);
        let is_inner = piece.range.is_some_and(|(start, _)| start > 0);
        let fits = |open: &Open| open.file_schema == file.file_schema && !open.has_constants && !has_constants && open.is_inner == is_inner;
        if !self.decoder.as_ref().is_some_and(fits) {
            self.finish(out)?;
            let settings = read_lines::settings(reader.batch_rows, reader.keeps_rejects);
            let options = if is_inner { &reader.inner_options } else { &reader.options };
            let decoder = read_lines::decoder(reader.format, &file.file_schema, &file.projection, options, reader.zone, settings)?;
            read_lines::check_schema(decoder.as_ref(), &file.data_schema)?;
            self.decoder =
                Some(Open { decoder, file_schema: file.file_schema, columns: file.columns, has_constants, is_inner, n_dropped: 0 });
        }
        let Some(open) = &mut self.decoder else { return Err(Error::internal("no decoder")) };
        let mut sink = Chunks { reader, columns: &open.columns, n_dropped: &mut open.n_dropped, n_given: &mut self.n_given, out };
        read_lines::read_piece(&reader.base, piece, open.decoder.as_mut(), &mut sink)
    }

    /// Gives what waits in the decoder, and checks that every record is accounted for.
    fn finish(&mut self, out: &mut Out<'_>) -> Result<()> {
        let Some(mut open) = self.decoder.take() else { return Ok(()) };
        let mut sink =
            Chunks { reader: self.reader, columns: &open.columns, n_dropped: &mut open.n_dropped, n_given: &mut self.n_given, out };
        open.decoder.flush(&mut |rows| sink.rows(rows))?;
        sink.progress(open.decoder.as_mut(), &mut |_| Ok(()))?;
        let counts = open.decoder.counts();
        if counts.records != self.n_given {
            return Err(Error::internal(format!("{} records were read and {} given", counts.records, self.n_given)));
        }
        self.n_given = 0;
        Ok(())
    }
}

/// Turns what a decoder gives into chunks.
struct Chunks<'a, 'b> {
    reader: &'a ReaderInner,
    columns: &'a [Column],
    n_dropped: &'a mut u64,
    n_given: &'a mut u64,
    out: &'a mut Out<'b>,
}

impl PieceSink for Chunks<'_, '_> {
    fn rows(&mut self, rows: RecordBatch) -> Result<()> {
        let rows = self.reader.assemble(self.columns, &rows, None)?;
        *self.n_given += rows.num_rows() as u64;
        (self.out)(SplitChunk::of(rows, RowPlaces::Untold))
    }

    fn progress(&mut self, decoder: &mut dyn Decoder, fix: &mut dyn FnMut(&mut RejectedRecord) -> Result<()>) -> Result<()> {
        let n_dropped = decoder.counts().dropped - *self.n_dropped;
        let mut rejected = decoder.take_rejected();
        if n_dropped == 0 && rejected.is_empty() {
            return Ok(());
        }
        for record in &mut rejected {
            fix(record)?;
        }
        *self.n_dropped += n_dropped;
        let n_records = n_dropped + rejected.len() as u64;
        *self.n_given += n_records;
        let rows = RecordBatch::new_empty(Arc::clone(&self.reader.schema));
        (self.out)(SplitChunk { rows, n_records, n_dropped, rejected, places: RowPlaces::Untold, missed: Vec::new() })
    }
}

/// FAILFAST is the user's wish, a column of another type a wrong schema, a changed file somebody's write: none of them is
/// hidden by `ignoreCorruptFiles`.
fn is_no_damage(error: &Error) -> bool {
    error.error_class().is_some_and(|class| class.starts_with("MALFORMED") || class.starts_with("FAILED_READ_FILE"))
}
