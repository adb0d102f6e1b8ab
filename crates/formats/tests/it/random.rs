//! Random records against serde_json, and broken ones against the promise that nothing panics and nothing is lost.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use millstream_core::{Options, RejectedRecord};
use millstream_formats::csv::{CsvDecoder, CsvInferrer, CsvReadOptions};
use millstream_formats::datetime::{Zone, parse_date, parse_timestamp, parse_timestamp_ntz};
use millstream_formats::json::{JsonColumnDecoder, JsonDecoder, JsonEncoder, JsonInferrer, JsonReadOptions, JsonWriteOptions};
use millstream_formats::pattern::{DateTimePattern, Usage};
use millstream_formats::{Counts, DecodeSettings, Decoder, Encoder, Inferrer, Rejects};
use serde_json::{Map, Value, json};

/// A generator with a seed, so that a failure can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn string(&mut self) -> String {
        const PARTS: [&str; 14] =
            ["a", "word ", "\"", "\\", "\n", "\t", "é", "😀", "\u{1}", "/", "{\"x\":[1]}", "0123456789abcdef", "'", ","];
        (0..self.below(6)).map(|_| PARTS[self.below(PARTS.len())]).collect()
    }

    fn any(&mut self, depth: usize) -> Value {
        match self.below(if depth > 3 { 5 } else { 7 }) {
            0 => Value::Null,
            1 => json!(self.one_in(2)),
            2 => json!(self.next() as i64 >> self.below(64)),
            3 => json!(self.next() as i32 as f64 / 64.0),
            4 => json!(self.string()),
            5 => (0..self.below(4)).map(|_| self.any(depth + 1)).collect(),
            _ => Value::Object((0..self.below(4)).map(|_| (self.string(), self.any(depth + 1))).collect()),
        }
    }
}

/// Writes a value with blanks and escapes as they come.
fn write(random: &mut Random, value: &Value, out: &mut String) {
    let blanks =
        |random: &mut Random, out: &mut String| (0..random.below(3)).for_each(|_| out.push_str([" ", "\t", "  "][random.below(3)]));
    match value {
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                blanks(random, out);
                write(random, item, out);
                blanks(random, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (i, (name, item)) in members.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                    blanks(random, out);
                }
                write_string(random, name, out);
                blanks(random, out);
                out.push(':');
                blanks(random, out);
                write(random, item, out);
            }
            blanks(random, out);
            out.push('}');
        }
        Value::String(text) => write_string(random, text, out),
        other => out.push_str(&other.to_string()),
    }
}

fn write_string(random: &mut Random, text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                let _ = write!(out, "\\{c}");
            }
            c if c < ' ' || random.one_in(20) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn schema() -> Schema {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let point = Fields::from(vec![field("x", DataType::Utf8), field("y", DataType::Int64)]);
    let pair = Fields::from(vec![Field::new("key", DataType::Utf8, false), field("value", DataType::Utf8)]);
    Schema::new(vec![
        field("s", DataType::Utf8),
        field("i", DataType::Int64),
        field("f", DataType::Float64),
        field("b", DataType::Boolean),
        field("l", DataType::List(Arc::new(field("element", DataType::Int64)))),
        field("p", DataType::Struct(point.clone())),
        field("ps", DataType::List(Arc::new(field("element", DataType::Struct(point))))),
        field("m", DataType::Map(Arc::new(Field::new("entries", DataType::Struct(pair), false)), false)),
        field("raw", DataType::Utf8),
    ])
}

/// A record that fits the schema, and members it does not name, in any order.
fn record(random: &mut Random) -> Value {
    let point = |random: &mut Random| json!({ "x": random.string(), "y": random.next() as i64, "z": random.any(2) });
    let mut members = vec![
        ("s", json!(random.string())),
        ("i", json!(random.next() as i64)),
        // Few digits: serde_json does not read all doubles to the last bit.
        ("f", json!(random.next() as i32 as f64 / 64.0)),
        ("b", json!(random.one_in(2))),
        ("l", (0..random.below(4)).map(|_| json!(random.next() as i32)).collect()),
        ("p", point(random)),
        ("ps", (0..random.below(3)).map(|_| point(random)).collect()),
        ("m", Value::Object((0..random.below(4)).map(|i| (format!("{i}{}", random.string()), json!(random.string()))).collect())),
        ("raw", Value::Object((0..random.below(3)).map(|_| (random.string(), random.any(0))).collect())),
        ("noise", random.any(0)),
        ("more noise", random.any(0)),
    ];
    for i in 0..members.len() {
        if random.one_in(4) {
            let j = random.below(members.len());
            members.swap(i, j);
        }
        if random.one_in(8) {
            members[i].1 = Value::Null;
        }
    }
    members.retain(|_| !random.one_in(6));
    Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// What is left of a record when it went through the schema and was written without nulls.
fn expected(record: &Value, raw: Option<String>) -> Value {
    let mut out = Map::new();
    let trim = |point: &Value| match point {
        Value::Object(point) => Value::Object(
            point.iter().filter(|(name, value)| *name != "z" && !value.is_null()).map(|(n, v)| (n.clone(), v.clone())).collect(),
        ),
        other => other.clone(),
    };
    for field in schema().fields() {
        let value = match (field.name().as_str(), record.get(field.name())) {
            (_, None | Some(Value::Null)) => continue,
            ("raw", Some(_)) => json!(raw),
            ("p", Some(point)) => trim(point),
            ("ps", Some(Value::Array(points))) => points.iter().map(trim).collect(),
            (_, Some(value)) => value.clone(),
        };
        out.insert(field.name().clone(), value);
    }
    Value::Object(out)
}

#[test]
fn valid_records_come_back_as_serde_json_has_them() {
    let mut random = Random(0x5eed);
    let mut input = String::new();
    let mut wanted = Vec::new();
    for _ in 0..600 {
        let record = record(&mut random);
        // Where the raw member is written must be known, so it is written apart.
        let raw = record.get("raw").filter(|raw| !raw.is_null()).map(|raw| {
            let mut out = String::new();
            write(&mut random, raw, &mut out);
            out
        });
        wanted.push(expected(&record, raw.clone()));
        input.push('{');
        for (i, (name, value)) in record.as_object().unwrap().iter().enumerate() {
            let _ = write!(input, "{}\"{name}\": ", if i > 0 { "," } else { "" });
            match (&raw, name.as_str()) {
                (Some(raw), "raw") => input.push_str(raw),
                _ => write(&mut random, value, &mut input),
            }
        }
        input.push_str("}\n");
    }
    let mut decoder = JsonDecoder::new(&schema(), read_options(&[]), DecodeSettings::default().with_batch_rows(100)).unwrap();
    let mut encoder = JsonEncoder::new(&schema(), JsonWriteOptions::new(&Options::new(), Zone::UTC).unwrap()).unwrap();
    let mut out = Vec::new();
    let mut sink = |batch: RecordBatch| encoder.encode(&batch, &mut out);
    for piece in input.as_bytes().chunks(777) {
        decoder.push(piece, &mut sink).unwrap();
    }
    decoder.flush(&mut sink).unwrap();
    let got: Vec<Value> = String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(got.len(), wanted.len());
    for ((got, wanted), line) in got.iter().zip(&wanted).zip(input.lines()) {
        assert_eq!(got, wanted, "{line}");
    }
}

fn read_options(pairs: &[(&str, &str)]) -> JsonReadOptions {
    JsonReadOptions::new(&pairs.iter().copied().collect(), Zone::UTC).unwrap()
}

fn run(decoder: &mut dyn Decoder, input: &[u8]) -> (Counts, u64, Vec<RejectedRecord>) {
    let mut rows = 0;
    let mut sink = |batch: RecordBatch| {
        rows += batch.num_rows() as u64;
        Ok(())
    };
    decoder.begin("input");
    let done = decoder.push(input, &mut sink).and_then(|()| decoder.end(&mut sink)).and_then(|()| decoder.flush(&mut sink));
    done.unwrap();
    (decoder.counts(), rows, decoder.take_rejected())
}

fn check(decoder: &mut dyn Decoder, input: &[u8]) -> Vec<RejectedRecord> {
    let (counts, rows, rejected) = run(decoder, input);
    assert_eq!(counts.rows, rows);
    assert_eq!(counts.rejected, rejected.len() as u64);
    assert_eq!(counts.records, counts.rows + counts.dropped + counts.rejected, "{}", String::from_utf8_lossy(input));
    rejected
}

fn json_decoders() -> Vec<JsonDecoder> {
    let settings = DecodeSettings::default();
    let with = |pairs: &[(&str, &str)], settings| JsonDecoder::new(&schema(), read_options(pairs), settings).unwrap();
    let odd = [("allowComments", "true"), ("allowUnquotedFieldNames", "true"), ("allowBackslashEscapingAnyCharacter", "true")];
    vec![
        with(&[], settings),
        with(&[("mode", "DROPMALFORMED")], settings),
        with(&[], settings.with_rejects(Rejects::Keep)),
        with(&[("multiLine", "true")], settings),
        with(&odd, settings),
    ]
}

#[test]
fn records_cut_off_anywhere_lose_nothing_and_never_panic() {
    let mut random = Random(99);
    for _ in 0..3 {
        let mut text = String::new();
        let record = record(&mut random);
        write(&mut random, &record, &mut text);
        for end in 0..text.len() {
            let cut = &text.as_bytes()[..end];
            for decoder in &mut json_decoders() {
                check(decoder, cut);
            }
            let settings = DecodeSettings::default().with_rejects(Rejects::Keep);
            let mut decoder = JsonDecoder::new(&schema(), read_options(&[]), settings).unwrap();
            let rejected = check(&mut decoder, cut);
            if end > 0 {
                assert_eq!(rejected.first().map(|record| record.raw.as_slice()), Some(cut), "a record without its end is set aside whole");
            }
            let mut inferrer = JsonInferrer::new(read_options(&[]));
            inferrer.push(cut).unwrap();
            let _ = inferrer.end().and_then(|()| inferrer.finish());
        }
    }
}

#[test]
fn changed_bytes_never_panic() {
    const BYTES: &[u8] = b"\"\\{}[]:,0-+.eEtfn'/*# \n\r\t\0\x80\xc3\xff";
    let mut random = Random(7);
    for _ in 0..500 {
        let mut text = String::new();
        for _ in 0..1 + random.below(3) {
            let record = record(&mut random);
            write(&mut random, &record, &mut text);
            text.push('\n');
        }
        let mut bytes = text.into_bytes();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            bytes[at] = BYTES[random.below(BYTES.len())];
        }
        for decoder in &mut json_decoders() {
            check(decoder, &bytes);
        }
        for pairs in [&[][..], &[("multiLine", "true")], &[("mode", "DROPMALFORMED")], &[("escape", "\""), ("sep", "\\\\n")]] {
            let fields = ["a", "b", "c"].map(|name| Field::new(name, DataType::Utf8, true));
            let options = || CsvReadOptions::new(&pairs.iter().copied().collect(), Zone::UTC).unwrap();
            check(&mut CsvDecoder::new(&Schema::new(fields.to_vec()), None, options(), DecodeSettings::default()).unwrap(), &bytes);
            let mut inferrer = CsvInferrer::new({
                let mut options = options();
                (options.infer_schema, options.header) = (true, true);
                options
            })
            .unwrap();
            inferrer.push(&bytes).unwrap();
            inferrer.end().unwrap();
            inferrer.finish().unwrap();
        }
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let texts = arrow::array::StringArray::from(vec![text, ""]);
            let structs = DataType::Struct(schema().fields().clone());
            JsonColumnDecoder::new(&structs, read_options(&[])).unwrap().decode(&texts).unwrap();
        }
    }
}

#[test]
fn odd_texts_of_time_never_panic() {
    let mut random = Random(3);
    let letters: Vec<char> = "yMdHhmsSaEGDQqXxzVOZ'[]-: .T".chars().collect();
    let signs: Vec<char> = "0123456789-+:. TZé/UTCaAPM".chars().collect();
    let berlin = Zone::parse("Europe/Berlin").unwrap();
    for _ in 0..20_000 {
        let text: String = (0..random.below(30)).map(|_| signs[random.below(signs.len())]).collect();
        let _ = (parse_date(&text), parse_timestamp(&text, berlin), parse_timestamp_ntz(&text, true), Zone::parse(&text));
        let pattern: String = (0..random.below(12)).map(|_| letters[random.below(letters.len())]).collect();
        if let Ok(pattern) = DateTimePattern::new(&pattern, Usage::Parse) {
            let _ = (pattern.parse_timestamp(&text, berlin), pattern.parse_date(&text));
        }
        if let Ok(pattern) = DateTimePattern::new(&pattern, Usage::Format) {
            let mut out = String::new();
            let us = random.next() as i64 >> random.below(64);
            let _ = (pattern.format_timestamp(&mut out, us, berlin), pattern.format_date(&mut out, us as i32));
        }
    }
}

#[test]
fn what_is_formatted_is_parsed_again() {
    let mut random = Random(11);
    for zone in ["UTC", "Europe/Berlin", "America/St_Johns", "+05:45"] {
        let zone = Zone::parse(zone).unwrap();
        for pattern in ["yyyy-MM-dd HH:mm:ss.SSSSSSXXX", "dd MMM yyyy hh:mm:ss.SSSSSS a Z", "yyyyDDDHHmmss.SSSSSS VV"] {
            let pattern = (DateTimePattern::for_format(pattern).unwrap(), DateTimePattern::for_parse(pattern).unwrap());
            for _ in 0..200 {
                // From 1950 on, so that offsets have no seconds; no hour that is there twice.
                let us = -631_152_000_000_000 + (random.next() % 4_000_000_000_000_000) as i64;
                let mut text = String::new();
                pattern.0.format_timestamp(&mut text, us, zone).unwrap();
                let again = pattern.1.parse_timestamp(&text, zone);
                let twice = zone.to_utc(zone.to_local(us)) != Some(us);
                assert!(again == Some(us) || twice, "{text} {us} {again:?}");
            }
        }
    }
}

#[test]
fn a_record_of_many_megabytes_is_read() {
    let mut input = br#"{"s":""#.to_vec();
    input.resize(20 << 20, b'x');
    input.extend_from_slice(b"\"}\n{\"s\":\"y\"}\n");
    let mut decoder = JsonDecoder::new(&schema(), read_options(&[]), DecodeSettings::default()).unwrap();
    let mut lengths = Vec::new();
    let mut sink = |batch: RecordBatch| {
        lengths.extend(batch.column(0).as_string::<i32>().iter().map(|text| text.unwrap().len()));
        Ok(())
    };
    input.chunks(1 << 16).for_each(|piece| decoder.push(piece, &mut sink).unwrap());
    decoder.flush(&mut sink).unwrap();
    assert_eq!(lengths, [(20 << 20) - 6, 1]);
    let timestamps = Schema::new(vec![Field::new("s", DataType::Timestamp(TimeUnit::Microsecond, None), true)]);
    check(&mut JsonDecoder::new(&timestamps, read_options(&[]), DecodeSettings::default()).unwrap(), &input);
}
