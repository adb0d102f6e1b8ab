//! Servers that tests need, started on loopback for the length of one command and ended by their own pid.
//!
//! A server gets a free port and an empty folder each time: nothing survives from an earlier run, and two
//! commands may run side by side.

mod kafka;
mod s3;

use std::net::TcpListener;
use std::process::Command;

use crate::run::{Outcome, status};
use crate::tools;

pub use kafka::Kafka;
pub use s3::{BUCKET, S3};

/// `cargo xtask with SERVICE.. -- COMMAND`: runs a command while servers run; it finds them in `MILLSTREAM_TEST_*`, and there,
/// too, a Python with clients of other makes (`python`).
pub fn run_with(args: &[String]) -> Outcome {
    let at = args.iter().position(|arg| arg == "--").ok_or("expected `--` and a command")?;
    let (services, command) = (args.get(..at).unwrap_or_default(), args.get(at + 1..).unwrap_or_default());
    let (program, arguments) = command.split_first().ok_or("expected a command after `--`")?;
    let (mut s3, mut kafka, mut python) = (None, None, None);
    for service in services {
        match service.as_str() {
            "s3" => s3 = Some(S3::start()?),
            "kafka" => kafka = Some(Kafka::start()?),
            "python" => python = Some(tools::python()?),
            other => return Err(format!("unknown service {other:?}: s3, kafka, python")),
        }
    }
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(s3) = &s3 {
        command.envs(s3.env());
    }
    if let Some(kafka) = &kafka {
        command.envs(kafka.env());
    }
    if let Some(python) = &python {
        command.env("MILLSTREAM_TEST_PYTHON", python);
    }
    status(&mut command)
}

/// A port that nobody listens on now.
pub fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|e| format!("no free port on loopback: {e}"))?;
    listener.local_addr().map(|a| a.port()).map_err(|e| format!("no free port on loopback: {e}"))
}
