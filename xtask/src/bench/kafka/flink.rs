//! Flink, for the jobs that `benches/flink/KafkaJob.java` has: one process with a cluster in it.

use std::path::PathBuf;
use std::process::Command;

use crate::bench::workdir;
use crate::run::{Outcome, root, status};
use crate::tools;

/// Its heap; with more it collects less garbage, and takes more memory.
const HEAP: &str = "-Xmx4g";

/// The jars of Flink and the job's classes.
pub struct Flink {
    jars: PathBuf,
    classes: PathBuf,
}

impl Flink {
    /// Fetches the jars if need be, and compiles the job.
    pub fn install() -> Outcome<Self> {
        let (jars, classes) = (tools::flink()?, workdir("flink-classes", None)?);
        let source = root().join("benches/flink/KafkaJob.java");
        status(Command::new("javac").arg("-nowarn").arg("-cp").arg(jars.join("*")).arg("-d").arg(&classes).arg(source))?;
        Ok(Self { jars, classes })
    }

    /// What `java` is told to run the job with these arguments.
    pub fn args(&self, job: &[&str]) -> Vec<String> {
        let class_path = format!("{}:{}", self.classes.display(), self.jars.join("*").display());
        let java = [HEAP, "-cp", &class_path, "KafkaJob"];
        java.into_iter().chain(job.iter().copied()).map(str::to_owned).collect()
    }
}
