//! [`CsvInferrer`]: names and types of the columns of CSV inputs, with the rules of Spark's `CSVInferSchema`.

use arrow::datatypes::{DataType, Field, Fields, Schema};

use millstream_core::Result;

use super::options::CsvReadOptions;
use super::split::{Splitter, Value};
use super::walk::RecordWalk;
use crate::datetime;
use crate::infer::{Inferrer, Sample, Seen, decimal_shape};
use crate::input::{CutOptions, InputCutter, Piece};
use crate::lines::LineEnd;
use crate::number::parse_java_double;
use crate::pattern::DateTimePattern;

/// Reads CSV to find its schema. Without `inferSchema` every column is a string and only the first record counts.
#[derive(Debug)]
pub struct CsvInferrer {
    cutter: InputCutter,
    walk: RecordWalk,
    columns: Columns,
}

/// What was seen of the columns.
#[derive(Debug)]
struct Columns {
    options: CsvReadOptions,
    /// Dates are inferred strictly, so that timestamps are not taken for dates.
    date: DateTimePattern,
    sample: Sample,
    /// The values of the very first record.
    names: Option<Vec<String>>,
    types: Vec<Seen>,
    header_seen: bool,
}

impl CsvInferrer {
    /// An inferrer for inputs that will be read with the same options.
    pub fn new(options: CsvReadOptions) -> Result<Self> {
        let line_end = LineEnd::new(options.line_separator.as_deref());
        let date = match &options.date_format {
            Some(pattern) => pattern.clone(),
            None => DateTimePattern::for_parse("yyyy-MM-dd")?,
        };
        Ok(Self {
            cutter: InputCutter::new(CutOptions {
                line_end: line_end.clone(),
                multi_line: options.multi_line,
                record_bytes_max: options.record_bytes_max,
            }),
            walk: RecordWalk::new(&options, line_end),
            columns: Columns {
                date,
                sample: Sample::new(options.sampling_ratio),
                options,
                names: None,
                types: Vec::new(),
                header_seen: false,
            },
        })
    }

    /// The type of one CSV text, as `schema_of_csv` says it.
    pub fn type_of(text: &str, options: CsvReadOptions) -> Result<DataType> {
        let options = CsvReadOptions { header: false, infer_schema: true, multi_line: false, ..options };
        let mut splitter = Splitter::new(&options);
        let mut inferrer = Self::new(options)?;
        splitter.cut(text.as_bytes())?;
        inferrer.columns.record(&splitter, text.as_bytes());
        Ok(DataType::Struct(inferrer.finish()?.fields().clone()))
    }

    /// Whether more input cannot change the answer: the names are known and types are not wanted.
    pub fn is_done(&self) -> bool {
        self.columns.names.is_some() && !self.columns.options.infer_schema
    }
}

impl Inferrer for CsvInferrer {
    fn begin(&mut self, origin: &str) {
        self.cutter.begin();
        self.walk.begin(origin);
        self.columns.header_seen = false;
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let (walk, columns) = (&mut self.walk, &mut self.columns);
        self.cutter.push(bytes, &mut |piece| columns.take(walk, piece))
    }

    fn end(&mut self) -> Result<()> {
        if self.is_done() {
            return Ok(());
        }
        let (walk, columns) = (&mut self.walk, &mut self.columns);
        self.cutter.end(&mut |piece| columns.take(walk, piece))
    }

    fn finish(&mut self) -> Result<Schema> {
        let columns = &self.columns;
        let names = columns.column_names();
        let fields: Fields = names
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let seen = if columns.options.infer_schema { columns.types.get(i) } else { None };
                Field::new(name, seen.and_then(|seen| seen.data_type(false)).unwrap_or(DataType::Utf8), true)
            })
            .collect();
        Ok(Schema::new(fields))
    }
}

impl Columns {
    /// Looks at the records of a piece; gives how many bytes of an open one they were.
    fn take(&mut self, walk: &mut RecordWalk, piece: Piece<'_>) -> Result<usize> {
        walk.each(piece, |splitter, raw, _| {
            self.record(splitter, raw);
            Ok(())
        })
    }

    /// The record that the splitter has just cut.
    fn record(&mut self, splitter: &Splitter, raw: &[u8]) {
        if self.names.is_none() {
            let text = |value: Value<'_>| match value {
                Value::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Value::QuotedEmpty => self.options.empty_value.clone(),
                Value::Nothing => String::new(),
            };
            self.names = Some(splitter.values(raw).map(text).collect());
            self.types = vec![Seen::Null; splitter.len()];
        }
        if self.options.header && !std::mem::replace(&mut self.header_seen, true) {
            return;
        }
        if !self.options.infer_schema || !self.sample.takes() {
            return;
        }
        for (value, seen) in splitter.values(raw).zip(&mut self.types) {
            let bytes = match value {
                Value::Text(bytes) => bytes,
                Value::QuotedEmpty => self.options.empty_value.as_bytes(),
                Value::Nothing => continue,
            };
            if bytes.is_empty() || bytes == self.options.null_value.as_bytes() || *seen == Seen::Str {
                continue;
            }
            let text = String::from_utf8_lossy(bytes);
            let next = type_of(&text, seen, &self.options, &self.date);
            let before = std::mem::replace(seen, Seen::Null);
            *seen = before.merge(next);
        }
    }

    /// Names of the header, made unique, or `_c0`, `_c1`, ...
    fn column_names(&self) -> Vec<String> {
        let Some(names) = &self.names else { return Vec::new() };
        let numbered = |i: usize| format!("_c{i}");
        if !self.options.header {
            return (0..names.len()).map(numbered).collect();
        }
        let lower: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        names
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let own = name.to_lowercase();
                if name.is_empty() || *name == self.options.null_value {
                    numbered(i)
                } else if lower.iter().filter(|other| **other == own).count() > 1 {
                    format!("{name}{i}")
                } else {
                    name.clone()
                }
            })
            .collect()
    }
}

/// The type of a value, tried from the type of those before it on.
fn type_of(text: &str, before: &Seen, options: &CsvReadOptions, date: &DateTimePattern) -> Seen {
    let from = match before {
        Seen::Null | Seen::Int => 0,
        Seen::Long => 1,
        Seen::Decimal(..) => 2,
        Seen::Double => 3,
        Seen::Date => 4,
        Seen::TimestampNtz | Seen::Timestamp => 5,
        Seen::Bool => 6,
        _ => return Seen::Str,
    };
    if from == 0 && text.parse::<i32>().is_ok() {
        return Seen::Int;
    }
    if from <= 1 && text.parse::<i64>().is_ok() {
        return Seen::Long;
    }
    if from <= 2
        && let Some((precision @ 1..=38, 0)) = decimal_shape(&text.replace(',', ""))
    {
        return Seen::Decimal(u8::try_from(precision).unwrap_or(38), 0);
    }
    if from <= 3 {
        let named = [&options.nan_value, &options.positive_inf, &options.negative_inf];
        if parse_java_double(text).is_some() || named.iter().any(|name| *name == text) {
            return Seen::Double;
        }
    }
    if from <= 4 && options.prefer_date && date.parse_date(text).is_some() {
        return Seen::Date;
    }
    if from <= 5 {
        let timestamp = match &options.timestamp_format {
            Some(pattern) => pattern.parse_timestamp(text, options.zone),
            None => datetime::parse_timestamp_at(text, options.zone, options.now_us),
        };
        if timestamp.is_some() {
            return Seen::Timestamp;
        }
    }
    if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") { Seen::Bool } else { Seen::Str }
}
