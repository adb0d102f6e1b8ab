//! Columns of tables on disk have names of their own: two of one name are refused before a file is touched.

use arrow::datatypes::Schema;
use millstream_core::{Error, Result};

use crate::session::Session;
use crate::settings;

/// Spark's check of the columns of files, read or written.
pub(crate) fn check_distinct(session: &Session, schema: &Schema) -> Result<()> {
    let is_case_sensitive = session.get(settings::CASE_SENSITIVE).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let names: Vec<String> =
        schema.fields().iter().map(|field| if is_case_sensitive { field.name().clone() } else { field.name().to_lowercase() }).collect();
    let twice = names.iter().enumerate().find(|(idx, name)| names.iter().take(*idx).any(|known| known == *name));
    match twice {
        None => Ok(()),
        Some((_, name)) => Err(Error::invalid(format!("the column '{name}' is there twice"))
            .code("COLUMN_ALREADY_EXISTS")
            .hint("give one of them another name")),
    }
}
