//! The example `examples/hashtags` counts what a few lines of Rust count, on a stream of three micro-batches.

#[path = "../../../../examples/hashtags/top_tags.rs"]
mod top_tags;

use std::collections::BTreeMap;

use millstream::{Session, Trigger};

/// Window, in seconds, and slide.
const WIDTH: i64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn the_most_frequent_tags_of_each_window_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("posts");
    std::fs::create_dir_all(&input).unwrap();
    // Second by second, tag i is in every post whose number i divides.
    let posts: Vec<i64> = (0..300).collect();
    for (file, posts) in posts.chunks(100).enumerate() {
        let line = |second: &i64| {
            let tags: String = (1..=5).filter(|tag| second % tag == 0).map(|tag| format!(" #Tag{tag}")).collect();
            format!("{{\"at\":{},\"text\":\"what is{tags}?\"}}\n", 1_777_629_600_000 + second * 1000)
        };
        std::fs::write(input.join(format!("{file}.txt")), posts.iter().map(line).collect::<String>()).unwrap();
    }

    let session = Session::builder().config("spark.sql.session.timeZone", "UTC").build().unwrap();
    let posts = session.read_stream().format("text").option("maxFilesPerTrigger", 1).load_path(&input).await.unwrap();
    let counts = top_tags::tag_counts(&posts, &format!("{WIDTH} seconds"), "10 seconds").unwrap();
    let writer = counts.write_stream().format("memory").query_name("counts").trigger(Trigger::AvailableNow);
    let query = writer.option("flush", true).checkpoint(dir.path().join("checkpoint")).start().await.unwrap();
    query.await_termination(None).await.unwrap();

    let found = top_tags::most_frequent(&session.table("counts"), 3).unwrap().text_rows().await.unwrap();
    assert_eq!(found, expected());
}

/// The first three tags of every window in which a post is: until, rank, tag, number.
fn expected() -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for end in (10..300 + WIDTH).step_by(10) {
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        for second in (end - WIDTH).max(0)..end.min(300) {
            (1..=5).filter(|tag| second % tag == 0).for_each(|tag| *counts.entry(tag).or_default() += 1);
        }
        let mut ranked: Vec<(i64, i64)> = counts.into_iter().collect();
        ranked.sort_by_key(|(tag, n)| (-n, *tag));
        for (rank, (tag, n)) in ranked.into_iter().take(3).enumerate() {
            // The first post is of 10:00:00.
            let until = format!("10:{:02}:{:02}", end / 60, end % 60);
            rows.push(vec![until, (rank + 1).to_string(), format!("tag{tag}"), n.to_string()]);
        }
    }
    rows
}
