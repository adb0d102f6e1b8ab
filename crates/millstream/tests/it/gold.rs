//! The whole engine against Spark's answers in `/gold`: readers, writers, DataFrame programs, `show`, schema texts.
//!
//! Expressions and queries are compared in `millstream-analyzer`, decoders alone in `millstream-formats`.

pub mod dataframes;
mod files;
mod running_count;
mod texts;

use std::collections::BTreeMap;

use millstream::{DataFrame, Error, ErrorKind, Result, Session, type_name};
use millstream_testkit::gold::{Outcome, Report, rows_of, tables};

/// A session with the settings of a case.
fn session(conf: &BTreeMap<String, String>) -> Result<Session> {
    let session = Session::new()?;
    for (key, value) in conf {
        session.set(key, value)?;
    }
    Ok(session)
}

/// A session with the views of `tables.sql`.
async fn session_with_views() -> Session {
    let session = Session::new().unwrap();
    for statement in tables().unwrap() {
        session.sql(&statement).await.unwrap();
    }
    session
}

async fn rows(frame: Result<DataFrame>) -> Result<Outcome> {
    let frame = frame?;
    let schema = frame.schema().await?.fields().iter().map(|field| (field.name().clone(), type_name(field.data_type()))).collect();
    let rows = rows_of(&frame.collect().await?).map_err(Error::internal)?;
    Ok(Outcome::Rows { schema, rows })
}

fn outcome(result: Result<Outcome>) -> Outcome {
    result.unwrap_or_else(|error| Outcome::Error {
        class: error.error_class().map(str::to_owned),
        is_unsupported: matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Internal),
        message: error.to_string(),
    })
}

fn finish(report: Report) {
    match report.finish() {
        Ok(text) => println!("{text}"),
        Err(text) => panic!("{text}"),
    }
}
