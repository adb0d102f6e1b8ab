//! The words that are looked at where a keyword and a name could both stand.

/// Words that begin a clause or join a relation; a mistyped word is compared with these.
pub(super) const CLAUSES: &[&str] = &[
    "SELECT",
    "DISTINCT",
    "FROM",
    "WHERE",
    "GROUP",
    "BY",
    "HAVING",
    "ORDER",
    "SORT",
    "CLUSTER",
    "DISTRIBUTE",
    "LIMIT",
    "OFFSET",
    "WINDOW",
    "QUALIFY",
    "UNION",
    "INTERSECT",
    "EXCEPT",
    "MINUS",
    "JOIN",
    "INNER",
    "CROSS",
    "LEFT",
    "RIGHT",
    "FULL",
    "OUTER",
    "SEMI",
    "ANTI",
    "NATURAL",
    "USING",
    "LATERAL",
    "VIEW",
    "PIVOT",
    "UNPIVOT",
    "TABLESAMPLE",
    "WATERMARK",
    "DELAY",
    "STREAM",
    "VALUES",
    "BETWEEN",
    "LIKE",
    "INTERVAL",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "OPTIONS",
    "LOCATION",
    "PARTITIONED",
    "TBLPROPERTIES",
    "COMMENT",
];

/// Words that can never be the alias of a relation (Spark's "strict non-reserved" words).
pub(super) const NO_TABLE_ALIAS: &[&str] = &[
    "ANTI",
    "CROSS",
    "EXCEPT",
    "FULL",
    "INNER",
    "INTERSECT",
    "JOIN",
    "LATERAL",
    "LEFT",
    "NATURAL",
    "ON",
    "RIGHT",
    "SEMI",
    "MINUS",
    "UNION",
    "USING",
];

/// Words that end a select item or a relation when what follows them fits; see `ends_item`.
const ENDING: &[&str] = &["FROM", "WHERE", "HAVING", "QUALIFY", "UNION", "EXCEPT", "MINUS", "INTERSECT", "ON", "USING"];

/// Words that end an item only together with `BY`.
const ENDING_WITH_BY: &[&str] = &["GROUP", "ORDER", "SORT", "CLUSTER", "DISTRIBUTE", "PARTITION"];

/// Words that end an item unless the item's list or query ends right behind them (`SELECT a limit FROM t`).
const ENDING_BEFORE_MORE: &[&str] = &["LIMIT", "OFFSET", "WINDOW", "SELECT", "INSERT", "LATERAL", "WHEN", "THEN", "ELSE", "FOR"];

/// Words that end an item only before a parenthesis.
const ENDING_BEFORE_PAREN: &[&str] = &["PIVOT", "UNPIVOT", "TABLESAMPLE", "WITH"];

use crate::lexer::{Token, TokenKind};

/// Whether `word`, followed by `next`, begins something new instead of being an alias.
pub(super) fn ends_item(word: &Token<'_>, next: &Token<'_>) -> bool {
    if word.kind != TokenKind::Word {
        return false;
    }
    if word.is_any_word(ENDING) {
        return true;
    }
    if word.is_any_word(ENDING_WITH_BY) {
        return next.is_word("BY");
    }
    if word.is_any_word(ENDING_BEFORE_PAREN) {
        return next.is_symbol("(") || next.is_any_word(&["INCLUDE", "EXCLUDE"]);
    }
    let list_ends = next.kind == TokenKind::End || [",", ")", ";"].iter().any(|s| next.is_symbol(s)) || next.is_word("FROM");
    word.is_any_word(ENDING_BEFORE_MORE) && !list_ends
}

/// Words that are no column name at the start of an expression, because a clause is far more
/// likely to be meant: `SELECT a, FROM t`. (Spark takes some of them; in backticks all work.)
pub(super) fn starts_clause(word: &Token<'_>, next: &Token<'_>) -> bool {
    if word.is_any_word(ENDING_WITH_BY) {
        return next.is_word("BY");
    }
    if next.is_symbol(".") {
        return false;
    }
    if word.is_any_word(&["FROM", "WHERE"]) {
        return true;
    }
    let is_operand = next.kind == TokenKind::End || next.kind == TokenKind::Symbol && next.text != "(" || next.is_any_word(&["FROM", "AS"]);
    word.is_any_word(&["SELECT", "UNION", "INTERSECT", "EXCEPT", "JOIN", "ON", "HAVING", "THEN", "WHEN", "AND", "OR"]) && !is_operand
}
