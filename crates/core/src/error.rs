//! One public error for the whole project.
//!
//! `kind` tells the caller what to do; `message` says what, `context` where (outermost last), and `hint` what to
//! do about it. Inside a crate use private `thiserror` enums and convert once at the edge. Secrets never enter a
//! message: values of secret options are printed by [`crate::Options`] as `***`.

use std::fmt;
use std::sync::Arc;

/// `Result` with the project's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong (an option, a query, a path): change it.
    Invalid,
    /// The request is legal but not offered: the message names the feature.
    Unsupported,
    /// A service or file cannot be reached now: trying again may help.
    Unavailable,
    /// The data is bad: the message names the position.
    Data,
    /// A newer run owns this checkpoint or sink: this run must stop.
    Fenced,
    /// A limit was reached (memory, disk, a bound): the message names the limit and its option.
    Exhausted,
    /// The caller asked to stop.
    Cancelled,
    /// An invariant of ours is broken: a defect, please report.
    Internal,
}

/// The one error type of public interfaces. Cheap to clone, so that a query can keep its cause of death.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<String>,
    hint: Option<String>,
    code: Option<&'static str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `message` is lower case, without a full stop, and names the value at fault.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner { kind, message: message.into(), context: Vec::new(), hint: None, code: None, source: None }))
    }

    /// [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// [`ErrorKind::Unsupported`].
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// [`ErrorKind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Data, message)
    }

    /// [`ErrorKind::Fenced`].
    pub fn fenced(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Fenced, message)
    }

    /// [`ErrorKind::Exhausted`].
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Exhausted, message)
    }

    /// [`ErrorKind::Cancelled`].
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Cancelled, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Adds where it happened: `while reading data/a.json`. The newest context is printed first.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).context.push(context.into());
        self
    }

    /// Adds what to do about it, one line.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::new(source));
        self
    }

    /// Adds Spark's error class, such as `CAST_INVALID_INPUT`, so that clients can tell errors apart.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        Arc::make_mut(&mut self.0).code = Some(code);
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone: what happened.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where it happened, innermost first.
    pub fn contexts(&self) -> &[String] {
        &self.0.context
    }

    /// What to do about it.
    pub fn hint_text(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Spark's error class, where there is one.
    pub fn error_class(&self) -> Option<&'static str> {
        self.0.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for context in self.0.context.iter().rev() {
            write!(f, "{context}: ")?;
        }
        if let Some(code) = self.0.code {
            write!(f, "[{code}] ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)?;
        if let Some(hint) = &self.0.hint {
            write!(f, " (hint: {hint})")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, " (cause: {source})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as &(dyn std::error::Error + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::NotFound | Io::PermissionDenied | Io::AlreadyExists | Io::InvalidInput => ErrorKind::Invalid,
            Io::InvalidData | Io::UnexpectedEof => ErrorKind::Data,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::Exhausted,
            _ => ErrorKind::Unavailable,
        };
        let hint = match error.kind() {
            Io::StorageFull | Io::QuotaExceeded => Some("free space on the disk; a query goes on from its checkpoint at the next start"),
            Io::FileTooLarge => {
                Some("raise the limit on the size of files (ulimit -f); a query goes on from its checkpoint at the next start")
            }
            _ => None,
        };
        let ours = Self::new(kind, error.to_string()).caused_by(error);
        match hint {
            Some(hint) => ours.hint(hint),
            None => ours,
        }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        use arrow::error::ArrowError as A;
        match error {
            // An error of ours that travelled through arrow or DataFusion comes back whole.
            A::ExternalError(inner) => match inner.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => Self::internal(other.to_string()),
            },
            A::DivideByZero => Self::data("division by zero").code("DIVIDE_BY_ZERO"),
            A::ArithmeticOverflow(message) => Self::data(message).code("ARITHMETIC_OVERFLOW"),
            other @ (A::ParseError(_) | A::CastError(_) | A::CsvError(_) | A::JsonError(_) | A::IpcError(_)) => {
                Self::data(other.to_string()).caused_by(other)
            }
            other => Self::internal(other.to_string()).caused_by(other),
        }
    }
}
