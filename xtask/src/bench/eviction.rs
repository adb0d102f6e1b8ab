//! `eviction`: what it costs to evict a thousand of ten million keys, and what a key takes of memory.
//!
//! The loop is in `crates/state/examples/store_bench.rs`, as it is the state store that is measured, without a query around
//! it. It prints one line of JSON: n_keys, evict_ms_p50, evict_ms_p99, evict_ms_max, bytes_beyond_key, rss_beyond_key,
//! bytes_beyond_key_without_expiry.

use std::process::Command;

use super::table::Table;
use super::{Wish, at_most, example, last_json, number};
use crate::run::Outcome;

/// Runs it `--reps` times, and prints the medians beside what they must reach.
pub fn run(wish: &Wish) -> Outcome {
    let bench = example(wish, "store_bench")?;
    let n_keys = wish.rows.unwrap_or(10_000_000).to_string();
    let runs: Vec<_> = (0..wish.reps).map(|_| last_json(Command::new(&bench).args(["evict", &n_keys]))).collect::<Outcome<_>>()?;
    let median = |key: &str| super::median(runs.iter().map(|run| number(run, key)));
    let columns = ["evict_ms_p50", "evict_ms_p99", "evict_ms_max", "bytes_beyond_key", "rss_beyond_key", "bytes_beyond_key_without_expiry"];
    let mut table = Table::new(&["keys", "p50 ms", "p99 ms", "max ms", "bytes beyond a key", "by RSS", "without expiry"]);
    let mut row = vec![n_keys];
    row.extend(columns.map(|key| format!("{:.3}", median(key))));
    table.row(&row);
    println!("\neviction (1,000 keys of 16 bytes go and 1,000 come, 10,000 times; median of {} runs)\n\n{table}", wish.reps);
    at_most("ms for an eviction of 1,000 keys, the longest of 10,000", median("evict_ms_max"), 5.0);
    at_most("bytes of memory per key with an expiry, beyond the key", median("bytes_beyond_key"), 60.0);
    Ok(())
}
