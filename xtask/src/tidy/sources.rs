//! Rules about the text of the tree: heads, sizes, where tests live, what no file may contain.
//!
//! Line based and without a parser: a rule that needs one is clippy's job.

use super::{File, Findings};

/// The only crate with unsafe code, calls of a C library. It has lints of its own, among them this one.
const UNSAFE_CRATE: &str = "crates/rdkafka-ext/";
const UNSAFE_LINT: &str = "undocumented_unsafe_blocks = \"deny\"";

const LINES_WARN: usize = 800;
const LINES_MAX: usize = 1200;

/// Files that must be there, with a phrase that shows they are what they claim to be.
const MUST_EXIST: &[(&str, &str)] =
    &[("LICENSE", "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION"), ("NOTICE", "Millstream")];

/// Hosts of package registries, in halves so that this file passes its own rule. Registries are reached through
/// their clients' configuration, which is the machine's business; a written host breaks builds behind a mirror.
const REGISTRY_HOSTS: &[(&str, &str)] = &[
    ("index.", "crates.io"),
    ("static.", "crates.io"),
    ("py", "pi.org"),
    ("files.", "pythonhosted.org"),
    ("proxy.", "golang.org"),
    ("sum.", "golang.org"),
    ("registry.", "npmjs.org"),
    ("repo1.", "maven.org"),
    ("repo.maven.", "apache.org"),
    ("deb.", "debian.org"),
];

/// Applies the rules to all files of the tree.
pub fn check(files: &[File], findings: &mut Findings) {
    for (path, phrase) in MUST_EXIST {
        if !files.iter().any(|f| f.path == *path && f.text.contains(phrase)) {
            findings.error(path, format!("missing, or does not contain {phrase:?}"));
        }
    }
    for file in files {
        // The lock file names the registry by its own rules.
        if file.path != "Cargo.lock" {
            registry_hosts(file, findings);
        }
        if file.path.ends_with(".rs") {
            rust(file, findings);
        }
        if file.path.ends_with("/Cargo.toml") {
            manifest(file, findings);
        }
    }
}

fn manifest(file: &File, findings: &mut Findings) {
    if !file.path.starts_with(UNSAFE_CRATE) && !inherits_lints(&file.text) {
        findings.error(&file.path, "does not inherit the lints: add `[lints]` with `workspace = true`");
    }
    if file.path.starts_with(UNSAFE_CRATE) && !file.text.lines().any(|line| line == UNSAFE_LINT) {
        findings.error(&file.path, format!("has unsafe code: add `{UNSAFE_LINT}` to its lints"));
    }
}

/// Everything about one Rust file.
fn rust(file: &File, findings: &mut Findings) {
    let path = file.path.as_str();
    if !file.text.starts_with("//!") {
        findings.error(path, "does not open with `//!`: what it is, why it exists, what it never does");
    }
    let n_lines = file.text.lines().count();
    if n_lines > LINES_MAX {
        findings.error(path, format!("{n_lines} lines, at most {LINES_MAX}: this is two ideas"));
    } else if n_lines > LINES_WARN {
        findings.warn(path, format!("{n_lines} lines, over {LINES_WARN}: is this two ideas?"));
    }
    if is_crate_root(path) && !path.starts_with(UNSAFE_CRATE) && !file.text.lines().any(|l| l == "#![forbid(unsafe_code)]") {
        findings.error(path, "crate root without `#![forbid(unsafe_code)]`");
    }
    if let Some(stray) = stray_test_binary(path) {
        findings.error(path, format!("{stray}: the one integration binary of a crate is tests/it/main.rs"));
    }
    let mut after_cfg_test = false;
    for (idx, line) in file.text.lines().enumerate() {
        let place = format!("{path}:{}", idx + 1);
        let line = line.trim();
        let module = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("mod ").and_then(|l| l.strip_suffix('{'));
        if module.is_some_and(|name| after_cfg_test || name.trim() == "tests" || name.trim() == "test") {
            findings.error(&place, "tests inside: write `#[cfg(test)] mod tests;` and put them beside, in tests.rs");
        }
        if line.starts_with("#[ignore") {
            findings.error(&place, "ignored test: assert today's answer, with a FIXME that names the issue");
        }
        after_cfg_test = line.starts_with("#[cfg(test)]");
    }
}

/// `crates/X/src/{lib,main}.rs`, `crates/X/src/bin/*.rs`, and the same of xtask.
fn is_crate_root(path: &str) -> bool {
    let in_crate = path.strip_prefix("crates/").and_then(|p| p.split_once('/')).map(|(_, rest)| rest);
    let rest = in_crate.or_else(|| path.strip_prefix("xtask/"));
    rest.is_some_and(|rest| {
        rest == "src/lib.rs" || rest == "src/main.rs" || (rest.starts_with("src/bin/") && rest.matches('/').count() == 2)
    })
}

/// A second integration binary, if this file makes one.
fn stray_test_binary(path: &str) -> Option<&'static str> {
    let (_, rest) = path.strip_prefix("crates/")?.split_once('/')?;
    let rest = rest.strip_prefix("tests/")?;
    if !rest.contains('/') {
        return Some("a file directly in tests/ is a test binary of its own");
    }
    (rest.ends_with("/main.rs") && rest.matches('/').count() == 1 && rest != "it/main.rs").then_some("a second test binary")
}

fn registry_hosts(file: &File, findings: &mut Findings) {
    for (idx, line) in file.text.lines().enumerate() {
        for (front, back) in REGISTRY_HOSTS {
            if line.contains(&format!("{front}{back}")) {
                findings.error(&format!("{}:{}", file.path, idx + 1), format!("names the package registry host {front}{back}"));
            }
        }
    }
}

/// Whether a manifest has `[lints]` followed by `workspace = true`.
fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().map(str::trim).skip_while(|l| *l != "[lints]");
    lines.next().is_some() && lines.take_while(|l| !l.starts_with('[')).any(|l| l == "workspace = true")
}
