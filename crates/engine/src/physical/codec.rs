//! How our physical operators travel: the codec that any runner outside this process needs.
//!
//! An operator is encoded as what makes it again: its spec, as JSON, with schemas as Arrow IPC. Stock operators and
//! expressions are DataFusion's business; functions are looked up by name in the decoding context. Options of a spec
//! travel as they are, so a plan must only go where its secrets may.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::TaskContext;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion_proto::bytes::{physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec};
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use millstream_analyzer::row_facts::{RowFact, Seed};
use millstream_core::{ConnectorRegistry, Error, Options, ReaderSpec, Result, TimeWindows, WriterSpec};
use serde::{Deserialize, Serialize};

use super::future_guard::{FutureGuardExec, FutureGuardSpec};
use super::late_table::{KeptLateRows, LateTable};
use super::row_guard::RowGuardSpec;
use super::source_filter::SourceFilter;
use super::stateful::{JoinWire, LateRowsExec, StatefulWire, StreamJoinExec, function_with_state};
use super::watermark::{EventTimeWatermarkExec, WatermarkOperator};
use super::{
    DeadLetters, ReadToEndExec, RowFactExec, RowGuardExec, RowPositionExec, RowRecordExec, SideTable, SinkExec, SmallChunksExec, SourceExec,
};
use crate::error::{from_datafusion, to_datafusion};

/// Encodes and decodes our operators. See the module's documentation.
#[derive(Debug)]
pub struct PlanCodec {
    registry: Arc<ConnectorRegistry>,
}

impl PlanCodec {
    /// Decoded operators find their connectors in `registry`.
    pub fn new(registry: Arc<ConnectorRegistry>) -> Self {
        Self { registry }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "node", rename_all = "snake_case")]
enum Node {
    Source {
        name: String,
        is_streaming: bool,
        gives_positions: bool,
        reader: ReaderWire,
        filter: Option<Vec<u8>>,
        dead_letters: Vec<SideTableWire>,
    },
    Sink {
        writer: WriterWire,
    },
    RowPosition,
    RowRecord {
        n_columns: usize,
        record: Vec<usize>,
    },
    ReadToEnd,
    SmallChunks {
        rows_max: usize,
    },
    RowFact {
        fact: String,
        given: Option<i64>,
        call: u64,
        column: String,
    },
    Watermark {
        name: String,
        column: String,
        delay_us: i64,
    },
    FutureGuard {
        guard: FutureGuardSpec,
        dead_letters: Vec<SideTableWire>,
    },
    RowGuard {
        depth: usize,
        sources: String,
        origin: String,
        columns: Vec<String>,
        writer_no: u32,
        dead_letters: Vec<SideTableWire>,
    },
    Stateful {
        operator: StatefulWire,
    },
    LateRows {
        late: LateRowsWire,
        table: Option<LateTableWire>,
    },
    Join {
        join: JoinWire,
    },
}

#[derive(Serialize, Deserialize)]
struct ReaderWire {
    connector: String,
    format: String,
    options: Vec<(String, String)>,
    schema: Vec<u8>,
    projection: Option<Vec<usize>>,
    time_zone: String,
    batch_rows: usize,
}

#[derive(Serialize, Deserialize)]
struct WriterWire {
    connector: String,
    format: String,
    options: Vec<(String, String)>,
    schema: Vec<u8>,
    partition_by: Vec<String>,
    time_zone: String,
}

#[derive(Serialize, Deserialize)]
struct SideTableWire {
    sink: String,
    writer: WriterWire,
}

#[derive(Serialize, Deserialize)]
struct LateRowsWire {
    operator: String,
    event_time: String,
    once_per_row: Option<String>,
    lag_ms: i64,
    windows: Option<TimeWindows>,
}

#[derive(Serialize, Deserialize)]
struct LateTableWire {
    table: SideTableWire,
    writer_no: u32,
    sources: String,
    kept: KeptLateRows,
}

impl PhysicalExtensionCodec for PlanCodec {
    fn try_decode(
        &self,
        buf: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        ctx: &TaskContext,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let node: Node = serde_json::from_slice(buf).map_err(|error| DataFusionError::External(Box::new(error)))?;
        match (node, inputs) {
            (Node::Join { join }, [left, right]) => join.over(left, right, ctx, self),
            (Node::Stateful { operator }, inputs) => operator.over(inputs),
            (node, [input]) => self.decode(node, Arc::clone(input), ctx),
            (_, inputs) => Err(Error::internal(format!("an operator of ours with {} children", inputs.len()))),
        }
        .map_err(to_datafusion)
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buf: &mut Vec<u8>,
        _converter: &dyn PhysicalProtoConverterExtension,
    ) -> DfResult<()> {
        let encoded = match node.downcast_ref::<StreamJoinExec>() {
            Some(join) => JoinWire::of(join, self).map(|join| Node::Join { join }),
            None => encode(node.as_ref(), self),
        };
        let encoded = encoded.map_err(to_datafusion)?;
        serde_json::to_writer(buf, &encoded).map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

impl PlanCodec {
    fn decode(&self, node: Node, input: Arc<dyn ExecutionPlan>, ctx: &TaskContext) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(match node {
            Node::Source { name, is_streaming, gives_positions, reader, filter, dead_letters } => {
                let spec = from_reader_wire(reader)?;
                let reader = self.registry.reader(&spec)?;
                let dead_letters = self.dead_letters_of(dead_letters)?;
                let filter = filter.map(|bytes| {
                    let predicate = condition_from_bytes(&bytes, ctx, self)?;
                    SourceFilter::try_new(predicate, &reader.schema()).map_err(from_datafusion)
                });
                let filter = filter.transpose()?;
                let source = SourceExec::new(name, spec, reader, dead_letters, input).streaming(is_streaming);
                Arc::new(source.with_positions(gives_positions).filtered(filter))
            }
            Node::Sink { writer } => {
                let spec = from_writer_wire(writer)?;
                let writers = self.registry.writer(&spec)?;
                Arc::new(SinkExec::new(input, spec, writers))
            }
            Node::FutureGuard { guard, dead_letters } => {
                let dead_letters = self.dead_letters_of(dead_letters)?;
                Arc::new(FutureGuardExec::new(input, guard, dead_letters))
            }
            Node::Watermark { name, column, delay_us } => {
                Arc::new(EventTimeWatermarkExec::try_new(input, WatermarkOperator { name, column, delay_us })?)
            }
            Node::RowGuard { depth, sources, origin, columns, writer_no, dead_letters } => {
                let dead_letters = self.dead_letters_of(dead_letters)?.ok_or_else(|| Error::internal("a row guard without a table"))?;
                Arc::new(RowGuardExec::try_new(input, RowGuardSpec { depth, sources, origin, columns, writer_no }, dead_letters)?)
            }
            Node::RowPosition => Arc::new(RowPositionExec::new(input)),
            Node::RowRecord { n_columns, record } => Arc::new(RowRecordExec::new(input, n_columns, record)),
            Node::ReadToEnd => Arc::new(ReadToEndExec::new(input)),
            Node::SmallChunks { rows_max } => Arc::new(SmallChunksExec::new(input, rows_max)),
            Node::Stateful { operator } => operator.over(&[input])?,
            Node::Join { .. } => return Err(Error::internal("a join with one child")),
            Node::LateRows { late: LateRowsWire { operator, event_time, once_per_row, lag_ms, windows }, table } => {
                let table = table.map(|wire| self.late_table_of(wire)).transpose()?;
                let late = LateRowsExec::new(Arc::clone(&input), operator, event_time, once_per_row).allowing(lag_ms);
                let late = windows.into_iter().fold(late, LateRowsExec::by_slice);
                Arc::new(late.with_table(input, table))
            }
            Node::RowFact { fact, given, call, column } => Arc::new(RowFactExec::new(input, fact_of(&fact, given, call)?, column)),
        })
    }

    fn late_table_of(&self, wire: LateTableWire) -> Result<LateTable> {
        let LateTableWire { table, writer_no, sources, kept } = wire;
        Ok(LateTable { table: self.side_table_of(table)?, writer_no, sources, kept })
    }

    fn dead_letters_of(&self, tables: Vec<SideTableWire>) -> Result<Option<DeadLetters>> {
        Ok(DeadLetters::new(tables.into_iter().map(|wire| self.side_table_of(wire)).collect::<Result<_>>()?))
    }

    fn side_table_of(&self, wire: SideTableWire) -> Result<SideTable> {
        let spec = from_writer_wire(wire.writer)?;
        let writers = self.registry.writer(&spec)?;
        Ok(SideTable { sink: wire.sink, spec, writers })
    }
}

/// A condition over rows of `schema` as bytes: that of a filter, as plans are what DataFusion makes bytes of.
pub(super) fn condition_to_bytes(condition: &Arc<dyn PhysicalExpr>, schema: &SchemaRef, codec: &PlanCodec) -> Result<Vec<u8>> {
    let rows = Arc::new(EmptyExec::new(Arc::clone(schema)));
    let plan = FilterExec::try_new(Arc::clone(condition), rows).map_err(from_datafusion)?;
    Ok(physical_plan_to_bytes_with_extension_codec(Arc::new(plan), codec).map_err(from_datafusion)?.to_vec())
}

/// See [`condition_to_bytes`].
pub(super) fn condition_from_bytes(bytes: &[u8], ctx: &TaskContext, codec: &PlanCodec) -> Result<Arc<dyn PhysicalExpr>> {
    let plan = physical_plan_from_bytes_with_extension_codec(bytes, ctx, codec).map_err(from_datafusion)?;
    let condition = plan.downcast_ref::<FilterExec>().map(|filter| Arc::clone(filter.predicate()));
    condition.ok_or_else(|| Error::internal("a condition in a plan that is no filter"))
}

fn encode(plan: &dyn ExecutionPlan, codec: &PlanCodec) -> Result<Node> {
    if let Some(source) = plan.downcast_ref::<SourceExec>() {
        let dead_letters = to_dead_letters_wire(source.dead_letters())?;
        let (name, is_streaming, gives_positions) = (source.source_name().to_owned(), source.is_streaming(), source.gives_positions());
        let filter = source.filter().map(|filter| condition_to_bytes(filter.predicate(), &source.schema(), codec)).transpose()?;
        return Ok(Node::Source { name, is_streaming, gives_positions, reader: to_reader_wire(source.spec())?, filter, dead_letters });
    }
    if let Some(sink) = plan.downcast_ref::<SinkExec>() {
        return Ok(Node::Sink { writer: to_writer_wire(sink.spec())? });
    }
    if plan.is::<RowPositionExec>() {
        return Ok(Node::RowPosition);
    }
    if let Some(record) = plan.downcast_ref::<RowRecordExec>() {
        let (n_columns, record) = record.parts();
        return Ok(Node::RowRecord { n_columns, record: record.to_vec() });
    }
    if plan.is::<ReadToEndExec>() {
        return Ok(Node::ReadToEnd);
    }
    if let Some(chunks) = plan.downcast_ref::<SmallChunksExec>() {
        return Ok(Node::SmallChunks { rows_max: chunks.rows_max() });
    }
    if let Some(guard) = plan.downcast_ref::<FutureGuardExec>() {
        let dead_letters = to_dead_letters_wire(guard.dead_letters())?;
        return Ok(Node::FutureGuard { guard: guard.spec().clone(), dead_letters });
    }
    if let Some(watermark) = plan.downcast_ref::<EventTimeWatermarkExec>() {
        let WatermarkOperator { name, column, delay_us } = watermark.spec().clone();
        return Ok(Node::Watermark { name, column, delay_us });
    }
    if let Some(guard) = plan.downcast_ref::<RowGuardExec>() {
        let RowGuardSpec { depth, sources, origin, columns, writer_no } = guard.spec().clone();
        return Ok(Node::RowGuard {
            depth,
            sources,
            origin,
            columns,
            writer_no,
            dead_letters: to_dead_letters_wire(Some(guard.dead_letters()))?,
        });
    }
    if let Some(exec) = plan.downcast_ref::<RowFactExec>() {
        let (fact, seed) = match exec.fact() {
            RowFact::BatchTime => ("batch_time", None),
            RowFact::PartitionId => ("partition_id", None),
            RowFact::RowId => ("row_id", None),
            RowFact::Rand(seed) => ("rand", Some(seed)),
            RowFact::Randn(seed) => ("randn", Some(seed)),
            RowFact::Uuid(seed) => ("uuid", Some(seed)),
            RowFact::Bits(seed) => ("bits", Some(seed)),
        };
        let (given, call) = match seed {
            Some(Seed::Given(seed)) => (Some(seed), 0),
            Some(Seed::OfBatch(call)) => (None, call),
            None => (None, 0),
        };
        return Ok(Node::RowFact { fact: fact.to_owned(), given, call, column: exec.column().to_owned() });
    }
    if let Some(late) = plan.downcast_ref::<LateRowsExec>() {
        let (operator, event_time, once_per_row, lag_ms, windows) = late.parts();
        let table = late.table().map(to_late_table_wire).transpose()?;
        let (operator, event_time, once_per_row) = (operator.to_owned(), event_time.to_owned(), once_per_row.map(str::to_owned));
        return Ok(Node::LateRows { late: LateRowsWire { operator, event_time, once_per_row, lag_ms, windows }, table });
    }
    if let Some(operator) = StatefulWire::of(plan) {
        return Ok(Node::Stateful { operator });
    }
    if let Some(function) = function_with_state(plan) {
        let what = format!("the function '{}' of {} in another process", function.name, function.operation());
        return Err(Error::unsupported(what).hint("it is part of the program that started the query, and runs there"));
    }
    Err(Error::unsupported(format!("operator '{}' cannot be sent to another process", plan.name())))
}

fn fact_of(fact: &str, given: Option<i64>, call: u64) -> Result<RowFact> {
    let seed = given.map_or(Seed::OfBatch(call), Seed::Given);
    Ok(match fact {
        "batch_time" => RowFact::BatchTime,
        "partition_id" => RowFact::PartitionId,
        "row_id" => RowFact::RowId,
        "rand" => RowFact::Rand(seed),
        "randn" => RowFact::Randn(seed),
        "uuid" => RowFact::Uuid(seed),
        "bits" => RowFact::Bits(seed),
        other => return Err(Error::internal(format!("an unknown row fact '{other}' in a plan"))),
    })
}

fn to_late_table_wire(late: &LateTable) -> Result<LateTableWire> {
    let LateTable { table, writer_no, sources, kept } = late.clone();
    Ok(LateTableWire { table: to_side_table_wire(&table)?, writer_no, sources, kept })
}

fn to_dead_letters_wire(target: Option<&DeadLetters>) -> Result<Vec<SideTableWire>> {
    target.iter().flat_map(|target| target.tables()).map(to_side_table_wire).collect()
}

fn to_side_table_wire(target: &SideTable) -> Result<SideTableWire> {
    Ok(SideTableWire { sink: target.sink.clone(), writer: to_writer_wire(&target.spec)? })
}

fn to_reader_wire(spec: &ReaderSpec) -> Result<ReaderWire> {
    Ok(ReaderWire {
        connector: spec.connector.clone(),
        format: spec.format.clone(),
        options: pairs(&spec.options),
        schema: schema_to_bytes(&spec.schema)?,
        projection: spec.projection.clone(),
        time_zone: spec.time_zone.clone(),
        batch_rows: spec.batch_rows,
    })
}

fn from_reader_wire(wire: ReaderWire) -> Result<ReaderSpec> {
    let ReaderWire { connector, format, options, schema, projection, time_zone, batch_rows } = wire;
    let (options, schema) = (options.into_iter().collect(), schema_from_bytes(&schema)?);
    Ok(ReaderSpec { connector, format, options, schema, projection, time_zone, batch_rows })
}

fn to_writer_wire(spec: &WriterSpec) -> Result<WriterWire> {
    Ok(WriterWire {
        connector: spec.connector.clone(),
        format: spec.format.clone(),
        options: pairs(&spec.options),
        schema: schema_to_bytes(&spec.schema)?,
        partition_by: spec.partition_by.clone(),
        time_zone: spec.time_zone.clone(),
    })
}

fn from_writer_wire(wire: WriterWire) -> Result<WriterSpec> {
    let WriterWire { connector, format, options, schema, partition_by, time_zone } = wire;
    let (options, schema) = (options.into_iter().collect(), schema_from_bytes(&schema)?);
    Ok(WriterSpec { connector, format, options, schema, partition_by, time_zone })
}

fn pairs(options: &Options) -> Vec<(String, String)> {
    options.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn schema_to_bytes(schema: &SchemaRef) -> Result<Vec<u8>> {
    Ok(StreamWriter::try_new(Vec::new(), schema)?.into_inner()?)
}

fn schema_from_bytes(bytes: &[u8]) -> Result<SchemaRef> {
    Ok(StreamReader::try_new(bytes, None)?.schema())
}
