//! [`JsonColumnDecoder`]: one JSON text per value of a column, for `from_json`.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

use millstream_core::{Error, ParseMode, Result};

use super::convert::{Converter, Fate, Place};
use super::options::JsonReadOptions;
use super::scan::{Malformed, Scanner, Token};
use crate::column::Column;
use crate::decoder::nullable_type;

/// JSON texts to one column of a struct, list or map type.
///
/// Null and blank texts give null. A text that is no JSON gives a struct of nulls, or null for lists and maps; with
/// `FAILFAST` any bad text is an error. An outer array is no struct, but an object is taken for a list of one. Where STRING
/// is wanted, numbers, objects and arrays are written anew, not kept as they are.
#[derive(Debug)]
pub struct JsonColumnDecoder {
    data_type: DataType,
    options: JsonReadOptions,
    converter: Converter,
    column: Column,
    corrupt: Option<usize>,
}

impl JsonColumnDecoder {
    /// A decoder for one type.
    pub fn new(data_type: &DataType, mut options: JsonReadOptions) -> Result<Self> {
        options.exact_text = false;
        if options.mode == ParseMode::DropMalformed {
            return Err(Error::invalid("from_json does not support the parse mode DROPMALFORMED: use PERMISSIVE or FAILFAST")
                .code("PARSE_MODE_UNSUPPORTED"));
        }
        let data_type = nullable_type(data_type);
        let mut column = match &data_type {
            DataType::Struct(_) | DataType::List(_) | DataType::Map(..) => Column::new(&data_type, "json")?,
            other => return Err(Error::invalid(format!("from_json gives a struct, array or map, not {other}"))),
        };
        let corrupt = match &data_type {
            DataType::Struct(fields) => fields.iter().position(|field| *field.name() == options.corrupt_record_column),
            _ => None,
        };
        if let (Column::Struct(column), Some(_)) = (&mut column, corrupt) {
            column.names.forget(&options.corrupt_record_column);
        }
        Ok(Self { data_type, converter: Converter::new(options.clone()), options, column, corrupt })
    }

    /// The type of the arrays: the wanted one with everything nullable.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Decodes every value of a string or binary array.
    pub fn decode(&mut self, texts: &dyn Array) -> Result<ArrayRef> {
        let done = match texts.data_type() {
            DataType::Utf8 => self.decode_all(texts.as_string::<i32>().iter().map(|text| text.map(Ok))),
            DataType::LargeUtf8 => self.decode_all(texts.as_string::<i64>().iter().map(|text| text.map(Ok))),
            DataType::Utf8View => self.decode_all(texts.as_string_view().iter().map(|text| text.map(Ok))),
            DataType::Binary => self
                .decode_all(texts.as_binary::<i32>().iter().map(|bytes| bytes.map(|bytes| std::str::from_utf8(bytes).map_err(|_| bytes)))),
            other => Err(Error::invalid(format!("from_json reads strings, not {other}"))),
        };
        // After an error nothing may be left for the next array.
        if done.is_err() {
            self.column.truncate(0);
        }
        done?;
        self.column.finish()
    }

    fn decode_all<'a>(&mut self, texts: impl Iterator<Item = Option<Result<&'a str, &'a [u8]>>>) -> Result<()> {
        let mut scan = Scanner::new(self.options.dialect);
        for (row, text) in texts.enumerate() {
            let fate = match text {
                None => {
                    self.column.push_null();
                    continue;
                }
                Some(Ok(text)) => {
                    scan.reset(text);
                    self.one(&mut scan)
                }
                Some(Err(_)) => Err(Malformed::new("invalid UTF-8", 0)),
            };
            match fate {
                Ok(Fate::Good) => continue,
                Err(_) if scan.is_blank() && matches!(text, Some(Ok(_))) => {
                    self.column.truncate(row);
                    self.column.push_null();
                    continue;
                }
                _ => {}
            }
            let field = self.converter.bad_field.take();
            if self.options.mode == ParseMode::FailFast {
                let reason = match fate {
                    Err(malformed) => format!("{} at byte {}", malformed.why, malformed.at + 1),
                    Ok(_) => field.unwrap_or_default(),
                };
                return Err(Error::data(format!("malformed record: {reason}"))
                    .code("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION")
                    .hint("set the option 'mode' to PERMISSIVE"));
            }
            if !matches!(fate, Ok(Fate::Partial)) {
                self.column.truncate(row);
                match &mut self.column {
                    Column::Struct(column) => column.close(true),
                    other => other.push_null(),
                }
            }
            self.keep_corrupt(row, text);
        }
        Ok(())
    }

    /// Puts the text of a bad record into its column.
    fn keep_corrupt(&mut self, row: usize, text: Option<Result<&str, &[u8]>>) {
        let (Column::Struct(column), Some(at)) = (&mut self.column, self.corrupt) else { return };
        if let Some(Column::Str(corrupt)) = column.children.get_mut(at) {
            corrupt.truncate(row);
            match text {
                Some(Ok(text)) => corrupt.push(text.as_bytes()),
                Some(Err(bytes)) => corrupt.push(String::from_utf8_lossy(bytes).as_bytes()),
                None => corrupt.push_null(),
            }
        }
    }

    fn one(&mut self, scan: &mut Scanner<'_>) -> Result<Fate, Malformed> {
        let token = scan.token()?;
        match (&mut self.column, token) {
            (Column::List(list), Token::Object) if matches!(list.child, Column::Struct(_)) => {
                let fate = self.converter.token_value(scan, &mut list.child, token)?;
                list.close(true);
                Ok(fate)
            }
            (Column::Struct(column), Token::Object) => self.converter.object(scan, column, Place::Root),
            (column, token) => {
                if token == Token::Null {
                    return Err(Malformed::new("the text is null", 0));
                }
                self.converter.token_value(scan, column, token)
            }
        }
    }
}
