//! Three brokers on loopback, each a controller, too: leaders move when one goes.

use std::path::Path;

use super::Broker;
use super::broker::free_ports;

const N_BROKERS: usize = 3;

/// Three running brokers; dropped, they are killed and their folders removed.
#[derive(Debug)]
pub struct Cluster {
    brokers: Vec<Broker>,
}

impl Cluster {
    /// Starts three brokers in an empty `folder` and waits until all take clients.
    pub fn start(jars: &Path, folder: &Path) -> Result<Self, String> {
        let ports = free_ports(2 * N_BROKERS)?;
        let ports: Vec<&[u16]> = ports.chunks(2).collect();
        let voters = (1..).zip(&ports).filter_map(|(node, ports)| Some(format!("{node}@127.0.0.1:{}", ports.get(1)?)));
        let voters = voters.collect::<Vec<_>>().join(",");
        let starting = (1..).zip(ports).map(|(node, ports)| {
            let more = properties(node, &voters);
            // None becomes ready before two are up.
            move || Broker::start_with(jars, &folder.join(node.to_string()), ports, &more, &[])
        });
        let started: Result<Vec<Broker>, String> = std::thread::scope(|scope| {
            let threads: Vec<_> = starting.map(|start| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| "the start of a broker panicked".to_owned())?).collect()
        });
        Ok(Self { brokers: started? })
    }

    /// Where clients find it.
    pub fn bootstrap_servers(&self) -> String {
        self.brokers.iter().map(Broker::bootstrap_servers).collect::<Vec<_>>().join(",")
    }

    /// The broker of this node id, from 1.
    pub fn broker(&mut self, node: i32) -> Option<&mut Broker> {
        self.brokers.get_mut(usize::try_from(node).ok()?.checked_sub(1)?)
    }
}

fn properties(node: usize, voters: &str) -> String {
    format!(
        "node.id={node}
controller.quorum.voters={voters}
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000"
    )
}
