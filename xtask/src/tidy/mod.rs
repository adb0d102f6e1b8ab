//! `cargo xtask tidy`: the house rules that a machine can hold, so that reviews need not.
//!
//! Two halves: [`deps`] judges what `cargo metadata` and the lock file say, [`sources`] judges the text of the
//! tree. Both are pure functions from text to findings; only [`run`] reads files. A rule that nobody would miss is
//! deleted; an exception is written here with its reason, not in the file that breaks the rule.

mod deps;
mod sources;
#[cfg(test)]
mod tests;

use std::fs;
use std::process::Command;

use crate::run::{Outcome, cargo, root, stdout};

/// What a rule has to say: errors fail the check, warnings are printed.
#[derive(Debug, Default, PartialEq)]
pub struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn error(&mut self, place: &str, message: impl AsRef<str>) {
        self.errors.push(format!("{place}: {}", message.as_ref()));
    }

    fn warn(&mut self, place: &str, message: impl AsRef<str>) {
        self.warnings.push(format!("{place}: {}", message.as_ref()));
    }
}

/// One file of the tree, as the rules see it.
pub struct File {
    /// Path from the workspace's root, with `/`.
    path: String,
    text: String,
}

/// Reads the tree and applies every rule.
pub fn run() -> Outcome {
    let mut findings = Findings::default();
    let metadata = stdout(cargo().args(["metadata", "--format-version", "1", "--locked"]))?;
    let metadata = serde_json::from_str(&metadata).map_err(|e| format!("cannot read cargo metadata: {e}"))?;
    deps::check(&metadata, &mut findings);

    let mut files = Vec::new();
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    for path in stdout(&mut git)?.split('\0').filter(|p| !p.is_empty()) {
        // Deleted but not yet committed, or not text: no rule is about those.
        if let Ok(text) = fs::read_to_string(root().join(path)) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    sources::check(&files, &mut findings);

    for warning in &findings.warnings {
        println!("warning: {warning}");
    }
    for error in &findings.errors {
        println!("error: {error}");
    }
    match findings.errors.len() {
        0 => Ok(()),
        n => Err(format!("{n} house rules broken")),
    }
}
