//! Known answers of Spark 4.3 (gold `string-*`), and patterns that are refused.

use datafusion::common::ScalarValue;

use crate::testing::eval;

fn run(name: &str, args: &[&str]) -> String {
    eval(name, args.iter().map(|arg| ScalarValue::from(*arg)).collect())
}

#[test]
fn java_patterns_are_translated() {
    for (pattern, text, matches) in [
        (r"^\d+$", "123", true),
        (r"^\d+$", "١٢", false),
        (r"a.c", "a\rc", false),
        (r"(?s)a.c", "a\nc", true),
        (r"\Qa.c\E", "abc", false),
        (r"\p{Alpha}+", "é", false),
        (r"[\w&&[^\d]]", "5", false),
        (r"[]a]", "]", true),
        (r"\x41B", "AB", true),
        (r"a\/b\-c\<", "a/b-c<", true),
        (r"[^\s]", " ", false),
        (r"(?i)abc", "ABC", true),
    ] {
        assert_eq!(run("rlike", &[text, pattern]), matches.to_string(), "{pattern}");
    }
    for pattern in ["(", "a{2", "[a", "\\", "*a", r"\y"] {
        assert_eq!(run("rlike", &["x", pattern]), "!INVALID_PARAMETER_VALUE.PATTERN", "{pattern}");
    }
    for pattern in ["(?=a)", r"(a)\1", "a*+", "(?<!a)b", "(?>a)"] {
        assert_eq!(run("rlike", &["x", pattern]), "!?", "{pattern}");
    }
}

#[test]
fn extraction_and_replacement() {
    assert_eq!(run("regexp_extract", &["100-200", r"(\d+)-(\d+)"]), "100");
    assert_eq!(run("regexp_extract", &["abc", r"(\d+)"]), "");
    assert_eq!(run("regexp_extract_all", &["a1b22", r"(\d+)"]), "[1, 22]");
    assert_eq!(run("regexp_replace", &["abc", "(b)", "[$1]"]), "a[b]c");
    assert_eq!(run("regexp_replace", &["abc", "(b)", "$12"]), "ab2c");
    assert_eq!(run("regexp_replace", &["abc", "", "-"]), "-a-b-c-");
    assert_eq!(run("regexp_replace", &["abc", "b", r"\$"]), "a$c");
    assert_eq!(run("regexp_replace", &["abc", "b", "$1"]), "!INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX");
    assert_eq!(run("regexp_count", &["a1b2", r"\d"]), "2");
    assert_eq!(run("regexp_instr", &["é1", r"\d"]), "2");
}

#[test]
fn splitting_is_javas() {
    for (text, pattern, parts) in [
        ("a,b,,", ",", "[a, b, , ]"),
        ("aXbYc", "[XY]", "[a, b, c]"),
        ("", ",", "[]"),
        ("abc", "", "[a, b, c]"),
        ("a b  c", " +", "[a, b, c]"),
        ("abc", "x*", "[a, b, c, ]"),
    ] {
        assert_eq!(run("split", &[text, pattern]), parts, "{text} by {pattern}");
    }
}
