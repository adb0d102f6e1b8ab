//! JSON in columns: `from_json`, `to_json`, `get_json_object`, `json_tuple`, `schema_of_json`, ...
//!
//! Decoding into columns is `millstream_formats`'s, the same as for files. What only looks into a text (paths, keys,
//! lengths, schemas) walks it once with the small scanner here and builds no tree.

mod path;
mod scan;

use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, StringBuilder, StructArray};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::Result;
use millstream_core::{Error, Options};
use millstream_formats::csv::{
    CSV_READ_OPTIONS, CSV_WRITE_OPTIONS, CsvColumnDecoder, CsvEncoder, CsvInferrer, CsvReadOptions, CsvWriteOptions,
};
use millstream_formats::datetime::Zone;
use millstream_formats::json::{
    JSON_READ_OPTIONS, JSON_WRITE_OPTIONS, JsonColumnDecoder, JsonEncoder, JsonInferrer, JsonReadOptions, JsonWriteOptions,
};

use crate::def::{Arg, Call, FunctionDef, Returns, Types};
use crate::error::{external, internal, invalid};
use crate::interval_math::zone_of;
use crate::options::options_of;
use crate::rows::{Memo, number_rows, text, text_rows};
use crate::types::{element_field, parse_type, struct_of};

use path::{Path, Step};
use scan::Scanner;

/// Functions on JSON (and CSV) texts.
pub const FUNCTIONS: &[FunctionDef] = &[
    FunctionDef::new("from_json", &[Arg::String, Arg::LiteralString, Arg::Map], Returns::Rule(schema_argument), |call| {
        let options = JsonReadOptions::new(&options_of(call, 2)?, zone_of(call)?).map_err(external)?;
        let mut decoder = JsonColumnDecoder::new(call.return_type(), options).map_err(external)?;
        decoder.decode(&call.strings(0)?).map_err(external)
    })
    .min(2)
    .options(|options| check_mode("from_json", options).and_then(|()| check_json_reader("function from_json", options)))
    .zoned()
    .lenient(),
    FunctionDef::new("from_csv", &[Arg::String, Arg::LiteralString, Arg::Map], Returns::Rule(schema_argument), |call| {
        let options = CsvReadOptions::new(&options_of(call, 2)?, zone_of(call)?).map_err(external)?;
        let mut decoder = CsvColumnDecoder::new(call.return_type(), options).map_err(external)?;
        decoder.decode(&call.strings(0)?).map_err(external)
    })
    .min(2)
    .options(|options| check_mode("from_csv", options).and_then(|()| check_csv_reader("function from_csv", options)))
    .zoned()
    .lenient(),
    FunctionDef::new("to_json", &[Arg::Any, Arg::Map], Returns::Rule(json_text_type), |call| {
        let options = JsonWriteOptions::new(&options_of(call, 1)?, zone_of(call)?).map_err(external)?;
        Ok(Arc::new(JsonEncoder::for_columns(options).encode_column(&call.array(0)?).map_err(external)?))
    })
    .min(1)
    .options(|options| {
        options.check("function to_json", JSON_WRITE_OPTIONS)?;
        JsonWriteOptions::new(options, Zone::UTC).map(drop)
    })
    .zoned(),
    FunctionDef::new("to_csv", &[Arg::Struct, Arg::Map], Returns::String, |call| {
        let options = CsvWriteOptions::new(&options_of(call, 1)?, zone_of(call)?).map_err(external)?;
        Ok(Arc::new(CsvEncoder::for_columns(options).encode_column(&call.array(0)?).map_err(external)?))
    })
    .min(1)
    .options(|options| {
        options.check("function to_csv", CSV_WRITE_OPTIONS)?;
        CsvWriteOptions::new(options, Zone::UTC).map(drop)
    })
    .zoned(),
    FunctionDef::new("get_json_object", &[Arg::String, Arg::String], Returns::String, get_json_object),
    FunctionDef::new("json_tuple", &[Arg::String, Arg::String], Returns::Rule(tuple_type), json_tuple).repeat(1).lenient(),
    FunctionDef::new("json_array_length", &[Arg::String], Returns::Int, |call| {
        let values = call.strings(0)?;
        Ok(Arc::new(number_rows::<Int32Type>(call.n_rows(), |row| {
            Ok(text(&values, row).and_then(|text| {
                let mut scan = Scanner::new(text);
                let mut count = 0;
                scan.begin_array()?;
                while scan.next_element(count == 0)? {
                    scan.skip_value()?;
                    count += 1;
                }
                Some(count)
            }))
        })?))
    }),
    FunctionDef::new("json_object_keys", &[Arg::String], Returns::Strings, |call| {
        let values = call.strings(0)?;
        let mut builder = ListBuilder::new(StringBuilder::new()).with_field(element_field(DataType::Utf8));
        for row in 0..call.n_rows() {
            let keys = text(&values, row).and_then(|text| {
                let mut scan = Scanner::new(text);
                let mut keys = Vec::new();
                scan.begin_object()?;
                while let Some(name) = scan.next_name(keys.is_empty())? {
                    keys.push(name.text().into_owned());
                    scan.skip_value()?;
                }
                Some(keys)
            });
            match keys {
                Some(keys) => {
                    keys.iter().for_each(|key| builder.values().append_value(key));
                    builder.append(true);
                }
                None => builder.append(false),
            }
        }
        Ok(Arc::new(builder.finish()))
    }),
    FunctionDef::new("schema_of_json", &[Arg::LiteralString, Arg::Map], Returns::String, |call| {
        let options = JsonReadOptions::new(&options_of(call, 1)?, zone_of(call)?).map_err(external)?;
        schema_text(call, &JsonInferrer::type_of(call.required_text(0)?, options).map_err(external)?)
    })
    .min(1)
    .options(|options| check_json_reader("function schema_of_json", options))
    .zoned(),
    FunctionDef::new("schema_of_csv", &[Arg::LiteralString, Arg::Map], Returns::String, |call| {
        let options = CsvReadOptions::new(&options_of(call, 1)?.with("inferSchema", "true"), zone_of(call)?).map_err(external)?;
        schema_text(call, &CsvInferrer::type_of(call.required_text(0)?, options).map_err(external)?)
    })
    .min(1)
    .options(|options| check_csv_reader("function schema_of_csv", options))
    .zoned(),
];

fn schema_text(call: &Call<'_>, data_type: &DataType) -> Result<ArrayRef> {
    text_rows(call.n_rows(), |_, out| {
        crate::types::write_sql_name(out, data_type);
        Ok(true)
    })
}

fn json_text_type(types: &Types<'_>) -> Result<DataType> {
    match types.at(0) {
        DataType::Struct(_) | DataType::List(_) | DataType::Map(..) | DataType::Null => Ok(DataType::Utf8),
        other => Err(invalid(
            "DATATYPE_MISMATCH.INVALID_JSON_SCHEMA",
            format!("to_json takes a struct, an array or a map, not {}", crate::types::type_name(&other)),
        )),
    }
}

/// The schema literal: a type, or a list of columns as in a table definition.
fn schema_argument(types: &Types<'_>) -> Result<DataType> {
    let text = types.text(1).ok_or_else(|| invalid("INVALID_SCHEMA.NON_STRING_LITERAL", "the schema must be a string literal"))?;
    parse_type(text).or_else(|error| parse_type(&format!("struct<{text}>")).map_err(|_| error))
}

/// A text gives one value: there is none to leave out.
fn check_mode(function: &str, options: &Options) -> millstream_core::Result<()> {
    let takes = |mode: &str| ["PERMISSIVE", "FAILFAST"].iter().any(|known| mode.eq_ignore_ascii_case(known));
    match options.get("mode").filter(|mode| !takes(mode)) {
        Some(mode) => Err(Error::invalid(format!("{function} has no parse mode '{mode}': option 'mode' is PERMISSIVE or FAILFAST"))
            .code("PARSE_MODE_UNSUPPORTED")),
        None => Ok(()),
    }
}

fn check_json_reader(function: &str, options: &Options) -> millstream_core::Result<()> {
    options.check(function, JSON_READ_OPTIONS)?;
    JsonReadOptions::new(options, Zone::UTC).map(drop)
}

fn check_csv_reader(function: &str, options: &Options) -> millstream_core::Result<()> {
    options.check(function, CSV_READ_OPTIONS)?;
    CsvReadOptions::new(options, Zone::UTC).map(drop)
}

fn get_json_object(call: &Call<'_>) -> Result<ArrayRef> {
    let (values, paths) = (call.strings(0)?, call.strings(1)?);
    let mut memo = Memo::new();
    text_rows(call.n_rows(), |row, out| {
        let (Some(json), Some(path)) = (text(&values, row), text(&paths, row)) else { return Ok(false) };
        match memo.get(path, |path| Ok(Path::parse(path)))? {
            Some(path) => Ok(path.evaluate(json, out)),
            None => Ok(false),
        }
    })
}

fn tuple_type(types: &Types<'_>) -> Result<DataType> {
    Ok(struct_of((0..types.len().saturating_sub(1)).map(|idx| (format!("c{idx}"), DataType::Utf8))))
}

/// One column per key, as a struct `c0`, `c1`, ..; the analyzer spreads it.
fn json_tuple(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.strings(0)?;
    let mut columns = Vec::with_capacity(call.len());
    for idx in 1..call.len() {
        let keys = call.strings(idx)?;
        let mut memo = Memo::new();
        columns.push(text_rows(call.n_rows(), |row, out| {
            let (Some(json), Some(key)) = (text(&values, row), text(&keys, row)) else { return Ok(false) };
            let path = memo.get(key, |key| Ok(Path::of(vec![Step::Key, Step::Named(key.to_string())])))?;
            Ok(path.evaluate(json, out))
        })?);
    }
    let DataType::Struct(fields) = call.return_type() else { return Err(internal("expected a struct type")) };
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}

#[cfg(test)]
mod tests;
