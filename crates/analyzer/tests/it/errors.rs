//! Queries as a new user gets them wrong: every refusal says what is wrong (with Spark's class), where, and what to do.

use millstream_core::Error;

use crate::harness::{TestCatalog, analyze};

fn refused(sql: &str) -> Error {
    let catalog = TestCatalog::default().table(
        "logs",
        "id BIGINT, name STRING, ts TIMESTAMP, tags ARRAY<STRING>, who STRUCT<arn: STRING, acc: STRING>",
        true,
    );
    match analyze(&catalog, sql) {
        Ok(_) => panic!("{sql} is taken"),
        Err(error) => error,
    }
}

/// The query, Spark's error class, what is wrong and where, and the hint if that is not enough.
const WRONG: &[(&str, &str, &str, &str)] = &[
    (
        "SELECT nmae FROM logs",
        "UNRESOLVED_COLUMN.WITH_SUGGESTION",
        "column 'nmae' cannot be found at line 1, column 8; did you mean 'name'?",
        "columns here: id, name, ts, tags, who",
    ),
    (
        "SELECT x.id FROM logs l",
        "UNRESOLVED_COLUMN.WITH_SUGGESTION",
        "column 'x.id' cannot be found at line 1, column 8; did you mean 'l.id'?",
        "columns here",
    ),
    (
        "SELECT name\nFROM lgos",
        "TABLE_OR_VIEW_NOT_FOUND",
        "the table or view 'lgos' cannot be found at line 2, column 6; did you mean 'logs'?",
        "tables and views here: logs",
    ),
    (
        "SELECT uper(name) FROM logs",
        "UNRESOLVED_ROUTINE",
        "the function 'uper' is not known at line 1, column 8; did you mean 'upper'?",
        "",
    ),
    ("SELECT upper(name, id) FROM logs", "WRONG_NUM_ARGS.WITHOUT_SUGGESTION", "upper() takes 1 argument, not 2 at line 1, column 8", ""),
    (
        "SELECT who.arm FROM logs",
        "FIELD_NOT_FOUND",
        "the struct 'who' has no field 'arm', only arn, acc at line 1, column 8; did you mean 'arn'?",
        "",
    ),
    (
        "SELECT id FROM logs WHERE name",
        "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN",
        "the condition 'name' of WHERE is of type STRING, not BOOLEAN at line 1, column 27",
        "compare it",
    ),
    (
        "SELECT tags + 1 FROM logs",
        "DATATYPE_MISMATCH.BINARY_OP_DIFF_TYPES",
        "'+' cannot be applied to 'tags' of type ARRAY<STRING> and '1' of type INT at line 1, column 8",
        "cast",
    ),
    (
        "SELECT name, id, count(*) FROM logs GROUP BY name",
        "MISSING_AGGREGATION",
        "'id' is neither in GROUP BY nor in an aggregate function at line 1, column 14",
        "add it to GROUP BY",
    ),
    (
        "SELECT name FROM logs WHERE count(*) > 1",
        "INVALID_WHERE_CONDITION",
        "the aggregate count() cannot be used in WHERE at line 1, column 29",
        "HAVING",
    ),
    (
        "SELECT id FROM logs a JOIN logs b ON a.id = b.id",
        "AMBIGUOUS_REFERENCE",
        "column 'id' is ambiguous: it could be a.id, b.id at line 1, column 8",
        "in front",
    ),
    (
        "SELECT * FROM logs a JOIN logs b USING (nmae)",
        "UNRESOLVED_USING_COLUMN_FOR_JOIN",
        "the column 'nmae' of USING is not on both sides of the join at line 1, column 41; did you mean 'name'?",
        "",
    ),
    (
        "SELECT id FROM logs UNION ALL SELECT id, name FROM logs",
        "NUM_COLUMNS_MISMATCH",
        "UNION ALL needs the same number of columns on both sides, but there are 1 and 2 at line 1, column 21",
        "NULL",
    ),
    (
        "SELECT id FROM logs ORDER BY 3",
        "ORDER_BY_POS_OUT_OF_RANGE",
        "ORDER BY position 3 is not in the list of 1 columns at line 1, column 30",
        "",
    ),
    (
        "SELECT explode(name) FROM logs",
        "DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE",
        "explode() wants an array or a map, but 'name' is of type STRING at line 1, column 8",
        "split()",
    ),
    (
        "SELECT row_number() FROM logs",
        "WINDOW_FUNCTION_WITHOUT_OVER_CLAUSE",
        "the window function row_number() needs an OVER clause at line 1, column 8",
        "OVER (PARTITION BY",
    ),
    (
        "SELECT * FROM STREAM logs WATERMARK name DELAY OF INTERVAL 1 MINUTE",
        "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE",
        "the event time 'name' is of type STRING, not TIMESTAMP at line 1, column 27",
        "to_timestamp(name)",
    ),
    (
        "SELECT * FROM (SELECT TIMESTAMP_NTZ '2026-01-01' AS t FROM STREAM logs) WATERMARK t DELAY OF INTERVAL 1 MINUTE",
        "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE",
        "the event time 't' is of type TIMESTAMP_NTZ, not TIMESTAMP at line 1, column 73",
        "to_timestamp(t)",
    ),
    (
        "SELECT name FORM logs",
        "PARSE_SYNTAX_ERROR",
        "unexpected 'logs', expected the end of the text at line 1, column 18; did you mean 'FROM'?",
        "",
    ),
    ("SELECT upper(name FROM logs", "PARSE_SYNTAX_ERROR", "unexpected 'FROM', expected ')' at line 1, column 19", ""),
    ("SELECT id, FROM logs", "PARSE_SYNTAX_ERROR", "unexpected 'FROM', expected an expression at line 1, column 12", ""),
    ("SELECT 'a FROM logs", "PARSE_SYNTAX_ERROR", "unclosed string at line 1, column 8", ""),
    (
        "SELECT from_json(name, 'a INT', map(name, 'FAILFAST')) FROM logs",
        "INVALID_OPTIONS.NON_MAP_FUNCTION",
        "the options of from_json() must be a constant map, not 'map(name, FAILFAST)' at line 1, column 8",
        "write map(",
    ),
    (
        "SELECT CAST(id AS INTT) FROM logs",
        "UNSUPPORTED_DATATYPE",
        "'INTT' is not a data type at line 1, column 19; did you mean 'INT'?",
        "",
    ),
];

#[test]
fn refusals_say_what_and_where_and_what_to_do() {
    for (sql, class, message, hint) in WRONG {
        let error = refused(sql);
        assert_eq!(error.error_class(), Some(*class), "{sql}: {error}");
        assert!(error.message().starts_with(message), "{sql}: {error}");
        assert!(error.message().contains('^'), "{sql}: no caret in {error}");
        let given = error.hint_text().unwrap_or_default();
        assert!(given.contains(hint), "{sql}: {given}");
    }
}

#[test]
fn options_of_functions_are_checked_like_those_of_readers() {
    for (call, message, hint) in [
        (
            "from_json(name, 'a INT', map('mode', 'FAILFATS'))",
            "from_json has no parse mode 'FAILFATS': option 'mode' is PERMISSIVE or FAILFAST",
            "",
        ),
        (
            "from_csv(name, 'a INT', map('mode', concat('DROP', 'MALFORMED')))",
            "from_csv has no parse mode 'DROPMALFORMED': option 'mode' is PERMISSIVE or FAILFAST",
            "",
        ),
        ("to_json(who, map('pretty', true))", "options must be a map of strings to strings", ""),
        ("from_json(name, 'a INT', map('moed', 'FAILFAST'))", "unknown option 'moed' of the function from_json", "did you mean 'mode'?"),
        ("from_csv(name, 'a INT', map('separator', ';'))", "unknown option 'separator' of the function from_csv", ""),
        (
            "to_json(who, map('timestampFromat', 'y'))",
            "unknown option 'timestampFromat' of the function to_json",
            "did you mean 'timestampFormat'?",
        ),
        ("to_csv(who, map('quoteal', 'true'))", "unknown option 'quoteal' of the function to_csv", "did you mean 'quoteAll'?"),
        (
            "schema_of_json('{}', map('allowComment', 'true'))",
            "unknown option 'allowComment' of the function schema_of_json",
            "did you mean 'allowComments'?",
        ),
        ("schema_of_csv('1', map('spe', ';'))", "unknown option 'spe' of the function schema_of_csv", "did you mean 'sep'?"),
        (
            "from_json(name, schema_of_json('{}', map('mode', 'NEVER')))",
            "parse mode 'NEVER' is not one of PERMISSIVE, DROPMALFORMED, FAILFAST",
            "",
        ),
        ("from_json(name, 'a INT', map('multiLine', 'perhaps'))", "option 'multiLine' is 'perhaps': expected true or false", ""),
    ] {
        let error = refused(&format!("SELECT {call} FROM logs"));
        assert!(error.message().starts_with(message) && error.to_string().starts_with("at line 1, column "), "{call}: {error}");
        assert!(error.hint_text().unwrap_or_default().starts_with(hint), "{call}: {:?}", error.hint_text());
    }
}
