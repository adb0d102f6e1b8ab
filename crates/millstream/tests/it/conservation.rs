//! Nothing lost, nothing silent: rows in = rows out + dropped + dead-lettered, whatever the format, the parse mode and what
//! is wrong with the input.

use std::path::Path;

use millstream::{Session, StreamingQuery, Trigger};

/// What the progress of all batches adds up to.
#[derive(Debug, Default, PartialEq)]
pub struct Sums {
    pub n_in: u64,
    pub n_out: u64,
    pub n_dropped: u64,
    pub n_dead: u64,
}

impl Sums {
    /// Of the batches that the query remembers; in each of them nothing may be lost.
    pub fn of(query: &StreamingQuery) -> Self {
        let mut sums = Self::default();
        for progress in query.recent_progress() {
            let of_sources = |name: &str| {
                let values = progress.sources.iter().filter_map(|source| source.metrics.get(name));
                values.map(|value| value.parse::<u64>().unwrap()).sum::<u64>()
            };
            let n_out = u64::try_from(progress.sink.num_output_rows).unwrap();
            let (n_dropped, n_dead) = (of_sources("numRowsDropped"), of_sources("numRowsDeadLettered"));
            assert_eq!(progress.num_input_rows, n_out + n_dropped + n_dead, "{}", progress.json());
            sums.n_in += progress.num_input_rows;
            sums.n_out += n_out;
            sums.n_dropped += n_dropped;
            sums.n_dead += n_dead;
        }
        sums
    }
}

async fn count(session: &Session, path: &Path) -> u64 {
    if !path.exists() {
        return 0;
    }
    session.read().parquet(path).await.unwrap().count().await.unwrap()
}

/// Streams `in` to Parquet, a file per batch, and compares the tables with what progress says.
async fn stream(dir: &Path, format: &str, options: &[(&str, &str)]) -> Sums {
    let session = Session::new().unwrap();
    let run = dir.join(format!("{format}-{}", options.iter().map(|(_, value)| value.replace('/', "_")).collect::<String>()));
    let mut reader = session.read_stream().format(format).option("maxFilesPerTrigger", "1");
    if format != "text" {
        reader = reader.schema("id INT, name STRING");
    }
    for (name, value) in options {
        reader = reader.option(name, value);
    }
    let frame = reader.load_path(dir.join("in").join(format)).await.unwrap();
    let writer = frame.write_stream().format("parquet").trigger(Trigger::AvailableNow).checkpoint(run.join("cp"));
    let query = writer.start_path(run.join("out")).await.unwrap();
    query.await_termination(None).await.unwrap();
    let sums = Sums::of(&query);
    assert_eq!(count(&session, &run.join("out")).await, sums.n_out);
    if let Some((_, path)) = options.iter().find(|(name, _)| *name == "deadLetterPath") {
        assert_eq!(count(&session, Path::new(path)).await, sums.n_dead);
    }
    sums
}

/// Two files per format with ten records each; of the first four are bad, of the second none.
async fn write_input(dir: &Path) {
    let put = |name: &str, text: String| {
        std::fs::create_dir_all(dir.join("in").join(name).parent().unwrap()).unwrap();
        std::fs::write(dir.join("in").join(name), text).unwrap();
    };
    let json = |i: i32, bad: bool| match (bad, i % 2) {
        (false, _) => format!("{{\"id\":{i},\"name\":\"n{i}\"}}\n"),
        (true, 0) => format!("{{\"id\":{i},\"name\":\n"),
        (true, _) => format!("{{\"id\":\"x{i}\",\"name\":\"n{i}\"}}\n"),
    };
    let csv = |i: i32, bad: bool| if bad { format!("x{i},n{i}\n") } else { format!("{i},n{i}\n") };
    for (file, n_bad) in [("a", 4), ("b", 0)] {
        put(&format!("json/{file}.json"), (0..10).map(|i| json(i, i < n_bad)).collect());
        put(&format!("csv/{file}.csv"), (0..10).map(|i| csv(i, i < n_bad)).collect());
        put(&format!("text/{file}.txt"), (0..10).map(|i| format!("line {i}\n")).collect());
    }
    let session = Session::new().unwrap();
    let rows = session.sql("SELECT CAST(id AS INT) AS id, 'n' AS name FROM range(20)").await.unwrap();
    rows.write().option("maxRecordsPerFile", "10").parquet(dir.join("in/parquet")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_are_rows_out_dropped_and_dead_lettered() {
    let dir = tempfile::tempdir().unwrap();
    write_input(dir.path()).await;
    let dir = dir.path();
    for format in ["json", "csv"] {
        let all = stream(dir, format, &[("mode", "PERMISSIVE")]).await;
        assert_eq!(all, Sums { n_in: 20, n_out: 20, n_dropped: 0, n_dead: 0 }, "{format}");
        let dropped = stream(dir, format, &[("mode", "DROPMALFORMED")]).await;
        assert_eq!(dropped, Sums { n_in: 20, n_out: 16, n_dropped: 4, n_dead: 0 }, "{format}");
        let dead_path = dir.join(format!("dead-{format}")).display().to_string();
        let dead = stream(dir, format, &[("deadLetterPath", &dead_path)]).await;
        assert_eq!(dead, Sums { n_in: 20, n_out: 16, n_dropped: 0, n_dead: 4 }, "{format}");
    }
    for format in ["text", "parquet"] {
        assert_eq!(stream(dir, format, &[]).await, Sums { n_in: 20, n_out: 20, n_dropped: 0, n_dead: 0 }, "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_join_does_not_want_are_counted_and_their_dead_letters_kept() {
    let dir = tempfile::tempdir().unwrap();
    write_input(dir.path()).await;
    let at = dir.path().display();
    std::fs::create_dir_all(dir.path().join("names")).unwrap();
    std::fs::write(dir.path().join("names/empty.json"), "").unwrap();
    let session = Session::new().unwrap();
    for create in [
        format!("CREATE TABLE input (id INT, name STRING) USING json OPTIONS (path '{at}/in/json', deadLetterPath '{at}/dead')"),
        format!("CREATE TABLE names (id INT, name STRING) USING json OPTIONS (path '{at}/names')"),
    ] {
        session.sql(&create).await.unwrap();
    }
    let joins = ["STREAM input s JOIN names n ON s.id = n.id", "names n JOIN STREAM input s ON s.id = n.id"];
    for (n, join) in joins.into_iter().enumerate() {
        let frame = session.sql(&format!("SELECT s.id, n.name FROM {join}")).await.unwrap();
        let writer = frame.write_stream().format("parquet").trigger(Trigger::AvailableNow).checkpoint(dir.path().join(format!("cp{n}")));
        let query = writer.start_path(dir.path().join(format!("out{n}"))).await.unwrap();
        query.await_termination(None).await.unwrap();
        let progress = query.last_progress().unwrap();
        assert_eq!((progress.num_input_rows, progress.sink.num_output_rows), (20, 0), "{join}: {}", progress.json());
        assert_eq!(progress.sources[0].metrics["numRowsDeadLettered"], "4", "{join}");
        // Both queries set them aside.
        assert_eq!(count(&session, &dir.path().join("dead")).await, 4 * (n as u64 + 1), "{join}");
    }
}
