//! Rows to the bytes of one output file: parquet, or a line format behind a compressor. Bytes collect in a buffer that the
//! caller empties, so that the same encoder serves local files and uploads.

use std::io::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use millstream_core::{Error, Options, Result};
use millstream_formats::Encoder;
use millstream_formats::csv::{CsvEncoder, CsvWriteOptions};
use millstream_formats::datetime::Zone;
use millstream_formats::json::{JsonEncoder, JsonWriteOptions};
use millstream_formats::text::TextEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::format::FileFormat;

/// A row group is closed when its encoded columns have reached this.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Rows of a row group at most.
const ROW_GROUP_ROWS: usize = 1 << 20;

/// The compression of output files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputCodec {
    None,
    Snappy,
    Gzip,
    Zstd,
    Lz4,
    Brotli,
    Bzip2,
}

impl OutputCodec {
    pub(super) fn parse(format: FileFormat, options: &Options) -> Result<Self> {
        let is_parquet = format == FileFormat::Parquet;
        let text = options.get("compression").unwrap_or(if is_parquet { "snappy" } else { "none" }).to_ascii_lowercase();
        match (text.as_str(), is_parquet) {
            ("none" | "uncompressed", _) => Ok(Self::None),
            ("gzip", _) => Ok(Self::Gzip),
            ("zstd", _) => Ok(Self::Zstd),
            ("snappy", true) => Ok(Self::Snappy),
            ("lz4" | "lz4_raw" | "lz4raw", true) => Ok(Self::Lz4),
            ("brotli", true) => Ok(Self::Brotli),
            ("bzip2", false) => Ok(Self::Bzip2),
            (other, true) => Err(Error::invalid(format!(
                "option 'compression' is '{other}': expected none, snappy, gzip, zstd, lz4 or brotli for parquet"
            ))),
            (other, false) => {
                Err(Error::invalid(format!("option 'compression' is '{other}': expected none, gzip, bzip2 or zstd for {}", format.name())))
            }
        }
    }

    /// What file names end with.
    pub(super) fn suffix(self, format: FileFormat) -> &'static str {
        match (format, self) {
            (FileFormat::Parquet, Self::None | Self::Bzip2) => ".parquet",
            (FileFormat::Parquet, Self::Snappy) => ".snappy.parquet",
            (FileFormat::Parquet, Self::Gzip) => ".gz.parquet",
            (FileFormat::Parquet, Self::Zstd) => ".zstd.parquet",
            (FileFormat::Parquet, Self::Lz4) => ".lz4raw.parquet",
            (FileFormat::Parquet, Self::Brotli) => ".br.parquet",
            (FileFormat::Json, Self::Gzip) => ".json.gz",
            (FileFormat::Json, Self::Bzip2) => ".json.bz2",
            (FileFormat::Json, Self::Zstd) => ".json.zst",
            (FileFormat::Json, _) => ".json",
            (FileFormat::Csv, Self::Gzip) => ".csv.gz",
            (FileFormat::Csv, Self::Bzip2) => ".csv.bz2",
            (FileFormat::Csv, Self::Zstd) => ".csv.zst",
            (FileFormat::Csv, _) => ".csv",
            (FileFormat::Text, Self::Gzip) => ".txt.gz",
            (FileFormat::Text, Self::Bzip2) => ".txt.bz2",
            (FileFormat::Text, Self::Zstd) => ".txt.zst",
            (FileFormat::Text, _) => ".txt",
        }
    }
}

/// How files are encoded: decided once, for all files of a task.
#[derive(Debug, Clone)]
pub(super) struct Encoding {
    pub(super) format: FileFormat,
    pub(super) codec: OutputCodec,
    schema: SchemaRef,
    properties: Arc<WriterProperties>,
    options: Options,
    zone: Zone,
}

impl Encoding {
    /// Checks the options and the columns.
    pub(super) fn new(format: FileFormat, schema: SchemaRef, options: &Options, zone: Zone) -> Result<Self> {
        let codec = OutputCodec::parse(format, options)?;
        if format == FileFormat::Parquet {
            schema.fields().iter().try_for_each(|field| check_parquet_type(field.name(), field.data_type()))?;
        }
        let compression = match codec {
            OutputCodec::None | OutputCodec::Bzip2 => Compression::UNCOMPRESSED,
            OutputCodec::Snappy => Compression::SNAPPY,
            OutputCodec::Gzip => Compression::GZIP(GzipLevel::default()),
            OutputCodec::Zstd => Compression::ZSTD(ZstdLevel::default()),
            OutputCodec::Lz4 => Compression::LZ4_RAW,
            OutputCodec::Brotli => Compression::BROTLI(BrotliLevel::default()),
        };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_created_by(concat!("millstream ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        if format != FileFormat::Parquet {
            // Refused now, not at the first row.
            line_encoder(format, &schema, options, zone)?;
        }
        Ok(Self { format, codec, schema, properties: Arc::new(properties), options: options.clone(), zone })
    }

    pub(super) fn suffix(&self) -> &'static str {
        self.codec.suffix(self.format)
    }

    /// A new file.
    pub(super) fn start(&self) -> Result<FileEncoder> {
        if self.format == FileFormat::Parquet {
            let writer = ArrowWriter::try_new(Vec::new(), Arc::clone(&self.schema), Some(self.properties.as_ref().clone()));
            return Ok(FileEncoder::Parquet(Box::new(writer.map_err(parquet_error)?)));
        }
        let compressor = match self.codec {
            OutputCodec::Gzip => Compressor::Gzip(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default())),
            OutputCodec::Bzip2 => Compressor::Bzip2(bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default())),
            OutputCodec::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 0)?;
                // As the command `zstd` does: without it damage can be taken for other data.
                encoder.include_checksum(true)?;
                Compressor::Zstd(encoder)
            }
            _ => Compressor::None(Vec::new()),
        };
        let mut lines = line_encoder(self.format, &self.schema, &self.options, self.zone)?;
        let mut text = Vec::new();
        lines.begin(&mut text)?;
        Ok(FileEncoder::Lines { compressor: Box::new(compressor), lines, text })
    }
}

/// One output file being encoded.
pub(super) enum FileEncoder {
    Parquet(Box<ArrowWriter<Vec<u8>>>),
    Lines { compressor: Box<Compressor>, lines: Box<dyn Encoder>, text: Vec<u8> },
}

impl FileEncoder {
    /// Encodes rows.
    pub(super) fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        match self {
            Self::Parquet(writer) => {
                writer.write(rows).map_err(parquet_error)?;
                if writer.in_progress_size() >= ROW_GROUP_BYTES {
                    writer.flush().map_err(parquet_error)?;
                }
                Ok(())
            }
            Self::Lines { compressor, lines, text } => {
                lines.encode(rows, text)?;
                compressor.write_all(text)?;
                text.clear();
                Ok(())
            }
        }
    }

    /// Bytes held in memory beside the buffer.
    pub(super) fn held_bytes(&self) -> usize {
        match self {
            Self::Parquet(writer) => writer.memory_size(),
            Self::Lines { text, .. } => text.capacity(),
        }
    }

    /// Moves what is held into the buffer, at the price of a smaller row group.
    pub(super) fn flush(&mut self) -> Result<()> {
        match self {
            Self::Parquet(writer) => writer.flush().map_err(parquet_error),
            Self::Lines { .. } => Ok(()),
        }
    }

    /// The encoded bytes so far; the caller takes them out.
    pub(super) fn buffer(&mut self) -> Result<&mut Vec<u8>> {
        match self {
            Self::Parquet(writer) => {
                writer.sync()?;
                Ok(writer.inner_mut())
            }
            Self::Lines { compressor, .. } => Ok(compressor.buffer()),
        }
    }

    /// Ends the file and gives the rest of its bytes.
    pub(super) fn finish(self) -> Result<Vec<u8>> {
        match self {
            Self::Parquet(writer) => (*writer).into_inner().map_err(parquet_error),
            Self::Lines { mut compressor, text, .. } => {
                compressor.write_all(&text)?;
                Ok(match *compressor {
                    Compressor::None(buffer) => buffer,
                    Compressor::Gzip(encoder) => encoder.finish()?,
                    Compressor::Bzip2(encoder) => encoder.finish()?,
                    Compressor::Zstd(encoder) => encoder.finish()?,
                })
            }
        }
    }
}

/// A compressor over a buffer.
pub(super) enum Compressor {
    None(Vec<u8>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Bzip2(bzip2::write::BzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Compressor {
    fn write_all(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::None(buffer) => buffer.extend_from_slice(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes)?,
            Self::Bzip2(encoder) => encoder.write_all(bytes)?,
            Self::Zstd(encoder) => encoder.write_all(bytes)?,
        }
        Ok(())
    }

    fn buffer(&mut self) -> &mut Vec<u8> {
        match self {
            Self::None(buffer) => buffer,
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Bzip2(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }
    }
}

/// Types that parquet cannot hold as Spark reads them.
fn check_parquet_type(name: &str, data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Interval(_) | DataType::Union(..) => {
            Err(Error::unsupported(format!("column '{name}' is {data_type}, which cannot be written as parquet")).hint("cast it"))
        }
        DataType::Struct(fields) => fields.iter().try_for_each(|field| check_parquet_type(field.name(), field.data_type())),
        DataType::List(item) => check_parquet_type(name, item.data_type()),
        DataType::Map(entries, _) => check_parquet_type(name, entries.data_type()),
        _ => Ok(()),
    }
}

fn parquet_error(error: ParquetError) -> Error {
    Error::internal(format!("rows cannot be encoded as parquet: {error}")).caused_by(error)
}

/// An encoder of a line format.
fn line_encoder(format: FileFormat, schema: &SchemaRef, options: &Options, zone: Zone) -> Result<Box<dyn Encoder>> {
    match format {
        FileFormat::Json => Ok(Box::new(JsonEncoder::new(schema, JsonWriteOptions::new(options, zone)?)?)),
        FileFormat::Csv => Ok(Box::new(CsvEncoder::new(schema, CsvWriteOptions::new(options, zone)?)?)),
        FileFormat::Text => Ok(Box::new(TextEncoder::new(schema, options)?)),
        FileFormat::Parquet => Err(Error::internal("parquet is not a line format")),
    }
}
