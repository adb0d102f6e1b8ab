//! [`CsvColumnDecoder`]: one CSV record per value of a column, for `from_csv`.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;

use millstream_core::{Error, ParseMode, Result};

use super::convert::{bad_value, check_flat, push_value};
use super::options::CsvReadOptions;
use super::split::Splitter;
use crate::column::{Column, Structs};
use crate::decoder::nullable_type;

/// CSV texts to one struct column. Null gives null, a text that does not fit a struct with nulls.
#[derive(Debug)]
pub struct CsvColumnDecoder {
    data_type: DataType,
    options: CsvReadOptions,
    splitter: Splitter,
    column: Column,
    corrupt: Option<usize>,
}

impl CsvColumnDecoder {
    /// A decoder for one struct type.
    pub fn new(data_type: &DataType, options: CsvReadOptions) -> Result<Self> {
        if options.mode == ParseMode::DropMalformed {
            return Err(Error::invalid("from_csv does not support the parse mode DROPMALFORMED: use PERMISSIVE or FAILFAST")
                .code("PARSE_MODE_UNSUPPORTED"));
        }
        let data_type = nullable_type(data_type);
        let DataType::Struct(fields) = &data_type else {
            return Err(Error::invalid(format!("from_csv gives a struct, not {data_type}")));
        };
        fields.iter().try_for_each(|field| check_flat(field))?;
        let corrupt = fields.iter().position(|field| *field.name() == options.corrupt_record_column);
        // A text is one record whatever line ends it holds.
        let splitter = Splitter::new(&CsvReadOptions { multi_line: false, ..options.clone() });
        Ok(Self { column: Column::new(&data_type, "csv")?, splitter, options, corrupt, data_type })
    }

    /// The type of the arrays: the wanted one with everything nullable.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// Decodes every value of a string array.
    pub fn decode(&mut self, texts: &dyn Array) -> Result<ArrayRef> {
        let done = match texts.data_type() {
            DataType::Utf8 => self.decode_all(texts.as_string::<i32>().iter()),
            DataType::LargeUtf8 => self.decode_all(texts.as_string::<i64>().iter()),
            DataType::Utf8View => self.decode_all(texts.as_string_view().iter()),
            other => Err(Error::invalid(format!("from_csv reads strings, not {other}"))),
        };
        // After an error nothing may be left for the next array.
        if done.is_err() {
            self.column.truncate(0);
        }
        done?;
        self.column.finish()
    }

    fn decode_all<'a>(&mut self, texts: impl Iterator<Item = Option<&'a str>>) -> Result<()> {
        let Self { options, splitter, column, corrupt, .. } = self;
        let Column::Struct(column) = column else { return Err(Error::internal("from_csv without a struct")) };
        for text in texts {
            match text {
                Some(text) => one(column, text, options, splitter, *corrupt)?,
                None => column.close(false),
            }
        }
        Ok(())
    }
}

fn one(column: &mut Structs, text: &str, options: &CsvReadOptions, splitter: &mut Splitter, corrupt: Option<usize>) -> Result<()> {
    splitter.cut(text.as_bytes())?;
    let wanted = column.children.len() - usize::from(corrupt.is_some());
    // An empty text has no values; it is a record of nulls that is not bad when one value is wanted.
    let mut bad = (splitter.len() != wanted).then(|| format!("{} values where {wanted} are wanted", splitter.len()));
    let mut values = splitter.values(text.as_bytes());
    for (i, (child, field)) in column.children.iter_mut().zip(&column.fields).enumerate() {
        if Some(i) == corrupt {
            continue;
        }
        let Some(value) = values.next() else { break };
        if !push_value(child, value, options) {
            child.push_null();
            bad.get_or_insert_with(|| bad_value(value, field.name()));
        }
    }
    if let Some(reason) = bad {
        if options.mode == ParseMode::FailFast {
            return Err(Error::data(format!("malformed record: {reason}"))
                .code("MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION")
                .hint("set the option 'mode' to PERMISSIVE"));
        }
        if let Some(Column::Str(child)) = corrupt.and_then(|at| column.children.get_mut(at)) {
            child.push(text.as_bytes());
        }
    }
    column.close(true);
    Ok(())
}
