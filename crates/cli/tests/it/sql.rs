//! What `millstream sql` prints for each kind of answer.

use super::command::{millstream, text};

fn printed(args: &[&str]) -> String {
    let output = millstream().arg("sql").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn rows_are_a_table() {
    assert_eq!(printed(&["SELECT 1 AS a, 'x' AS b"]), "+---+---+\n|a  |b  |\n+---+---+\n|1  |x  |\n+---+---+\n");
    // A column of this name makes no plan of a query, whatever its text says.
    assert_eq!(printed(&["SELECT 'explain' AS plan"]), "+-------+\n|plan   |\n+-------+\n|explain|\n+-------+\n");
}

#[test]
fn a_plan_is_its_lines() {
    let plan = printed(&["EXPLAIN SELECT 1 AS a"]);
    assert!(plan.contains("== Physical Plan ==\n") && !plan.contains('|'), "{plan}");
    let json = printed(&["EXPLAIN SELECT 1 AS a", "--format", "json"]);
    assert!(json.starts_with("{\"plan\":\"") && json.lines().count() == 1, "{json}");
}

#[test]
fn a_statement_that_tells_nothing_prints_nothing() {
    assert_eq!(printed(&["CREATE TEMPORARY VIEW v AS SELECT 1 AS a"]), "");
    assert_eq!(printed(&["CREATE TEMPORARY VIEW v AS SELECT 1 AS a", "--format", "csv"]), "");
    assert_eq!(printed(&[" -- no statement"]), "");
}
