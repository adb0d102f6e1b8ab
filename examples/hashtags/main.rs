//! Which hashtags are on everybody's lips? Counts them over the last ten minutes and prints the first ten, every second.
//!
//! ```sh
//! cargo run --release --example hashtags                    # makes posts by itself: 1,000 a second, 10,000 tags
//! cargo run --release --example hashtags -- 127.0.0.1:9999  # reads posts, a JSON object per line: {"at": 1777629604000, "text": "so #nice"}
//! ```
//! Ctrl-C ends it; a number as last argument ends it after so many seconds.
#![forbid(unsafe_code)]

mod posts;
mod top_tags;

use std::time::Duration;

use millstream::{Error, Result, Session, ShowOptions, Trigger};

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = arguments.last().and_then(|last| last.parse().ok()).map(Duration::from_secs);
    if seconds.is_some() {
        arguments.pop();
    }
    let address = match arguments.first() {
        Some(address) => address.clone(),
        None => posts::serve()?.to_string(),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(|| Error::invalid(format!("'{address}' is not HOST:PORT")))?;

    let session = Session::new()?;
    let posts = session.read_stream().format("socket").option("host", host).option("port", port).load().await?;
    // A window is final when a post is younger than its end: append mode gives each once.
    let counts = top_tags::tag_counts(&posts, "10 minutes", "1 second")?;
    let checkpoint = std::env::temp_dir().join(format!("millstream-hashtags-{}", std::process::id()));
    let writer = counts.write_stream().trigger(Trigger::ProcessingTime(Duration::from_secs(1))).checkpoint(&checkpoint);
    let query = writer
        .foreach_batch(|counts, _| async move {
            let top = top_tags::most_frequent(&counts, 10)?;
            // Ten of each window: a batch that comes late has several.
            let n_rows = usize::try_from(top.count().await?).unwrap_or(usize::MAX);
            if n_rows > 0 { top.show_with(ShowOptions { n_rows, ..ShowOptions::default() }).await } else { Ok(()) }
        })
        .start()
        .await?;

    let ended = tokio::select! {
        ended = query.await_termination(seconds) => ended.map(|_| ()),
        signal = tokio::signal::ctrl_c() => signal.map_err(Error::from),
    };
    query.stop().await;
    std::fs::remove_dir_all(checkpoint)?;
    ended
}
