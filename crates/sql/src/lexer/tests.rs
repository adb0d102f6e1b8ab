//! Tests of the lexer.

use super::text::{name_value, string_value};
use super::{TokenKind, lex};

fn kinds(text: &str) -> Vec<(TokenKind, &str)> {
    let mut tokens: Vec<_> = lex(text).unwrap().into_iter().map(|t| (t.kind, t.text)).collect();
    assert_eq!(tokens.pop().unwrap().0, TokenKind::End);
    tokens
}

#[test]
fn numbers_keep_their_suffix_and_run_on_into_names() {
    use TokenKind::*;
    let one = |text| match kinds(text).as_slice() {
        [(kind, _)] => *kind,
        other => panic!("{other:?}"),
    };
    for (text, kind) in [
        ("1", Integer),
        ("1L", Long),
        ("1s", Short),
        ("1Y", Byte),
        ("1d", Double),
        ("1.5f", Float),
        ("1.5", Decimal),
        ("1.", Decimal),
        (".5", Decimal),
        ("1e5", Exponent),
        ("1.5E-3", Exponent),
        (".5e2", Exponent),
        ("1e5D", Double),
        ("12BD", BigDecimal),
        ("1.5bd", BigDecimal),
        ("2x", Word),
        ("1e5x", Word),
        ("1Lx", Word),
        ("1e", Word),
        ("_1", Word),
    ] {
        assert_eq!(one(text), kind, "{text}");
    }
    assert_eq!(kinds("t.2nd"), [(Word, "t"), (Symbol, "."), (Word, "2nd")]);
    assert_eq!(kinds("a.b"), [(Word, "a"), (Symbol, "."), (Word, "b")]);
}

#[test]
fn strings_are_unescaped_as_spark_does() {
    let one = |text: &str| string_value(kinds(text)[0].1);
    assert_eq!(one(r"'it\'s'"), "it's");
    assert_eq!(one("'it''s'"), "it's");
    assert_eq!(one(r#""a""b'c""#), "a\"b'c");
    assert_eq!(one(r"'a\tb\n\\\0\101\Z'"), "a\tb\n\\\0A\u{1a}");
    assert_eq!(one(r"'\u0041\U0001F600\ud83d\ude00'"), "A😀😀");
    assert_eq!(one(r"'10\% \_ \q'"), r"10\% \_ q");
    assert_eq!(one(r"r'a\n'"), r"a\n");
    assert_eq!(one(r#"R"a'\""#), r"a'\");
    assert_eq!(name_value("`a``b`"), "a`b");
}

#[test]
fn comments_nest_and_are_passed_over() {
    let words = |text| kinds(text).into_iter().map(|t| t.1).collect::<Vec<_>>();
    assert_eq!(words("a -- b\nc /* d /* e */ f */ g"), ["a", "c", "g"]);
    assert_eq!(words("a -- b \\\nc\nd"), ["a", "d"]);
    assert!(lex("a /* b /* c */").is_err());
    assert_eq!(words("SELECT /*+ BROADCAST(t) */ a"), ["SELECT", "/*+", "BROADCAST", "(", "t", ")", "*/", "a"]);
}

#[test]
fn positions_count_lines_and_characters() {
    let tokens = lex("ä b\n  c").unwrap();
    let at: Vec<_> = tokens.iter().map(|t| (t.span.line, t.span.column, t.span.offset)).collect();
    assert_eq!(at, [(1, 1, 0), (1, 3, 3), (2, 3, 7), (2, 4, 8)]);
}

#[test]
fn the_rest_of_a_set_statement_is_one_raw_token() {
    let texts = |text| kinds(text).into_iter().map(|t| t.1).collect::<Vec<_>>();
    assert_eq!(texts("SET a.b = it's #; SELECT 1"), ["SET", "a.b = it's #", ";", "SELECT", "1"]);
    assert_eq!(texts("set k = 'a;b' -- why\n; set"), ["set", "k = 'a;b'", ";", "set"]);
    assert_eq!(texts("x SET a"), ["x", "SET", "a"]);
}

#[test]
fn an_unclosed_quote_is_an_error_at_its_start() {
    let error = lex("SELECT\n 'abc").unwrap_err();
    assert_eq!(error.to_string(), "unclosed string at line 2, column 2");
    assert!(lex("`a").is_err() && lex("r'a").is_err() && lex("\"a\\\"").is_err());
}
