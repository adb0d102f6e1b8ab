//! The reader cases of `/gold` that need nothing but a decoder: one plain file, a schema, no expressions.

use arrow::datatypes::{Field, Schema};
use millstream_core::{Error, ErrorKind, Options, Result};
use millstream_formats::csv::{CSV_READ_OPTIONS, CsvDecoder, CsvInferrer, CsvReadOptions};
use millstream_formats::datetime::Zone;
use millstream_formats::json::{JSON_READ_OPTIONS, JsonDecoder, JsonInferrer, JsonReadOptions};
use millstream_formats::text::{TEXT_READ_OPTIONS, TextDecoder, TextReadOptions};
use millstream_formats::{DecodeSettings, Decoder, Inferrer};
use millstream_testkit::gold::{Expected, Outcome, ReaderCase, Report, arrow_type, reader_cases, rows_of, type_name};

/// The columns wanted, as far as Spark's answer tells them; an answer with an error tells none.
fn wanted_schema(case: &ReaderCase) -> Option<Schema> {
    let Expected::Rows { schema, .. } = &case.expected else { return None };
    let fields = schema.iter().map(|(name, data_type)| Ok(Field::new(name, arrow_type(data_type)?, true)));
    Some(Schema::new(fields.collect::<std::result::Result<Vec<_>, String>>().unwrap()))
}

fn options(case: &ReaderCase) -> Options {
    case.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn zone(case: &ReaderCase) -> Zone {
    case.conf.get("spark.sql.session.timeZone").map_or(Zone::UTC, |zone| Zone::parse(zone).unwrap())
}

fn decode(decoder: &mut dyn Decoder, case: &ReaderCase) -> Result<Outcome> {
    let bytes = std::fs::read(&case.path).unwrap();
    let mut batches = Vec::new();
    let mut sink = |batch| {
        batches.push(batch);
        Ok(())
    };
    decoder.begin(&case.path);
    // Small pieces, so that records lie across them.
    for piece in bytes.chunks(100) {
        decoder.push(piece, &mut sink)?;
    }
    decoder.end(&mut sink)?;
    decoder.flush(&mut sink)?;
    let schema = decoder.schema().fields().iter().map(|field| (field.name().clone(), type_name(field.data_type()))).collect();
    Ok(Outcome::Rows { schema, rows: rows_of(&batches).map_err(Error::internal)? })
}

fn outcome(result: Result<Outcome>) -> Outcome {
    result.unwrap_or_else(|error| Outcome::Error {
        class: error.error_class().map(str::to_owned),
        is_unsupported: matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Internal),
        message: error.to_string(),
    })
}

/// Plain files with a schema of their own; partition folders, archives and `select` need a whole reader.
fn is_for_decoder(case: &ReaderCase) -> bool {
    (case.schema.is_some() || case.format == "text")
        && case.select.is_none()
        && matches!(case.expected, Expected::Rows { .. })
        && std::path::Path::new(&case.path).is_file()
        && !case.path.ends_with(".gz")
        && !case.path.ends_with(".bz2")
}

fn run(suite: &'static str, format: &str, read: impl Fn(&ReaderCase, &Schema) -> Result<Outcome>) {
    let mut report = Report::new(suite).unwrap();
    for case in reader_cases().unwrap().iter().filter(|case| case.format == format && is_for_decoder(case)) {
        let schema = wanted_schema(case).unwrap();
        report.case(&case.id, &case.expected, true, &outcome(read(case, &schema)));
    }
    match report.finish() {
        Ok(text) => println!("{text}"),
        Err(text) => panic!("{text}"),
    }
}

#[test]
fn json_is_read_as_spark_reads_it() {
    run("json-decoder", "json", |case, schema| {
        let options = options(case);
        options.check("json", JSON_READ_OPTIONS)?;
        let mut options = JsonReadOptions::new(&options, zone(case))?;
        options.exact_text = case.conf.get("spark.sql.json.enableExactStringParsing").is_none_or(|value| value == "true");
        let mut decoder = JsonDecoder::new(schema, options, DecodeSettings::default())?;
        decode(&mut decoder, case)
    });
}

#[test]
fn csv_is_read_as_spark_reads_it() {
    run("csv-decoder", "csv", |case, schema| {
        let options = options(case);
        options.check("csv", CSV_READ_OPTIONS)?;
        let mut decoder = CsvDecoder::new(schema, None, CsvReadOptions::new(&options, zone(case))?, DecodeSettings::default())?;
        decode(&mut decoder, case)
    });
}

#[test]
fn text_is_read_as_spark_reads_it() {
    run("text-decoder", "text", |case, schema| {
        let options = options(case);
        options.check("text", TEXT_READ_OPTIONS)?;
        let mut decoder = TextDecoder::new(schema, &TextReadOptions::new(&options)?, DecodeSettings::default())?;
        decode(&mut decoder, case)
    });
}

/// Cases without a schema: what is judged is the inferred one.
fn infer(suite: &'static str, format: &str, infer: impl Fn(&ReaderCase) -> Result<Schema>) {
    let mut report = Report::new(suite).unwrap();
    for case in reader_cases().unwrap().iter().filter(|case| case.format == format && case.schema.is_none()) {
        let Expected::Rows { schema, .. } = &case.expected else { continue };
        if !std::path::Path::new(&case.path).is_file() || case.select.is_some() {
            continue;
        }
        let outcome = outcome(infer(case).map(|schema| Outcome::Rows {
            schema: schema.fields().iter().map(|field| (field.name().clone(), type_name(field.data_type()))).collect(),
            rows: Vec::new(),
        }));
        let expected = Expected::Rows { schema: schema.clone(), rows: Vec::new() };
        report.case(&case.id, &expected, true, &outcome);
    }
    match report.finish() {
        Ok(text) => println!("{text}"),
        Err(text) => panic!("{text}"),
    }
}

fn read(inferrer: &mut dyn Inferrer, case: &ReaderCase) -> Result<Schema> {
    inferrer.begin(&case.path);
    for piece in std::fs::read(&case.path).unwrap().chunks(100) {
        inferrer.push(piece)?;
    }
    inferrer.end()?;
    inferrer.finish()
}

#[test]
fn the_schema_of_json_is_what_spark_infers() {
    infer("json-schema", "json", |case| {
        let mut options = JsonReadOptions::new(&options(case), zone(case))?;
        options.case_sensitive = case.conf.get("spark.sql.caseSensitive").is_some_and(|value| value == "true");
        read(&mut JsonInferrer::new(options), case)
    });
}

#[test]
fn the_schema_of_csv_is_what_spark_infers() {
    infer("csv-schema", "csv", |case| read(&mut CsvInferrer::new(CsvReadOptions::new(&options(case), zone(case))?)?, case));
}
