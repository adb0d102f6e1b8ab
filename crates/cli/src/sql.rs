//! `millstream sql`: a query over finished data.

use millstream::{AnswerKind, DataFrame, Error, Result, Session, SqlAnswer};

use crate::args::{RowFormat, SqlArgs};
use crate::print;
use crate::run::parse_settings;

pub async fn run(args: SqlArgs) -> Result<()> {
    let text = match (&args.query, &args.file) {
        (Some(query), _) => query.clone(),
        (None, Some(file)) => {
            std::fs::read_to_string(file).map_err(|error| Error::from(error).context(format!("reading '{}'", file.display())))?
        }
        (None, None) => return Err(Error::invalid("no query")),
    };
    let session = Session::new()?;
    for (key, value) in parse_settings(&args.settings)? {
        session.set(&key, &value)?;
    }
    let Some(SqlAnswer { frame, kind }) = session.sql_script(&text).await? else { return Ok(()) };
    let out = match (kind, args.format) {
        (AnswerKind::Nothing, _) => return Ok(()),
        (AnswerKind::Text, RowFormat::Table) => lines_of(&frame).await?,
        (_, format) => in_format(&frame, format).await?,
    };
    print::answer(&out)
}

/// Rows as they are printed.
pub async fn in_format(frame: &DataFrame, format: RowFormat) -> Result<Vec<u8>> {
    match format {
        RowFormat::Table => Ok(frame.table_string().await?.into_bytes()),
        RowFormat::Json => frame.json_lines().await,
        RowFormat::Csv => frame.csv_lines().await,
    }
}

/// The lines of a text, which a table would put into one.
async fn lines_of(text: &DataFrame) -> Result<Vec<u8>> {
    let lines: Vec<String> = text.text_rows().await?.into_iter().flatten().collect();
    Ok(format!("{}\n", lines.join("\n").trim_end()).into_bytes())
}
