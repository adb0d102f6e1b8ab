//! Spark's error classes as DataFusion errors.
//!
//! Every error a kernel raises for a value is a [`millstream_core::Error`] with Spark's condition as code, wrapped
//! as `External`, so that it can be recovered by downcast. Messages are built only when an error is raised, never
//! per row.

use datafusion::common::{DataFusionError, Result};
use millstream_core::Error;

/// A value is at fault: Spark's condition `code` and a short message that names the value.
pub(crate) fn data(code: &'static str, message: impl Into<String>) -> DataFusionError {
    external(Error::data(message).code(code))
}

/// A call is at fault (a literal argument, a type): found when the function is resolved.
pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> DataFusionError {
    external(Error::invalid(message).code(code))
}

/// A feature that is not offered, by name.
pub(crate) fn unsupported(message: impl Into<String>) -> DataFusionError {
    external(Error::unsupported(message))
}

/// A broken invariant: the analyzer handed over what the contract excludes.
pub(crate) fn internal(message: impl Into<String>) -> DataFusionError {
    external(Error::internal(message))
}

/// Wraps an error of ours so that it travels through DataFusion whole.
pub(crate) fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Spark's `ARITHMETIC_OVERFLOW`.
pub(crate) fn overflow(what: &str) -> DataFusionError {
    data("ARITHMETIC_OVERFLOW", format!("{what} overflow; use a try_ variant to get NULL instead"))
}

/// Spark's `DIVIDE_BY_ZERO`.
pub(crate) fn divide_by_zero() -> DataFusionError {
    data("DIVIDE_BY_ZERO", "division by zero; use try_divide to get NULL instead")
}

/// Spark's `REMAINDER_BY_ZERO`.
pub(crate) fn remainder_by_zero() -> DataFusionError {
    data("REMAINDER_BY_ZERO", "remainder by zero; use try_mod to get NULL instead")
}

/// A result that does not fit its decimal type.
pub(crate) fn decimal_overflow(value: &str, precision: u8, scale: i8) -> DataFusionError {
    data("NUMERIC_VALUE_OUT_OF_RANGE.WITH_SUGGESTION", format!("{value} cannot be represented as decimal({precision},{scale})"))
}

/// The error class inside a DataFusion error, if it is one of ours (tests and callers that branch on it).
pub fn error_class(error: &DataFusionError) -> Option<&'static str> {
    match error {
        DataFusionError::External(inner) => inner.downcast_ref::<Error>().and_then(Error::error_class),
        DataFusionError::Context(_, inner) => error_class(inner),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            arrow::error::ArrowError::ExternalError(inner) => inner
                .downcast_ref::<Error>()
                .and_then(Error::error_class)
                .or_else(|| inner.downcast_ref::<DataFusionError>().and_then(error_class)),
            _ => None,
        },
        DataFusionError::Shared(inner) => error_class(inner),
        _ => None,
    }
}

/// `value` or an internal error that names what was expected.
pub(crate) fn expect_some<T>(value: Option<T>, what: &str) -> Result<T> {
    value.ok_or_else(|| internal(format!("expected {what}")))
}
