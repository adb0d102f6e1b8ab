//! Reading what our own sink wrote: whole committed batches, in the order of batches.

use arrow::array::RecordBatch;
use millstream_core::sink::WriteAttempt;
use millstream_core::{Admission, BatchId, RunEpoch, SourceStart, TaskId};
use millstream_testkit::sink_contract::SinkHarness;

use super::sink::{Folder, ctx, write_batch};
use super::{file_names, read_all, rows, touch};
use crate::harness::{id_name_rows, id_name_schema, registry, source, source_request};

#[tokio::test]
async fn a_batch_is_read_whole_and_only_when_it_is_committed() {
    let folder = Folder::new(&["name"], &[]);
    let sink = folder.sink().await.unwrap();
    let ctx = ctx(9);
    sink.start(&ctx, None).await.unwrap();
    write_batch(&folder.registry, &sink, ctx.query_id, BatchId(0), &[id_name_rows(0, 6)]).await.unwrap();
    write_batch(&folder.registry, &sink, ctx.query_id, BatchId(1), &[id_name_rows(6, 6)]).await.unwrap();
    // The commit of batch 2 is cut off after its renames: the files are there, the mark is not.
    let attempt = WriteAttempt { query_id: ctx.query_id, epoch: RunEpoch(1), batch_id: BatchId(2), attempt: 0, task_id: TaskId(0) };
    let mut writer = folder.registry.writer(&sink.writer()).unwrap().open(attempt).await.unwrap();
    writer.write(id_name_rows(12, 6)).await.unwrap();
    let prepared = sink.prepare(BatchId(2), vec![writer.finish().await.unwrap()]).await.unwrap();
    for file in prepared["files"].as_array().unwrap() {
        let at = |name: &str| folder.path().join(file[name].as_str().unwrap());
        std::fs::create_dir_all(at("to").parent().unwrap()).unwrap();
        std::fs::rename(at("from"), at("to")).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    let (_, chunks) = read_all("parquet", &[("path", path)], Some(id_name_schema())).await.unwrap();
    assert_eq!(rows(&chunks).iter().map(RecordBatch::num_rows).sum::<usize>(), 12);

    let (registry, _) = registry();
    let request = source_request("parquet", &[("path", path), ("maxFilesPerTrigger", "1")], Some(id_name_schema()));
    let mut downstream = source(&registry, request).await.unwrap();
    let mut position = downstream.start(SourceStart::Fresh).await.unwrap();
    for batch in 0..2_u64 {
        let range = downstream.plan(&position, &Admission::default()).await.unwrap().unwrap();
        let names = file_names(&range);
        assert!(names.len() > 1 && names.iter().all(|name| name.contains(&format!("-{batch:010}-"))), "{names:?}");
        downstream.decided(BatchId(batch), &range).await.unwrap();
        position = range.end;
    }
    assert!(downstream.plan(&position, &Admission::default()).await.unwrap().is_none());
    // Recovery commits it.
    sink.commit(BatchId(2), &prepared).await.unwrap();
    let range = downstream.plan(&position, &Admission::default()).await.unwrap().unwrap();
    assert!(file_names(&range).iter().all(|name| name.contains("-0000000002-")));
}

#[tokio::test]
async fn batches_come_in_order_even_if_clocks_do_not() {
    let folder = Folder::new(&[], &[]);
    let sink = folder.sink().await.unwrap();
    let ctx = ctx(9);
    sink.start(&ctx, None).await.unwrap();
    for batch in 0..3 {
        write_batch(&folder.registry, &sink, ctx.query_id, BatchId(batch), &[id_name_rows(batch as usize * 10, 2)]).await.unwrap();
    }
    for path in super::sink::files_below(folder.path()) {
        if path.extension().is_some_and(|extension| extension == "parquet") {
            let batch: u64 = path.to_str().unwrap().split('-').rev().nth(1).unwrap().parse().unwrap();
            touch(&path, 1_000_000 - batch);
        }
    }
    let (registry, _) = registry();
    let request =
        source_request("parquet", &[("path", folder.path().to_str().unwrap()), ("maxFilesPerTrigger", "1")], Some(id_name_schema()));
    let mut downstream = source(&registry, request).await.unwrap();
    let mut position = downstream.start(SourceStart::Fresh).await.unwrap();
    for batch in 0..3_u64 {
        let range = downstream.plan(&position, &Admission::default()).await.unwrap().unwrap();
        assert!(file_names(&range)[0].contains(&format!("-{batch:010}-")));
        downstream.decided(BatchId(batch), &range).await.unwrap();
        position = range.end;
    }
}

/// So long ago that a folder of that time is not read again until its time changes.
fn lay_still_since(mtime_s: u64, folder: &std::path::Path) {
    let since = std::time::UNIX_EPOCH + std::time::Duration::from_secs(mtime_s);
    std::fs::File::open(folder).unwrap().set_modified(since).unwrap();
}

#[tokio::test]
async fn a_folder_that_lay_still_is_looked_at_again_when_a_sink_of_ours_begins_in_it_and_when_it_commits() {
    let folder = Folder::new(&[], &[]);
    let sink = folder.sink().await.unwrap();
    let ctx = ctx(9);
    std::fs::create_dir_all(folder.path()).unwrap();
    lay_still_since(1000, folder.path());
    let (registry, _) = registry();
    let mut request = source_request("parquet", &[("path", folder.path().to_str().unwrap())], Some(id_name_schema()));
    request.clock = std::sync::Arc::new(millstream_testkit::ManualClock::new(1_700_000_000_000));
    let mut downstream = source(&registry, request).await.unwrap();
    let mut position = downstream.start(SourceStart::Fresh).await.unwrap();
    for _ in 0..2 {
        assert!(downstream.plan(&position, &Admission::default()).await.unwrap().is_none());
    }

    sink.start(&ctx, None).await.unwrap();
    write_batch(&folder.registry, &sink, ctx.query_id, BatchId(0), &[id_name_rows(0, 6)]).await.unwrap();
    let range = downstream.plan(&position, &Admission::default()).await.unwrap().unwrap();
    assert!(file_names(&range).iter().all(|name| name.contains("-0000000000-")));
    downstream.decided(BatchId(0), &range).await.unwrap();
    position = range.end;

    // The next batch's files are there, its mark is not. Then the mark comes, which does not change the folder's time.
    let attempt = WriteAttempt { query_id: ctx.query_id, epoch: RunEpoch(1), batch_id: BatchId(1), attempt: 0, task_id: TaskId(0) };
    let mut writer = folder.registry.writer(&sink.writer()).unwrap().open(attempt).await.unwrap();
    writer.write(id_name_rows(6, 6)).await.unwrap();
    let prepared = sink.prepare(BatchId(1), vec![writer.finish().await.unwrap()]).await.unwrap();
    for file in prepared["files"].as_array().unwrap() {
        let at = |name: &str| folder.path().join(file[name].as_str().unwrap());
        std::fs::rename(at("from"), at("to")).unwrap();
    }
    lay_still_since(2000, folder.path());
    for _ in 0..2 {
        assert!(downstream.plan(&position, &Admission::default()).await.unwrap().is_none());
    }
    sink.commit(BatchId(1), &prepared).await.unwrap();
    lay_still_since(2000, folder.path());
    let range = downstream.plan(&position, &Admission::default()).await.unwrap().unwrap();
    assert!(file_names(&range).iter().all(|name| name.contains("-0000000001-")));
}
