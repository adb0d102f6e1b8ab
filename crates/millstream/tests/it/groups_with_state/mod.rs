//! Functions with state, beyond what the gold scenarios show: restarts at another parallelism, crashes, functions that fail,
//! timeouts by the clock, initial states, chains, finished data.

mod bench;
mod chains;
mod clock;
mod finished;
mod lives;
mod refused;
