//! Encoders against the bytes that Spark 4.3 writes (each case was written there).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int8Array, Int32Array,
    Int64Array, ListArray, MapBuilder, RecordBatch, StringArray, StringViewArray, StructArray, TimestampMicrosecondArray, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema, TimeUnit};
use millstream_core::{Options, Result};
use millstream_formats::Encoder;
use millstream_formats::csv::{CsvEncoder, CsvWriteOptions};
use millstream_formats::datetime::{Zone, parse_date, parse_timestamp, parse_timestamp_ntz};
use millstream_formats::json::{JsonEncoder, JsonWriteOptions};
use millstream_formats::text::TextEncoder;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs.iter().copied().collect()
}

fn write(encoder: &mut dyn Encoder, batch: &RecordBatch) -> String {
    let mut out = Vec::new();
    encoder.begin(&mut out).unwrap();
    encoder.encode(batch, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(batch: &RecordBatch, pairs: &[(&str, &str)]) -> String {
    let options = JsonWriteOptions::new(&options(pairs), Zone::UTC).unwrap();
    write(&mut JsonEncoder::new(&batch.schema(), options).unwrap(), batch)
}

fn csv(batch: &RecordBatch, pairs: &[(&str, &str)]) -> String {
    let options = CsvWriteOptions::new(&options(pairs), Zone::UTC).unwrap();
    write(&mut CsvEncoder::new(&batch.schema(), options).unwrap(), batch)
}

fn strings(values: &[Option<&str>]) -> RecordBatch {
    let names = "abcdefghijklmnopqrstuvwxyz";
    let columns = values.iter().enumerate().map(|(i, value)| {
        let array: ArrayRef = Arc::new(StringArray::from(vec![*value]));
        (&names[i..=i], array)
    });
    batch(columns.collect())
}

fn odd_strings() -> RecordBatch {
    strings(&[
        Some("x"),
        None,
        Some(""),
        Some("a,b"),
        Some("q\"t"),
        Some("l\nm"),
        Some(" sp "),
        Some("back\\s"),
        Some("#c"),
        Some("r\rs"),
        Some("é"),
        Some("\"q\""),
        Some("a\\\"b"),
        Some("tab\tx"),
        Some("it's"),
    ])
}

#[test]
fn csv_quotes_as_univocity_does() {
    let rows = odd_strings();
    let common = "x,,\"\",\"a,b\",\"q\\\"t\",\"l\nm\",sp,back\\s,#c,\"r\rs\",é,\"\\\"q\\\"\",\"a\\\\\\\"b\",tab\tx,it's\n";
    assert_eq!(csv(&rows, &[]), common);
    assert_eq!(csv(&rows, &[("header", "true")]), format!("a,b,c,d,e,f,g,h,i,j,k,l,m,n,o\n{common}"));
    assert_eq!(
        csv(&rows, &[("quoteAll", "true")]),
        "\"x\",\"\",\"\",\"a,b\",\"q\\\"t\",\"l\nm\",\"sp\",\"back\\\\s\",\"#c\",\"r\rs\",\"é\",\"\\\"q\\\"\",\"a\\\\\\\"b\",\"tab\tx\",\"it's\"\n"
    );
    assert_eq!(
        csv(&rows, &[("escapeQuotes", "false")]),
        "x,,\"\",\"a,b\",q\"t,\"l\nm\",sp,back\\s,#c,\"r\rs\",é,\"\\\"q\\\"\",a\\\"b,tab\tx,it's\n"
    );
    assert!(csv(&rows, &[("nullValue", "NULL"), ("emptyValue", "E")]).starts_with("x,NULL,E,"));
    assert_eq!(
        csv(&rows, &[("escape", "\"")]),
        "x,,\"\",\"a,b\",\"q\"\"t\",\"l\nm\",sp,back\\s,#c,\"r\rs\",é,\"\"\"q\"\"\",\"a\\\"\"b\",tab\tx,it's\n"
    );
    assert_eq!(
        csv(&rows, &[("sep", ";"), ("quote", "'")]),
        "x;;\"\";a,b;q\"t;'l\nm';sp;back\\s;#c;'r\rs';é;\"q\";a\\\"b;tab\tx;'it\\'s'\n"
    );
    assert!(csv(&rows, &[("sep", "||")]).starts_with("x||||\"\"||a,b||\"q\\\"t\"||"));
    assert!(csv(&rows, &[("ignoreLeadingWhiteSpace", "false"), ("ignoreTrailingWhiteSpace", "false")]).contains(", sp ,"));
    assert_eq!(csv(&strings(&[Some("#x"), Some("#y")]), &[("comment", "#")]), "\"#x\",#y\n");
    assert_eq!(csv(&strings(&[Some(" "), Some("\u{a0}x ")]), &[]), "\"\",\u{a0}x\n");
    assert_eq!(csv(&strings(&[None]), &[]), "");
    assert_eq!(csv(&strings(&[None, None]), &[("lineSep", ";")]), ",;");
}

fn scalars() -> RecordBatch {
    let us = |text: &str| parse_timestamp(text, Zone::UTC);
    batch(vec![
        ("a", Arc::new(Int8Array::from(vec![1])) as ArrayRef),
        ("b", Arc::new(Float32Array::from(vec![1.5]))),
        ("d", Arc::new(Float64Array::from(vec![1e20]))),
        ("e", Arc::new(Float64Array::from(vec![f64::NAN]))),
        ("f", Arc::new(Float32Array::from(vec![f32::NEG_INFINITY]))),
        ("g", Arc::new(Decimal128Array::from(vec![1500]).with_precision_and_scale(10, 3).unwrap())),
        ("h", Arc::new(Date32Array::from(vec![parse_date("2021-01-02")]))),
        ("i", Arc::new(TimestampMicrosecondArray::from(vec![us("2021-01-02 03:04:05.123456")]).with_timezone("UTC"))),
        ("j", Arc::new(TimestampMicrosecondArray::from(vec![parse_timestamp_ntz("2021-01-02 03:04:05", false)]))),
        ("k", Arc::new(BooleanArray::from(vec![true]))),
        ("l", Arc::new(BinaryArray::from(vec![&b"ab"[..]]))),
        ("t", Arc::new(TimestampMicrosecondArray::from(vec![us("0001-01-01")]).with_timezone("UTC"))),
        ("u", Arc::new(Date32Array::from(vec![parse_date("+12021-01-01")]))),
        ("v", Arc::new(StringViewArray::from(vec!["view"]))),
        ("w", Arc::new(Decimal128Array::from(vec![1000]).with_precision_and_scale(20, 10).unwrap())),
        ("x", Arc::new(Decimal128Array::from(vec![0]).with_precision_and_scale(10, 8).unwrap())),
    ])
}

#[test]
fn scalars_are_written_as_java_prints_them() {
    assert_eq!(
        csv(&scalars(), &[]),
        "1,1.5,1.0E20,NaN,-Infinity,1.500,2021-01-02,2021-01-02T03:04:05.123Z,2021-01-02T03:04:05.000,true,[61 62],\
         0001-01-01T00:00:00.000Z,+12021-01-01,view,1.000E-7,0E-8\n"
    );
    assert_eq!(
        json(&scalars(), &[]),
        "{\"a\":1,\"b\":1.5,\"d\":1.0E20,\"e\":\"NaN\",\"f\":\"-Infinity\",\"g\":1.500,\"h\":\"2021-01-02\",\"i\":\"2021-01-02T03:04:05.123Z\",\
         \"j\":\"2021-01-02T03:04:05.000\",\"k\":true,\"l\":\"YWI=\",\"t\":\"0001-01-01T00:00:00.000Z\",\"u\":\"+12021-01-01\",\"v\":\"view\",\
         \"w\":1.000E-7,\"x\":0E-8}\n"
    );
    let patterns = [("dateFormat", "dd/MM/yyyy"), ("timestampFormat", "dd/MM/yyyy HH:mm:ss.SSSSSS XXX"), ("timestampNTZFormat", "HH:mm")];
    assert!(csv(&scalars(), &patterns).contains("02/01/2021,02/01/2021 03:04:05.123456 Z,03:04,"));
    let tokyo = [("timestampFormat", "dd/MM/yyyy HH:mm:ss.SSSSSS XXX"), ("timeZone", "Asia/Tokyo")];
    assert!(json(&scalars(), &tokyo).contains("\"02/01/2021 12:04:05.123456 +09:00\""));
    assert!(json(&scalars(), &tokyo).contains("\"01/01/0001 09:18:59.000000 +09:18\""));
    assert!(json(&scalars(), &[("timeZone", "Europe/Berlin")]).contains("0001-01-01T00:53:28.000+00:53:28"));
}

#[test]
fn json_strings_are_escaped_as_jackson_does() {
    let rows = strings(&[Some("a/b<>&\u{2028}\u{1}\u{7f}\u{8}\u{c}\n\r\t😀\"\\")]);
    assert_eq!(json(&rows, &[]), "{\"a\":\"a/b<>&\u{2028}\\u0001\u{7f}\\b\\f\\n\\r\\t😀\\\"\\\\\"}\n");
    let ascii = [("writeNonAsciiCharacterAsCodePoint", "true")];
    assert_eq!(json(&strings(&[Some("éx😀")]), &ascii), "{\"a\":\"\\u00E9x\\uD83D\\uDE00\"}\n");
    assert_eq!(json(&strings(&[Some("x"), None]), &[("ignoreNullFields", "false"), ("lineSep", "|")]), "{\"a\":\"x\",\"b\":null}|");
    assert_eq!(json(&strings(&[None]), &[]), "{}\n");
}

#[test]
fn nested_values_are_written_and_null_members_left_out() {
    let fields = Fields::from(vec![Field::new("x", DataType::Int32, true), Field::new("y \"é", DataType::Int32, true)]);
    let structs = StructArray::new(fields, vec![Arc::new(Int32Array::from(vec![Some(1)])), new_null_array(&DataType::Int32, 1)], None);
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1), None])]);
    let mut map = MapBuilder::new(None, arrow::array::StringBuilder::new(), arrow::array::Int32Builder::new());
    map.keys().append_value("k");
    map.values().append_value(1);
    map.keys().append_value("l\"");
    map.values().append_null();
    map.append(true).unwrap();
    let mut days = MapBuilder::new(None, arrow::array::Date32Builder::new(), arrow::array::Int32Builder::new());
    days.keys().append_value(18_628);
    days.values().append_value(1);
    days.append(true).unwrap();
    let list_of_structs = ListArray::new(
        Arc::new(Field::new("element", structs.data_type().clone(), true)),
        OffsetBuffer::from_lengths([1]),
        Arc::new(structs.clone()),
        None,
    );
    let rows = batch(vec![
        ("a", Arc::new(structs) as ArrayRef),
        ("b", Arc::new(lists)),
        ("c", Arc::new(map.finish())),
        ("d", Arc::new(list_of_structs)),
        ("i", Arc::new(days.finish())),
        ("n", new_null_array(&DataType::Null, 1)),
    ]);
    assert_eq!(json(&rows, &[]), "{\"a\":{\"x\":1},\"b\":[1,null],\"c\":{\"k\":1,\"l\\\"\":null},\"d\":[{\"x\":1}],\"i\":{\"18628\":1}}\n");
    let all = json(&rows, &[("ignoreNullFields", "false"), ("writeNonAsciiCharacterAsCodePoint", "true")]);
    assert!(all.starts_with("{\"a\":{\"x\":1,\"y \\\"\\u00E9\":null}") && all.ends_with("\"n\":null}\n"), "{all}");
    let mut encoder = JsonEncoder::for_columns(JsonWriteOptions::new(&Options::new(), Zone::UTC).unwrap());
    let texts = encoder.encode_column(rows.column(3)).unwrap();
    assert_eq!(texts.value(0), "[{\"x\":1}]");
    assert!(CsvEncoder::new(&rows.schema(), CsvWriteOptions::new(&Options::new(), Zone::UTC).unwrap()).is_err());
}

#[test]
fn slices_write_their_own_rows() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![Some(vec![Some(1)]), Some(vec![Some(2), Some(3)]), None]);
    let rows = batch(vec![("a", Arc::new(lists) as ArrayRef), ("b", Arc::new(Int64Array::from(vec![1, 2, 3])))]).slice(1, 2);
    assert_eq!(json(&rows, &[]), "{\"a\":[2,3],\"b\":2}\n{\"b\":3}\n");
}

#[test]
fn to_csv_gives_one_text_per_struct() {
    let rows = strings(&[Some("1"), Some("x,y"), None, Some(""), Some(" x ")]);
    let structs: ArrayRef = Arc::new(StructArray::from(rows));
    let mut encoder = CsvEncoder::for_columns(CsvWriteOptions::new(&Options::new(), Zone::UTC).unwrap());
    assert_eq!(encoder.encode_column(&structs).unwrap().value(0), "1,\"x,y\",,\"\",x");
}

#[test]
fn text_is_one_string_column() -> Result<()> {
    let rows = batch(vec![("value", Arc::new(StringArray::from(vec![Some("a\nb"), None, Some("")])) as ArrayRef)]);
    assert_eq!(write(&mut TextEncoder::new(&rows.schema(), &Options::new())?, &rows), "a\nb\n\n\n");
    assert_eq!(write(&mut TextEncoder::new(&rows.schema(), &options(&[("lineSep", ";")]))?, &rows), "a\nb;;;");
    assert!(TextEncoder::new(&scalars().schema(), &Options::new()).is_err());
    let number = Schema::new(vec![Field::new("v", DataType::Timestamp(TimeUnit::Microsecond, None), true)]);
    assert!(TextEncoder::new(&number, &Options::new()).is_err());
    Ok(())
}
