//! `docs/options.md` is what the connectors say of their options. `MILLSTREAM_DOCS=write` writes the page anew.

use std::fmt::Write;
use std::path::Path;

use millstream_core::{ConnectorRegistry, OptionSpec};

const FILES: [&str; 4] = ["json", "csv", "text", "parquet"];

const HEAD: &str = "# Options of sources and sinks

Names are taken in any case; a name that does not exist is an error with the nearest one that does. Values marked *secret* are shown as `***` wherever they
would be printed, and stored nowhere. This page is made from what the code checks (`MILLSTREAM_DOCS=write cargo test -p millstream-connectors documented_options`).

## Of every source

| option | meaning |
|---|---|
| `deadLetterPath` | bad records go to a Parquet table here, instead of what the parse mode says; with `rowErrors 'deadLetter'` also rows on which an expression fails. Of rows from Kafka the table has `topic`, `partition`, `offset`, `timestamp`, `key`, `value` and `headers` of the record, whatever the query reads. On an object store it is reached with the source's options |
| `deadLetterTopic` | what `deadLetterPath` says goes to a Kafka topic, instead of the folder or beside it: with the key, value and headers of the record that failed, or, of what is no record of Kafka, with the text or row as its value; further headers are `millstream.error`, `.source`, `.query`, `.batch`, and `.topic`, `.partition`, `.offset`, `.timestamp` (ms) of the record, or `.origin` and `.position`. At least once: after a crash letters of the last batch may come again |
| `deadLetter.*` | options of the Kafka sink of `deadLetterTopic`, without the prefix: `deadLetter.kafka.bootstrap.servers` (default: the cluster and user of a kafka source; other sources must name it), `deadLetter.delivery` (default `at-least-once`; with `exactly-once` the letters of a batch are one transaction, and no other sink of the query may be a transactional one), `deadLetter.transactionTimeout`, ... |
| `refreshInterval` | the static side of a join is resolved again so often, and when a local file of it is not as it was, default never. What it was resolved to is recorded with each batch: a batch that runs again after a crash joins with the same files, or says which of them changed. Of a materialized view in a job that does not end: it is computed so often, and a stream of the job that joins it joins with what it holds then |
| `idleTimeout` | of a stream: silent for so long, its event time holds the watermark of the query back no more (policy `min`), until it gives something again; default never. Time in which the query does not run is no silence |
| `maxFutureSkew` | of a stream with a watermark: a row whose event time is further ahead of the batch's clock does not move the watermark and goes to the dead-letter table, with all columns of the stream and, where it is known, the place it was read from (without a table it is dropped), counted as `numRowsFromTheFuture` in the sink's metrics; default: rows may be ahead as far as they are |

## Of every streaming write

| option | meaning |
|---|---|
| `checkpointLocation` | the folder where the query keeps what it has done; file sinks need one |
| `trigger` | `default`, an interval such as `10 seconds`, `once` or `available-now` |
| `queryName` | the query's name, and the table of the memory sink |
| `outputMode` | `append`; `update` and `complete` for sinks other than files |
| `changes` | `true`: rows come with a first column `_change_type` (`insert`, `update_preimage`, `update_postimage`, `delete`), in append and update mode; for console, memory, noop, kafka, foreach and foreach_batch. Update mode needs it where rows of the result may be deleted |
| `upsertKey` | with `changes`: columns of the result, with commas between them, that tell its rows apart, so that a row that replaces another one is shown as its update; default: the keys of the last aggregation or deduplication, if the result has them all. Refused where no row is taken back. Two rows with the same key among those that a batch adds, or takes back, fail the query; a row with the key of one that an earlier batch gave, and that stays, is not noticed |
| `commitInterval` | file sinks: under the default trigger at most one batch in this time, default 1 s, 0 = every batch |
| `maxBytesPerBatch` | input of a batch at most, default 4 GiB; not for `once`. Whole units are taken, at least one: a file (its size as stored), a chunk of a memory stream (its size in memory), what a socket received at once, a second of `rate` (16 bytes a row); `rate-micro-batch` has `rowsPerBatch` |
| `targetBatchDuration` | how long a batch should take: kafka sources admit as many records as the batches before show to go in that time (the PID rate controller of Spark's DStreams; the first batch takes 10,000 records per second of it, and never less than 100 per second are admitted), beside maxOffsetsPerTrigger and maxBytesPerBatch; not for `once`, and without effect on other sources. Default: none; with a transactional kafka sink 5 s, or half of transactionTimeout if that is less |
| `flush` | `true`, with `available-now` only: when the input has ended, a last batch makes everything final, so that the result is that of a batch query. It closes the checkpoint: a later start with new input is refused, one without ends well |
| `lateRowsPath` | rows that come too late for a stateful operator go to a Parquet table here, exactly once: `row` (JSON, all columns of what the operator reads, which are read for it), `event_time` (of a window its end), the `watermark` that judged it, `operator`, `source`, `batch_id`, `missed_windows` (`all`), and where the row stood: of a row that came from a file `file`, `offset` (where the block begins that was read at once) and `record` (its number among the block's rows, from 0); of others `offset` (its number, or that of its chunk or piece of a log) and `record` (its number within); without it they are only counted. On an object store it is reached with the writer's options, as the checkpoint is |
| `partlyLateRows` | `true`: the table at `lateRowsPath` also has rows that were late for some of their windows only, with `missed_windows` `some`. Such a row counts in its other windows and is no late row; it is there once, or, where windows are not kept as slices (grouping sets, several windows, changes), once for each window that it missed; there a row that is late for all windows has such lines, too, for all of them but the last |
| `independentOfCuts` | `true`: the result does not hang on how the input is cut into batches, though the query could; `millstream verify` then compares. Without effect on a run |
| `allowStateDrop` | stateful operators, by name and divided by commas, that may begin afresh, without what they remember, if the changed query cannot go on from it; one that can is kept. Operators that take changes of each other begin afresh together: all of them must be named. The columns of the result may change, too (in files those that stay keep their types) |
| `stateKeyGroups` | how many key groups the state of stateful operators is divided into, from 1 to 32768, default 256: the most tasks that can share it. The first start decides; the parallelism may change at every start, this number may not |
| `stopTimeout` | how long a stop waits for the running batch before it is cancelled, default 10 s (spark.sql.streaming.stopTimeout); 0 = without limit |
| `rowErrors` | rows on which an expression fails: `fail` (default) or `deadLetter` |
";

const READ_KAFKA: &str = "\
In SQL also `read_kafka(bootstrapServers => '...', subscribe => '...')`, in batches and after `STREAM`; names with dots in backquotes. On a stream it is called by
what it reads, and a restart finds it by that name: a list of topics that is to change later stands in a table (`CREATE TABLE t USING kafka`), which has its own.

";

fn table(out: &mut String, title: &str, about: &str, specs: &[OptionSpec]) {
    if specs.is_empty() {
        return;
    }
    // Writing to a String cannot fail.
    let _ = write!(out, "\n### {title}\n\n{about}| option | meaning |\n|---|---|\n");
    for spec in specs {
        let secret = if spec.secret { " *(secret)*" } else { "" };
        let _ = writeln!(out, "| `{}` | {}{secret} |", spec.name, spec.doc.replace('|', "\\|"));
    }
}

fn page() -> String {
    let mut registry = ConnectorRegistry::default();
    millstream_connectors::register_all(&mut registry);
    let options = |format: &str, is_source: bool| {
        let connector = registry.for_format(format).unwrap();
        if is_source { connector.source_options(format) } else { connector.sink_options(format) }
    };
    let mut page = HEAD.to_owned();
    for (title, is_source) in [("Sources", true), ("Sinks", false)] {
        let _ = writeln!(page, "\n## {title}");
        let common: Vec<OptionSpec> = options("json", is_source)
            .into_iter()
            .filter(|spec| FILES.iter().all(|format| options(format, is_source).iter().any(|other| other.name == spec.name)))
            .collect();
        table(&mut page, "Files of every format", "", &common);
        for format in FILES {
            let own: Vec<OptionSpec> =
                options(format, is_source).into_iter().filter(|spec| common.iter().all(|known| known.name != spec.name)).collect();
            table(&mut page, format, "", &own);
        }
        for format in registry.formats().filter(|format| !registry.is_file_format(format)) {
            let about = if is_source && format == "kafka" { READ_KAFKA } else { "" };
            table(&mut page, format, about, &options(format, is_source));
        }
    }
    page
}

#[test]
fn the_page_of_options_says_what_the_code_takes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/options.md");
    let page = page();
    if std::env::var("MILLSTREAM_DOCS").is_ok_and(|value| value == "write") {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/options.md is not what the code takes: run with MILLSTREAM_DOCS=write"
    );
}
