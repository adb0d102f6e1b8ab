//! Two processes on one checkpoint: one of them writes, the other says clearly why it does not.

use crate::process::{COPY, Process, add_file, ids, local_table, table, wait_until, write_job};

#[test]
fn a_local_checkpoint_has_one_owner_also_while_it_is_paused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    add_file(dir, 0);
    write_job(dir, "job.sql", COPY, 1, "out", ", checkpointLocation 'checkpoint'");
    let owner = Process::run(dir, "job.sql", &[], &[]);
    wait_until(|| local_table(dir).len() == 10, || owner.said());

    let refused = || {
        let (status, _, said) = Process::run(dir, "job.sql", &[], &[]).end();
        assert!(!status.success(), "{said}");
        assert!(said.contains(&format!("pid {}", owner.pid())) && said.contains("checkpoint"), "{said}");
    };
    refused();
    owner.signal("STOP");
    refused();
    owner.signal("CONT");

    add_file(dir, 1);
    wait_until(|| local_table(dir).len() == 20, || owner.said());
    owner.signal("TERM");
    let (status, _, said) = owner.end();
    assert!(status.success(), "{said}");
    assert_eq!(local_table(dir), ids(20));
}

/// On the S3 server that `cargo xtask test` starts; without one there is nothing to test.
#[test]
fn on_s3_the_older_process_stops_as_fenced() {
    let var = |name: &str| std::env::var(format!("MILLSTREAM_TEST_S3_{name}")).ok();
    let (Some(endpoint), Some(key), Some(secret), Some(bucket)) = (var("ENDPOINT"), var("KEY"), var("SECRET"), var("BUCKET")) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let place = format!("s3://{bucket}/cli-it/{}", dir.file_name().unwrap().to_string_lossy().trim_start_matches('.'));
    let out = format!("{place}/out");
    write_job(dir, "job.sql", COPY, 1, &out, &format!(", checkpointLocation '{place}/checkpoint'"));
    let options = [
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
        ("AWS_ACCESS_KEY_ID", key),
        ("AWS_SECRET_ACCESS_KEY", secret),
        ("AWS_REGION", "us-east-1".to_owned()),
    ];
    let env = options.each_ref().map(|(name, value)| (*name, value.as_str()));
    let options = options.each_ref().map(|(name, value)| (*name, value.clone()));
    let start = || {
        let process = Process::run(dir, "job.sql", &[], &env);
        process.wait_for("query started");
        process
    };
    let written = || table(&out, &options);

    add_file(dir, 0);
    let older = start();
    wait_until(|| written().len() == 10, || older.said());
    let newer = start();
    add_file(dir, 1);
    let (status, _, said) = older.end();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("has taken over"), "{said}");
    wait_until(|| written().len() == 20, || newer.said());
    add_file(dir, 2);
    wait_until(|| written().len() == 30, || newer.said());
    newer.signal("TERM");
    let (status, _, said) = newer.end();
    assert!(status.success(), "{said}");
    assert_eq!(written(), ids(30));
}
