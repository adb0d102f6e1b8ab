//! An S3 server: versitygw over a folder.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::free_port;
use crate::run::{Outcome, target_dir};
use crate::tools;

const READY_WITHIN: Duration = Duration::from_secs(10);
const KEY: &str = "millstream";
const SECRET: &str = "millstream-test-secret";
/// The bucket that is there from the start.
pub const BUCKET: &str = "millstream-test";

/// A running S3 server; dropped, it is killed and its folder removed.
pub struct S3 {
    server: Child,
    endpoint: String,
    folder: PathBuf,
}

impl S3 {
    /// Installs the server if need be, starts it and waits until it answers.
    pub fn start() -> Outcome<Self> {
        let program = tools::versitygw()?;
        let port = free_port()?;
        let folder = target_dir().join("services").join(format!("s3-{}-{port}", std::process::id()));
        // In this server a bucket is a folder.
        fs::create_dir_all(folder.join("data").join(BUCKET)).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        let log = fs::File::create(folder.join("log")).map_err(|e| format!("cannot create the S3 server's log: {e}"))?;
        let log_too = log.try_clone().map_err(|e| format!("cannot open the S3 server's log twice: {e}"))?;
        let address = format!("127.0.0.1:{port}");
        let server = Command::new(program)
            .args(["--port", &address, "--quiet", "posix"])
            .arg(folder.join("data"))
            .env("ROOT_ACCESS_KEY", KEY)
            .env("ROOT_SECRET_KEY", SECRET)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_too)
            .spawn()
            .map_err(|e| format!("cannot start the S3 server: {e}"))?;
        let mut s3 = Self { server, endpoint: format!("http://{address}"), folder };
        let start = Instant::now();
        while TcpStream::connect(&address).is_err() {
            let ended = s3.server.try_wait().map_err(|e| format!("cannot wait for the S3 server: {e}"))?;
            if ended.is_some() || start.elapsed() > READY_WITHIN {
                let log = fs::read_to_string(s3.folder.join("log")).unwrap_or_default();
                return Err(format!("the S3 server did not open port {port}: {log}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(s3)
    }

    /// What tests and jobs read to find the server.
    pub fn env(&self) -> [(&'static str, String); 4] {
        [
            ("MILLSTREAM_TEST_S3_ENDPOINT", self.endpoint.clone()),
            ("MILLSTREAM_TEST_S3_KEY", KEY.to_owned()),
            ("MILLSTREAM_TEST_S3_SECRET", SECRET.to_owned()),
            ("MILLSTREAM_TEST_S3_BUCKET", BUCKET.to_owned()),
        ]
    }

    /// What a program reads that knows the names of AWS only.
    pub fn aws_env(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint.clone()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ]
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}
