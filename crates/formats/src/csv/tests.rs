//! CSV decoding against what Spark 4.3 answers (each case was run there).

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use millstream_core::{Options, Result};

use super::*;
use crate::datetime::Zone;
use crate::{DecodeSettings, Decoder, Rejects};

fn options(pairs: &[(&str, &str)]) -> CsvReadOptions {
    CsvReadOptions::new(&pairs.iter().copied().collect::<Options>(), Zone::UTC).unwrap()
}

/// Rows as text, columns joined by a bar; `~` is null.
fn show(batches: &[RecordBatch]) -> Vec<String> {
    let format = FormatOptions::new().with_null("~");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &format).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    rows
}

fn try_decode(types: &[DataType], input: &[u8], pairs: &[(&str, &str)], piece: usize) -> Result<Vec<String>> {
    let names = ["a", "b", "c", "d", "e"];
    let mut fields: Vec<Field> = types.iter().zip(names).map(|(data_type, name)| Field::new(name, data_type.clone(), true)).collect();
    if pairs.contains(&("corrupt", "")) {
        fields.push(Field::new("_corrupt_record", DataType::Utf8, true));
    }
    let mut decoder = CsvDecoder::new(&Schema::new(fields), None, options(pairs), DecodeSettings::default())?;
    let mut batches = Vec::new();
    let mut sink = |batch| {
        batches.push(batch);
        Ok(())
    };
    decoder.begin("f.csv");
    input.chunks(piece).try_for_each(|piece| decoder.push(piece, &mut sink))?;
    decoder.end(&mut sink)?;
    decoder.flush(&mut sink)?;
    let counts = decoder.counts();
    assert_eq!(counts.records, counts.rows + counts.dropped + counts.rejected);
    Ok(show(&batches))
}

fn decode(types: &[DataType], input: &[u8], pairs: &[(&str, &str)]) -> Vec<String> {
    let whole = try_decode(types, input, pairs, input.len().max(1)).unwrap();
    assert_eq!(whole, try_decode(types, input, pairs, 1).unwrap(), "the pieces of the input must not matter");
    whole
}

fn strings(input: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    decode(&[DataType::Utf8, DataType::Utf8, DataType::Utf8], input.as_bytes(), pairs)
}

const CORRUPT: (&str, &str) = ("corrupt", "");

#[test]
fn too_few_and_too_many_values_are_bad_records() {
    let types = [DataType::Int32, DataType::Utf8, DataType::Int32];
    let input = b"1,x,2\n3,y\n4,z,5,6\n\n  \n,,\n\"\",\"\",\"\"";
    assert_eq!(decode(&types, input, &[CORRUPT]), ["1|x|2|~", "3|y|~|3,y", "4|z|5|4,z,5,6", "~|~|~|~", "~|~|~|~"]);
    assert_eq!(decode(&types, b"1,x,2\n3,y\n4,z,5,6\nq,w,1", &[("mode", "DROPMALFORMED")]), ["1|x|2"]);
    let error = try_decode(&types, b"1,x,2\n3,y", &[("mode", "FAILFAST")], 100).unwrap_err().to_string();
    assert!(error.contains("f.csv, line 2") && error.contains("2 values where 3"), "{error}");
}

#[test]
fn quotes_and_escapes_are_univocitys() {
    let input = concat!(
        "\"a,b\",c\\\"d,\"e\\\"f\"\n",
        "\"a\"\"b\",c\"\"d,x\"y\"z\n",
        "\"un,closed\n",
        "\"ab\"cd,e,f\n",
        "\" a \", b ,c\n",
        "\"a\\\\\",b,c\n",
        "\"a\\nb\",c\\,d\n",
        "\"a\\\"x\"y,z,w\n",
        "\"\"\"\"\"\",\"\"\"\",\""
    );
    let want = [
        "a,b|c\\\"d|e\"f",
        "\"a\"\"b\"|c\"\"d|x\"y\"z",
        "un,closed|~|~",
        "\"ab\"cd|e|f",
        " a | b |c",
        "a\\|b|c",
        "a\\nb|c\\|d",
        "\"a\"x\"y|z|w",
        "\"\"\"\"|\"\"|\"",
    ];
    assert_eq!(strings(input, &[]), want);
    let input = "\"a\"\"b\",c,d\n\"a\"b\",c,d\n\"a\" ,b,c\n\"a\"x,b,c";
    assert_eq!(strings(input, &[("escape", "\"")]), ["a\"b|c|d", "\"a\"b\"|c|d", "a|b|c", "\"a\"x|b|c"]);
    assert_eq!(strings("\"a,b\",c\n\"x\"\"y\",'z'", &[("quote", "'")]), ["\"a|b\"|c", "\"x\"\"y\"|z|~"]);
}

#[test]
fn separators_comments_and_line_ends() {
    assert_eq!(strings("a;b;c\n\"a;b\";c;d", &[("sep", ";")]), ["a|b|c", "a;b|c|d"]);
    assert_eq!(strings("a||b||c\n\"a||b\"||c||d\na|b|c", &[("sep", "||")]), ["a|b|c", "a||b|c|d", "a|b|c|~|~"]);
    assert_eq!(strings("a\tb\tc", &[("delimiter", "\\t")]), ["a|b|c"]);
    assert_eq!(strings("#c\na,b,c\n#x,y,z\n \"#\",1,2", &[("comment", "#")]), ["a|b|c", " \"#\"|1|2"]);
    assert_eq!(strings("a,b,c\r\nd,e,f\rg,h,i\n", &[]), ["a|b|c", "d|e|f", "g|h|i"]);
    assert_eq!(strings("a,b,c;d,e,f;", &[("lineSep", ";")]), ["a|b|c", "d|e|f"]);
}

#[test]
fn headers_are_skipped_or_checked() {
    assert_eq!(strings("x,y,z\n1,2,3\nx,y,z\n", &[("header", "true")]), ["1|2|3", "x|y|z"]);
    assert_eq!(strings("\u{feff}a,b,c\n1,2,3", &[("header", "true")]), ["1|2|3"]);
    assert_eq!(strings("\u{feff}a,b,c\n", &[]), ["a|b|c"]);
    let checked = [("header", "true"), ("enforceSchema", "false")];
    assert_eq!(strings("A,b,c\n1,2,3", &checked), ["1|2|3"]);
    let types = [DataType::Utf8, DataType::Utf8, DataType::Utf8];
    let error = try_decode(&types, b"c,b,a\n1,2,3\n", &checked, 100).unwrap_err().to_string();
    assert!(error.contains("header c, b, a, schema a, b, c"), "{error}");
}

#[test]
fn nulls_and_empty_texts_are_told_apart() {
    assert_eq!(strings(",\"\",x\n\"\",\"\",\"\"\n", &[("emptyValue", "EMPTY"), ("nullValue", "NUL")]), ["~|EMPTY|x", "EMPTY|EMPTY|EMPTY"]);
    assert_eq!(strings(",\"\",x\n", &[]), ["~|~|x"]);
    let types = [DataType::Utf8, DataType::Int32, DataType::Float64];
    assert_eq!(decode(&types, b"-,1,-\n-,-,2", &[("nullValue", "-")]), ["~|1|~", "~|~|2.0"]);
}

#[test]
fn blanks_are_kept_unless_told_otherwise() {
    let input = " a , b ,\" c \"\n  ,1,  \"q\"  ";
    assert_eq!(strings(input, &[]), [" a | b | c ", "  |1|  \"q\"  "]);
    assert_eq!(strings(input, &[("ignoreLeadingWhiteSpace", "true"), ("ignoreTrailingWhiteSpace", "true")]), ["a|b| c ", "~|1|q"]);
}

#[test]
fn values_are_read_as_java_reads_them() {
    let types = [DataType::Int8, DataType::Int16, DataType::Int32, DataType::Int64];
    let input = b"128,32768,2147483648,9223372036854775808\n1.0,+1,-0,1e2\n1L,0x1,1_0, 1";
    assert_eq!(decode(&types, input, &[]), ["~|~|~|~", "~|1|0|~", "~|~|~|~"]);
    let types = [DataType::Decimal128(6, 2), DataType::Float64, DataType::Float64];
    let input = b"1.255,1,000\n\"1,000.5\",-.5,1e1\nNaN,Infinity,-Infinity\nnan,inf,+5\n1,Inf,-Inf";
    assert_eq!(decode(&types, input, &[]), ["1.26|1.0|0.0", "1000.50|-0.5|10.0", "~|inf|-inf", "~|~|5.0", "1.00|inf|-inf"]);
    let types = [DataType::Boolean, DataType::Boolean, DataType::Boolean];
    assert_eq!(decode(&types, b"true,TRUE,1\nfalse,x,0\nTrue, true,f", &[]), ["true|true|~", "false|~|~", "true|~|~"]);
    let types = [DataType::Date32, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))];
    let input = b"2021-1-1,2021-01-01T10:00:00Z\n01/02/2021,x\n12,2021\n2021-01-01T00:00,2021-01-01T10:00:00.123+01:00";
    let want = ["2021-01-01|2021-01-01T10:00:00Z", "~|~", "~|2021-01-01T00:00:00Z", "2021-01-01|2021-01-01T09:00:00.123Z"];
    assert_eq!(decode(&types, input, &[]), want);
    let patterns = [("dateFormat", "dd/MM/yyyy"), ("timestampFormat", "dd/MM/yyyy HH:mm")];
    let input = b"01/02/2021,01/02/2021 10:11\n2021-01-01,2021-01-01 10:00:00";
    assert_eq!(decode(&types, input, &patterns), ["2021-02-01|2021-02-01T10:11:00Z", "~|~"]);
    assert_eq!(decode(&[DataType::Binary, DataType::Utf8], b"ab,x\xff", &[]), ["6162|x\u{fffd}"]);
}

#[test]
fn line_ends_within_quotes_need_multi_line() {
    let input = "\"a\nb\",2,3\nx,\"y\r\nz\",1\n\n\"q\",1,2\r\nlast,\"1\",\"un\n closed";
    assert_eq!(strings(input, &[("multiLine", "true")]), ["a\nb|2|3", "x|y\r\nz|1", "q|1|2", "last|1|un\n closed"]);
    assert_eq!(strings("\"a\nb\",2,3\nx,y,1", &[]), ["a|~|~", "b\"|2|3", "x|y|1"]);
}

#[test]
fn bounds_are_errors_that_name_their_option() {
    let types = [DataType::Utf8];
    for (pairs, option) in [
        ([("maxColumns", "2")], "maxColumns"),
        ([("maxCharsPerColumn", "3")], "maxCharsPerColumn"),
        ([("maxRecordBytes", "4")], "maxRecordBytes"),
    ] {
        let error = try_decode(&types, b"abcdef,b,c,d", &pairs, 3).unwrap_err();
        assert!(format!("{error:?}").contains(option), "{error:?}");
    }
}

#[test]
fn a_projection_reads_only_its_columns_and_rejects_keep_lines() {
    let fields = ["a", "b", "c"].map(|name| Field::new(name, DataType::Int32, true));
    let settings = DecodeSettings::default().with_rejects(Rejects::Keep);
    let mut decoder = CsvDecoder::new(&Schema::new(fields.to_vec()), Some(&[2, 0]), options(&[]), settings).unwrap();
    let mut batches = Vec::new();
    let mut sink = |batch| {
        batches.push(batch);
        Ok(())
    };
    decoder.begin("x.csv");
    decoder.push(b"1,q,3\n4,5\n6,7,w\n", &mut sink).unwrap();
    decoder.flush(&mut sink).unwrap();
    assert_eq!(show(&batches), ["3|1"]);
    let rejected = decoder.take_rejected();
    assert_eq!((rejected[0].raw.as_slice(), rejected[0].position), (&b"4,5"[..], Some(2)));
    assert!(rejected[1].error.contains("\"w\"") && rejected[1].error.contains("'c'"), "{}", rejected[1].error);
}

#[test]
fn from_csv_gives_one_struct_per_text() {
    let fields = vec![
        Field::new("a", DataType::Int32, true),
        Field::new("b", DataType::Utf8, true),
        Field::new("_corrupt_record", DataType::Utf8, true),
    ];
    let texts = arrow::array::StringArray::from(vec![Some("1,x"), Some("q,x"), Some("1"), None, Some("1,2,3"), Some("2,\"a\nb\"")]);
    let array = CsvColumnDecoder::new(&DataType::Struct(fields.into()), options(&[])).unwrap().decode(&texts).unwrap();
    let batch = RecordBatch::try_from_iter_with_nullable([("x", array, true)]).unwrap();
    let want = [
        "{a: 1, b: x, _corrupt_record: ~}",
        "{a: ~, b: x, _corrupt_record: q,x}",
        "{a: 1, b: ~, _corrupt_record: 1}",
        "~",
        "{a: 1, b: 2, _corrupt_record: 1,2,3}",
        "{a: 2, b: a\nb, _corrupt_record: ~}",
    ];
    assert_eq!(show(&[batch]), want);
}
