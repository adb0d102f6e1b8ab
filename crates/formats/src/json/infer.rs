//! [`JsonInferrer`]: the schema of JSON inputs, with the rules of Spark's `JsonInferSchema`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use arrow::datatypes::{DataType, Field, Fields, Schema};

use millstream_core::{Error, ParseMode, Result};

use super::options::JsonReadOptions;
use super::scan::{Malformed, Scanner, Token};
use crate::datetime;
use crate::infer::{Inferrer, Sample, Seen, check_names, decimal_shape, fields_of};
use crate::input::{CutOptions, InputCutter, Piece};
use crate::lines::{BOM, LineEnd, LineWalk};

/// Values nested deeper than this are inferred as strings: a type of a thousand levels helps nobody.
const TYPE_DEPTH_MAX: usize = 100;

/// Reads JSON to find its schema. Columns come in the order of their names.
#[derive(Debug)]
pub struct JsonInferrer {
    cutter: InputCutter,
    records: Records,
}

#[derive(Debug)]
struct Records {
    options: JsonReadOptions,
    walk: LineWalk,
    sample: Sample,
    scratch: String,
    seen: Seen,
    /// A record that is no object, or no JSON at all, was met.
    corrupt: bool,
    origin: String,
}

/// One member twice in one object.
const DUPLICATE: &str = "a name is there twice in one object";

impl JsonInferrer {
    /// An inferrer for inputs that will be read with the same options.
    pub fn new(options: JsonReadOptions) -> Self {
        let line_end = LineEnd::new(options.line_separator.as_deref());
        Self {
            cutter: InputCutter::new(CutOptions {
                line_end: line_end.clone(),
                multi_line: options.multi_line,
                record_bytes_max: options.record_bytes_max,
            }),
            records: Records {
                sample: Sample::new(options.sampling_ratio),
                options,
                walk: LineWalk::new(line_end),
                scratch: String::new(),
                seen: Seen::Null,
                corrupt: false,
                origin: String::new(),
            },
        }
    }

    /// The type of one JSON text, as `schema_of_json` says it.
    pub fn type_of(text: &str, options: JsonReadOptions) -> Result<DataType> {
        let mut inferrer = Self::new(options);
        let mut scan = Scanner::new(inferrer.records.options.dialect);
        scan.reset(text);
        let drop_null = inferrer.records.options.drop_field_if_all_null;
        match inferrer.records.value(&mut scan, 0) {
            Ok(seen) => Ok(seen.data_type(drop_null).unwrap_or(DataType::Struct(Fields::empty()))),
            Err(malformed) => Err(Error::data(format!("malformed record: {} at byte {}", malformed.why, malformed.at + 1))),
        }
    }
}

impl Inferrer for JsonInferrer {
    fn begin(&mut self, origin: &str) {
        self.cutter.begin();
        self.records.walk.line = 0;
        self.records.origin = origin.to_owned();
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.cutter.push(bytes, &mut |piece| self.records.take(piece))
    }

    fn end(&mut self) -> Result<()> {
        self.cutter.end(&mut |piece| self.records.take(piece))
    }

    fn finish(&mut self) -> Result<Schema> {
        let mut members = match std::mem::replace(&mut self.records.seen, Seen::Null) {
            Seen::Struct(members) => members,
            _ => BTreeMap::new(),
        };
        let options = &self.records.options;
        if self.records.corrupt && options.mode == ParseMode::Permissive {
            members.insert(options.corrupt_record_column.clone(), Seen::Str);
        }
        let fields = fields_of(&members, options.drop_field_if_all_null);
        if !options.case_sensitive {
            check_names(&fields)?;
        }
        Ok(Schema::new(fields.iter().map(|field| field.as_ref().clone()).collect::<Vec<Field>>()))
    }
}

impl Records {
    fn take(&mut self, piece: Piece<'_>) -> Result<usize> {
        match piece {
            Piece::Lines(lines) => {
                let mut at = 0;
                while let Some((_, line)) = self.walk.next(lines, &mut at) {
                    self.record(line)?;
                }
                Ok(at)
            }
            Piece::Open { is_end: false, .. } => Ok(0),
            Piece::Open { input, is_end: true } => {
                self.walk.line = 1;
                self.record(input.strip_prefix(BOM).unwrap_or(input))?;
                Ok(input.len())
            }
        }
    }

    fn record(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.iter().all(u8::is_ascii_whitespace) || !self.sample.takes() {
            return Ok(());
        }
        let mut scan = Scanner::new(self.options.dialect);
        let seen = match std::str::from_utf8(bytes) {
            Ok(text) => {
                scan.reset(text);
                self.value(&mut scan, 0)
            }
            Err(_) => Err(Malformed::new("invalid UTF-8", 0)),
        };
        match seen {
            Ok(seen) => {
                self.root(seen);
                Ok(())
            }
            Err(_) if scan.is_blank() && std::str::from_utf8(bytes).is_ok() => Ok(()),
            Err(malformed) if malformed.why == DUPLICATE => Err(Error::invalid(format!("{DUPLICATE}, up to byte {}", malformed.at))
                .code("COLUMN_ALREADY_EXISTS")
                .hint("give a schema: then the last one counts")
                .context(format!("{}, line {}", self.origin, self.walk.line))),
            Err(malformed) => match self.options.mode {
                ParseMode::Permissive => {
                    self.corrupt = true;
                    Ok(())
                }
                ParseMode::DropMalformed => Ok(()),
                ParseMode::FailFast => Err(Error::data(format!("malformed record: {} at byte {}", malformed.why, malformed.at + 1))
                    .code("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION")
                    .context(format!("{}, line {}", self.origin, self.walk.line))),
            },
        }
    }

    fn root(&mut self, seen: Seen) {
        match seen {
            Seen::Array(element) => self.root(*element),
            Seen::Null => {}
            seen @ Seen::Struct(_) => {
                let before = std::mem::replace(&mut self.seen, Seen::Null);
                self.seen = before.merge(seen);
            }
            _ => self.corrupt = true,
        }
    }

    fn value(&mut self, scan: &mut Scanner<'_>, depth: usize) -> Result<Seen, Malformed> {
        let token = scan.token()?;
        if depth > TYPE_DEPTH_MAX {
            scan.skip_rest(token)?;
            return Ok(Seen::Str);
        }
        Ok(match token {
            Token::Null => Seen::Null,
            Token::Str(text) if text.raw.is_empty() => Seen::Null,
            Token::Str(text) => {
                let text = text.resolve(&mut self.scratch);
                let decimal = if self.options.prefers_decimal { decimal(&text.replace(',', "")) } else { None };
                match decimal {
                    Some(decimal) => decimal,
                    None if self.options.infer_timestamp && is_timestamp(text, &self.options) => Seen::Timestamp,
                    None => Seen::Str,
                }
            }
            Token::True | Token::False | Token::Int(_) | Token::Float(_) if self.options.primitives_as_string => Seen::Str,
            Token::True | Token::False => Seen::Bool,
            Token::Int(text) if text.parse::<i64>().is_ok() => Seen::Long,
            Token::Int(text) => decimal(text).unwrap_or(Seen::Double),
            Token::Float(text) if self.options.prefers_decimal => decimal(text).unwrap_or(Seen::Double),
            Token::Float(_) => Seen::Double,
            Token::Array => {
                let mut element = Seen::Null;
                let mut first = true;
                while scan.next_element(first)? {
                    first = false;
                    element = element.merge(self.value(scan, depth + 1)?);
                }
                Seen::Array(Box::new(element))
            }
            Token::Object => {
                let mut members = BTreeMap::new();
                let mut first = true;
                while let Some(name) = scan.next_name(first)? {
                    first = false;
                    let name = name.resolve(&mut self.scratch).to_owned();
                    let seen = self.value(scan, depth + 1)?;
                    match members.entry(name) {
                        Entry::Vacant(entry) => {
                            entry.insert(seen);
                        }
                        // Further down the members may yet turn out to be a string.
                        Entry::Occupied(_) if depth == 0 => return Err(Malformed::new(DUPLICATE, scan.pos())),
                        Entry::Occupied(mut entry) => {
                            let before = std::mem::replace(entry.get_mut(), Seen::Null);
                            entry.insert(before.merge(seen));
                        }
                    }
                }
                Seen::Struct(members)
            }
        })
    }
}

/// A decimal that fits 38 digits, if the text is one.
fn decimal(text: &str) -> Option<Seen> {
    let (precision, scale) = decimal_shape(text)?;
    let precision = precision.max(scale);
    if scale < 0 || precision > 38 {
        return None;
    }
    Some(Seen::Decimal(u8::try_from(precision).ok()?, u8::try_from(scale).ok()?))
}

fn is_timestamp(text: &str, options: &JsonReadOptions) -> bool {
    match &options.timestamp_format {
        Some(pattern) => pattern.parse_timestamp(text, options.zone).is_some(),
        None => datetime::parse_timestamp_at(text, options.zone, options.now_us).is_some(),
    }
}
