//! Two processes on one local checkpoint: the second is refused with the first one's pid, also while that is paused.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use millstream_state::OsFileSystem;

use crate::support::{SMALL, local, run};

const DIR_VARIABLE: &str = "MILLSTREAM_TEST_HOLD_CHECKPOINT";

/// Not a test of its own: what the other process runs.
#[tokio::test]
async fn hold_a_checkpoint() {
    let Ok(dir) = std::env::var(DIR_VARIABLE) else { return };
    let _held = run(local(&OsFileSystem, dir.as_ref()), SMALL).await.unwrap();
    println!("\nholding");
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn signal(child: &Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

#[tokio::test]
async fn the_second_process_is_refused_with_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["two_processes::hold_a_checkpoint", "--exact", "--nocapture"])
        .env(DIR_VARIABLE, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"));
    let refused = format!("the process with pid {} has locked", child.id());
    let open = || run(local(&OsFileSystem, dir.path()), SMALL);
    assert!(open().await.unwrap_err().message().contains(&refused));
    signal(&child, "-STOP");
    assert!(open().await.unwrap_err().message().contains(&refused));
    signal(&child, "-KILL");
    child.wait().unwrap();
    let (_, recovered) = open().await.unwrap();
    assert_eq!(recovered.epoch.0, 1);
}
