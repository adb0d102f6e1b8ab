//! Our error through DataFusion and back: wrapped as `External`, recovered by downcast, never by text.

use datafusion::error::DataFusionError;
use millstream_core::{Error, ErrorKind};

/// Wraps our error for DataFusion.
pub fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// Recovers our error from DataFusion's, or makes one of the fitting kind.
pub fn from_datafusion(error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => match other.downcast::<DataFusionError>() {
                Ok(nested) => from_datafusion(*nested),
                Err(other) => Error::internal(other.to_string()),
            },
        },
        DataFusionError::Context(context, inner) => from_datafusion(*inner).context(context),
        DataFusionError::Diagnostic(_, inner) => from_datafusion(*inner),
        DataFusionError::ArrowError(inner, _) => Error::from(*inner),
        DataFusionError::Shared(shared) => from_shared(&shared),
        DataFusionError::Collection(errors) => match errors.into_iter().next() {
            Some(first) => from_datafusion(first),
            None => Error::internal("an empty collection of errors"),
        },
        other => {
            let kind = match &other {
                DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
                DataFusionError::Plan(_) | DataFusionError::SchemaError(..) | DataFusionError::Configuration(_) => ErrorKind::Invalid,
                DataFusionError::ResourcesExhausted(_) => ErrorKind::Exhausted,
                DataFusionError::Execution(_) => ErrorKind::Data,
                DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => ErrorKind::Unavailable,
                _ => ErrorKind::Internal,
            };
            Error::new(kind, other.strip_backtrace())
        }
    }
}

fn from_shared(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::External(inner) => match inner.downcast_ref::<Error>() {
            Some(ours) => ours.clone(),
            None => Error::internal(inner.to_string()),
        },
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => from_shared(inner),
        DataFusionError::Shared(inner) => from_shared(inner),
        DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
            arrow::error::ArrowError::ExternalError(inner) => match inner.downcast_ref::<Error>() {
                Some(ours) => ours.clone(),
                None => Error::data(inner.to_string()),
            },
            other => Error::data(other.to_string()),
        },
        other => Error::new(ErrorKind::Data, other.to_string()),
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "no message".to_owned())
}
