//! What is read from files and written to them.

use std::collections::BTreeMap;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use millstream::{DataFrame, Result, SaveMode};
use millstream_testkit::gold::{ReaderCase, Report, lines, reader_cases};
use serde_json::Value;

use super::{finish, outcome, rows, session};

#[tokio::test(flavor = "multi_thread")]
async fn files_are_read_as_spark_reads_them() {
    let mut report = Report::new("readers").unwrap();
    for case in reader_cases().unwrap() {
        let outcome = outcome(rows(read(&case).await).await);
        report.case(&case.id, &case.expected, case.is_ordered, &outcome);
    }
    finish(report);
}

async fn read(case: &ReaderCase) -> Result<DataFrame> {
    let mut reader = session(&case.conf)?.read().format(&case.format).options(case.options.clone());
    if let Some(schema) = &case.schema {
        reader = reader.schema(schema);
    }
    let frame = reader.load_path(&case.path).await?;
    match &case.select {
        Some(exprs) => frame.select_expr(exprs),
        None => Ok(frame),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_as_spark_writes_them() {
    let mut report = Report::new("writers").unwrap();
    for case in lines("writers/cases.jsonl").unwrap() {
        let id = case["id"].as_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let written = write(&case, folder.path()).await;
        match (case.get("error"), written) {
            (Some(_), Ok(_)) => report.text(id, "an error", Ok("no error")),
            (Some(classes), Err(error)) => {
                // Which error it is counts only if ours says it.
                let agrees = error.error_class().is_none_or(|ours| classes.to_string().contains(ours));
                report.text(id, "", if agrees { Ok("") } else { Err(format!("{error} instead of {classes}")) });
            }
            (None, Err(error)) => report.text(id, "", Err(error.to_string())),
            (None, Ok(_)) => report.text(id, &spark_files(&case), Ok(&our_files(folder.path()))),
        }
    }
    finish(report);
}

async fn write(case: &Value, folder: &Path) -> Result<u64> {
    let texts = |key: &str| -> BTreeMap<String, String> {
        let object = case.get(key).and_then(Value::as_object);
        object.into_iter().flatten().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
    };
    let session = session(&texts("conf"))?;
    // One partition, so that there is one file and the rows keep their order.
    session.set("spark.sql.shuffle.partitions", "1")?;
    let frame = session.sql(case["sql"].as_str().unwrap()).await?;
    let mut writer = frame.write().format(case["format"].as_str().unwrap()).mode(SaveMode::Append);
    for (name, value) in texts("options") {
        writer = writer.option(&name, value);
    }
    if let Some(columns) = case.get("partitionBy").and_then(Value::as_array) {
        writer = writer.partition_by(columns.iter().map(|column| column.as_str().unwrap()));
    }
    writer.save_path(folder).await
}

/// Folder by folder: the contents, or that there is a file (parquet).
fn spark_files(case: &Value) -> String {
    let mut folders: BTreeMap<String, String> = BTreeMap::new();
    for file in case["files"].as_array().unwrap() {
        let text = match (file.get("text"), file.get("hex")) {
            (Some(text), _) => text.as_str().unwrap().to_owned(),
            (_, Some(hex)) => hex.as_str().unwrap().to_owned(),
            _ => "a file".to_owned(),
        };
        folders.entry(file["dir"].as_str().unwrap().to_owned()).or_default().push_str(&text);
    }
    folders.iter().map(|(folder, text)| format!("{folder}:\n{text}\n")).collect()
}

fn our_files(root: &Path) -> String {
    let mut folders: BTreeMap<String, String> = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with(['_', '.']) {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let relative = folder.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            folders.entry(relative).or_default().push_str(&content(&path));
        }
    }
    folders.iter().map(|(folder, text)| format!("{folder}:\n{text}\n")).collect()
}

fn content(path: &Path) -> String {
    let mut bytes = std::fs::read(path).unwrap();
    match path.extension().unwrap_or_default().to_str() {
        Some("parquet") => return "a file".to_owned(),
        Some("gz") => {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut MultiGzDecoder::new(bytes.as_slice()), &mut plain).unwrap();
            bytes = plain;
        }
        _ => {}
    }
    String::from_utf8(bytes).unwrap_or_else(|error| error.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}
