//! The analyzer's own error: what is wrong, Spark's error class, and where in the text.
//!
//! It stays inside the crate; [`AnalysisError::into_core`] turns it into the project's error at the edge,
//! with the line of the text and a caret when the text is known. It never carries data of rows.

use std::fmt;

use datafusion::error::DataFusionError;
use millstream_core::{Error, ErrorKind};
use millstream_sql::{Span, SqlError, SqlErrorKind};

/// `Result` inside the analyzer.
pub(crate) type Result<T, E = AnalysisError> = std::result::Result<T, E>;

/// A query that cannot be resolved.
#[derive(Debug, Clone)]
pub(crate) struct AnalysisError(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    class: Option<&'static str>,
    message: String,
    span: Span,
    near: Option<String>,
    hint: Option<String>,
    /// An error that is complete already (of the catalog, of a kernel).
    whole: Option<Error>,
}

impl AnalysisError {
    /// A query that is wrong, with Spark's error class.
    pub(crate) fn invalid(class: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self::new(ErrorKind::Invalid, Some(class), message, span)
    }

    /// A query that Spark takes and Millstream does not (yet).
    pub(crate) fn unsupported(feature: impl fmt::Display, span: Span) -> Self {
        Self::new(ErrorKind::Unsupported, None, format!("{feature} is not supported"), span)
    }

    /// A query that nests or chains more than we dare to run.
    pub(crate) fn too_deep(limit: usize, span: Span) -> Self {
        Self::invalid("EXCEEDED_NESTING_LIMIT", format!("the query nests deeper than the limit of {limit} levels"), span)
            .hint("compute parts of it in views with few columns, or in several queries")
    }

    /// A broken invariant of the analyzer.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, None, message, Span::NONE)
    }

    fn new(kind: ErrorKind, class: Option<&'static str>, message: impl Into<String>, span: Span) -> Self {
        Self(Box::new(Inner { kind, class, message: message.into(), span, near: None, hint: None, whole: None }))
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the name that was perhaps meant.
    pub(crate) fn near(mut self, near: Option<String>) -> Self {
        self.0.near = near;
        self
    }

    /// The same error at `span`, unless it has a place already.
    pub(crate) fn at(mut self, span: Span) -> Self {
        if !self.0.span.is_known() {
            self.0.span = span;
        }
        self
    }

    /// Spark's error class.
    pub(crate) fn class(&self) -> Option<&'static str> {
        self.0.class
    }

    /// The project's error, with the place in `text`.
    pub(crate) fn into_core(self, text: Option<&str>) -> Error {
        let inner = *self.0;
        if let Some(error) = inner.whole {
            return match (inner.span.is_known(), error.kind()) {
                (true, ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::Data) => {
                    error.context(format!("at line {}, column {}", inner.span.line, inner.span.column))
                }
                _ => error,
            };
        }
        let place = SqlError { near: inner.near, ..SqlError::invalid(inner.message, inner.span) };
        let message = match text {
            Some(text) if inner.span.is_known() => place.render(text),
            _ => place.to_string(),
        };
        let mut error = Error::new(inner.kind, message);
        if let Some(class) = inner.class {
            error = error.code(class);
        }
        match inner.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl From<Error> for AnalysisError {
    fn from(error: Error) -> Self {
        let mut out = Self::new(error.kind(), error.error_class(), error.message().to_owned(), Span::NONE);
        out.0.whole = Some(error);
        out
    }
}

impl From<SqlError> for AnalysisError {
    fn from(error: SqlError) -> Self {
        let kind = if error.kind == SqlErrorKind::Unsupported { ErrorKind::Unsupported } else { ErrorKind::Invalid };
        Self::new(kind, Some(error.class), error.message, error.span).near(error.near)
    }
}

impl From<DataFusionError> for AnalysisError {
    fn from(error: DataFusionError) -> Self {
        // An error of ours that travelled through DataFusion comes back whole.
        let root = error.find_root();
        if let DataFusionError::External(inner) = root
            && let Some(ours) = inner.downcast_ref::<Error>()
        {
            return ours.clone().into();
        }
        if let DataFusionError::ArrowError(arrow, _) = root
            && let arrow::error::ArrowError::ExternalError(inner) = arrow.as_ref()
            && let Some(ours) = inner.downcast_ref::<Error>()
        {
            return ours.clone().into();
        }
        Self::internal(format!("the plan cannot be built: {}", error.strip_backtrace()))
    }
}
