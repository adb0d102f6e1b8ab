//! Dropping duplicates of rows that change, within the watermark: no batch query says what is right, so the rows do.

use std::path::Path;
use std::sync::Arc;

use millstream::{Clock, Session};
use millstream_testkit::{ManualClock, put_file};

/// The greatest value of each key in each ten seconds; of equal ones the first.
const FIRST_OF_EQUAL: &str = "SELECT k, m FROM drop_duplicates_within_watermark(\
     (SELECT window_time(window) AS t, k, max(v) AS m FROM STREAM e WATERMARK ts DELAY OF INTERVAL 10 SECONDS AS e GROUP BY window(ts, '10 seconds'), k), 'm')";

async fn session(dir: &Path) -> Session {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    let clock = Arc::new(ManualClock::new(1_800_000_000_000)) as Arc<dyn Clock>;
    let session = crate::spilling::builder(1).clock(clock).build().unwrap();
    let stream = session.read_stream().schema("ts TIMESTAMP, k STRING, v INT").json(dir.join("in")).await.unwrap();
    stream.create_or_replace_temp_view("e");
    session
}

/// The changes that each file brings, its rows as second, key and value; a new life of the query before the files of `restarts`.
async fn changes(sql: &str, files: &[&[(u32, &str, i32)]], restarts: &[usize]) -> Vec<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let (mut query, mut lives) = (None, Vec::new());
    let mut of_files = Vec::new();
    for (number, rows) in files.iter().enumerate() {
        if query.is_none() || restarts.contains(&number) {
            let session = session(dir.path()).await;
            let writer = session.sql(sql).await.unwrap().write_stream().output_mode("update").option("changes", "true");
            let writer = writer.format("memory").query_name("t").checkpoint(dir.path().join("checkpoint"));
            if let Some((query, _)) = query.take() {
                let query: millstream::StreamingQuery = query;
                query.stop().await;
            }
            query = Some((writer.start().await.unwrap(), session));
            lives.clear();
        }
        let (query, session) = query.as_ref().unwrap();
        let line = |(second, k, v): &(u32, &str, i32)| format!("{{\"ts\":\"2026-01-01T00:00:{second:02}Z\",\"k\":\"{k}\",\"v\":{v}}}\n");
        put_file(dir.path().join("in").join(format!("{number}.json")), rows.iter().map(line).collect::<String>()).unwrap();
        query.process_all_available().await.unwrap();
        let rows = session.sql("SELECT * FROM t").await.unwrap().text_rows().await.unwrap();
        let rows: Vec<String> = rows.iter().map(|row| row.join("|")).collect();
        let mut new = rows[lives.len()..].to_vec();
        lives = rows;
        new.sort_unstable();
        of_files.push(new);
    }
    if let Some((query, _)) = query {
        query.stop().await;
    }
    of_files
}

#[tokio::test(flavor = "multi_thread")]
async fn within_the_watermark_the_next_row_takes_the_place_of_one_that_is_taken_out() {
    let files: &[&[_]] = &[
        &[(1, "a", 1), (2, "b", 1)],
        // a is 2 now: of those that are 1, b is next.
        &[(3, "a", 2)],
        // Like b, which is remembered until the watermark is ten seconds behind its window.
        &[(25, "c", 1)],
        // The watermark is 25: b is forgotten, and c with it.
        &[(35, "x", 9)],
        // What is taken out of c is known no more. 1 is new again.
        &[(26, "c", 5), (36, "d", 1)],
    ];
    let want: [&[&str]; 5] = [
        &["insert|a|1"],
        &["insert|a|2", "update_postimage|b|1", "update_preimage|a|1"],
        &[],
        &["insert|x|9"],
        &["insert|c|5", "insert|d|1"],
    ];
    assert_eq!(changes(FIRST_OF_EQUAL, files, &[]).await, want);
    assert_eq!(changes(FIRST_OF_EQUAL, files, &[1, 2, 3, 4]).await, want, "with restarts");
}
