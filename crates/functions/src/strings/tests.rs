//! Known answers of Spark 4.3 (gold `string-*`).

use datafusion::common::ScalarValue as S;

use crate::testing::eval;

#[test]
fn strings_as_spark_sees_them() {
    let s = |text: &str| S::from(text);
    let i = |value: i32| S::from(value);
    let l = |value: i64| S::from(value);
    for (name, args, expected) in [
        ("upper", vec![s("straße")], "STRASSE"),
        ("initcap", vec![s("hello wORLD foo-bar")], "Hello World Foo-bar"),
        ("trim", vec![s("\ta ")], "\ta"),
        ("trim", vec![s("x"), s("xxaxx")], "a"),
        ("ltrim", vec![s("xy"), s("xyabc")], "abc"),
        ("btrim", vec![s("xxaxx"), s("x")], "a"),
        ("substring", vec![s("hello"), i(2), i(3)], "ell"),
        ("substring", vec![s("hello"), i(0), i(2)], "he"),
        ("substring", vec![s("hello"), i(-3), i(2)], "ll"),
        ("substring", vec![s("hello"), i(-10), i(7)], "he"),
        ("substring", vec![s("hello"), i(2), i(-1)], ""),
        ("substring", vec![s("héllo"), i(2), i(1)], "é"),
        ("substring", vec![s("hello"), i(i32::MIN), i(i32::MAX)], "hello"),
        ("left", vec![s("hello"), i(2)], "he"),
        ("right", vec![s("hello"), i(2)], "lo"),
        ("right", vec![s("hello"), i(0)], ""),
        ("length", vec![s("héllo")], "5"),
        ("octet_length", vec![s("héllo")], "6"),
        ("instr", vec![s("hello"), s("l")], "3"),
        ("locate", vec![s("l"), s("hello"), i(4)], "4"),
        ("locate", vec![s(""), s("hello")], "1"),
        ("find_in_set", vec![s("b"), s("a,b,c")], "2"),
        ("lpad", vec![s("hi"), i(5), s("?")], "???hi"),
        ("lpad", vec![s("hi"), i(5), s("")], "hi"),
        ("rpad", vec![s("hi"), i(5), s("ab")], "hiaba"),
        ("repeat", vec![s("ab"), i(-1)], ""),
        ("replace", vec![s("abcabc"), s("b")], "acac"),
        ("translate", vec![s("abc"), s("ab"), s("x")], "xc"),
        ("split_part", vec![s("a.b.c"), s("."), i(-1)], "c"),
        ("split_part", vec![s("a.b.c"), s("."), i(0)], "!INVALID_INDEX_OF_ZERO"),
        ("substring_index", vec![s("a.b.c"), s("."), i(-2)], "b.c"),
        ("ascii", vec![s("é")], "233"),
        ("chr", vec![l(256)], "\0"),
        ("chr", vec![l(-1)], ""),
        ("base64", vec![S::Binary(Some(vec![0xFF, 0]))], "/wA="),
        ("unbase64", vec![s("!!")], ""),
        ("hex", vec![l(-1)], "FFFFFFFFFFFFFFFF"),
        ("hex", vec![s("Spark")], "537061726B"),
        ("crc32", vec![S::Binary(Some(b"Spark".to_vec()))], "1557323817"),
        ("md5", vec![S::Binary(Some(b"Spark".to_vec()))], "8cde774d6f7333752ed72cacddb05126"),
        ("sha1", vec![S::Binary(Some(b"Spark".to_vec()))], "85f5955f4b27a9a4c2aab6ffe5d7189fc298b92c"),
        ("sha2", vec![S::Binary(Some(b"Spark".to_vec())), i(1)], "NULL"),
        ("format_number", vec![S::from(12345.6789), i(2)], "12,345.68"),
        ("format_number", vec![S::from(0.5), i(0)], "0"),
        ("format_number", vec![i(1_234_567), s("#,###.00")], "1,234,567.00"),
        ("format_number", vec![i(-5), i(2)], "-5.00"),
        ("format_number", vec![S::Decimal128(Some(123_456_789), 9, 4), i(0)], "12,346"),
        ("format_string", vec![s("%05.2f|%x|%-5s|"), S::from(3.1357), i(255), s("a")], "03.14|ff|a    |"),
        ("soundex", vec![s("Miller")], "M460"),
        ("levenshtein", vec![s("kitten"), s("sitting")], "3"),
        ("levenshtein", vec![s("kitten"), s("sitting"), i(2)], "-1"),
        ("overlay", vec![s("Spark SQL"), s("ANSI "), i(7), i(0)], "Spark ANSI SQL"),
        ("elt", vec![i(3), s("a"), s("b")], "!INVALID_ARRAY_INDEX"),
        ("conv", vec![s("100"), i(2), i(10)], "4"),
        ("conv", vec![s("ff"), i(16), i(10)], "255"),
        ("bin", vec![l(13)], "1101"),
        ("to_char", vec![i(454), s("999")], "454"),
        ("to_char", vec![i(12454), s("99G999")], "12,454"),
        ("to_number", vec![s("$78.12"), s("$99.99")], "78.12"),
        ("try_to_number", vec![s("x"), s("999")], "NULL"),
        ("url_encode", vec![s("https://a b")], "https%3A%2F%2Fa+b"),
        ("parse_url", vec![s("http://spark.apache.org/path?query=1"), s("HOST")], "spark.apache.org"),
        ("parse_url", vec![s("http://spark.apache.org/path?query=1"), s("QUERY"), s("query")], "1"),
        ("sentences", vec![s("Hi there! Bye.")], "[[Hi, there], [Bye]]"),
        ("str_to_map", vec![s("a=1;b=2"), s(";"), s("=")], "{a -> 1, b -> 2}"),
        ("mask", vec![s("AbCD123-@$#")], "XxXXnnn-@$#"),
        ("luhn_check", vec![s("79927398713")], "true"),
        ("quote", vec![s("it's")], "'it\\'s'"),
    ] {
        assert_eq!(eval(name, args.clone()), expected, "{name} {args:?}");
    }
}

#[test]
fn results_past_two_gibibytes_are_refused() {
    let text = S::from("x".repeat(1000));
    assert_eq!(eval("repeat", vec![text, S::from(i32::MAX)]), "!?");
}
