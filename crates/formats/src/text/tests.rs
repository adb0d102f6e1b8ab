//! Text decoding against what Spark 4.3 answers.

use arrow::array::{AsArray, RecordBatch};

use super::*;
use crate::decoder::Decoder;

fn decode(input: &[u8], pairs: &[(&str, &str)]) -> Vec<String> {
    let options = TextReadOptions::new(&pairs.iter().copied().collect()).unwrap();
    let run = |piece: usize| {
        let mut decoder = TextDecoder::new(&text_schema(), &options, DecodeSettings::default().with_batch_rows(2)).unwrap();
        let mut rows = Vec::new();
        let mut sink = |batch: RecordBatch| {
            rows.extend(batch.column(0).as_string::<i32>().iter().map(|value| value.unwrap().to_owned()));
            Ok(())
        };
        decoder.begin("f");
        input.chunks(piece).for_each(|piece| decoder.push(piece, &mut sink).unwrap());
        decoder.end(&mut sink).unwrap();
        decoder.flush(&mut sink).unwrap();
        rows
    };
    assert_eq!(run(1), run(input.len().max(1)));
    run(1)
}

#[test]
fn lines_are_rows() {
    assert_eq!(decode(b"a\r\nb\n\nc\rd", &[]), ["a", "b", "", "c", "d"]);
    assert_eq!(decode(b"a;b;", &[("lineSep", ";")]), ["a", "b"]);
    assert_eq!(decode(b"\xef\xbb\xbfa\xffb\n", &[]), ["a\u{fffd}b"]);
    assert_eq!(decode(b"", &[]), Vec::<String>::new());
    assert_eq!(decode(b"a\nb", &[("wholetext", "true")]), ["a\nb"]);
}

#[test]
fn any_other_schema_is_refused() {
    let schema = Schema::new(vec![Field::new("v", DataType::Int32, true)]);
    let options = TextReadOptions::new(&Options::new()).unwrap();
    assert!(TextDecoder::new(&schema, &options, DecodeSettings::default()).is_err());
}
