//! Batch SQL from `tests/slt/*.slt` (sqllogictest): every file in a session of its own.

use std::path::Path;

use async_trait::async_trait;
use millstream::{Error, Session};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

struct Millstream(Session);

#[async_trait]
impl AsyncDB for Millstream {
    type Error = Error;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Error> {
        let frame = self.0.sql(sql).await?;
        let n_columns = frame.schema().await?.fields().len();
        if n_columns == 0 {
            return Ok(DBOutput::StatementComplete(0));
        }
        let rows = frame.text_rows().await?;
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Text; n_columns], rows })
    }

    async fn shutdown(&mut self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn every_slt_file_passes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let mut runner = Runner::new(|| async { Session::new().map(Millstream) });
        runner.run_file_async(&file).await.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
