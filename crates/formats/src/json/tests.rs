//! JSON decoding against what Spark 4.3 answers (each case was run there).

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::sync::Arc;

use millstream_core::{Options, ParseMode};

use super::*;
use crate::datetime::Zone;
use crate::{DecodeSettings, Decoder, Rejects};

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(field("element", item)))
}

fn structs(fields: Vec<Field>) -> DataType {
    DataType::Struct(Fields::from(fields))
}

fn map(value: DataType) -> DataType {
    let pair = vec![Field::new("key", DataType::Utf8, false), field("value", value)];
    DataType::Map(Arc::new(Field::new("entries", structs(pair), false)), false)
}

fn options(pairs: &[(&str, &str)]) -> JsonReadOptions {
    JsonReadOptions::new(&pairs.iter().copied().collect::<Options>(), Zone::UTC).unwrap()
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

fn decode(fields: Vec<Field>, input: &[u8], pairs: &[(&str, &str)]) -> Vec<String> {
    let decode_pieces = |piece: usize| {
        let mut decoder = JsonDecoder::new(&Schema::new(fields.clone()), options(pairs), DecodeSettings::default()).unwrap();
        let mut batches = Vec::new();
        let mut sink = |batch| {
            batches.push(batch);
            Ok(())
        };
        decoder.begin("f");
        input.chunks(piece).for_each(|piece| decoder.push(piece, &mut sink).unwrap());
        decoder.end(&mut sink).unwrap();
        decoder.flush(&mut sink).unwrap();
        let counts = decoder.counts();
        assert_eq!(counts.records, counts.rows + counts.dropped + counts.rejected);
        show(&batches)
    };
    let whole = decode_pieces(input.len().max(1));
    assert_eq!(whole, decode_pieces(1), "the pieces of the input must not matter");
    whole
}

/// One column `a` and the column of bad records, of which only is shown whether it is there.
fn column(data_type: DataType, lines: &[&str], pairs: &[(&str, &str)]) -> Vec<String> {
    let rows = decode(vec![field("a", data_type), field("_corrupt_record", DataType::Utf8)], lines.join("\n").as_bytes(), pairs);
    assert_eq!(rows.len(), lines.len());
    let cut = |(row, line): (&String, &&str)| match row.strip_suffix(&format!("|{line}")) {
        Some(value) => format!("{value} bad"),
        None => row.strip_suffix("|~").unwrap().to_owned(),
    };
    rows.iter().zip(lines).map(cut).collect()
}

#[test]
fn strings_keep_the_text_of_anything_as_written() {
    let lines = [
        r#"{"a":{"x" : 1 , "y":[1, 2.50,"\u0041"]}}"#,
        r#"{"a": 1.50}"#,
        r#"{"a":[ 1 ] }"#,
        r#"{"a":true}"#,
        r#"{"a":null}"#,
        r#"{"a":1E5}"#,
        r#"{"a":NaN}"#,
    ];
    let want = [r#"{"x" : 1 , "y":[1, 2.50,"\u0041"]}"#, "1.50", "[ 1 ]", "true", "~", "1E5", "NaN"];
    assert_eq!(column(DataType::Utf8, &lines, &[]), want);
}

#[test]
fn escapes_are_resolved_as_jackson_does() {
    let lines = [
        r#"{"a":"\u00e9\ud83d\ude00\n\/"}"#,
        r#"{"a":"\ud83d"}"#,
        r#"{"a":"\ud83dx"}"#,
        r#"{"a":"x\'y"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\q"}"#,
        "{\"a\":\"\tz\"}",
        r#"{"a":"\u12"}"#,
        r#"{"\u0061":"é"}"#,
        r#"{"a":'it"s'}"#,
    ];
    let want = ["é😀\n/", "?", "?x", "x'y", "?", "~ bad", "~ bad", "~ bad", "é", "it\"s"];
    assert_eq!(column(DataType::Utf8, &lines, &[]), want);
}

#[test]
fn numbers_that_do_not_fit_are_bad_fields() {
    let lines = |values: &[&str]| values.iter().map(|value| format!("{{\"a\":{value}}}")).collect::<Vec<_>>();
    let run = |data_type: DataType, values: &[&str], pairs: &[(&str, &str)]| {
        let lines = lines(values);
        column(data_type, &lines.iter().map(String::as_str).collect::<Vec<_>>(), pairs).join(" ")
    };
    assert_eq!(run(DataType::Int8, &["128", "255", "256", "-128", "-129"], &[]), "-128 -1 ~ bad -128 ~ bad");
    assert_eq!(run(DataType::Int16, &["32767", "32768", "1.0", "1e2"], &[]), "32767 ~ bad ~ bad ~ bad");
    assert_eq!(
        run(DataType::Int64, &["9223372036854775808", "-0", "01", "\"1\"", "-9223372036854775808"], &[]),
        "~ bad 0 ~ bad ~ bad -9223372036854775808"
    );
    assert_eq!(run(DataType::Int32, &["01", "-007", "00", "0.5"], &[("allowNumericLeadingZeros", "true")]), "1 -7 0 ~ bad");
    let doubles = [
        "1",
        "1.5",
        "\"NaN\"",
        "NaN",
        "Infinity",
        "-Infinity",
        "+Infinity",
        "\"INF\"",
        "\"-INF\"",
        "1e400",
        ".5",
        "5.",
        "+5",
        "\"\"",
        "INF",
        "-INF",
        "\"1.5\"",
    ];
    assert_eq!(
        run(DataType::Float64, &doubles, &[]),
        "1.0 1.5 NaN NaN inf -inf inf ~ bad -inf inf ~ bad ~ bad ~ bad ~ bad ~ bad -inf ~ bad"
    );
    assert_eq!(run(DataType::Float64, &["\"NaN\"", "NaN", "1"], &[("allowNonNumericNumbers", "false")]), "~ bad ~ bad 1.0");
    let decimals = ["1.255", "\"1.2\"", "1000", "\"1,000.5\"", "1e1", "\"x\"", "\"\"", "99.999"];
    assert_eq!(run(DataType::Decimal128(4, 2), &decimals, &[]), "1.26 1.20 ~ bad ~ bad 10.00 ~ bad ~ bad ~ bad");
    assert_eq!(run(DataType::Boolean, &["\"true\"", "true", "1", "false"], &[]), "~ bad true ~ bad false");
    assert_eq!(run(DataType::Binary, &["\"AQI=\"", "\"AQI\"", "\"!!\"", "\"\"", "1"], &[]), "0102 ~ bad ~ bad  ~ bad");
}

#[test]
fn times_are_read_by_casts_or_by_pattern() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let lines = [r#"{"a":"2021-1-1 10:00"}"#, r#"{"a":1609459200}"#, r#"{"a":1.5}"#, r#"{"a":"x"}"#, r#"{"a":"10:00:00"}"#];
    let want = ["2021-01-01T10:00:00Z", "2021-01-01T00:00:00Z", "~ bad", "~ bad", "~ bad"];
    assert_eq!(column(micros.clone(), &lines, &[]), want);
    let lines = [r#"{"a":"01/02/2021 10:00"}"#, r#"{"a":"2021-01-02 10:00:00"}"#];
    let pattern = [("timestampFormat", "dd/MM/yyyy HH:mm"), ("timeZone", "Europe/Berlin")];
    assert_eq!(column(micros, &lines, &pattern), ["2021-02-01T09:00:00Z", "~ bad"]);
    let lines = [r#"{"a":"2021-01-01T01:02:03Z"}"#, r#"{"a":"2021"}"#, r#"{"a":16}"#];
    assert_eq!(column(DataType::Timestamp(TimeUnit::Microsecond, None), &lines, &[]), ["~ bad", "2021-01-01T00:00:00", "~ bad"]);
    let lines = [r#"{"a":"2021-1-1 10:00"}"#, r#"{"a":18000}"#, r#"{"a":"2021-02-30"}"#, r#"{"a":"12"}"#];
    assert_eq!(column(DataType::Date32, &lines, &[]), ["2021-01-01", "~ bad", "~ bad", "1970-01-13"]);
}

#[test]
fn a_bad_field_keeps_the_rest_of_the_row() {
    let int = || DataType::Int32;
    let rest = |a: DataType| vec![field("a", a), field("b", int()), field("c", int())];
    let run = |a: DataType, line: &str| decode(rest(a), line.as_bytes(), &[]).join("/");
    assert_eq!(run(list(int()), r#"{"a":[1,"x",{"y":[3]}],"b":2,"c":3}"#), "~|2|3");
    assert_eq!(run(list(structs(vec![field("x", int())])), r#"{"a":[{"x":1},{"x":"q"}],"b":2,"c":3}"#), "[{x: 1}, {x: ~}]|2|3");
    assert_eq!(run(map(int()), r#"{"a":{"k":1,"l":"x","m":3},"b":2,"c":3}"#), "~|2|3");
    assert_eq!(run(map(int()), r#"{"a":{"k":1,"l":null},"b":2,"c":3}"#), "{k: 1, l: ~}|2|3");
    assert_eq!(run(structs(vec![field("x", int()), field("y", int())]), r#"{"a":{"x":"q","y":2},"b":2}"#), "{x: ~, y: 2}|2|~");
    assert_eq!(run(int(), r#"{"a":{"x":"q","y":2},"b":2}"#), "~|2|~");
}

#[test]
fn the_last_good_duplicate_wins_and_names_match_exactly() {
    let lines = [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"a":"x"}"#,
        r#"{"a":"x","a":2}"#,
        r#"{"a":1,"a":null}"#,
        r#"{"A":1}"#,
        r#"{"z":{"a":1},"a":3}"#,
        r#"{"a":1,"b":2,"a":3}"#,
    ];
    assert_eq!(column(DataType::Int32, &lines, &[]), ["2", "1 bad", "2 bad", "~", "~", "3", "3"]);
}

#[test]
fn records_that_are_no_object_are_bad_and_arrays_are_many_rows() {
    let input = "[{\"a\":1},{\"a\":2}]\n[]\n[1,{\"a\":3}]\n[{\"a\":1},{\"a\":\"x\"}]\n1\n\"x\"\nnull\ntrue\n{}\n\n   \n{\"a\":5}xyz\n{\"a\":6}{\"a\":7}\n{\"a\":1,}\n{\"a\":1 \"b\":2}\n{\"a\":\n[[{\"a\":3}]]";
    let fields = vec![field("a", DataType::Int32), field("_corrupt_record", DataType::Utf8)];
    let want = [
        "1|~",
        "2|~",
        "~|[1,{\"a\":3}]",
        "1|[{\"a\":1},{\"a\":\"x\"}]",
        "~|[{\"a\":1},{\"a\":\"x\"}]",
        "~|1",
        "~|\"x\"",
        "~|null",
        "~|true",
        "~|~",
        "5|~",
        "6|~",
        "~|{\"a\":1,}",
        "~|{\"a\":1 \"b\":2}",
        "~|{\"a\":",
        "~|[[{\"a\":3}]]",
    ];
    assert_eq!(decode(fields, input.as_bytes(), &[]), want);
}

#[test]
fn what_ends_within_a_wanted_value_keeps_the_fields_before() {
    let fields = vec![field("a", DataType::Int32), field("b", DataType::Utf8), field("c", structs(vec![field("x", DataType::Utf8)]))];
    let run = |line: &str| decode(fields.clone(), line.as_bytes(), &[]).join("/");
    assert_eq!(run(r#"{"a":2,"b":{"c":"#), "2|~|~");
    assert_eq!(run(r#"{"a":2,"b":{"c":1,"d:"x"}}"#), "2|~|~");
    assert_eq!(run(r#"{"a":2,"c":{"x":tru},"b":"y"}"#), "2|~|~");
    assert_eq!(run(r#"{"a":2,"b":tru}"#), "~|~|~");
    assert_eq!(run(r#"{"a":2,"b":[1,"#), "~|~|~");
    assert_eq!(run(r#"{"a":2,"z":{"c":"#), "~|~|~");
    assert_eq!(run(r#"{"a":2,"c":{"x":{"y":"#), "~|~|~");
}

#[test]
fn a_key_that_is_there_twice_keeps_its_place_and_the_last_value() {
    let fields = vec![field("a", map(DataType::Utf8)), field("b", DataType::Int32)];
    let line = r#"{"a":{"v":[[]],"k":"1","x":-1,"k":{"z":2},"v":null},"b":1}"#;
    assert_eq!(decode(fields.clone(), line.as_bytes(), &[]), ["{v: ~, k: {\"z\":2}, x: -1}|1"]);
    let many: Vec<String> = (0..20).map(|i| format!("\"k{}\":{i}", i % 10)).collect();
    let line = format!("{{\"a\":{{{}}}}}", many.join(","));
    let want: Vec<String> = (0..10).map(|i| format!("k{i}: {}", i + 10)).collect();
    assert_eq!(decode(fields, line.as_bytes(), &[]), [format!("{{{}}}|~", want.join(", "))]);
}

#[test]
fn what_is_skipped_is_checked_too() {
    let lines = [
        r#"{"b":"\q","a":1}"#,
        r#"{"b":"\ud83d","a":1}"#,
        r#"{"b":01,"a":1}"#,
        r#"{"b":tru,"a":1}"#,
        r#"{"b":nullx,"a":1}"#,
        r#"{"b":1x,"a":1}"#,
        r#"{"b":[1,{"c":[]},[[]],{}],"a":1}"#,
        r#"{"b":[1,],"a":1}"#,
        r#"{"b":{"c"},"a":1}"#,
        r#"{"b":{"c":1],"a":1}"#,
    ];
    let want = ["~ bad", "1", "~ bad", "~ bad", "~ bad", "~ bad", "1", "~ bad", "~ bad", "~ bad"];
    assert_eq!(column(DataType::Int32, &lines, &[]), want);
}

#[test]
fn dialects_are_options() {
    let lines = ["{'a':'x'}", "{\"a\":\"x\"}"];
    assert_eq!(column(DataType::Utf8, &lines, &[("allowSingleQuotes", "false")]), ["~ bad", "x"]);
    let lines = ["{a:'x',b$_1:1}", "{1a:2}", "{a b:1}", "{ü:1}", "{a-x:1}", "{a:x}"];
    assert_eq!(column(DataType::Utf8, &lines, &[("allowUnquotedFieldNames", "true")]), ["x", "~", "~ bad", "~ bad", "~", "~ bad"]);
    let lines = ["/* c */{\"a\":1}", "{\"a\":/*x*/2}", "{\"a\":3} // d", "# e"];
    assert_eq!(column(DataType::Int32, &lines, &[("allowComments", "true")]), ["1", "2", "3", "~ bad"]);
    assert_eq!(column(DataType::Utf8, &[r#"{"a":"\q\$"}"#], &[("allowBackslashEscapingAnyCharacter", "true")]), ["q$"]);
    assert_eq!(column(DataType::Utf8, &["{\"a\":\"\tz\u{1}\"}"], &[("allowUnquotedControlChars", "true")]), ["\tz\u{1}"]);
}

#[test]
fn lines_end_as_hadoop_reads_them_and_a_bom_is_skipped() {
    let fields = || vec![field("a", DataType::Utf8), field("b", DataType::Int32)];
    let input = b"\xef\xbb\xbf{\"a\":\"x\",\"b\":1}\r\n{\"a\":\"ok\",\"b\":1}\r\n\r\n{\"a\":\"z\",\"b\":3}\r{\"a\":\"w\",\"b\":4}\r\n";
    assert_eq!(decode(fields(), input, &[]), ["x|1", "ok|1", "z|3", "w|4"]);
    assert_eq!(decode(fields(), b"{\"b\":1}||{\"b\":2}||", &[("lineSep", "||")]), ["~|1", "~|2"]);
}

#[test]
fn invalid_utf8_makes_its_record_bad_only() {
    let input = b"{\"a\":\"x\xff\",\"b\":1}\n{\"a\":\"ok\",\"b\":1}\n{\"c\":\"\xff\",\"b\":1}\n{\"a\":\"\xc3(\",\"b\":2}";
    let fields = vec![field("a", DataType::Utf8), field("b", DataType::Int32), field("_corrupt_record", DataType::Utf8)];
    let want = ["~|~|{\"a\":\"x\u{fffd}\",\"b\":1}", "ok|1|~", "~|~|{\"c\":\"\u{fffd}\",\"b\":1}", "~|~|{\"a\":\"\u{fffd}(\",\"b\":2}"];
    assert_eq!(decode(fields, input, &[]), want);
}

#[test]
fn depth_is_bounded_and_the_stack_safe() {
    let deep = |levels: usize| format!("{{\"a\":{}1{}}}", "[".repeat(levels), "]".repeat(levels));
    let lines = [deep(999), deep(1000), deep(10_000), format!("{{\"a\":{}", "[{\"a\":".repeat(200_000))];
    let rows = column(DataType::Int32, &lines.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    assert_eq!(rows, ["~ bad", "~ bad", "~ bad", "~ bad"]);
    let fields = vec![field("b", DataType::Int32)];
    let text =
        format!("{{\"a\":{}1{},\"b\":1}}\n{{\"a\":{}1{},\"b\":1}}", "[".repeat(999), "]".repeat(999), "[".repeat(1000), "]".repeat(1000));
    assert_eq!(decode(fields, text.as_bytes(), &[]), ["1", "~"]);
}

#[test]
fn modes_drop_or_fail_and_rejects_keep_the_bytes() {
    let schema = Schema::new(vec![field("a", DataType::Int32), field("b", DataType::Int32)]);
    let input = b"{\"a\":1}\n{\"a\":\"x\",\"b\":2}\n[{\"a\":7},{\"a\":8}]\n{\"a\":";
    let run = |mode: &str, rejects: Rejects| {
        let settings = DecodeSettings::default().with_rejects(rejects);
        let mut decoder = JsonDecoder::new(&schema, options(&[("mode", mode)]), settings).unwrap();
        let mut batches = Vec::new();
        decoder.begin("data/a.json");
        let mut sink = |batch| {
            batches.push(batch);
            Ok(())
        };
        let done = decoder.push(input, &mut sink).and_then(|()| decoder.end(&mut sink)).and_then(|()| decoder.flush(&mut sink));
        (done, show(&batches), decoder.counts(), decoder.take_rejected())
    };
    let (_, rows, counts, _) = run("DROPMALFORMED", Rejects::None);
    assert_eq!(rows, ["1|~", "7|~", "8|~"]);
    assert_eq!((counts.records, counts.rows, counts.dropped), (5, 3, 2));

    let (done, ..) = run("FAILFAST", Rejects::None);
    let error = done.unwrap_err().to_string();
    assert!(error.contains("data/a.json, line 2") && error.contains("\"x\""), "{error}");

    let (done, rows, counts, rejected) = run("FAILFAST", Rejects::Keep);
    done.unwrap();
    assert_eq!(rows, ["1|~", "7|~", "8|~"]);
    assert_eq!((counts.records, counts.rows, counts.rejected), (5, 3, 2));
    assert_eq!(rejected[0].raw, b"{\"a\":\"x\",\"b\":2}");
    assert_eq!((rejected[0].position, rejected[1].position), (Some(2), Some(4)));
    assert!(rejected[1].error.contains("unexpected end"), "{}", rejected[1].error);
}

#[test]
fn multi_line_is_one_value_per_input() {
    let fields = || vec![field("a", DataType::Int32), field("_corrupt_record", DataType::Utf8)];
    let pairs = [("multiLine", "true")];
    assert_eq!(decode(fields(), b"{\"a\":1}\n {\"a\":2}\n", &pairs), ["1|~"]);
    assert_eq!(decode(fields(), b"\n[{\"a\":3},\n{\"a\":4}]", &pairs), ["3|~", "4|~"]);
    let bad = "[{\"a\":3},{\"a\":\"x\"}]\n";
    assert_eq!(decode(fields(), bad.as_bytes(), &pairs), [format!("3|{bad}"), format!("~|{bad}")]);
    assert_eq!(decode(fields(), b"", &pairs), Vec::<String>::new());
}

#[test]
fn a_record_past_the_bound_is_refused_with_the_option() {
    let schema = Schema::new(vec![field("a", DataType::Utf8)]);
    let mut decoder = JsonDecoder::new(&schema, options(&[("maxRecordBytes", "1k")]), DecodeSettings::default()).unwrap();
    let error = decoder.push(&[b'x'; 2000], &mut |_| Ok(())).unwrap_err();
    assert!(format!("{error:?}").contains("maxRecordBytes"), "{error:?}");
}

#[test]
fn batches_are_cut_by_rows() {
    let schema = Schema::new(Vec::<Field>::new());
    let mut decoder = JsonDecoder::new(&schema, options(&[]), DecodeSettings::default().with_batch_rows(2)).unwrap();
    let mut sizes = Vec::new();
    let mut sink = |batch: RecordBatch| {
        sizes.push(batch.num_rows());
        Ok(())
    };
    decoder.push(b"{}\n{}\n{\"a\":1}\n", &mut sink).unwrap();
    decoder.flush(&mut sink).unwrap();
    assert_eq!(sizes, [2, 1]);
}

#[test]
fn from_json_gives_one_value_per_text() {
    let texts = arrow::array::StringArray::from(vec![
        Some(r#"{"a":1,"b":"x"}"#),
        None,
        Some(""),
        Some("  "),
        Some("{"),
        Some(r#"{"a":"q","b":"y"}"#),
        Some(r#"[{"a":1}]"#),
        Some("null"),
    ]);
    let data_type = structs(vec![field("a", DataType::Int32), field("b", DataType::Utf8), field("_corrupt_record", DataType::Utf8)]);
    let run = |data_type: &DataType, texts: &dyn arrow::array::Array, pairs: &[(&str, &str)]| {
        let array = JsonColumnDecoder::new(data_type, options(pairs))?.decode(texts)?;
        let batch = RecordBatch::try_from_iter_with_nullable([("x", array, true)]).unwrap();
        Ok::<_, millstream_core::Error>(show(&[batch]))
    };
    let want = [
        "{a: 1, b: x, _corrupt_record: ~}",
        "~",
        "~",
        "~",
        "{a: ~, b: ~, _corrupt_record: {}",
        "{a: ~, b: y, _corrupt_record: {\"a\":\"q\",\"b\":\"y\"}}",
        "{a: ~, b: ~, _corrupt_record: [{\"a\":1}]}",
        "{a: ~, b: ~, _corrupt_record: null}",
    ];
    assert_eq!(run(&data_type, &texts, &[]).unwrap(), want);
    assert!(run(&data_type, &texts, &[("mode", "FAILFAST")]).is_err());
    assert!(run(&data_type, &texts, &[("mode", "DROPMALFORMED")]).is_err());
    let texts = arrow::array::StringArray::from(vec!["[1,2]", "[1,\"x\"]", "{", "[]"]);
    assert_eq!(run(&list(DataType::Int32), &texts, &[]).unwrap(), ["[1, 2]", "~", "~", "[]"]);
    let texts = arrow::array::StringArray::from(vec![
        r#"{"s":1.50,"t":{ "a" : [1e3, "\u00e9\n", -0, null] }}"#,
        r#"{"s":12345678901234567890,"t":1E400}"#,
        r#"{"s":"1.50","t":"x"}"#,
    ]);
    let two = structs(vec![field("s", DataType::Utf8), field("t", DataType::Utf8)]);
    let want = [r#"{s: 1.5, t: {"a":[1000.0,"é\n",0,null]}}"#, r#"{s: 12345678901234567890, t: "Infinity"}"#, "{s: 1.50, t: x}"];
    assert_eq!(run(&two, &texts, &[]).unwrap(), want);
    let texts = arrow::array::StringArray::from(vec![r#"{"a":1}"#, r#"[{"a":1},{"a":2}]"#]);
    assert_eq!(run(&list(structs(vec![field("a", DataType::Int32)])), &texts, &[]).unwrap(), ["[{a: 1}]", "[{a: 1}, {a: 2}]"]);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let schema = Schema::new(vec![field("s", structs(vec![field("t", DataType::Time64(TimeUnit::Microsecond))]))]);
    let error = JsonDecoder::new(&schema, options(&[]), DecodeSettings::default()).unwrap_err().to_string();
    assert!(error.contains("'s.t'"), "{error}");
    let latin: Options = [("encoding", "ISO-8859-1")].into_iter().collect();
    assert!(JsonReadOptions::new(&latin, Zone::UTC).unwrap_err().to_string().contains("ISO-8859-1"));
    assert_eq!(options(&[("mode", "failfast")]).mode, ParseMode::FailFast);
}

#[test]
fn a_name_is_told_from_one_that_differs_in_any_byte() {
    for length in 1..=40 {
        let name = "n".repeat(length);
        let mut input = format!("{{\"{name}\":1}}\n");
        for place in 0..length {
            let mut other = name.clone().into_bytes();
            other[place] = b'm';
            input += &format!("{{\"{name}\":1}}\n{{\"{}\":2}}\n", String::from_utf8(other).unwrap());
        }
        let rows = decode(vec![field(&name, DataType::Int32)], input.as_bytes(), &[]);
        let expected: Vec<&str> = std::iter::once("1").chain((0..length).flat_map(|_| ["1", "~"])).collect();
        assert_eq!(rows, expected, "length {length}");
    }
}
