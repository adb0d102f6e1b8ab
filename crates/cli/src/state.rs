//! `millstream state`: prints what a query remembers, or copies it into a file.

use millstream::state::{StateQuery, export, flattened, has_several_stores, rows, stores};
use millstream::{EngineConfig, Result, Session};

use crate::args::{RowFormat, StateArgs, StateCommand};
use crate::print;
use crate::sql::in_format;

pub async fn run(command: StateCommand) -> Result<()> {
    match command {
        StateCommand::Show { which, limit, format } => {
            let session = Session::new()?;
            let query = query_of(which);
            if query.operator.is_none() && query.store.is_none() && has_several_stores(&query.checkpoint).await? {
                print::answer(&in_format(&stores(&session, &query.checkpoint).await?, format).await?)?;
                print::line("say with --operator (and --store) whose rows to show");
                return Ok(());
            }
            let mut found = rows(&session, &query).await?.limit(limit);
            if format == RowFormat::Csv {
                found = flattened(&found).await?;
            }
            print::answer(&in_format(&found, format).await?)
        }
        StateCommand::Export { which, output } => {
            let session = Session::builder().engine(EngineConfig { parallelism: 1, ..EngineConfig::default() }).build()?;
            let n_rows = export(&session, &query_of(which), &output).await?;
            print::line(&format!("{}: {n_rows} rows", output.display()));
            Ok(())
        }
    }
}

fn query_of(args: StateArgs) -> StateQuery {
    let StateArgs { checkpoint, operator, store, version } = args;
    StateQuery { checkpoint, operator, store, version }
}
