//! Splits that are read on a thread that may block: their chunks reach the task through a channel that holds few.

use futures::StreamExt;
use millstream_core::{Error, ErrorKind, Result, SplitChunk, SplitStream};
use tokio::sync::mpsc::{Sender, channel};

/// Where the thread puts its chunks. The end is said, so that a thread that died does not look like the end of the data.
pub(crate) struct Chunks(Sender<Option<Result<SplitChunk>>>);

impl Chunks {
    /// Waits for room; an error of kind `Cancelled` if nobody reads any more.
    pub(crate) fn send(&self, chunk: SplitChunk) -> Result<()> {
        self.0.blocking_send(Some(Ok(chunk))).map_err(|_| Error::new(ErrorKind::Cancelled, "nobody reads"))
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// The chunks that `read` sends, `n_ahead` of them before they are asked for.
pub(crate) fn read_on_thread(n_ahead: usize, read: impl FnOnce(&Chunks) -> Result<()> + Send + 'static) -> SplitStream {
    let (sender, receiver) = channel(n_ahead);
    tokio::task::spawn_blocking(move || {
        let chunks = Chunks(sender);
        let last = read(&chunks).err().map(Err);
        // Nobody is there to be told when the receiver is gone.
        drop(chunks.0.blocking_send(last));
    });
    futures::stream::unfold(Some(receiver), |receiver| async {
        let mut receiver = receiver?;
        match receiver.recv().await {
            Some(Some(Ok(chunk))) => Some((Ok(chunk), Some(receiver))),
            Some(None) => None,
            Some(Some(Err(error))) => Some((Err(error), None)),
            None => Some((Err(Error::internal("the thread that reads a split ended without a word")), None)),
        }
    })
    .boxed()
}
