//! Bad input: nothing lost, nothing silent, every message names the file.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::{Admission, ErrorKind, Result, SourceStart};
use millstream_testkit::rows::row_texts;
use millstream_testkit::source_contract::read_splits;
use tempfile::TempDir;

use super::{id_schema, read_all, rows, write_text};
use crate::harness::{registry, source, source_request};

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn lines(n: usize) -> Vec<u8> {
    // Numbers that do not compress away, so that the file has many blocks.
    (0..n).flat_map(|idx| format!("{{\"id\":{idx},\"x\":{}}}\n", idx.wrapping_mul(2_654_435_761) % 1_000_003).into_bytes()).collect()
}

async fn read(dir: &TempDir, options: &[(&str, &str)]) -> Result<Vec<String>> {
    let options = [options, &[("path", dir.path().to_str().unwrap())]].concat();
    let (_, chunks) = read_all("json", &options, Some(id_schema())).await?;
    row_texts(&rows(&chunks))
}

#[tokio::test]
async fn a_truncated_gz_names_the_file_and_the_place() {
    let dir = TempDir::new().unwrap();
    let whole = gzip(&lines(50_000));
    let cut = whole.len() * 2 / 3;
    write_text(&dir.path().join("a.json.gz"), &whole[..cut], 1);
    let error = read(&dir, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().ends_with(&format!("a.json.gz' is truncated: its gzip data breaks off at byte {cut}")), "{error}");
    let kept = read(&dir, &[("ignoreCorruptFiles", "true")]).await.unwrap();
    assert!(kept.len() > 10_000 && kept.len() < 50_000, "{}", kept.len());
    assert_eq!(kept[0], "id=0");
}

#[tokio::test]
async fn a_damaged_gz_is_an_error_and_two_members_are_one_file() {
    let dir = TempDir::new().unwrap();
    let mut damaged = gzip(&lines(50_000));
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xff;
    write_text(&dir.path().join("a.json.gz"), &damaged, 1);
    let error = read(&dir, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    let dir = TempDir::new().unwrap();
    write_text(&dir.path().join("a.json.gz"), [gzip(b"{\"id\":1}\n{\"id\":"), gzip(b"2}\n")].concat(), 1);
    assert_eq!(read(&dir, &[]).await.unwrap(), ["id=1", "id=2"]);
}

/// Plans, lets `meddle` change the folder, then reads.
async fn read_after(dir: &TempDir, options: &[(&str, &str)], meddle: impl FnOnce()) -> Result<Vec<RecordBatch>> {
    let (registry, _) = registry();
    let options = [options, &[("path", dir.path().to_str().unwrap())]].concat();
    let mut source = source(&registry, source_request("json", &options, Some(id_schema()))).await?;
    let start = source.start(SourceStart::Fresh).await?;
    let range = source.plan(&start, &Admission::default()).await?.unwrap();
    let splits = source.splits(&range, 2).await?;
    meddle();
    let chunks = read_splits(&registry, &source.reader(), &splits).await?;
    Ok(chunks.into_iter().map(|chunk| chunk.rows).collect())
}

#[tokio::test]
async fn files_that_vanish_shrink_or_change_after_planning_are_errors() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("a.json");
    write_text(&path, lines(100), 1);
    let error = read_after(&dir, &[], || std::fs::remove_file(&path).unwrap()).await.unwrap_err();
    assert!(error.message().ends_with("a.json' vanished between planning and reading"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Data);
    write_text(&path, lines(100), 1);
    let gone = read_after(&dir, &[("ignoreMissingFiles", "true")], || std::fs::remove_file(&path).unwrap()).await.unwrap();
    assert_eq!(gone.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    write_text(&path, lines(100), 1);
    let error = read_after(&dir, &[], || write_text(&path, lines(10), 1)).await.unwrap_err();
    assert!(error.message().contains("a.json' changed between planning and reading: its size was"), "{error}");
    write_text(&path, lines(100), 1);
    let error = read_after(&dir, &[], || write_text(&path, lines(100), 2)).await.unwrap_err();
    assert!(error.message().ends_with("its modification time is another"), "{error}");
}

#[tokio::test]
async fn a_line_of_100_mb_is_read_or_refused_by_its_bound() {
    let dir = TempDir::new().unwrap();
    let mut text = b"{\"id\":1}\n{\"id\":2,\"pad\":\"".to_vec();
    text.resize(text.len() + (100 << 20), b'x');
    text.extend_from_slice(b"\"}\n{\"id\":3}\n");
    write_text(&dir.path().join("a.json"), &text, 1);
    assert_eq!(read(&dir, &[]).await.unwrap(), ["id=1", "id=2", "id=3"]);
    let error = read(&dir, &[("maxRecordBytes", "50m")]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    assert!(error.to_string().contains("a.json"), "{error}");
}

#[tokio::test]
async fn odd_bytes_are_no_panic_and_no_lost_row() {
    let dir = TempDir::new().unwrap();
    write_text(&dir.path().join("a_bom.json"), b"\xef\xbb\xbf{\"id\":1}\n", 1);
    write_text(&dir.path().join("b_crlf.json"), b"{\"id\":2}\r\n\r\n{\"id\":3}\r\n", 2);
    write_text(&dir.path().join("c_empty.json"), b"", 3);
    write_text(&dir.path().join("d_empty.json.gz"), b"", 4);
    write_text(&dir.path().join("e_utf8.json"), b"{\"id\":4,\"s\":\"\xff\xfe\"}\n", 5);
    let nested = ["{\"id\":5,\"n\":".as_bytes(), &b"[".repeat(10_000), &b"]".repeat(10_000), b"}\n"].concat();
    write_text(&dir.path().join("f_nested.json"), nested, 6);
    write_text(&dir.path().join("g_no_end.json"), b"{\"id\":7}", 7);
    write_text(&dir.path().join("h_dup.json"), b"{\"id\":8,\"id\":9}\n", 8);
    let mut rows = read(&dir, &[]).await.unwrap();
    rows.sort();
    // The records with invalid UTF-8 and with too many levels are rows of nulls, as in Spark.
    assert_eq!(rows, ["id=1", "id=2", "id=3", "id=7", "id=9", "id=NULL", "id=NULL"]);
    let error = read(&dir, &[("mode", "FAILFAST")]).await.unwrap_err();
    assert!(error.to_string().contains("_utf8.json") || error.to_string().contains("_nested.json"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Data);
}

#[tokio::test]
async fn bad_records_are_set_aside_with_their_place_also_in_cut_files() {
    let dir = TempDir::new().unwrap();
    let mut text = Vec::new();
    let (n_lines, bad) = (300_000, [10, 299_990]);
    for idx in 0..n_lines {
        if bad.contains(&idx) {
            text.extend_from_slice(b"{\"id\":oops}\n");
        } else {
            text.extend_from_slice(format!("{{\"id\":{idx},\"pad\":\"{}\"}}\n", "x".repeat(50)).as_bytes());
        }
    }
    assert!(text.len() > 16 << 20);
    write_text(&dir.path().join("a.json"), &text, 1);
    let options = [("path", dir.path().to_str().unwrap()), ("deadLetter", "true")];
    let (_, chunks) = read_all("json", &options, Some(id_schema())).await.unwrap();
    let mut rejected: Vec<_> = chunks.iter().flat_map(|chunk| &chunk.rejected).collect();
    rejected.sort_by_key(|record| record.position);
    assert_eq!(rejected.iter().map(|record| record.position.unwrap()).collect::<Vec<_>>(), [11, 299_991]);
    assert!(rejected.iter().all(|record| record.raw == b"{\"id\":oops}" && record.origin.ends_with("a.json") && !record.error.is_empty()));
    assert_eq!(rows(&chunks).iter().map(RecordBatch::num_rows).sum::<usize>(), n_lines - 2);
}

#[tokio::test]
async fn dropped_records_are_counted() {
    let dir = TempDir::new().unwrap();
    write_text(&dir.path().join("a.json"), "{\"id\":1}\nnope\n{\"id\":2}\n", 1);
    let options = [("path", dir.path().to_str().unwrap()), ("mode", "DROPMALFORMED")];
    let (_, chunks) = read_all("json", &options, Some(id_schema())).await.unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.n_dropped).sum::<u64>(), 1);
    assert_eq!(chunks.iter().map(|chunk| chunk.n_records).sum::<u64>(), 3);
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_is_named() {
    let dir = TempDir::new().unwrap();
    // Tests may run as root, whom no permission stops; nobody can list below a file.
    write_text(&dir.path().join("file"), "x", 1);
    let path = dir.path().join("file/below");
    let (registry, _) = registry();
    let mut source =
        source(&registry, source_request("json", &[("path", path.to_str().unwrap())], Some(id_schema()))).await.map_err(|error| {
            assert!(error.to_string().contains("file/below"), "{error}");
        });
    if let Ok(source) = &mut source {
        let start = source.start(SourceStart::Fresh).await.unwrap();
        let error = source.plan(&start, &Admission::default()).await.unwrap_err();
        assert!(error.to_string().contains("file/below"), "{error}");
    }
}

#[tokio::test]
async fn a_parquet_file_that_is_none_is_named() {
    let dir = TempDir::new().unwrap();
    write_text(&dir.path().join("a.parquet"), "this is not parquet at all", 1);
    let path = dir.path().to_str().unwrap();
    let schema: SchemaRef = Schema::new(vec![Field::new("id", DataType::Int64, true)]).into();
    let error = read_all("parquet", &[("path", path)], Some(schema.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("a.parquet' cannot be read as parquet"), "{error}");
    let (_, chunks) = read_all("parquet", &[("path", path), ("ignoreCorruptFiles", "true")], Some(schema)).await.unwrap();
    assert_eq!(rows(&chunks).iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum, as the command `zstd` writes it; without one damage can be taken for other data.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// What the command `zstd` makes of two lines, checksum included.
const MADE_BY_ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x04\x58\x91\x00\x00{\"id\":3}\n{\"id\":4}\n\x47\x43\xaf\x44";

#[tokio::test]
async fn bz2_and_zst_are_known_by_suffix_and_read_to_their_end_or_refused() {
    type Encode = fn(&[u8]) -> Vec<u8>;
    let codecs: [(&str, Encode); 4] = [("bz2", bzip2), ("zst", zstd), ("ZST", zstd), ("zstd", zstd)];
    for (suffix, encode) in codecs {
        let name = format!("a.json.{suffix}");
        // Parallel compressors write many members: they are one file.
        let dir = TempDir::new().unwrap();
        write_text(&dir.path().join(&name), [encode(b"{\"id\":1}\n{\"id\":"), encode(b"2}\n")].concat(), 1);
        assert_eq!(read(&dir, &[]).await.unwrap(), ["id=1", "id=2"], "{name}");

        let whole = encode(&lines(50_000));
        for cut in [whole.len() / 2, whole.len() - 1] {
            let dir = TempDir::new().unwrap();
            write_text(&dir.path().join(&name), &whole[..cut], 1);
            let error = read(&dir, &[]).await.map(|rows| rows.len()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "{error}");
            assert!(error.to_string().contains(&name) && error.to_string().contains("truncated"), "{name} cut at {cut}: {error}");
        }
        let mut damaged = whole;
        let middle = damaged.len() / 2;
        damaged[middle..middle + 8].iter_mut().for_each(|byte| *byte ^= 0xff);
        let dir = TempDir::new().unwrap();
        write_text(&dir.path().join(&name), &damaged, 1);
        let error = read(&dir, &[]).await.map(|rows| rows.len()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "{error}");
        assert!(error.to_string().contains(&name), "{error}");
    }
    let dir = TempDir::new().unwrap();
    write_text(&dir.path().join("b.json.zst"), MADE_BY_ZSTD, 2);
    assert_eq!(read(&dir, &[]).await.unwrap(), ["id=3", "id=4"]);
    for suffix in ["lz4", "snappy", "xz", "zip"] {
        let dir = TempDir::new().unwrap();
        write_text(&dir.path().join(format!("a.json.{suffix}")), "x", 1);
        let error = read(&dir, &[]).await.unwrap_err();
        assert!(error.message().ends_with(&format!("files compressed as .{suffix} cannot be read")), "{error}");
    }
}
