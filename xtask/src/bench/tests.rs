//! Tests of the benchmarks' own parts: figures, the table, the arguments.

use super::table::{Table, grouped};
use super::{median, parse};

#[test]
fn figures_are_grouped() {
    for (value, shown) in [
        (0.26, "0.3"),
        (99.94, "99.9"),
        (100.0, "100"),
        (1234.4, "1,234"),
        (1_234_567.0, "1,234,567"),
        (-4321.0, "-4,321"),
        (f64::NAN, "-"),
    ] {
        assert_eq!(grouped(value), shown);
    }
}

#[test]
fn the_median_is_the_middle_or_the_lower_of_two() {
    assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.0);
    assert!(median([]).is_nan());
}

#[test]
fn a_table_is_markdown_and_padded() {
    let mut table = Table::new(&["engine", "n"]);
    table.row(&["spark".to_owned(), "12,345".to_owned()]);
    assert_eq!(table.to_string(), "| engine |      n |\n|--------|-------:|\n| spark  | 12,345 |\n");
}

#[test]
fn wrong_arguments_are_named() {
    let parse = |words: &str| parse(&words.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).map(|w| w.name);
    assert_eq!(parse("cloudtrail --peer spark --reps 1"), Ok("cloudtrail".to_owned()));
    assert_eq!(parse("cloudtrail --peer storm"), Err("unknown peer \"storm\"; there are spark and flink".to_owned()));
    let refused = super::run(&["cloudtrail", "--peer", "flink"].map(str::to_owned));
    assert_eq!(refused, Err("cloudtrail has no peer flink; kafka-ysb, kafka-ysb-kafka have".to_owned()));
    let refused =
        ["keys --kills 2", "spill --peer spark"].map(|words| super::run(&words.split(' ').map(str::to_owned).collect::<Vec<_>>()));
    let expected = ["keys", "spill"].map(|name| Err(format!("{name} compares us with ourselves: it has no peer and no kills")));
    assert_eq!(refused, expected);
    assert!(parse("--rows").is_err() && parse("").is_err() && parse("x --rows many").is_err());
}

#[test]
fn every_file_has_as_many_rows() {
    let wish = |words: &str| parse(&words.split(' ').map(str::to_owned).collect::<Vec<_>>()).unwrap();
    assert_eq!(wish("keys").files_and_rows(10, 95), (10, 90));
    assert_eq!(wish("keys --rows 7 --files 3").files_and_rows(10, 95), (3, 6));
}
