//! Programs that checks and tests need and that a machine does not have: installed once, under `target/tools`.
//!
//! Each has its exact version here and comes through its own registry client (cargo, go, mvn, pip). A stamp file
//! names what was installed, so that a changed version installs again; nothing outside `target` is touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::run::{Outcome, cargo, root, status, target_dir};

const CARGO_DENY: &str = "0.20.2";
const VERSITYGW: &str = "github.com/versity/versitygw/cmd/versitygw@v1.8.0";
const KAFKA: &str = "4.3.1";
const KAFKA_POM: &str = include_str!("../services/kafka/pom.xml");
/// The newest connector that there is.
const SPARK_KAFKA: &str = "4.2.0-preview5";
const SPARK_KAFKA_POM: &str = include_str!("../services/kafka/spark-connector.pom.xml");
const FLINK: &str = "2.3.0";
const FLINK_POM: &str = include_str!("../../benches/flink/pom.xml");
/// By its full name: else Maven takes whatever version it knows of.
const COPY_JARS: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
const JAVA_MIN: u32 = 17;
const PYTHON_READERS: &[&str] = &["confluent-kafka==2.16.1", "duckdb==2.0.0", "numpy==2.4.6", "pyarrow==26.0.1"];

/// Where the tools live.
pub fn dir() -> PathBuf {
    target_dir().join("tools")
}

/// A command started in the workspace.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// cargo-deny, built unoptimised and without its default features: a minute of two cores instead of five.
pub fn cargo_deny() -> Outcome<PathBuf> {
    let program = dir().join("bin").join("cargo-deny");
    installed("cargo-deny", CARGO_DENY, &program, || {
        let mut install = cargo();
        install.args(["install", "cargo-deny", "--version", CARGO_DENY, "--locked", "--debug", "--no-default-features", "--force"]);
        install.arg("--root").arg(dir()).env("CARGO_TARGET_DIR", dir().join("build"));
        // Its lint level, flags and incremental settings are not ours.
        install.env("CARGO_PROFILE_DEV_DEBUG", "0").env_remove("RUSTFLAGS").env_remove("RUSTDOCFLAGS");
        status(install.arg("--quiet"))?;
        drop(fs::remove_dir_all(dir().join("build")));
        Ok(())
    })?;
    Ok(program)
}

/// An S3 server with atomic put-if-absent.
pub fn versitygw() -> Outcome<PathBuf> {
    let program = dir().join("bin").join("versitygw");
    installed("versitygw", VERSITYGW, &program, || {
        status(Command::new("go").args(["install", VERSITYGW]).env("GOBIN", dir().join("bin")))
    })?;
    Ok(program)
}

/// What this machine lacks to run a Kafka broker, in one line; `None`: nothing.
pub fn kafka_lacks() -> Option<String> {
    let java = Command::new("java").arg("-version").output().ok().and_then(|output| java_version(&String::from_utf8_lossy(&output.stderr)));
    let has_maven = Command::new("mvn").arg("-version").output().is_ok_and(|output| output.status.success());
    let java_lacks = match java {
        Some(version) if version >= JAVA_MIN => None,
        Some(version) => Some(format!("Java {JAVA_MIN} (here is {version})")),
        None => Some(format!("Java {JAVA_MIN}")),
    };
    let lacks: Vec<String> = java_lacks.into_iter().chain((!has_maven).then(|| "Maven".to_owned())).collect();
    (!lacks.is_empty()).then(|| format!("a Kafka broker needs {}: install openjdk-{JAVA_MIN}-jre-headless and maven", lacks.join(" and ")))
}

/// 17 of `openjdk version "17.0.15" 2025-04-15`.
fn java_version(printed: &str) -> Option<u32> {
    let (_, version) = printed.split_once("version \"")?;
    version.split(['.', '"', '-', '+']).next()?.parse().ok()
}

/// The jars of a Kafka broker, in one folder.
pub fn kafka() -> Outcome<PathBuf> {
    if let Some(lacks) = kafka_lacks() {
        return Err(lacks);
    }
    jars("kafka", KAFKA, KAFKA_POM)
}

/// Spark's Kafka connector, in one folder.
pub fn spark_kafka() -> Outcome<PathBuf> {
    jars("spark-kafka", SPARK_KAFKA, SPARK_KAFKA_POM)
}

/// Flink with its Kafka connector, in one folder.
pub fn flink() -> Outcome<PathBuf> {
    jars("flink", FLINK, FLINK_POM)
}

/// What a Maven project needs at run time, in the folder of that name.
fn jars(name: &str, version: &str, pom: &str) -> Outcome<PathBuf> {
    let folder = dir().join(name);
    let project = folder.join("pom.xml");
    installed(name, &format!("{version} {COPY_JARS}"), &project, || {
        drop(fs::remove_dir_all(&folder));
        fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        fs::write(&project, pom.replace("@VERSION@", version)).map_err(|e| format!("cannot write {}: {e}", project.display()))?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-ntp", "-f"]).arg(&project).args([COPY_JARS, "-DincludeScope=runtime"]);
        status(maven.arg(format!("-DoutputDirectory={}", folder.display())))
    })?;
    Ok(folder)
}

/// A Python with the foreign readers (confluent-kafka, DuckDB, PyArrow).
pub fn python() -> Outcome<PathBuf> {
    venv("venv", PYTHON_READERS)
}

/// A virtual environment of that name with exactly these packages.
pub fn venv(name: &str, packages: &[&str]) -> Outcome<PathBuf> {
    let folder = dir().join(name);
    let program = folder.join("bin").join("python");
    installed(name, &packages.join(" "), &program, || {
        status(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        status(Command::new(&program).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))
    })?;
    Ok(program)
}

/// Runs `install` unless the stamp says that this version is there.
fn installed(name: &str, version: &str, program: &Path, install: impl FnOnce() -> Outcome) -> Outcome {
    let stamp = dir().join(format!("{name}.stamp"));
    if program.exists() && fs::read_to_string(&stamp).is_ok_and(|s| s == version) {
        return Ok(());
    }
    fs::create_dir_all(dir().join("bin")).map_err(|e| format!("cannot create {}: {e}", dir().display()))?;
    println!("installing {name} ({version}) into {}", dir().display());
    let start = Instant::now();
    install()?;
    println!("installed {name} in {:.0} s", start.elapsed().as_secs_f64());
    fs::write(&stamp, version).map_err(|e| format!("cannot write {}: {e}", stamp.display()))
}

#[cfg(test)]
mod tests;
