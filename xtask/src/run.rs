//! Where things are, and how other programs are started: every step is named, timed and told.
//!
//! A failed step never ends the whole command at once: a developer wants all the bad news of one run, so steps
//! are collected in [`Steps`] and judged at the end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What every command returns: the message is for a person.
pub type Outcome<T = ()> = Result<T, String>;

/// The folder of the workspace.
pub fn root() -> PathBuf {
    // Set by cargo at run time (`cargo run`); the compile-time value is wrong when two worktrees share a target folder.
    let manifest = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
    Path::new(&manifest).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The folder cargo builds into.
pub fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// `cargo`, the one that started us, in the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command with our own stdout and stderr; an exit code other than 0 is an error.
pub fn status(command: &mut Command) -> Outcome {
    let shown = shown(command);
    let status = command.status().map_err(|e| format!("cannot start {shown}: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{shown} ended with {status}")) }
}

/// Runs a command and returns its stdout; stderr is ours.
pub fn stdout(command: &mut Command) -> Outcome<String> {
    let shown = shown(command);
    let output = command.stderr(Stdio::inherit()).output().map_err(|e| format!("cannot start {shown}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{shown} ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|e| format!("{shown} printed bytes that are not UTF-8: {e}"))
}

/// A command as a person would type it.
pub fn shown(command: &Command) -> String {
    let mut words = vec![Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|a| a.to_string_lossy().into_owned()));
    format!("`{}`", words.join(" "))
}

/// Steps of one command: each announced, timed, and remembered with its outcome.
#[derive(Default)]
pub struct Steps {
    done: Vec<(String, Duration, Option<String>)>,
    skipped: Vec<String>,
}

impl Steps {
    /// Runs one step; its error is kept for [`Steps::finish`]. Returns the step's value if it went well.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Outcome<T>) -> Option<T> {
        println!("== {name}");
        let start = Instant::now();
        let (value, error) = match work() {
            Ok(value) => (Some(value), None),
            Err(message) => (None, Some(message)),
        };
        if let Some(message) = &error {
            println!("== {name} FAILED: {message}");
        }
        self.done.push((name.to_owned(), start.elapsed(), error));
        value
    }

    /// Leaves out what this machine cannot run, and says so here and at the end. Whoever sets `CI` promises a machine
    /// that can run everything: there it is a failure.
    pub fn skip(&mut self, what: &str, why: &str) {
        println!("== SKIPPED {what}: {why}");
        if std::env::var_os("CI").is_some_and(|ci| !ci.is_empty()) {
            self.done.push((what.to_owned(), Duration::ZERO, Some(format!("skipped: {why}"))));
        }
        self.skipped.push(format!("{what}: {why}"));
    }

    /// Prints the table of steps, and what was skipped; an error if any step failed.
    pub fn finish(self) -> Outcome {
        println!("== times");
        for (name, took, error) in &self.done {
            println!("{:>8.1} s  {name}{}", took.as_secs_f64(), if error.is_some() { "  FAILED" } else { "" });
        }
        for skipped in &self.skipped {
            println!("== SKIPPED {skipped}");
        }
        let failed: Vec<&str> = self.done.iter().filter(|(_, _, e)| e.is_some()).map(|(n, _, _)| n.as_str()).collect();
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
    }
}
