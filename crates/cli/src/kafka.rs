//! `millstream kafka`: where a query stands in its topics, and moving it to another place.

use millstream::kafka::{MovedPartition, Options, PartitionOffsets, QueryOffsets, ResetMode, offsets, reset};
use millstream::{Error, Result, Session};

use crate::args::{BrokerArgs, KafkaCommand};
use crate::print;

pub async fn run(command: KafkaCommand) -> Result<()> {
    let session = Session::new()?;
    match command {
        KafkaCommand::Offsets { checkpoint, broker, json } => {
            let QueryOffsets { partitions, unreachable, .. } = offsets(&session, &checkpoint, &options_of(&broker)?).await?;
            if let Some(error) = unreachable {
                print::line(&format!("lag is not known: {}", error.message()));
            }
            let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
            let cells = |row: &PartitionOffsets| {
                let PartitionOffsets { source, topic, partition, position, committed, latest, lag, .. } = row.clone();
                vec![source, topic, partition.to_string(), position.to_string(), number(committed), number(latest), number(lag)]
            };
            let head = ["SOURCE", "TOPIC", "PARTITION", "POSITION", "COMMITTED", "LATEST", "LAG"];
            answer(&head, &partitions, cells, json)?;
            // JSON has them with their partitions.
            partitions.iter().filter(|_| !json).filter_map(|row| row.note.as_deref()).for_each(print::line);
            Ok(())
        }
        KafkaCommand::Reset { checkpoint, to, source, broker, dry_run, json } => {
            let mode = if dry_run { ResetMode::DryRun } else { ResetMode::Write };
            let moved = reset(&session, &checkpoint, source.as_deref(), &to, &options_of(&broker)?, mode).await?;
            let from = |row: &MovedPartition| row.from.map_or_else(|| "new".to_owned(), |from| from.to_string());
            let to = |row: &MovedPartition| row.to.map_or_else(|| "gone".to_owned(), |to| to.to_string());
            let cells = |row: &MovedPartition| vec![row.source.clone(), row.topic.clone(), row.partition.to_string(), from(row), to(row)];
            answer(&["SOURCE", "TOPIC", "PARTITION", "FROM", "TO"], &moved, cells, json)?;
            print::line(match mode {
                ResetMode::DryRun => "dry run: nothing is written",
                ResetMode::Write => "written: the next start begins there",
            });
            Ok(())
        }
    }
}

fn options_of(broker: &BrokerArgs) -> Result<Options> {
    let mut options = Options::new();
    for option in &broker.options {
        let Some((name, value)) = option.split_once('=') else {
            return Err(Error::invalid(format!("'{option}' is no option: expected kafka.NAME=VALUE")));
        };
        let lower = name.to_ascii_lowercase();
        if !lower.starts_with("kafka.") && lower != "bootstrapservers" {
            return Err(Error::invalid(format!("'{name}' is no option of the client: expected kafka.NAME=VALUE")));
        }
        options.set(name, value);
    }
    if let Some(servers) = &broker.bootstrap_servers {
        options.set("bootstrapServers", servers);
    }
    Ok(options)
}

/// Rows in columns, or as one JSON object per line.
fn answer<T: serde::Serialize>(head: &[&str], rows: &[T], cells: impl Fn(&T) -> Vec<String>, json: bool) -> Result<()> {
    if json {
        let lines = rows.iter().map(|row| serde_json::to_string(row).map(|line| line + "\n")).collect::<std::result::Result<String, _>>();
        return print::answer(lines.map_err(|error| Error::internal(error.to_string()))?.as_bytes());
    }
    let head = head.iter().map(|name| (*name).to_owned()).collect();
    let table: Vec<Vec<String>> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let n_columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| table.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    print::answer(table.iter().map(line).collect::<String>().as_bytes())
}
