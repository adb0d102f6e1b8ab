//! The socket job: an endless run, fed by [`Feeder`], killed while rows are in flight, ended at last by SIGTERM.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::feeder::{self, Feeder};
use super::process::{self, End, Moment};
use super::rng::Rng;
use super::{Campaign, Facts, wal, write};
use crate::run::Outcome;

const SQL: &str = include_str!("jobs/socket.sql");
/// The output counts as complete when no file came for so long after the last line was sent.
const QUIET: Duration = Duration::from_millis(1500);

/// One run, from empty folder to verdict.
pub fn run(campaign: &mut Campaign, folder: &Path, rng: &mut Rng, facts: &mut Facts) -> Outcome {
    let n_lines = usize::try_from(rng.range(200, 1500)).unwrap_or(200);
    let lines: Vec<String> = (0..n_lines).map(|idx| feeder::line(idx, rng)).collect();
    let feeder = Feeder::start(lines.clone(), Rng::new(rng.next(), 0))?;
    write(&folder.join("job.sql"), &SQL.replace("{port}", &feeder.port.to_string()))?;

    let output = json!({"url": folder.join("out").to_string_lossy(), "format": "parquet"});
    campaign.reader.ask(&json!({"do": "watch", "outputs": [output]}))?;
    let mut logged = BTreeSet::new();
    let killed = kills(campaign, folder, rng, facts, &feeder, n_lines, &mut logged);
    let watched = campaign.reader.ask(&json!({"do": "unwatch"}));
    let ends = feeder.stop()?;
    killed?;
    let watched = watched.map_err(|e| format!("the foreign reader saw it: {e}"))?;

    let ids = watched.get("ids").and_then(Value::as_array).and_then(|i| i.first()).and_then(Value::as_array);
    let got: Vec<String> = ids.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    facts.polls = watched.get("polls").and_then(Value::as_u64).unwrap_or(0);
    facts.rows = got.len() as u64;
    feeder::verdict(&lines, &ends, &got)?;
    // What a crash left in the log was received, and must come out; nothing else can be in it.
    let got: BTreeSet<String> = got.into_iter().collect();
    match logged.difference(&got).next() {
        Some(line) => Err(format!("in the write-ahead log and not in the output: {line:?}")),
        None => Ok(()),
    }
}

fn kills(
    campaign: &Campaign,
    folder: &Path,
    rng: &mut Rng,
    facts: &mut Facts,
    feeder: &Feeder,
    n_lines: usize,
    logged: &mut BTreeSet<String>,
) -> Outcome {
    let progress = folder.join("progress");
    let n_kills = usize::try_from(rng.range(2, 9)).unwrap_or(2);
    for kill in 1..=n_kills {
        feeder.allow(n_lines * kill / (n_kills + 1));
        let moment = Moment::After(Duration::from_micros(rng.range(50_000, 1_200_000)));
        facts.processes += 1;
        match process::run(&mut campaign.millstream("job.sql", &progress, &[]), folder, &progress, &moment)? {
            End::Killed => {
                facts.kills += 1;
                let rows: Vec<String> = wal::segments(folder)?.into_values().flatten().collect();
                let n_rows = rows.len();
                let distinct: BTreeSet<String> = rows.into_iter().collect();
                if distinct.len() < n_rows {
                    return Err(format!("the write-ahead log has {} rows twice", n_rows - distinct.len()));
                }
                logged.extend(distinct);
            }
            End::Done(took) => return Err(format!("an endless run ended by itself after {:.1} s", took.as_secs_f64())),
        }
    }
    feeder.allow(n_lines);
    facts.processes += 1;
    let mut quiet = Quiet { n_files: 0, since: Instant::now() };
    process::run_until(&mut campaign.millstream("job.sql", &progress, &[]), folder, || {
        feeder.sent() == n_lines && quiet.for_long(&folder.join("out"))
    })
}

/// Whether a folder has stopped to grow.
struct Quiet {
    n_files: usize,
    since: Instant,
}

impl Quiet {
    fn for_long(&mut self, folder: &Path) -> bool {
        let n_files = fs::read_dir(folder).map_or(0, Iterator::count);
        if n_files != self.n_files {
            *self = Self { n_files, since: Instant::now() };
        }
        self.since.elapsed() > QUIET
    }
}
