//! A reader that knows nothing of us: every file with a format's suffix counts, wherever it lies.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema};
use millstream_testkit::rows::row_texts;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// The rows below a folder as sorted texts, with what the folders' names say; of the columns only these, if any are named.
pub fn rows(dir: &Path, columns: &[&str]) -> Result<Vec<String>, String> {
    let mut rows = Vec::new();
    for path in files_below(dir) {
        let torn = |what: String| format!("{} is torn: {what}", path.display());
        let partitions: Vec<(String, String)> = path
            .strip_prefix(dir)
            .unwrap()
            .iter()
            .filter_map(|part| part.to_str()?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => rows.extend(lines(&path).map_err(torn)?),
            Some("parquet") => {
                for batch in batches(&path).map_err(torn)? {
                    rows.extend(row_texts(&[readable(&batch, columns, &partitions)]).unwrap());
                }
            }
            _ => {}
        }
    }
    rows.sort_unstable();
    Ok(rows)
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { files_below(&path) } else { vec![path] }
        })
        .collect()
}

fn lines(path: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    for line in text.lines() {
        serde_json::from_str::<serde_json::Value>(line).map_err(|error| format!("{line:?}: {error}"))?;
    }
    Ok(text.lines().map(str::to_owned).collect())
}

fn batches(path: &Path) -> Result<Vec<RecordBatch>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
    reader.map_err(|error| error.to_string())?.collect::<Result<_, _>>().map_err(|error| error.to_string())
}

fn readable(batch: &RecordBatch, columns: &[&str], partitions: &[(String, String)]) -> RecordBatch {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        if columns.is_empty() || columns.contains(&field.name().as_str()) {
            let is_binary = field.data_type() == &DataType::Binary;
            let array = if is_binary { cast(array, &DataType::Utf8).unwrap() } else { Arc::clone(array) };
            fields.push(Field::new(field.name(), array.data_type().clone(), true));
            arrays.push(array);
        }
    }
    for (name, value) in partitions {
        fields.push(Field::new(name, DataType::Utf8, true));
        arrays.push(Arc::new(StringArray::from(vec![value.as_str(); batch.num_rows()])));
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}
