//! `.stream` scripts: add data, run, crash behind a named step, restart, expect rows and progress.
//!
//! ```text
//! table numbers (v BIGINT)              a stream that the script feeds
//! sql                                   statements follow, up to an empty line
//! file in/a.json                        writes a file below the script's folder; its lines follow, up to an empty line
//! query [FORMAT] [key=value ...]        the SQL of the query follows, up to an empty line; the sink is a table `out`
//! add numbers                           rows follow, as SQL tuples, up to an empty line; they arrive together
//! run                                   starts the query if it does not run, and waits until all is committed
//! run available-now | once              starts it with that trigger and waits for its end
//! stop
//! crash after-prepared [n]              the next run ends there (the n-th time); `run` then expects that. Of a query that
//!                                       runs: before the rows are added, as it takes them at once
//! expect [SELECT ...]                   all rows of `out` so far (or of that query), in any order, columns divided by `|`
//! progress numInputRows 2               a field of the last progress
//! exists in/a.json                      the file is there
//! gone in/a.json                        it is not
//! error TEXT                            the next run fails with a message that contains the text
//! ```
//! `$dir` stands for the script's folder.

use std::path::Path;
use std::sync::{Arc, Mutex};

use millstream::crash::{CRASH, CrashPoint, CrashPoints};
use millstream::{DataFrame, Error, MemoryStream, Result, Session, StreamingQuery, Trigger};
use millstream_testkit::put_file;

/// Fails at an armed point.
#[derive(Debug, Default)]
pub struct Armed(pub Mutex<Option<(CrashPoint, u32)>>);

impl CrashPoints for Armed {
    fn reach(&self, point: CrashPoint) -> Result<()> {
        let mut armed = self.0.lock().unwrap();
        match armed.as_mut() {
            Some((wanted, left)) if *wanted == point => {
                *left -= 1;
                if *left == 0 {
                    *armed = None;
                    return Err(Error::internal(format!("crash {point}")).code(CRASH));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

struct Script {
    session: Session,
    crash: Arc<Armed>,
    dir: tempfile::TempDir,
    frame: Option<DataFrame>,
    format: String,
    options: Vec<(String, String)>,
    running: Option<StreamingQuery>,
    last: Option<StreamingQuery>,
    expected_error: Option<String>,
    expects_crash: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_script_passes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stream");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "stream"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        run_script(&std::fs::read_to_string(&file).unwrap(), &file.display().to_string()).await;
    }
}

async fn run_script(text: &str, name: &str) {
    let crash = Arc::new(Armed::default());
    let session = Session::builder().crash_points(Arc::clone(&crash) as Arc<dyn CrashPoints>).build().unwrap();
    let mut script = Script {
        session,
        crash,
        dir: tempfile::tempdir().unwrap(),
        frame: None,
        format: "memory".to_owned(),
        options: Vec::new(),
        running: None,
        last: None,
        expected_error: None,
        expects_crash: false,
    };
    let lines: Vec<&str> = text.lines().collect();
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        at += 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let first = at;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut block = Vec::new();
        if matches!(word, "add" | "query" | "expect" | "sql" | "file") {
            while at < lines.len() && !lines[at].trim().is_empty() {
                block.push(lines[at].trim_end());
                at += 1;
            }
        }
        let place = format!("{name}:{first}: {line}");
        script.step(word, rest.trim(), &block, &place).await;
    }
    if let Some(query) = script.running {
        query.stop().await;
    }
}

impl Script {
    async fn step(&mut self, word: &str, rest: &str, block: &[&str], place: &str) {
        match word {
            "table" => self.table(rest).await,
            "query" => self.query(rest, &block.join("\n")).await,
            "sql" => {
                drop(self.session.sql_script(&self.placed(&block.join("\n"))).await.unwrap_or_else(|error| panic!("{place}: {error:?}")))
            }
            "file" => {
                put_file(self.dir.path().join(rest), block.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
            }
            "add" => self.add(rest, block, place).await,
            "run" => self.run(rest, place).await,
            "stop" => self.running.take().unwrap().stop().await,
            "crash" => {
                let (point, n) = rest.split_once(' ').unwrap_or((rest, "1"));
                let point = CrashPoint::from_name(point).unwrap_or_else(|| panic!("{place}: no such crash point"));
                *self.crash.0.lock().unwrap() = Some((point, n.parse().unwrap()));
                self.expects_crash = true;
            }
            "expect" => self.expect(rest, block, place).await,
            "progress" => {
                let (field, want) = rest.split_once(' ').unwrap();
                let progress = self.last.as_ref().and_then(StreamingQuery::last_progress).unwrap_or_else(|| panic!("{place}: no progress"));
                let json: serde_json::Value = serde_json::from_str(&progress.json()).unwrap();
                let got = json.pointer(&format!("/{}", field.replace('.', "/"))).unwrap_or_else(|| panic!("{place}: no such field"));
                assert_eq!(got.to_string().trim_matches('"'), want.trim(), "{place}");
            }
            "exists" | "gone" => {
                let path = format!("{}/{}", self.dir.path().display(), self.placed(rest));
                assert_eq!(Path::new(&path).exists(), word == "exists", "{place}");
            }
            "error" => self.expected_error = Some(rest.to_owned()),
            _ => panic!("{place}: unknown step '{word}'"),
        }
    }

    fn placed(&self, text: &str) -> String {
        text.replace("$dir", &self.dir.path().to_string_lossy())
    }

    async fn table(&mut self, rest: &str) {
        let (name, ddl) = rest.split_once(' ').unwrap();
        let ddl = ddl.trim().trim_start_matches('(').trim_end_matches(')');
        let schema = millstream::parse_schema(ddl).unwrap();
        self.session.memory_stream(name, schema).unwrap();
        self.session.sql(&format!("CREATE TABLE {name} USING memory OPTIONS (stream '{name}')")).await.unwrap();
    }

    async fn query(&mut self, rest: &str, sql: &str) {
        self.options.clear();
        for word in rest.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) => self.options.push((key.to_owned(), self.placed(value))),
                None => self.format = word.to_owned(),
            }
        }
        self.frame = Some(self.session.sql(&self.placed(sql)).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")));
    }

    async fn add(&mut self, name: &str, rows: &[&str], place: &str) {
        let stream: MemoryStream = self.session.memory_stream(name, self.session.find_memory_stream(name).unwrap().schema()).unwrap();
        let fields = stream.schema();
        let casts: Vec<String> = fields
            .fields()
            .iter()
            .enumerate()
            .map(|(idx, field)| format!("CAST(col{} AS {}) AS {}", idx + 1, millstream::type_name(field.data_type()), field.name()))
            .collect();
        let sql = format!("SELECT {} FROM VALUES {}", casts.join(", "), rows.join(", "));
        for batch in self.session.sql(&sql).await.unwrap().collect().await.unwrap_or_else(|error| panic!("{place}: {error}")) {
            let batch = arrow::array::RecordBatch::try_new(stream.schema(), batch.columns().to_vec()).unwrap();
            stream.add(batch).unwrap();
        }
    }

    async fn run(&mut self, trigger: &str, place: &str) {
        // A query that runs may have crashed when its data came, before this step.
        let expects_crash = std::mem::take(&mut self.expects_crash);
        let ended = self.run_once(trigger).await;
        if expects_crash {
            let error = ended.expect_err(&format!("{place}: the run did not crash"));
            assert_eq!(error.error_class(), Some(CRASH), "{place}: {error}");
            self.running = None;
        } else if let Some(text) = self.expected_error.take() {
            let error = ended.expect_err(&format!("{place}: the run did not fail"));
            assert!(error.to_string().contains(&text), "{place}: {error}");
            self.running = None;
        } else {
            ended.unwrap_or_else(|error| panic!("{place}: {error:?}"));
        }
    }

    async fn run_once(&mut self, trigger: &str) -> Result<()> {
        if let Some(query) = &self.running {
            return query.process_all_available().await;
        }
        let mut writer = self.frame.as_ref().unwrap().write_stream().format(&self.format).query_name("out");
        writer = writer.checkpoint(self.dir.path().join("checkpoint"));
        for (key, value) in &self.options {
            writer = writer.option(key, value);
        }
        if !trigger.is_empty() {
            let query = writer.trigger(trigger.parse::<Trigger>()?).start().await?;
            self.last = Some(query.clone());
            return query.await_termination(None).await.map(|_| ());
        }
        let query = writer.start().await?;
        self.running = Some(query.clone());
        self.last = Some(query.clone());
        query.process_all_available().await
    }

    async fn expect(&self, query: &str, rows: &[&str], place: &str) {
        let query = match self.options.iter().find(|(key, _)| key == "path") {
            _ if !query.is_empty() => self.placed(query),
            Some((_, path)) => format!("SELECT * FROM {}.`{path}`", self.format),
            None => "SELECT * FROM out".to_owned(),
        };
        let frame = self.session.sql(&query).await.unwrap_or_else(|error| panic!("{place}: {error:?}"));
        let got = frame.text_rows().await.unwrap_or_else(|error| panic!("{place}: {error:?}"));
        let mut got: Vec<String> = got.iter().map(|row| row.join(" | ")).collect();
        let mut want: Vec<String> = rows.iter().map(|row| row.split('|').map(str::trim).collect::<Vec<_>>().join(" | ")).collect();
        got.sort();
        want.sort();
        assert_eq!(got, want, "{place}");
    }
}
