//! Whole jobs on a disk that forgets what was not synced: inputs to outputs and dead letters, checkpoint and outputs on one
//! layer.
//!
//! A life of a job ends by a power cut, a full or failing disk at a random operation, by a kill, or well. Whatever a reader
//! that knows nothing of us sees after any life, before the cut and after it, must be in the job's result, no row more
//! often than there; at the end everything is there. Millstream's own reader sees whole batches, and sees them again after
//! the cut. The result is what the same job gives as a batch; for the socket job it is what the write-ahead log holds,
//! which must be what was sent but for what a connection took with it. A writer of foreach_batch also keeps what it is
//! given in a store that forgets nothing: there a batch that comes again must be the same.
//! `MILLSTREAM_TEST_POWER_LOSS_JOBS` asks for more cases, shared by the jobs; with `MILLSTREAM_TEST_POWER_LOSS_FROM` the
//! seed in a failure repeats a case (its draws, not the moments at which tasks run).

mod case;
mod feeder;
mod inputs;
mod jobs;
mod reader;

use case::{Case, Tally};
use jobs::JOBS;
use tokio::task::JoinSet;

const CASES: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_lose_and_double_nothing_when_the_power_goes() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    let n_cases = number("MILLSTREAM_TEST_POWER_LOSS_JOBS").unwrap_or(CASES);
    let from = number("MILLSTREAM_TEST_POWER_LOSS_FROM").unwrap_or(0);
    let mut running = JoinSet::new();
    for (at, job) in JOBS.iter().enumerate() {
        let seeds = (from..from + n_cases).filter(move |seed| seed % JOBS.len() as u64 == at as u64);
        running.spawn(async move {
            let mut tally = Tally::default();
            for seed in seeds {
                tally.add(Case::check(job, seed).await);
            }
            (job.name, tally)
        });
    }
    let mut failed = Vec::new();
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok((name, tally)) => {
                println!("{name}: {tally:?}");
                // A job whose lives all end well, or which has nothing to lose, proves nothing.
                let n = tally.n_cases;
                assert!(tally.n_cuts >= n && tally.n_failures >= n && tally.n_rows >= 5 * n && tally.n_dead >= n, "{name}: {tally:?}");
            }
            // It has printed its panic; the other jobs have their say, too.
            Err(panic) => failed.push(panic.to_string()),
        }
    }
    assert!(failed.is_empty(), "{} of {} jobs failed: {failed:?}", failed.len(), JOBS.len());
}
