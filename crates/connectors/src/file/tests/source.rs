//! The source: which files, in which order, with which columns.

use std::path::Path;

use arrow::array::Array;
use async_trait::async_trait;
use millstream_core::{Admission, BatchId, ConnectorRegistry, Result, Source, SourceStart};
use millstream_testkit::rows::{row_texts, sorted_row_texts};
use millstream_testkit::source_contract::{SourceHarness, check_source};
use tempfile::TempDir;

use super::{file_names, id_schema, open, read_all, rows, write_parquet, write_text};
use crate::harness::{id_name_rows, id_name_schema, registry, source, source_request};

struct Folder {
    registry: ConnectorRegistry,
    dir: TempDir,
    format: &'static str,
    options: Vec<(&'static str, &'static str)>,
}

impl Folder {
    fn new(format: &'static str, options: &[(&'static str, &'static str)]) -> Self {
        let folder = Self { registry: registry().0, dir: TempDir::new().unwrap(), format, options: options.to_vec() };
        // Partition columns are discovered at the start, so there is a folder already.
        folder.add_files(9);
        folder
    }

    fn add_files(&self, step: usize) {
        for idx in 0..3 {
            let path = self.dir.path().join(format!("day={step}/f{idx}.{}", self.format));
            let (rows, mtime_s) = (id_name_rows(step * 100 + idx * 10, 7), 1_600_000_000 + step as u64);
            if self.format == "parquet" {
                write_parquet(&path, &rows, mtime_s);
            } else {
                let mut lines = Vec::new();
                let mut writer = arrow::json::LineDelimitedWriter::new(&mut lines);
                writer.write(&rows).unwrap();
                writer.finish().unwrap();
                write_text(&path, lines, mtime_s);
            }
        }
    }
}

#[async_trait]
impl SourceHarness for Folder {
    async fn source(&self) -> Result<Box<dyn Source>> {
        let path = self.dir.path().to_str().unwrap();
        let options = [self.options.as_slice(), &[("path", path)]].concat();
        source(&self.registry, source_request(self.format, &options, Some(id_name_schema()))).await
    }

    async fn add_data(&self, step: usize) -> Result<()> {
        self.add_files(step);
        Ok(())
    }

    fn registry(&self) -> &ConnectorRegistry {
        &self.registry
    }
}

#[tokio::test]
async fn parquet_keeps_the_contract() {
    check_source(&Folder::new("parquet", &[("maxFilesPerTrigger", "2")])).await.unwrap();
}

#[tokio::test]
async fn json_keeps_the_contract() {
    check_source(&Folder::new("json", &[])).await.unwrap();
    check_source(&Folder::new("json", &[("maxBytesPerTrigger", "500"), ("metadataColumn", "true")])).await.unwrap();
    check_source(&Folder::new("json", &[("maxFilesPerTrigger", "4"), ("latestFirst", "true")])).await.unwrap();
}

fn ids(dir: &Path, names: &[(&str, u64)]) {
    for (idx, (name, mtime_s)) in names.iter().enumerate() {
        write_text(&dir.join(name), format!("{{\"id\":{idx}}}\n"), *mtime_s);
    }
}

async fn batches_of(options: &[(&str, &str)], dir: &Path) -> Vec<Vec<String>> {
    let options = [options, &[("path", dir.to_str().unwrap())]].concat();
    let mut source = open("json", &options, Some(id_schema())).await.unwrap();
    let mut position = source.start(SourceStart::Fresh).await.unwrap();
    let mut batches = Vec::new();
    while let Some(range) = source.plan(&position, &Admission::default()).await.unwrap() {
        batches.push(file_names(&range));
        source.decided(BatchId(batches.len() as u64), &range).await.unwrap();
        position = range.end;
    }
    batches
}

#[tokio::test]
async fn files_come_by_time_then_name() {
    let dir = TempDir::new().unwrap();
    ids(dir.path(), &[("b.json", 20), ("a.json", 20), ("z.json", 10), ("_no.json", 1), (".no.json", 1), ("sub/no.json", 1)]);
    assert_eq!(batches_of(&[("maxFilesPerTrigger", "2")], dir.path()).await, [vec!["z.json", "a.json"], vec!["b.json"]]);
    let latest = batches_of(&[("maxFilesPerTrigger", "1"), ("latestFirst", "true")], dir.path()).await;
    assert_eq!(latest, [["b.json"], ["a.json"], ["z.json"]]);
    let recursive = batches_of(&[("recursiveFileLookup", "true")], dir.path()).await;
    assert_eq!(recursive, [vec!["no.json", "z.json", "a.json", "b.json"]]);
    assert_eq!(batches_of(&[("pathGlobFilter", "{a,z}*")], dir.path()).await, [vec!["z.json", "a.json"]]);
}

#[tokio::test]
async fn a_byte_limit_takes_at_least_one_file() {
    let dir = TempDir::new().unwrap();
    ids(dir.path(), &[("a.json", 1), ("b.json", 2), ("c.json", 3)]);
    assert_eq!(batches_of(&[("maxBytesPerTrigger", "1")], dir.path()).await.len(), 3);
    assert_eq!(batches_of(&[("maxBytesPerTrigger", "20")], dir.path()).await.len(), 2);
    let both = [("path", "x"), ("maxBytesPerTrigger", "1"), ("maxFilesPerTrigger", "1")];
    let error = open("json", &both, Some(id_schema())).await.unwrap_err();
    assert_eq!(error.message(), "options 'maxFilesPerTrigger' and 'maxBytesPerTrigger' exclude each other");
}

#[tokio::test]
async fn files_that_are_too_old_are_passed_over_after_the_first_batch() {
    let dir = TempDir::new().unwrap();
    let day = 86_400;
    ids(dir.path(), &[("first.json", 100 * day), ("old.json", 90 * day)]);
    let path = dir.path().to_str().unwrap();
    let mut source = open("json", &[("path", path), ("maxFileAge", "7d")], Some(id_schema())).await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    let range = source.plan(&start, &Admission::default()).await.unwrap().unwrap();
    assert_eq!(file_names(&range), ["old.json", "first.json"]);
    source.decided(BatchId(0), &range).await.unwrap();
    ids(dir.path(), &[("late.json", 92 * day), ("fine.json", 94 * day)]);
    let range = source.plan(&range.end, &Admission::default()).await.unwrap().unwrap();
    assert_eq!(file_names(&range), ["fine.json"]);
}

#[tokio::test]
async fn the_same_name_in_another_folder_can_be_the_same_file() {
    let dir = TempDir::new().unwrap();
    ids(dir.path(), &[("k=1/a.json", 1), ("k=2/a.json", 2)]);
    assert_eq!(batches_of(&[], dir.path()).await.concat().len(), 2);
    assert_eq!(batches_of(&[("fileNameOnly", "true")], dir.path()).await.concat().len(), 1);
}

#[tokio::test]
async fn read_files_are_deleted_or_archived_after_the_commit() {
    for how in ["delete", "archive"] {
        let dir = TempDir::new().unwrap();
        let archive = TempDir::new().unwrap();
        ids(dir.path(), &[("a.json", 1)]);
        let path = dir.path().to_str().unwrap();
        let options = [("path", path), ("cleanSource", how), ("sourceArchiveDir", archive.path().to_str().unwrap())];
        let mut source = open("json", &options, Some(id_schema())).await.unwrap();
        let start = source.start(SourceStart::Fresh).await.unwrap();
        let range = source.plan(&start, &Admission::default()).await.unwrap().unwrap();
        source.decided(BatchId(0), &range).await.unwrap();
        assert!(dir.path().join("a.json").exists());
        source.commit(BatchId(0), &range).await.unwrap();
        // Told again after a crash.
        source.commit(BatchId(0), &range).await.unwrap();
        assert!(!dir.path().join("a.json").exists());
        let archived = archive.path().join(path.trim_start_matches('/')).join("a.json");
        assert_eq!(archived.exists(), how == "archive");
    }
}

#[tokio::test]
async fn partition_folders_become_columns() {
    let dir = TempDir::new().unwrap();
    ids(
        dir.path(),
        &[
            ("year=2023/country=de/a.json", 1),
            ("year=2024/country=fr/b.json", 2),
            ("year=__HIVE_DEFAULT_PARTITION__/country=a%2Fb/c.json", 3),
        ],
    );
    let path = dir.path().to_str().unwrap();
    let (schema, chunks) = read_all("json", &[("path", path)], Some(id_schema())).await.unwrap();
    let types: Vec<String> = schema.fields().iter().map(|field| format!("{} {}", field.name(), field.data_type())).collect();
    assert_eq!(types, ["id Int64", "year Int32", "country Utf8"]);
    let expected = ["id=0, year=2023, country=de", "id=1, year=2024, country=fr", "id=2, year=NULL, country=a/b"];
    assert_eq!(sorted_row_texts(&rows(&chunks)).unwrap(), expected);
    let glob = format!("{path}/year=202*");
    let (schema, chunks) = read_all("json", &[("path", &glob)], Some(id_schema())).await.unwrap();
    assert_eq!(schema.fields().len(), 2, "what the glob matched is the root");
    assert_eq!(sorted_row_texts(&rows(&chunks)).unwrap(), ["id=0, country=de", "id=1, country=fr"]);
    let one = format!("{path}/year=2023");
    let (schema, _) = read_all("json", &[("path", &one), ("basePath", path)], Some(id_schema())).await.unwrap();
    assert_eq!(schema.fields().len(), 3, "the base path says where partition columns begin");
}

#[tokio::test]
async fn types_of_partition_columns_follow_sparks_inference() {
    // The gold of parts-010 to parts-016 and parts-022.
    let cases = [
        (vec!["1", "2"], "Int32"),
        (vec!["01", "2"], "Int32"),
        (vec!["3000000000", "1"], "Int64"),
        (vec!["1", "1.5"], "Float64"),
        (vec!["2024-01-01", "2024-01-02"], "Date32"),
        (vec!["2024-01-01 10%3A00%3A00", "2024-01-02 11%3A30%3A00"], "Timestamp(µs, \"UTC\")"),
        (vec!["1", "a"], "Utf8"),
        (vec!["true"], "Utf8"),
    ];
    for (values, expected) in cases {
        let dir = TempDir::new().unwrap();
        for value in &values {
            write_text(&dir.path().join(format!("k={value}/x.json")), "{\"id\":1}\n", 1);
        }
        let (schema, chunks) = read_all("json", &[("path", dir.path().to_str().unwrap())], Some(id_schema())).await.unwrap();
        assert_eq!(schema.field(1).data_type().to_string(), expected, "{values:?}");
        assert_eq!(rows(&chunks).iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), values.len());
    }
}

#[tokio::test]
async fn conflicting_partition_folders_are_refused() {
    let dir = TempDir::new().unwrap();
    ids(dir.path(), &[("a=1/x.json", 1), ("b=2/x.json", 1)]);
    let error = read_all("json", &[("path", dir.path().to_str().unwrap())], Some(id_schema())).await.unwrap_err();
    assert_eq!(error.error_class(), Some("CONFLICTING_PARTITION_COLUMN_NAMES"));
}

#[tokio::test]
async fn the_metadata_column_tells_the_file() {
    let dir = TempDir::new().unwrap();
    write_text(&dir.path().join("a.json"), "{\"id\":1}\n", 1_600_000_000);
    let path = dir.path().to_str().unwrap();
    let (schema, chunks) = read_all("json", &[("path", path), ("metadataColumn", "true")], Some(id_schema())).await.unwrap();
    assert_eq!(schema.field(1).metadata().get("millstream.hidden").map(String::as_str), Some("true"));
    let expected = format!(
        "id=1, _metadata={{file_path: file:{path}/a.json, file_name: a.json, file_size: 9, file_block_start: 0, file_block_length: 9, file_modification_time: 2020-09-13T12:26:40Z}}"
    );
    assert_eq!(row_texts(&rows(&chunks)).unwrap(), [expected]);
}

#[tokio::test]
async fn large_files_are_cut_at_line_borders() {
    let dir = TempDir::new().unwrap();
    let line = |idx: usize| format!("{{\"id\":{idx},\"pad\":\"{}\"}}\n", "x".repeat(idx % 300));
    let text: String = (0..150_000).map(line).collect();
    assert!(text.len() > 3 * (8 << 20));
    write_text(&dir.path().join("big.json"), &text, 1);
    let (registry, _) = registry();
    let mut source = source(&registry, source_request("json", &[("path", dir.path().to_str().unwrap())], Some(id_schema()))).await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    let range = source.plan(&start, &Admission::default()).await.unwrap().unwrap();
    let splits = source.splits(&range, 3).await.unwrap();
    assert_eq!(splits.len(), 3);
    let chunks = super::read_with(&registry, source.as_ref(), &splits).await.unwrap();
    let mut ids: Vec<i64> = Vec::new();
    for chunk in &chunks {
        use arrow::array::AsArray;
        ids.extend(chunk.rows.column(0).as_primitive::<arrow::datatypes::Int64Type>().values());
    }
    ids.sort_unstable();
    assert!(ids.iter().enumerate().all(|(idx, id)| idx as i64 == *id), "each line once");
    assert_eq!(ids.len(), 150_000);
}

#[tokio::test]
async fn options_and_paths_are_checked() {
    let error = open("json", &[("path", "x"), ("maxFilesPerTriger", "1")], Some(id_schema())).await.unwrap_err();
    assert_eq!(error.to_string(), "unknown option 'maxFilesPerTriger' of the json source");
    assert_eq!(error.hint_text(), Some("did you mean 'maxFilesPerTrigger'?"));
    for format in ["orc", "xml", "avro"] {
        let error = open(format, &[("path", "x")], Some(id_schema())).await.unwrap_err();
        assert_eq!(error.message(), format!("file format '{format}' is not supported yet"));
    }
    let error = open("json", &[("path", "x")], None).await.unwrap_err();
    assert_eq!(error.message(), "a streaming file source needs a schema");
    let error = read_all("json", &[("path", "/no/such/folder")], Some(id_schema())).await.unwrap_err();
    assert_eq!(error.error_class(), Some("PATH_NOT_FOUND"));
    let error = open("json", &[("path", "x"), ("modifiedBefore", "2020-01-01T00:00:00")], Some(id_schema())).await.unwrap_err();
    assert_eq!(error.message(), "option 'modifiedBefore' is for batch reads only");
}

#[tokio::test]
async fn batch_reads_can_choose_by_modification_time() {
    let dir = TempDir::new().unwrap();
    ids(dir.path(), &[("a.json", 1_000), ("b.json", 2_000), ("c.json", 3_000)]);
    let options =
        [("path", dir.path().to_str().unwrap()), ("modifiedAfter", "1970-01-01T00:20:00"), ("modifiedBefore", "1970-01-01T00:40:00")];
    let (_, chunks) = read_all("json", &options, Some(id_schema())).await.unwrap();
    assert_eq!(row_texts(&rows(&chunks)).unwrap(), ["id=1"]);
}

#[tokio::test]
async fn parquet_schemas_are_inferred_and_columns_matched_by_name() {
    use arrow::datatypes::{DataType, Field, Schema};
    let dir = TempDir::new().unwrap();
    write_parquet(&dir.path().join("a.parquet"), &id_name_rows(0, 3), 1);
    let path = dir.path().to_str().unwrap();
    let (schema, chunks) = read_all("parquet", &[("path", path)], None).await.unwrap();
    assert_eq!(schema.fields(), id_name_schema().fields());
    assert_eq!(row_texts(&rows(&chunks)).unwrap(), ["id=0, name=name 0", "id=1, name=name 1", "id=2, name=NULL"]);
    let other = Schema::new(vec![
        Field::new("NAME", DataType::Utf8, true),
        Field::new("missing", DataType::Int32, true),
        Field::new("id", DataType::Decimal128(20, 0), true),
    ]);
    let (_, chunks) = read_all("parquet", &[("path", path)], Some(other.into())).await.unwrap();
    assert_eq!(row_texts(&rows(&chunks)).unwrap()[0], "NAME=name 0, missing=NULL, id=0");
    let wrong = Schema::new(vec![Field::new("name", DataType::Int64, true)]);
    let error = read_all("parquet", &[("path", path)], Some(wrong.into())).await.unwrap_err();
    assert!(error.to_string().contains("parquet column 'name' is Utf8, which cannot be read as Int64"), "{error}");
}

#[tokio::test]
async fn large_csv_files_with_a_header_are_cut_too() {
    let dir = TempDir::new().unwrap();
    let mut text = "id,pad\n".to_owned();
    for idx in 0..200_000 {
        text.push_str(&format!("{idx},{}\n", "x".repeat(100)));
    }
    write_text(&dir.path().join("big.csv"), &text, 1);
    let options = [("path", dir.path().to_str().unwrap()), ("header", "true")];
    let schema = arrow::datatypes::Schema::new(vec![
        arrow::datatypes::Field::new("id", arrow::datatypes::DataType::Int64, true),
        arrow::datatypes::Field::new("pad", arrow::datatypes::DataType::Utf8, true),
    ]);
    let (registry, _) = registry();
    let mut source = source(&registry, source_request("csv", &options, Some(schema.into()))).await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    let range = source.plan(&start, &Admission::default()).await.unwrap().unwrap();
    let splits = source.splits(&range, 2).await.unwrap();
    assert_eq!(splits.len(), 2);
    let chunks = super::read_with(&registry, source.as_ref(), &splits).await.unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.n_records).sum::<u64>(), 200_000);
    assert_eq!(rows(&chunks).iter().map(|rows| rows.column(0).null_count()).sum::<usize>(), 0);
}

#[tokio::test]
async fn large_parquet_files_are_cut_at_row_groups() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("big.parquet");
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(20_000))
        .set_compression(parquet::basic::Compression::UNCOMPRESSED)
        .set_dictionary_enabled(false)
        .build();
    let file = std::fs::File::create(&path).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, id_name_schema(), Some(properties)).unwrap();
    for step in 0..100 {
        writer.write(&id_name_rows(step * 10_000, 10_000)).unwrap();
    }
    writer.close().unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > 16 << 20);
    let (registry, _) = registry();
    let options = [("path", dir.path().to_str().unwrap())];
    let mut source = source(&registry, source_request("parquet", &options, Some(id_name_schema()))).await.unwrap();
    let start = source.start(SourceStart::Fresh).await.unwrap();
    let range = source.plan(&start, &Admission::default()).await.unwrap().unwrap();
    let splits = source.splits(&range, 2).await.unwrap();
    assert_eq!(splits.len(), 2);
    let mut n_rows = Vec::new();
    for split in &splits {
        let chunks = super::read_with(&registry, source.as_ref(), std::slice::from_ref(split)).await.unwrap();
        n_rows.push(chunks.iter().map(|chunk| chunk.n_records).sum::<u64>());
    }
    assert!(n_rows.iter().all(|n| *n > 400_000), "{n_rows:?}");
    assert_eq!(n_rows.iter().sum::<u64>(), 1_000_000);
}

#[tokio::test]
async fn a_batch_is_limited_by_the_sizes_of_the_files_as_stored() {
    let dir = TempDir::new().unwrap();
    // Files of 3 GiB of which nothing is on the disk: their sizes are looked at, they are not read.
    for (name, mtime_s) in [("a.json", 1), ("b.json.gz", 2), ("c.json", 3)] {
        write_text(&dir.path().join(name), "", mtime_s);
        let file = std::fs::File::options().write(true).open(dir.path().join(name)).unwrap();
        file.set_len(3 << 30).unwrap();
        super::touch(&dir.path().join(name), mtime_s);
    }
    let cut = async |options: &[(&str, &str)], admission: Admission| {
        let options = [options, &[("path", dir.path().to_str().unwrap())]].concat();
        let mut source = open("json", &options, Some(id_schema())).await.unwrap();
        let mut position = source.start(SourceStart::Fresh).await.unwrap();
        let mut sizes = Vec::new();
        while let Some(range) = source.plan(&position, &admission).await.unwrap() {
            sizes.push(file_names(&range).len());
            source.decided(BatchId(sizes.len() as u64), &range).await.unwrap();
            position = range.end;
        }
        sizes
    };
    assert_eq!(cut(&[], Admission::bytes(Some(4 << 30))).await, [1, 1, 1]);
    assert_eq!(cut(&[], Admission::bytes(Some(6 << 30))).await, [2, 1]);
    // The lower limit counts, and neither does for `once`.
    assert_eq!(cut(&[("maxFilesPerTrigger", "1")], Admission::bytes(Some(6 << 30))).await, [1, 1, 1]);
    assert_eq!(cut(&[("maxBytesPerTrigger", "3g")], Admission::bytes(Some(6 << 30))).await, [1, 1, 1]);
    assert_eq!(cut(&[("maxBytesPerTrigger", "9g")], Admission::bytes(Some(6 << 30))).await, [2, 1]);
    assert_eq!(cut(&[("maxFilesPerTrigger", "1")], Admission::ALL).await, [3]);
}
