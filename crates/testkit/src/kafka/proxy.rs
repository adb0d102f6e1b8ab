//! A network that can be cut: a TCP proxy in front of a broker. Clients must be told its address by the broker itself
//! (`advertised.listeners`), or they go past it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use millstream_core::{Error, Result};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Broker;
use super::broker::free_ports;

/// A broker that clients reach through a proxy.
#[derive(Debug)]
pub struct ProxiedBroker {
    /// The broker; its own address goes past the proxy, for helpers.
    pub broker: Broker,
    /// The network.
    pub proxy: Proxy,
}

impl ProxiedBroker {
    /// Starts one in an empty `folder`.
    pub async fn start(jars: &Path, folder: &Path) -> Result<Self> {
        let ports = free_ports(4).map_err(Error::unavailable)?;
        let &[direct, controller, behind, before] = ports.as_slice() else { return Err(Error::internal("four ports were asked for")) };
        let more = format!(
            "listeners=PLAINTEXT://127.0.0.1:{direct},CONTROLLER://127.0.0.1:{controller},PROXIED://127.0.0.1:{behind}
advertised.listeners=PLAINTEXT://127.0.0.1:{direct},PROXIED://127.0.0.1:{before}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
        );
        let broker = Broker::start_with(jars, folder, &ports, &more, &[]).map_err(Error::unavailable)?;
        Ok(Self { broker, proxy: Proxy::start(before, ([127, 0, 0, 1], behind).into()).await? })
    }
}

/// A running proxy; dropped, it ends with its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// Whether connections pass, and how often it was cut.
    state: Arc<watch::Sender<State>>,
    accepting: tokio::task::JoinHandle<()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    passes: bool,
    n_cuts: u64,
}

impl Proxy {
    /// Passes on what comes to `port` of loopback (0 = any that is free).
    pub async fn start(port: u16, to: SocketAddr) -> Result<Self> {
        let failed = |error: std::io::Error| Error::unavailable(format!("a proxy cannot listen: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let state = Arc::new(watch::channel(State { passes: true, n_cuts: 0 }).0);
        let accepting = tokio::spawn(accept(listener, to, Arc::clone(&state)));
        Ok(Self { address, state, accepting })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection, and lets none through.
    pub fn cut(&self) {
        self.state.send_modify(|state| *state = State { passes: false, n_cuts: state.n_cuts + 1 });
    }

    /// Connections pass again.
    pub fn mend(&self) {
        self.state.send_modify(|state| state.passes = true);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, state: Arc<watch::Sender<State>>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut changes = state.subscribe();
        let begun = *changes.borrow();
        if !begun.passes {
            continue;
        }
        tokio::spawn(async move {
            let Ok(mut broker) = TcpStream::connect(to).await else { return };
            tokio::select! {
                // Whichever end goes, or the proxy, the other end sees it by the connection that is closed.
                _ = copy_bidirectional(&mut client, &mut broker) => {}
                _ = changes.wait_for(|now| now.n_cuts != begun.n_cuts) => {}
            }
        });
    }
}
