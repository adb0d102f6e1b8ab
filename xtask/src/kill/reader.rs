//! The foreign reader: a Python process that lives as long as the campaign, asked in lines of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::run::{Outcome, root};
use crate::services::{Kafka, S3};

/// A running `foreign_reader.py`.
pub struct Reader {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Reader {
    /// Starts it; with an S3 server or a Kafka broker it can read from there.
    pub fn start(python: &Path, s3: Option<&S3>, kafka: Option<&Kafka>) -> Outcome<Self> {
        let mut command = Command::new(python);
        command.arg(root().join("xtask/py/foreign_reader.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.envs(s3.into_iter().flat_map(S3::env)).envs(kafka.into_iter().flat_map(Kafka::env));
        let mut child = command.spawn().map_err(|e| format!("cannot start the foreign reader: {e}"))?;
        let stdin = child.stdin.take().ok_or("the foreign reader has no stdin")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("the foreign reader has no stdout")?);
        Ok(Self { child, stdin, stdout })
    }

    /// Asks, and waits for the answer. What the answer calls `wrong` is an error.
    pub fn ask(&mut self, question: &Value) -> Outcome<Value> {
        writeln!(self.stdin, "{question}").map_err(|e| format!("the foreign reader is gone: {e}"))?;
        let mut line = String::new();
        self.stdout.read_line(&mut line).map_err(|e| format!("the foreign reader is gone: {e}"))?;
        let answer: Value = serde_json::from_str(&line).map_err(|e| format!("the foreign reader said {line:?}: {e}"))?;
        match answer.get("wrong").and_then(Value::as_str) {
            Some(wrong) => Err(wrong.to_owned()),
            None => Ok(answer),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
