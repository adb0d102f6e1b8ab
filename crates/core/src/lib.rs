//! The words of Millstream: errors, identifiers, clock, options, and the traits of sources and sinks.
//!
//! Everything above speaks these words; this crate speaks to nothing above it. It does no I/O, knows no
//! connector, no SQL and no DataFusion, so a connector can be written and tested without building an engine.
//!
//! Read in this order: [`error`], [`ids`], [`clock`], [`options`], [`output_mode`], [`source`], [`sink`], [`connector`], [`reject`], [`crash`], [`stack`], [`time_windows`].
#![forbid(unsafe_code)]

pub mod clock;
pub mod connector;
pub mod crash;
pub mod error;
pub mod ids;
pub mod options;
pub mod output_mode;
pub mod random;
pub mod reject;
pub mod sink;
pub mod source;
pub mod stack;
pub mod time_windows;

pub use clock::{Clock, SystemClock};
pub use connector::{Connector, ConnectorRegistry, ReaderSpec, WriterSpec};
pub use crash::{CrashPoint, CrashPoints, NoCrash};
pub use error::{Error, ErrorKind, Result};
pub use ids::{BatchId, IdSource, QueryId, RandomIds, RunEpoch, RunId, TaskId};
pub use options::{OptionSpec, Options};
pub use output_mode::OutputMode;
pub use reject::{ParseMode, RejectedRecord};
pub use sink::{Delivery, Outcome, RecordedBatch, Sink, SinkContext, TaskOutput, TaskWriter, WriterFactory};
pub use source::{Admission, Position, RowPlaces, Source, SourceRange, SourceStart, Split, SplitChunk, SplitReader, SplitStream};
pub use time_windows::{TimeSlice, TimeWindows};
