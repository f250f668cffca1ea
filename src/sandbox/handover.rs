//! How an install gets its network: one listener, made inside of its sandbox and served by the daemon outside.
//!
//! The sandbox has a network of its own, in which there is a loopback device and nothing else. Our own binary is what starts
//! there: it binds a listener on that loopback, sends the listener's descriptor out over its standard input, and becomes
//! pnpm. A listener belongs to the network that it was made in, whoever holds it. So pnpm finds the daemon's proxy at an
//! address of its own, no socket of the machine is shown to it, and nothing has to carry bytes in between.
//!
//! Invariant: what pnpm inherits is its standard streams, and its standard input is empty.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg};
use tokio::io::Interest;

/// The command of our binary that stands between the sandbox and pnpm.
pub const HANDOVER_COMMAND: &str = "hand-over";
/// Where pnpm looks for its proxy; both spellings, since tools differ in which one they read.
const PROXY_VARIABLES: [&str; 4] = ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"];
/// What has to be sent along with a descriptor.
const TOKEN: [u8; 1] = [b'L'];

/// Inside: hands the listener over and becomes `command`. Returns only if that fails.
pub fn hand_over_and_run(command: &[OsString]) -> io::Error {
    let become_it = || -> io::Result<Infallible> {
        let [program, args @ ..] = command else { return Err(io::ErrorKind::InvalidInput.into()) };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = format!("http://{}", listener.local_addr()?);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let (mut message, descriptors) = (SendAncillaryBuffer::new(&mut space), [listener.as_fd()]);
        message.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(io::stdin(), &[IoSlice::new(&TOKEN)], &mut message, SendFlags::NOSIGNAL)?;
        Err(Command::new(program).args(args).envs(PROXY_VARIABLES.map(|name| (name, &address))).stdin(Stdio::null()).exec())
    };
    become_it().map_or_else(|error| error, |never| match never {})
}

/// Outside: the listener that a child sends over the other end of its standard input. An error where it ends without.
pub async fn take_listener(channel: UnixStream) -> io::Result<tokio::net::TcpListener> {
    channel.set_nonblocking(true)?;
    let channel = tokio::net::UnixStream::from_std(channel)?;
    let listener = channel.async_io(Interest::READABLE, || receive(&channel)).await?;
    let listener = TcpListener::from(listener);
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

fn receive(channel: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let (mut message, mut token) = (RecvAncillaryBuffer::new(&mut space), TOKEN);
    recvmsg(channel, &mut [IoSliceMut::new(&mut token)], &mut message, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = message.drain().filter_map(|part| match part {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    descriptors.flatten().next().ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "it ended before it had a network"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_child_that_ends_without_a_listener_is_an_error() {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        drop(theirs);
        let error = take_listener(ours).await.expect_err("no listener");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
