//! Physical operators: where splits become rows, where rows become staged output, and the batch's clock.
//!
//! ```text
//!   SinkExec            rows -> TaskWriter; gives one commit message per partition
//!     ... stock DataFusion operators ...
//!     ReadToEndExec     below joins and limits: rows of a stream are read, needed or not
//!       EventTimeWatermarkExec   sees the event times that pass
//!       FutureGuardExec sets aside the rows that are too far ahead of the clock (maxFutureSkew)
//!       RowGuardExec    sets aside the rows on which the expressions below it fail (rowErrors 'deadLetter')
//!       RowFactExec     appends the batch's clock (current_timestamp), random numbers, numbers of rows
//!       RowPositionExec numbers the rows of each file, for late rows
//!       RowRecordExec   keeps the record that each row was made of, for dead letters
//!         SourceExec    split rows -> rows, by the connector's SplitReader
//!           DataSourceExec (memory): one row per split; refilled for every batch, nothing is planned again
//! ```
//! Each is an [`Operator`], which [`OperatorExec`] shows to DataFusion.

pub mod carry;
pub mod codec;
mod computed_once;
pub mod dead_letters;
mod event_time;
pub mod finished_beside_stream;
mod finished_build_side;
pub mod future_guard;
pub mod late_table;
pub mod operator;
pub mod planner;
pub mod read_to_end;
pub mod row_fact;
pub mod row_guard;
pub mod row_position;
pub mod row_record;
pub mod side_table;
pub mod sink_exec;
pub mod small_chunks;
pub mod source_exec;
mod source_filter;
pub mod source_table;
pub mod splits;
pub mod stateful;
pub mod watermark;

pub use codec::PlanCodec;
pub use dead_letters::DeadLetters;
pub use future_guard::FutureGuardExec;
pub use late_table::{KeptLateRows, LATE_ROWS_SINK, LateTable};
pub use operator::{Operator, OperatorExec};
pub use planner::PhysicalPlans;
pub use read_to_end::{ReadToEndExec, read_streams_to_their_end};
pub use row_fact::RowFactExec;
pub use row_guard::{RowGuardExec, guard_rows};
pub use row_position::RowPositionExec;
pub use row_record::{RowRecordExec, keep_records};
pub use side_table::SideTable;
pub use sink_exec::SinkExec;
pub use small_chunks::SmallChunksExec;
pub use source_exec::SourceExec;
pub use source_table::SourceTable;
pub use splits::{SplitsBySource, fill_splits};
pub use watermark::EventTimeWatermarkExec;
