//! Where connections come from: listeners that whoever started us holds open (systemd's socket activation), or one of our own.
//!
//! An inherited listener outlives the daemon: what connects while none runs waits in the kernel for the next one, so a
//! restart refuses nobody.

use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
use listenfd::ListenFd;
use tokio::net::TcpSocket;

use crate::config::Config;

/// Connections that are waiting to be accepted at most; the kernel's `net.core.somaxconn` may be lower. Of an inherited
/// listener its owner decides (`Backlog=`).
const BACKLOG: u32 = 1024;

/// What the daemon serves.
#[derive(Debug)]
pub(super) struct Listeners {
    /// At least one.
    pub(super) all: Vec<TcpListener>,
    /// The first one's address, which links and the command line use.
    pub(super) address: SocketAddr,
    /// Whether they stay open when we end.
    pub(super) inherited: bool,
}

impl Listeners {
    /// Takes over what was inherited, or binds `server.listen`. The rules for addresses hold for both.
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        let mut all = inherited().context("cannot take over the sockets in LISTEN_FDS")?;
        let inherited = !all.is_empty();
        if !inherited {
            let address = config.server.listen;
            all.push(bind(address).with_context(|| format!("cannot listen on {address}"))?);
        }
        for listener in &all {
            config.check_listen(listener.local_addr()?)?;
        }
        let address = all[0].local_addr()?;
        Ok(Self { all, address, inherited })
    }
}

/// The listeners meant for this very process (`LISTEN_PID`). Anything but TCP is an error: it would never be served.
fn inherited() -> std::io::Result<Vec<TcpListener>> {
    let mut given = ListenFd::from_env();
    (0..given.len()).filter_map(|n| given.take_tcp_listener(n).transpose()).collect()
}

/// Binds by hand: a listener of the standard library has a backlog of its own, and nobody can change that afterwards.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the last daemon to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}
