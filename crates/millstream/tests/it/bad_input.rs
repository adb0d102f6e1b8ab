//! The matrix of bad input, as a running stream (and a finished read) meets it: nothing lost, nothing silent, and every
//! message names the file and the place.
//!
//! What needs another machine (a folder without permission, a full disk) is in the tests of the command.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use millstream::crash::{CrashPoint, CrashPoints};
use millstream::{Error, ErrorKind, Result, Session, Trigger};

use super::conservation::Sums;

const SCHEMA: &str = "id BIGINT, name STRING";

/// A folder `in` with files, and what streams make of it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.input()).unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.input().join(name), bytes).unwrap();
        }
        folder
    }

    fn input(&self) -> PathBuf {
        self.0.path().join("in")
    }

    /// Streams everything there is to Parquet, from a checkpoint named `run`. What was read is what was written, dropped or
    /// set aside, in each batch.
    async fn stream(&self, run: &str, format: &str, options: &[(&str, &str)]) -> Result<(Vec<String>, Sums)> {
        let session = Session::new()?;
        let run = self.0.path().join(run);
        let mut reader = session.read_stream().format(format).schema(SCHEMA);
        for (name, value) in options {
            reader = reader.option(name, value);
        }
        let frame = reader.load_path(self.input()).await?;
        let writer = frame.write_stream().format("parquet").trigger(Trigger::AvailableNow).checkpoint(run.join("cp"));
        let query = writer.start_path(run.join("out")).await?;
        query.await_termination(None).await?;
        Ok((rows(&session, &run.join("out")).await, Sums::of(&query)))
    }

    /// The same as a finished read.
    async fn read(&self, format: &str, options: &[(&str, &str)]) -> Result<Vec<String>> {
        let mut reader = Session::new()?.read().format(format).schema(SCHEMA);
        for (name, value) in options {
            reader = reader.option(name, value);
        }
        let rows = reader.load_path(self.input()).await?.text_rows().await?;
        Ok(sorted(rows.into_iter().map(|row| row.join("|")).collect()))
    }

    /// What the dead-letter table of `run` holds: raw bytes (cut), position.
    async fn dead(&self, path: &Path) -> Vec<String> {
        let sql = format!("SELECT position, substring(raw, 1, 8) FROM parquet.`{}`", path.display());
        let frame = Session::new().unwrap().sql(&sql).await.unwrap();
        sorted(frame.text_rows().await.unwrap().into_iter().map(|row| row.join("|")).collect())
    }
}

async fn rows(session: &Session, path: &Path) -> Vec<String> {
    let frame = match session.read().parquet(path).await {
        Err(error) if matches!(error.error_class(), Some("PATH_NOT_FOUND" | "UNABLE_TO_INFER_SCHEMA")) => return Vec::new(),
        frame => frame.unwrap(),
    };
    sorted(frame.text_rows().await.unwrap().into_iter().map(|row| row.join("|")).collect())
}

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

/// The error names the file, and what else it must.
fn names(error: &Error, parts: &[&str]) {
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
}

fn sums(n_in: u64, n_out: u64, n_dropped: u64, n_dead: u64) -> Sums {
    Sums { n_in, n_out, n_dropped, n_dead }
}

/// A record that is bad as a whole, between two good ones: every policy does what it says.
async fn check_bad_record(line: &[u8], raw: &str) {
    let text = [b"{\"id\":1,\"name\":\"a\"}\n".as_slice(), line, b"\n{\"id\":3,\"name\":\"c\"}\n"].concat();
    let folder = Folder::new(&[("bad.json", &text)]);
    let (seen, counted) = folder.stream("permissive", "json", &[]).await.unwrap();
    assert_eq!((seen, counted), (vec!["1|a".to_owned(), "3|c".to_owned(), "NULL|NULL".to_owned()], sums(3, 3, 0, 0)));
    let (seen, counted) = folder.stream("drop", "json", &[("mode", "DROPMALFORMED")]).await.unwrap();
    assert_eq!((seen, counted), (vec!["1|a".to_owned(), "3|c".to_owned()], sums(3, 2, 1, 0)));
    let dead = folder.0.path().join("dead");
    let (seen, counted) = folder.stream("dead-letters", "json", &[("deadLetterPath", dead.to_str().unwrap())]).await.unwrap();
    assert_eq!((seen, counted), (vec!["1|a".to_owned(), "3|c".to_owned()], sums(3, 2, 0, 1)));
    let letters = folder.dead(&dead).await;
    assert!(matches!(letters.as_slice(), [letter] if letter.starts_with("2|") && letter.contains(raw)), "{letters:?}");
    let error = folder.stream("failfast", "json", &[("mode", "FAILFAST")]).await.unwrap_err();
    names(&error, &["bad.json", "line 2", "MALFORMED_RECORD_IN_PARSING"]);
    let error = folder.read("json", &[("mode", "FAILFAST")]).await.unwrap_err();
    names(&error, &["bad.json", "line 2"]);
    assert_eq!(folder.read("json", &[("mode", "DROPMALFORMED")]).await.unwrap(), ["1|a", "3|c"]);
    // A run that failed goes on where it was, once it is told how.
    let (seen, _) = folder.stream("failfast", "json", &[("mode", "DROPMALFORMED")]).await.unwrap();
    assert_eq!(seen, ["1|a", "3|c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_no_json() {
    check_bad_record(b"{\"id\":2,", "{\"id\":2,").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_utf8() {
    check_bad_record(b"{\"a\":2,\"name\":\"\xff\xfe\"}", "{\"a\":2,\"").await;
    // Csv and text keep what can be kept.
    let folder = Folder::new(&[("bad.csv", b"1,a\n2,\xff\n3,c\n")]);
    let (seen, counted) = folder.stream("csv", "csv", &[]).await.unwrap();
    assert_eq!((seen.as_slice(), counted), (["1|a", "2|\u{fffd}", "3|c"].map(str::to_owned).as_slice(), sums(3, 3, 0, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_levels() {
    let line = [b"{\"id\":2,\"name\":".as_slice(), &b"[".repeat(10_000), &b"]".repeat(10_000), b"}"].concat();
    check_bad_record(&line, "{\"id\":2,").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_twice_byte_order_marks_line_ends_and_empty_files() {
    let folder = Folder::new(&[
        ("a_twice.json", b"{\"id\":0,\"id\":1,\"name\":\"x\",\"name\":\"a\"}\n"),
        ("b_bom.json", b"\xef\xbb\xbf{\"id\":2,\"name\":\"b\"}\n"),
        ("c_crlf.json", b"{\"id\":3,\"name\":\"c\"}\r\n\r\n{\"id\":4,\"name\":\"d\"}\r\n"),
        ("d_empty.json", b""),
        ("e_no_end.json", b"{\"id\":5,\"name\":\"e\"}"),
    ]);
    let want = ["1|a", "2|b", "3|c", "4|d", "5|e"];
    for options in [&[][..], &[("mode", "FAILFAST")], &[("maxFilesPerTrigger", "1")]] {
        let run = format!("run-{}", options.iter().map(|(_, value)| *value).collect::<String>());
        let (seen, counted) = folder.stream(&run, "json", options).await.unwrap();
        assert_eq!((seen.as_slice(), counted), (want.map(str::to_owned).as_slice(), sums(5, 5, 0, 0)));
    }
    assert_eq!(folder.read("json", &[]).await.unwrap(), want);
    let folder = Folder::new(&[("bom.csv", b"\xef\xbb\xbfid,name\r\n1,a\r\n2,\"b\r\n\"\r\n"), ("empty.csv", b"")]);
    let options = [("header", "true"), ("multiLine", "true")];
    let (seen, counted) = folder.stream("csv", "csv", &options).await.unwrap();
    assert_eq!(counted, sums(2, 2, 0, 0));
    assert_eq!(seen.first().map(String::as_str), Some("1|a"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_100_mb() {
    let mut text = b"{\"id\":1,\"name\":\"a\"}\n{\"id\":2,\"pad\":\"".to_vec();
    text.resize(text.len() + (100 << 20), b'x');
    text.extend_from_slice(b"\"}\n{\"id\":3,\"name\":\"c\"}\n");
    let folder = Folder::new(&[("long.json", &text)]);
    let (seen, counted) = folder.stream("whole", "json", &[]).await.unwrap();
    assert_eq!((seen.as_slice(), counted), (["1|a", "2|NULL", "3|c"].map(str::to_owned).as_slice(), sums(3, 3, 0, 0)));
    // Bounded by the user's wish, whatever the files should be forgiven.
    for ignore in ["false", "true"] {
        let options = [("maxRecordBytes", "1m"), ("ignoreCorruptFiles", ignore)];
        let error = folder.stream(&format!("bounded-{ignore}"), "json", &options).await.unwrap_err();
        names(&error, &["long.json", "longer than 1048576 bytes"]);
        assert_eq!(error.kind(), ErrorKind::Exhausted);
        assert!(error.hint_text().unwrap().contains("maxRecordBytes"), "{error:?}");
    }
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_gz() {
    // Names that do not compress away, so that the cut leaves some records readable.
    let record = |id: u64| format!("{{\"id\":{id},\"name\":\"{:x}\"}}\n", id.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes();
    let whole = gzip(&(0..20_000).flat_map(record).collect::<Vec<u8>>());
    let cut = whole.len() / 2;
    let folder = Folder::new(&[("cut.json.gz", &whole[..cut]), ("whole.json.gz", &gzip(b"{\"id\":-1,\"name\":\"w\"}\n"))]);
    let at = format!("truncated: its gzip data breaks off at byte {cut}");
    let error = folder.stream("run", "json", &[]).await.unwrap_err();
    names(&error, &["cut.json.gz", &at]);
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.hint_text().unwrap().contains("ignoreCorruptFiles"), "{error:?}");
    names(&folder.read("json", &[]).await.unwrap_err(), &["cut.json.gz", &at]);
    // The same run goes on once it is told to: what can be read of the file counts, and all of the other one.
    let (seen, counted) = folder.stream("run", "json", &[("ignoreCorruptFiles", "true")]).await.unwrap();
    assert!(seen.len() > 5_000 && seen.len() < 20_000, "{}", seen.len());
    assert_eq!(counted, sums(seen.len() as u64, seen.len() as u64, 0, 0));
    assert!(seen.contains(&"-1|w".to_owned()));
    assert_eq!(folder.read("json", &[("ignoreCorruptFiles", "true")]).await.unwrap(), seen);
}

/// Meddles with the folder when a batch is planned (its intent is durable) and no task has run.
struct Meddler(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl std::fmt::Debug for Meddler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddler")
    }
}

impl CrashPoints for Meddler {
    fn reach(&self, point: CrashPoint) -> Result<()> {
        if point == CrashPoint::AfterIntent
            && let Some(meddle) = self.0.lock().unwrap().take()
        {
            meddle();
        }
        Ok(())
    }
}

/// A stream of one batch, its files changed by `meddle` between planning and reading.
async fn stream_meddled(folder: &Folder, options: &[(&str, &str)], meddle: impl FnOnce() + Send + 'static) -> Result<(Vec<String>, Sums)> {
    let session = Session::builder().crash_points(Arc::new(Meddler(Mutex::new(Some(Box::new(meddle)))))).build()?;
    let mut reader = session.read_stream().schema(SCHEMA);
    for (name, value) in options {
        reader = reader.option(name, value);
    }
    let frame = reader.json(folder.input()).await?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    let writer = frame.write_stream().foreach_batch(move |rows, _| {
        let into = Arc::clone(&into);
        async move {
            let rows = rows.text_rows().await?;
            into.lock().unwrap().extend(rows.into_iter().map(|row| row.join("|")));
            Ok(())
        }
    });
    let checkpoint = tempfile::tempdir().unwrap();
    let query = writer.trigger(Trigger::AvailableNow).checkpoint(checkpoint.path()).start().await?;
    query.await_termination(None).await?;
    let seen = sorted(seen.lock().unwrap().clone());
    Ok((seen, Sums::of(&query)))
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_vanish_or_shrink_between_planning_and_reading() {
    let two = || {
        Folder::new(&[
            ("a.json", b"{\"id\":1,\"name\":\"a\"}\n{\"id\":2,\"name\":\"b\"}\n".as_slice()),
            ("b.json", b"{\"id\":3,\"name\":\"c\"}\n"),
        ])
    };
    let folder = two();
    let path = folder.input().join("a.json");
    let gone = path.clone();
    let error = stream_meddled(&folder, &[], move || std::fs::remove_file(gone).unwrap()).await.unwrap_err();
    names(&error, &[&format!("file '{}' vanished between planning and reading", path.display())]);
    assert_eq!(error.error_class(), Some("FAILED_READ_FILE.FILE_NOT_EXIST"));
    assert!(error.hint_text().unwrap().contains("ignoreMissingFiles"), "{error:?}");

    let folder = two();
    let gone = folder.input().join("a.json");
    let options = [("ignoreMissingFiles", "true")];
    let (seen, counted) = stream_meddled(&folder, &options, move || std::fs::remove_file(gone).unwrap()).await.unwrap();
    assert_eq!((seen, counted), (vec!["3|c".to_owned()], sums(1, 1, 0, 0)));

    // A file that shrank is no damage to be forgiven: somebody writes to it.
    for options in [&[][..], &[("ignoreCorruptFiles", "true")], &[("ignoreMissingFiles", "true")]] {
        let folder = two();
        let path = folder.input().join("a.json");
        let shrunk = path.clone();
        let error = stream_meddled(&folder, options, move || std::fs::write(shrunk, "{\"id\":1}\n").unwrap()).await.unwrap_err();
        names(&error, &["a.json", "changed between planning and reading", "its size was 40 and is 9 bytes"]);
        assert_eq!(error.error_class(), Some("FAILED_READ_FILE.FILE_CHANGED"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_files_that_are_none() {
    let session = Session::new().unwrap();
    let folder = Folder::new(&[("b.parquet", b"PAR1 this is not the end of a parquet file")]);
    let good = session.sql("SELECT 1L AS id, 'a' AS name").await.unwrap();
    good.write().mode(millstream::SaveMode::Append).parquet(folder.input()).await.unwrap();
    let error = folder.stream("run", "parquet", &[]).await.unwrap_err();
    names(&error, &["b.parquet' cannot be read as parquet"]);
    names(&folder.read("parquet", &[]).await.unwrap_err(), &["b.parquet' cannot be read as parquet"]);
    let (seen, counted) = folder.stream("run", "parquet", &[("ignoreCorruptFiles", "true")]).await.unwrap();
    assert_eq!((seen, counted), (vec!["1|a".to_owned()], sums(1, 1, 0, 0)));
    // The settings of Spark do the same for all sources.
    session.set("spark.sql.files.ignoreCorruptFiles", "true").unwrap();
    assert_eq!(session.read().parquet(folder.input()).await.unwrap().count().await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_folders_that_come_after_the_start() {
    let put = |folder: &Folder, name: &str, id: u64| {
        let path = folder.input().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{{\"id\":{id},\"name\":\"n\"}}\n")).unwrap();
    };
    let folder = Folder::new(&[]);
    put(&folder, "k=1/a.json", 1);
    put(&folder, "k=2/b.json", 2);
    // There at the first start: columns, as in Spark.
    let (seen, _) = folder.stream("all", "json", &[]).await.unwrap();
    assert_eq!(seen, ["1|n|1", "2|n|2"]);
    // Not there: rows without them, and at the next start a table with another column is refused.
    let folder = Folder::new(&[]);
    folder.stream("late", "json", &[]).await.unwrap();
    put(&folder, "k=1/a.json", 1);
    let error = folder.stream("late", "json", &[]).await.unwrap_err();
    names(&error, &["the output columns were (id Int64, name Utf8) and are (id Int64, name Utf8, k Int32)"]);
    assert!(error.hint_text().unwrap().starts_with("name the columns in the query (id, name): partition folders"), "{error:?}");
    // The way on: the columns by name, which is the same query as before.
    let session = Session::new().unwrap();
    let frame = session.read_stream().schema(SCHEMA).json(folder.input()).await.unwrap().select_expr(["id", "name"]).unwrap();
    let run = folder.0.path().join("late");
    let writer = frame.write_stream().format("parquet").trigger(Trigger::AvailableNow).checkpoint(run.join("cp"));
    writer.start_path(run.join("out")).await.unwrap().await_termination(None).await.unwrap();
    assert_eq!(rows(&session, &run.join("out")).await, ["1|n"]);
}
