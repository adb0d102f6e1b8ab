//! Tests of the house rules: each rule is broken once, and the tree that keeps them all is silent.

use serde_json::{Value, json};

use super::{File, Findings, deps, sources};

/// Metadata of a workspace: `(crate, [(dependency, kind)])`; crates of the workspace are those with a floor's name.
fn workspace(crates: &[(&str, &[(&str, &str)])], foreign: &[(&str, &str, &[&str])]) -> Value {
    let kind = |k: &str| if k.is_empty() { Value::Null } else { json!(k) };
    let mut packages = Vec::new();
    let mut nodes = Vec::new();
    for (name, dependencies) in crates {
        let listed: Vec<Value> = dependencies.iter().map(|(n, k)| json!({"name": n, "kind": kind(k)})).collect();
        packages.push(json!({"id": name, "name": name, "version": "0.1.0", "license": "Apache-2.0", "dependencies": listed}));
        let edges: Vec<Value> = dependencies.iter().map(|(n, k)| json!({"pkg": n, "dep_kinds": [{"kind": kind(k)}]})).collect();
        nodes.push(json!({"id": name, "deps": edges}));
    }
    for (name, version, dependencies) in foreign {
        let id = if packages.iter().any(|p| p["id"] == *name) { format!("{name}@{version}") } else { (*name).to_owned() };
        packages.push(json!({"id": id, "name": name, "version": version, "license": "MIT", "dependencies": []}));
        let edges: Vec<Value> = dependencies.iter().map(|n| json!({"pkg": n, "dep_kinds": [{"kind": null}]})).collect();
        nodes.push(json!({"id": id, "deps": edges}));
    }
    let members: Vec<&str> = crates.iter().map(|(n, _)| *n).collect();
    json!({"packages": packages, "workspace_members": members, "resolve": {"nodes": nodes}})
}

fn deps_errors(metadata: &Value) -> Vec<String> {
    let mut findings = Findings::default();
    deps::check(metadata, &mut findings);
    findings.errors
}

#[test]
fn arrows_that_point_down_are_silent() {
    let metadata = workspace(
        &[
            ("millstream-core", &[]),
            ("millstream-formats", &[("millstream-core", "")]),
            ("millstream-state", &[("millstream-core", "")]),
            ("millstream-connectors", &[("millstream-formats", ""), ("millstream-testkit", "dev")]),
            ("millstream-functions", &[("millstream-formats", ""), ("datafusion", "")]),
            ("millstream-analyzer", &[("millstream-functions", "")]),
            ("millstream-engine", &[("millstream-analyzer", ""), ("millstream-state", "")]),
            ("millstream-testkit", &[("millstream-engine", "")]),
        ],
        &[("datafusion", "55.2.0", &[])],
    );
    assert_eq!(deps_errors(&metadata), Vec::<String>::new());
}

#[test]
fn arrows_up_sideways_and_forbidden_are_found() {
    let metadata = workspace(
        &[
            ("millstream-core", &[("millstream-sql", "")]),
            ("millstream-sql", &[("millstream-state", "")]),
            ("millstream-state", &[]),
            ("millstream-analyzer", &[("millstream-engine", "")]),
            ("millstream-engine", &[("millstream-sql", "")]),
            ("millstream-cli", &[("millstream-testkit", "")]),
            ("millstream-testkit", &[]),
            ("millstream-new", &[]),
        ],
        &[],
    );
    let errors = deps_errors(&metadata);
    for expected in [
        "millstream-core/Cargo.toml: arrow from floor 0 to millstream-sql",
        "millstream-sql/Cargo.toml: arrow from floor 1 to millstream-state",
        "millstream-analyzer/Cargo.toml: arrow from floor 2 to millstream-engine",
        "millstream-engine/Cargo.toml: millstream-engine must not know millstream-sql",
        "millstream-cli/Cargo.toml: millstream-testkit stands beside",
        "millstream-new/Cargo.toml: crate has no floor",
    ] {
        assert!(errors.iter().any(|e| e.starts_with(expected)), "{expected} not in {errors:#?}");
    }
    assert_eq!(errors.len(), 6);
}

#[test]
fn datafusion_below_its_floor_is_found_with_the_way_to_it() {
    let metadata = workspace(
        &[("millstream-core", &[]), ("millstream-state", &[("helper", "")]), ("millstream-sql", &[("datafusion-expr", "dev")])],
        &[("helper", "1.0.0", &["datafusion-expr"]), ("datafusion-expr", "55.2.0", &[])],
    );
    assert_eq!(
        deps_errors(&metadata),
        [
            "millstream-sql/Cargo.toml: dev-dependency on datafusion-expr below floor 2",
            "millstream-state/Cargo.toml: DataFusion below floor 2: millstream-state -> helper -> datafusion-expr",
        ]
    );
}

#[test]
fn a_second_arrow_is_found_and_a_second_rand_is_not() {
    let metadata =
        workspace(&[], &[("arrow-array", "59.3.0", &[]), ("arrow-array", "58.0.0", &[]), ("rand", "0.9.0", &[]), ("rand", "0.10.0", &[])]);
    assert_eq!(deps_errors(&metadata), ["Cargo.lock: 2 versions of arrow-array: 58.0.0, 59.3.0"]);
}

fn file(path: &str, text: impl Into<String>) -> File {
    File { path: path.to_owned(), text: text.into() }
}

/// Findings for these files beside a licence and a notice.
fn findings(files: Vec<File>) -> Findings {
    let mut all = vec![file("LICENSE", "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION"), file("NOTICE", "Millstream")];
    all.extend(files);
    let mut findings = Findings::default();
    sources::check(&all, &mut findings);
    findings
}

#[test]
fn a_tidy_tree_is_silent() {
    let found = findings(vec![
        file("crates/core/src/lib.rs", "//! Words.\n#![forbid(unsafe_code)]\n#[cfg(test)]\nmod tests;\nmod x {\n}\n"),
        file("crates/core/tests/it/main.rs", "//! Tests.\nmod sink;\n"),
        file("crates/core/tests/it/sink/main.rs", "//! A module with an unlucky name.\n"),
        file("crates/core/Cargo.toml", "[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n\n[dependencies]\n"),
    ]);
    assert_eq!(found, Findings::default());
}

#[test]
fn each_rule_about_rust_files_is_found_once() {
    let found = findings(vec![
        file("crates/a/src/lib.rs", "// no head\n"),
        file("crates/a/src/b.rs", format!("//! Inside.\n#[cfg(test)]\n{} {{\n}}\n", "mod checks")),
        file("crates/a/src/c.rs", format!("//! Ignored.\n    #[{}]\n", "ignore = \"slow\"")),
        file("crates/a/src/d.rs", format!("//! Long.\n{}", "//\n".repeat(1200))),
        file("crates/a/src/e.rs", format!("//! Longish.\n{}", "//\n".repeat(800))),
        file("crates/a/tests/extra.rs", "//! A second binary.\n"),
        file("crates/a/tests/more/main.rs", "//! A third binary.\n"),
    ]);
    assert_eq!(
        found.errors,
        [
            "crates/a/src/lib.rs: does not open with `//!`: what it is, why it exists, what it never does",
            "crates/a/src/lib.rs: crate root without `#![forbid(unsafe_code)]`",
            "crates/a/src/b.rs:3: tests inside: write `#[cfg(test)] mod tests;` and put them beside, in tests.rs",
            "crates/a/src/c.rs:2: ignored test: assert today's answer, with a FIXME that names the issue",
            "crates/a/src/d.rs: 1201 lines, at most 1200: this is two ideas",
            "crates/a/tests/extra.rs: a file directly in tests/ is a test binary of its own: the one integration binary of a crate is tests/it/main.rs",
            "crates/a/tests/more/main.rs: a second test binary: the one integration binary of a crate is tests/it/main.rs",
        ]
    );
    assert_eq!(found.warnings, ["crates/a/src/e.rs: 801 lines, over 800: is this two ideas?"]);
}

#[test]
fn the_crate_with_unsafe_code_must_say_why_each_block_is_right() {
    let manifest = |lint: &str| {
        findings(vec![
            file("crates/rdkafka-ext/src/lib.rs", "//! Words.\n"),
            file("crates/rdkafka-ext/Cargo.toml", format!("[lints.clippy]\n{lint}\n")),
        ])
    };
    assert_eq!(manifest("undocumented_unsafe_blocks = \"deny\"").errors, Vec::<String>::new());
    let found = manifest("undocumented_unsafe_blocks = \"warn\"").errors;
    assert_eq!(found, ["crates/rdkafka-ext/Cargo.toml: has unsafe code: add `undocumented_unsafe_blocks = \"deny\"` to its lints"]);
}

#[test]
fn registry_hosts_missing_lints_and_a_missing_licence_are_found() {
    let mut found = Findings::default();
    sources::check(
        &[
            file("NOTICE", "Millstream"),
            file("docs/x.md", format!("see\nhttps://{}{}/simple", "py", "pi.org")),
            file("Cargo.lock", format!("{}{}", "index.", "crates.io")),
            file("crates/a/Cargo.toml", "[dependencies]\nworkspace = true\n"),
        ],
        &mut found,
    );
    assert_eq!(
        found.errors,
        [
            "LICENSE: missing, or does not contain \"TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION\"".to_owned(),
            format!("docs/x.md:2: names the package registry host {}{}", "py", "pi.org"),
            "crates/a/Cargo.toml: does not inherit the lints: add `[lints]` with `workspace = true`".to_owned(),
        ]
    );
}
