//! What a statement of SQL answers.

use crate::dataframe::DataFrame;

/// The answer of a statement: a DataFrame, as in Spark, and what is in it.
#[derive(Debug, Clone)]
pub struct SqlAnswer {
    /// The answer's rows.
    pub frame: DataFrame,
    /// What they are.
    pub kind: AnswerKind,
}

/// What the rows of an answer are, for those who print it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerKind {
    /// Rows: of a query, or of what SHOW, DESCRIBE and SET tell.
    Rows,
    /// A text of many lines in the one cell of one row: EXPLAIN's plans.
    Text,
    /// The statement has done its work and tells nothing: no rows, no columns.
    Nothing,
}

impl SqlAnswer {
    pub(crate) fn rows(frame: DataFrame) -> Self {
        Self { frame, kind: AnswerKind::Rows }
    }

    pub(crate) fn text(frame: DataFrame) -> Self {
        Self { frame, kind: AnswerKind::Text }
    }

    pub(crate) fn nothing(frame: DataFrame) -> Self {
        Self { frame, kind: AnswerKind::Nothing }
    }
}
