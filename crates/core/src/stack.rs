//! Room on the stack for what recurses over queries.
//!
//! How deep a query may nest is bounded (by the parser), but what it needs must not depend on the thread that happens to
//! run: tokio's workers and the test runner's threads have 2 MiB, a debug build takes tens of kilobytes for a level, and
//! the caller stands on the same stack already. DataFusion goes on in a new piece of stack in its walks over trees, with
//! little to spare, but not where it prints, compares or drops a tree. So analysis and planning run on a large piece from
//! the start, and our own recursive functions ask for more when that ends.
//!
//! Not for running queries: operators call each other across awaits, which no piece of stack can follow.

use std::pin::Pin;

/// What must be left for one level and everything it calls that does not recurse.
const LEVEL_BYTES: usize = 512 << 10;
/// What must be left for the analysis or planning of a query as deep as the parser allows.
const QUERY_BYTES: usize = 8 << 20;
/// Size of a new piece. It is memory only where it is touched.
const PIECE_BYTES: usize = 32 << 20;

/// Runs one level of a recursive function with room to go on.
#[inline]
pub fn with_room<T>(f: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(LEVEL_BYTES, PIECE_BYTES, f)
}

/// Runs what walks a whole query with room for all of it.
pub fn with_room_for_query<T>(f: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(QUERY_BYTES, PIECE_BYTES, f)
}

/// As [`with_room_for_query`], for a future: every poll has the room.
pub async fn poll_with_room_for_query<F: Future>(future: F) -> F::Output {
    let mut future: Pin<Box<F>> = Box::pin(future);
    std::future::poll_fn(move |cx| with_room_for_query(|| future.as_mut().poll(cx))).await
}
