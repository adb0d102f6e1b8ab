//! Rules about dependencies: the floors of the house, and one version of the libraries whose types cross crates.
//!
//! Reads `cargo metadata` only. Dev-dependencies may point sideways (tests use what they like), but not at
//! DataFusion from below its floor: the tests of a connector must not wait for it either.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::Findings;

/// Floor of each crate; a crate depends only on lower floors.
const FLOORS: &[(&str, u8)] = &[
    ("millstream-core", 0),
    ("millstream-rdkafka-ext", 0),
    ("millstream-sql", 1),
    ("millstream-state", 1),
    ("millstream-formats", 1),
    ("millstream-connectors", 1),
    ("millstream-functions", 2),
    ("millstream-analyzer", 2),
    ("millstream-engine", 2),
    ("millstream-ml", 2),
    ("millstream", 3),
    ("millstream-server", 4),
    ("millstream-cluster", 4),
    ("millstream-cli", 5),
];

/// The only arrows within a floor.
const WITHIN: &[(&str, &str)] = &[
    ("millstream-connectors", "millstream-formats"),
    // Sinks stage and sync their files with the same synced writer as the checkpoint.
    ("millstream-connectors", "millstream-state"),
    ("millstream-analyzer", "millstream-functions"),
    ("millstream-engine", "millstream-analyzer"),
];

/// Arrows that point down and are forbidden all the same: what a crate must not know.
const NEVER: &[(&str, &str)] = &[
    ("millstream-functions", "millstream-sql"),
    ("millstream-functions", "millstream-state"),
    ("millstream-functions", "millstream-connectors"),
    ("millstream-analyzer", "millstream-state"),
    ("millstream-analyzer", "millstream-connectors"),
    ("millstream-engine", "millstream-sql"),
    ("millstream-engine", "millstream-formats"),
    ("millstream-engine", "millstream-connectors"),
    ("millstream-ml", "millstream-state"),
    ("millstream-ml", "millstream-connectors"),
];

/// Beside the floors: may use anything, and only tests may use them.
const BESIDE: &[&str] = &["millstream-testkit", "xtask"];

/// The first floor on which DataFusion may appear.
const DATAFUSION_FLOOR: u8 = 2;

/// Applies the rules to the answer of `cargo metadata --format-version 1`.
pub fn check(metadata: &Value, findings: &mut Findings) {
    let packages: HashMap<&str, &Value> = list(metadata, "packages").map(|p| (text(p, "id"), p)).collect();
    let members: BTreeSet<&str> = list(metadata, "workspace_members").filter_map(Value::as_str).collect();
    for id in &members {
        if let Some(package) = packages.get(id) {
            member(package, findings);
        }
    }
    no_datafusion_below(metadata, &packages, &members, findings);
    one_version(&packages, findings);
}

/// The direct dependencies of one crate of the workspace.
fn member(package: &Value, findings: &mut Findings) {
    let name = text(package, "name");
    let place = format!("{name}/Cargo.toml");
    let floor = floor(name);
    if floor.is_none() && !BESIDE.contains(&name) {
        findings.error(&place, "crate has no floor: add it to FLOORS in xtask/src/tidy/deps.rs and to docs/architecture.md");
    }
    if text(package, "license") != "Apache-2.0" {
        findings.error(&place, "licence is not Apache-2.0: write `license.workspace = true`");
    }
    for dependency in list(package, "dependencies") {
        let to = text(dependency, "name");
        if text(dependency, "kind") == "dev" {
            if is_datafusion(to) && floor.is_some_and(|f| f < DATAFUSION_FLOOR) {
                findings.error(&place, format!("dev-dependency on {to} below floor {DATAFUSION_FLOOR}"));
            }
            continue;
        }
        let Some(floor) = floor else { continue };
        if BESIDE.contains(&to) {
            findings.error(&place, format!("{to} stands beside the floors: only a dev-dependency may name it"));
        }
        let Some(floor_to) = self::floor(to) else {
            continue;
        };
        if NEVER.contains(&(name, to)) {
            findings.error(&place, format!("{name} must not know {to}"));
        } else if floor_to > floor || (floor_to == floor && !WITHIN.contains(&(name, to))) {
            findings.error(&place, format!("arrow from floor {floor} to {to} on floor {floor_to}: arrows point down only"));
        }
    }
}

/// No DataFusion in what a crate below its floor builds, however indirectly.
fn no_datafusion_below(metadata: &Value, packages: &HashMap<&str, &Value>, members: &BTreeSet<&str>, findings: &mut Findings) {
    let name = |id: &str| packages.get(id).map_or("", |p| text(p, "name")).to_owned();
    let nodes: HashMap<&str, &Value> =
        metadata.get("resolve").into_iter().flat_map(|r| list(r, "nodes")).map(|n| (text(n, "id"), n)).collect();
    for start in members.iter().filter(|id| floor(&name(id)).is_some_and(|f| f < DATAFUSION_FLOOR)) {
        let mut path: BTreeMap<&str, &str> = BTreeMap::new();
        let mut todo = vec![*start];
        while let Some(at) = todo.pop() {
            if is_datafusion(&name(at)) {
                let mut way = vec![name(at)];
                let mut back = at;
                while let Some(previous) = path.get(back) {
                    way.push(name(previous));
                    back = previous;
                }
                way.reverse();
                findings.error(
                    &format!("{}/Cargo.toml", name(start)),
                    format!("DataFusion below floor {DATAFUSION_FLOOR}: {}", way.join(" -> ")),
                );
                break;
            }
            for dependency in nodes.get(at).into_iter().flat_map(|n| list(n, "deps")) {
                let built = list(dependency, "dep_kinds").any(|k| text(k, "kind") != "dev");
                let to = text(dependency, "pkg");
                if built && to != *start && !path.contains_key(to) {
                    path.insert(to, at);
                    todo.push(to);
                }
            }
        }
    }
}

/// One version of each library whose types cross crates.
fn one_version(packages: &HashMap<&str, &Value>, findings: &mut Findings) {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages.values() {
        versions.entry(text(package, "name")).or_default().insert(text(package, "version"));
    }
    for (name, versions) in versions {
        let shared = is_datafusion(name) || name == "arrow" || name.starts_with("arrow-") || name == "parquet" || name == "object_store";
        if shared && versions.len() > 1 {
            let versions: Vec<&str> = versions.into_iter().collect();
            findings.error("Cargo.lock", format!("{} versions of {name}: {}", versions.len(), versions.join(", ")));
        }
    }
}

fn is_datafusion(name: &str) -> bool {
    name == "datafusion" || name.starts_with("datafusion-")
}

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(n, _)| *n == name).map(|(_, floor)| *floor)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}
