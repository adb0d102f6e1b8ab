//! The number of key groups of a query's state is what its first start says, whatever its later parallelism.

use std::path::Path;

use millstream::{EngineConfig, Result, Session, Trigger};

/// One input file with each of these keys once.
fn feed(dir: &Path, name: &str, keys: impl Iterator<Item = u32>) {
    std::fs::create_dir_all(dir.join("in")).unwrap();
    let lines: Vec<String> = keys.map(|k| format!("{{\"k\":{k}}}\n")).collect();
    std::fs::write(dir.join("in").join(name), lines.concat()).unwrap();
}

async fn run(dir: &Path, parallelism: usize, key_groups: Option<&str>) -> Result<()> {
    let session = Session::builder().engine(EngineConfig { parallelism, ..EngineConfig::default() }).build()?;
    session.sql(&format!("CREATE TABLE input (k INT) USING json OPTIONS (path '{}')", dir.join("in").display())).await?;
    let query = "SELECT t.k, count(*) AS n FROM STREAM input t GROUP BY t.k";
    let mut writer = session.sql(query).await?.write_stream().format("noop").output_mode("update").trigger(Trigger::AvailableNow);
    if let Some(n) = key_groups {
        writer = writer.option("stateKeyGroups", n);
    }
    writer.checkpoint(dir.join("checkpoint")).start().await?.await_termination(None).await.map(|_| ())
}

async fn ask(dir: &Path, query: &str) -> Vec<Vec<String>> {
    let query = query.replace("CHECKPOINT", &format!("'{}'", dir.join("checkpoint").display()));
    Session::new().unwrap().sql(&query).await.unwrap().text_rows().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_decides_and_every_parallelism_finds_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    feed(dir, "a.json", 0..100);
    run(dir, 2, Some("5")).await.unwrap();
    // More tasks than groups: some have nothing to do.
    for (name, parallelism) in [("b.json", 1), ("c.json", 7), ("d.json", 3)] {
        feed(dir, name, 0..100);
        run(dir, parallelism, None).await.unwrap();
    }
    let counts = "SELECT count(*), min(value.`count(1)`), max(value.`count(1)`), count(DISTINCT partition_id), max(partition_id) FROM read_state(CHECKPOINT)";
    assert_eq!(ask(dir, counts).await, [["100", "4", "4", "5", "4"]]);

    feed(dir, "e.json", 0..100);
    let error = run(dir, 2, Some("256")).await.unwrap_err();
    assert!(error.message().contains("the checkpoint's state has 5 key groups, and stateKeyGroups says 256"), "{error}");
    run(dir, 2, Some("5")).await.unwrap();
    assert_eq!(ask(dir, counts).await, [["100", "5", "5", "5", "4"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_has_256_unless_it_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    feed(dir, "a.json", 0..1000);
    run(dir, 2, None).await.unwrap();
    let groups = ask(dir, "SELECT count(DISTINCT partition_id) > 200, max(partition_id) < 256 FROM read_state(CHECKPOINT)").await;
    assert_eq!(groups, [["true", "true"]]);
    for n in ["0", "32769", "-1", "many"] {
        let error = run(&dir.join("other"), 2, Some(n)).await.unwrap_err();
        assert!(error.message().contains("stateKeyGroups"), "{n}: {error}");
    }
}
