//! Requests written by hand, for a client of ours would tidy their paths up; answers as they came over the wire.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What has to be equal, each with all its values. Not compared: `Date`, `Server`, `Connection`, and the request's id, of which
/// it is enough that there is one.
const COMPARED: &str = "content-type|content-length|content-encoding|content-range|content-disposition|transfer-encoding|accept-ranges|etag|last-modified|\
expires|cache-control|vary|location|allow|retry-after|www-authenticate|set-cookie|content-security-policy|x-content-type-options|\
x-frame-options|referrer-policy|cross-origin-resource-policy|cross-origin-opener-policy|cross-origin-embedder-policy|\
access-control-allow-origin|access-control-allow-headers|access-control-expose-headers|strict-transport-security|x-accel-buffering";

/// An answer as it came over the wire.
#[derive(Debug, Default)]
pub(crate) struct Raw {
    pub(crate) status: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    /// All values of a header.
    pub(crate) fn values(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The first value of a header; empty where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.values(name).first().copied().unwrap_or_default()
    }

    /// What is compared.
    pub(crate) fn relevant(&self) -> (&str, Vec<(&str, Vec<&str>)>) {
        let headers = COMPARED.split('|').map(|name| (name, self.values(name))).filter(|(_, values)| !values.is_empty());
        (&self.status, headers.collect())
    }
}

/// Sends a request as it is; `Host` and the end of the connection are added.
pub(crate) async fn raw(address: &str, method: &str, target: &str, host: &str, headers: &[&str]) -> Raw {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connect");
    let host = format!("Host: {host}");
    let lines = [&[host.as_str()], headers, &["Connection: close"]].concat().join("\r\n");
    let request = format!("{method} {target} HTTP/1.1\r\n{lines}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("write");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("read");
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("{method} {target} with {headers:?} at {address}: no answer"));
    let head = String::from_utf8(answer[..end].to_vec()).expect("utf-8");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status").to_owned();
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Raw { status, headers: headers.collect(), body: answer[end + 4..].to_vec() }
}
