//! A Kafka broker as a process: started on free ports of loopback, restarted, killed by its own pid.
//!
//! Uses the standard library only: `xtask` includes this file, so that checks and tests start a broker in the same way.
//! The jars come from elsewhere; a broker needs Java 17 and no network.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PROPERTIES: &str = include_str!("server.properties");
/// 22 characters of base64url.
const CLUSTER_ID: &str = "MillstreamTestKafka-0Q";
const JAVA: [&str; 3] = ["-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"];
const POLL: Duration = Duration::from_millis(20);
/// 60 s: a machine at work takes ten times as long as an idle one.
const POLLS_MAX: u32 = 3000;

/// A running broker; dropped, it is killed and its folder removed.
#[derive(Debug)]
pub struct Broker {
    process: Option<Child>,
    jars: PathBuf,
    folder: PathBuf,
    port: u16,
}

impl Broker {
    /// Starts a broker with an empty `folder` and waits until it takes clients.
    pub fn start(jars: &Path, folder: &Path) -> Result<Self, String> {
        drop(fs::remove_dir_all(folder));
        Self::start_with(jars, folder, &free_ports(2)?, "", &[])
    }

    /// The same with two ports (of clients, of the controller), properties more, which go before the usual ones, and arguments more for
    /// the formatting of its storage.
    pub fn start_with(jars: &Path, folder: &Path, ports: &[u16], more: &str, format_args: &[&str]) -> Result<Self, String> {
        let &[port, controller_port, ..] = ports else { return Err("a broker needs two ports".to_owned()) };
        fs::create_dir_all(folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        let properties = PROPERTIES
            .replace("@PORT@", &port.to_string())
            .replace("@CPORT@", &controller_port.to_string())
            .replace("@DIR@", &folder.display().to_string());
        let properties = format!("{properties}{more}\n");
        fs::write(folder.join("server.properties"), properties).map_err(|e| format!("cannot write the broker's properties: {e}"))?;
        let mut broker = Self { process: None, jars: jars.to_owned(), folder: folder.to_owned(), port };
        let mut format = broker.java("format.log")?;
        format
            .args(["-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(folder.join("server.properties"))
            .args(format_args);
        let ended = format.status().map_err(|e| format!("cannot start java: {e}"))?;
        if !ended.success() {
            return Err(format!("the broker's storage cannot be formatted: {}", broker.log("format.log")));
        }
        broker.start_again()?;
        Ok(broker)
    }

    /// Starts it again, after [`Broker::kill`] or [`Broker::stop`], with the data and on the ports that it had.
    pub fn start_again(&mut self) -> Result<(), String> {
        let mut command = self.java("broker.log")?;
        command.arg("kafka.Kafka").arg(self.folder.join("server.properties"));
        let mut process = command.spawn().map_err(|e| format!("cannot start java: {e}"))?;
        for _ in 0..POLLS_MAX {
            // The port opens when the broker has registered and takes clients.
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                self.process = Some(process);
                return Ok(());
            }
            if process.try_wait().map_err(|e| format!("cannot wait for the broker: {e}"))?.is_some() {
                return Err(format!("the broker ended: {}", self.log("broker.log")));
            }
            std::thread::sleep(POLL);
        }
        drop(process.kill());
        drop(process.wait());
        Err(format!("the broker did not open port {}: {}", self.port, self.log("broker.log")))
    }

    /// Adds properties, which go before those that it had, for the next start.
    pub fn reconfigure(&self, more: &str) -> Result<(), String> {
        let file = self.folder.join("server.properties");
        let had = fs::read_to_string(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
        fs::write(&file, format!("{had}{more}\n")).map_err(|e| format!("cannot write {}: {e}", file.display()))
    }

    /// Where clients find it.
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it, as a power cut does (SIGKILL); its data stays.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
    }

    /// Ends it in order (SIGTERM); its data stays.
    pub fn stop(&mut self) -> Result<(), String> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let ended = Command::new("kill").arg(process.id().to_string()).status().map_err(|e| format!("cannot start kill: {e}"))?;
        if !ended.success() {
            drop(process.kill());
        }
        process.wait().map(drop).map_err(|e| format!("cannot wait for the broker: {e}"))
    }

    fn java(&self, log: &str) -> Result<Command, String> {
        let log = fs::File::create(self.folder.join(log)).map_err(|e| format!("cannot create the broker's log: {e}"))?;
        let log_too = log.try_clone().map_err(|e| format!("cannot open the broker's log twice: {e}"))?;
        let mut command = Command::new("java");
        command.args(["-Xms64m", "-Xmx256m"]).args(JAVA).arg("-cp").arg(self.jars.join("*"));
        command.stdin(Stdio::null()).stdout(log).stderr(log_too);
        Ok(command)
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Ports that nobody listens on now.
pub fn free_ports(n: usize) -> Result<Vec<u16>, String> {
    let no_port = |e: std::io::Error| format!("no free port on loopback: {e}");
    // All at once, so that they differ.
    let listeners = (0..n).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>().map_err(no_port)?;
    listeners.iter().map(|listener| listener.local_addr().map(|address| address.port()).map_err(no_port)).collect()
}
