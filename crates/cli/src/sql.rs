//! `millstream sql`: a query over finished data.

use std::io::Write;

use millstream::{DataFrame, Error, Result, Session};

use crate::args::{RowFormat, SqlArgs};
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
    let Some(frame) = session.sql_script(&text).await? else { return Ok(()) };
    let out = match args.format {
        RowFormat::Table if is_plan(&text, &frame).await? => plan_text(&frame).await?,
        RowFormat::Table => frame.table_string().await?.into_bytes(),
        RowFormat::Json => frame.json_lines().await?,
        RowFormat::Csv => frame.csv_lines().await?,
    };
    let mut stdout = std::io::stdout().lock();
    // A closed pipe (`| head`) is no failure.
    match stdout.write_all(&out).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::from(error)),
        _ => Ok(()),
    }
}

/// Whether the rows are the answer to EXPLAIN: a text of many lines, which a table would put into one.
async fn is_plan(text: &str, frame: &DataFrame) -> Result<bool> {
    let schema = frame.schema().await?;
    Ok(text.to_ascii_lowercase().contains("explain") && schema.fields().len() == 1 && schema.field(0).name() == "plan")
}

async fn plan_text(frame: &DataFrame) -> Result<Vec<u8>> {
    let lines: Vec<String> = frame.text_rows().await?.into_iter().flatten().collect();
    Ok(format!("{}\n", lines.join("\n").trim_end()).into_bytes())
}
