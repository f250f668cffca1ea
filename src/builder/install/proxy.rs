//! The proxy that an install sees in place of a network.
//!
//! For each connection: 1. read the head of the request  2. is its host allowed? else 403, and remembered  3. connect, over the
//! operator's own proxy where there is one  4. carry bytes both ways, counting them
//!
//! https goes through as it is (CONNECT): the daemon sees no content, and pnpm itself checks certificates. For http, one
//! request is passed on for each connection, with the host that was checked as its host.
//!
//! Invariant: nothing is sent to a host that [`Reach`] does not allow, and everything here ends with the install.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Url;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::reach::{Place, Reach};

/// Connections of one install at once; pnpm opens up to 64.
const CONNECTIONS_MAX: usize = 128;
/// Bytes and fields of a request's head, and how long it may take to come.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing moves for so long is dropped; pnpm's own limit is shorter.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// Carried at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Hosts that are remembered as refused.
const REFUSED_MAX: usize = 10;
/// Fields of a request that are ours to say.
const OURS: [&str; 5] = ["host", "connection", "proxy-connection", "proxy-authorization", "keep-alive"];

/// What an install asked of the network.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    refused: Mutex<BTreeSet<String>>,
    trouble: Mutex<Option<String>>,
    bytes: AtomicU64,
    over: Notify,
}

impl Traffic {
    /// Hosts that it wanted and did not get.
    pub(super) fn refused(&self) -> Vec<String> {
        self.refused.lock().map(|refused| refused.iter().cloned().collect()).unwrap_or_default()
    }

    /// Why a host that it may reach could not be reached, most lately.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().ok().and_then(|trouble| trouble.clone())
    }

    /// Bytes carried, both ways.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Ends when more than the limit was carried.
    pub(super) async fn over(&self) {
        self.over.notified().await;
    }

    fn refuse(&self, host: &str) {
        if let Ok(mut refused) = self.refused.lock()
            && refused.len() < REFUSED_MAX
        {
            refused.insert(host.to_owned());
        }
    }

    fn note_trouble(&self, error: &io::Error) {
        if let Ok(mut trouble) = self.trouble.lock() {
            *trouble = Some(error.to_string());
        }
    }
}

/// Serves an install's listener until the handle is dropped. No more than `limit` bytes are carried.
pub(super) fn serve(listener: TcpListener, reach: Arc<Reach>, traffic: Arc<Traffic>, limit: u64) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let (mut connections, room) = (JoinSet::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        while let Ok(permit) = room.clone().acquire_owned().await {
            let client = loop {
                tokio::select! {
                    Some(_) = connections.join_next() => {}
                    accepted = listener.accept() => break accepted,
                }
            };
            let Ok((client, _)) = client else { return };
            let (reach, meter) = (reach.clone(), Meter { traffic: traffic.clone(), limit });
            connections.spawn(async move {
                if let Err(error) = answer(client, &reach, &meter).await {
                    tracing::debug!(%error, "a connection of an install ended early");
                }
                drop(permit);
            });
        }
    }))
}

#[derive(Debug, Clone)]
struct Meter {
    traffic: Arc<Traffic>,
    limit: u64,
}

/// The head of a request, as far as it matters.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    Connect(Place),
    /// What to send to `place` itself, and what to its proxy.
    Plain {
        place: Place,
        direct: String,
        absolute: String,
    },
}

async fn answer(mut client: TcpStream, reach: &Reach, meter: &Meter) -> io::Result<()> {
    client.set_nodelay(true)?;
    let (head, rest) = timeout(HEAD_TIMEOUT, read_head(&mut client)).await??;
    let Some(head) = parse(&head) else { return say(client, "400 Bad Request").await };
    let (place, scheme) = match &head {
        Head::Connect(place) => (place, "https"),
        Head::Plain { place, .. } => (place, "http"),
    };
    if !reach.allows(place) {
        meter.traffic.refuse(&place.to_string());
        return say(client, "403 Forbidden").await;
    }
    let mut server = match connect(reach, scheme, &head).await {
        Ok(server) => server,
        Err(error) => {
            meter.traffic.note_trouble(&error);
            return say(client, "502 Bad Gateway").await;
        }
    };
    if matches!(head, Head::Connect(_)) {
        client.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await?;
    }
    server.write_all(&rest).await?;
    let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
    tokio::try_join!(carry(from_client, to_server, meter), carry(from_server, to_client, meter)).map(drop)
}

/// A connection on which what follows the head can be sent.
async fn connect(reach: &Reach, scheme: &str, head: &Head) -> io::Result<TcpStream> {
    let place = match head {
        Head::Connect(place) | Head::Plain { place, .. } => place,
    };
    let Some(proxy) = reach.proxy_for(scheme, place) else {
        let mut server = reach.connect(place).await?;
        if let Head::Plain { direct, .. } = head {
            server.write_all(direct.as_bytes()).await?;
        }
        return Ok(server);
    };
    let mut server = reach.connect_to_proxy(proxy.uri()).await?;
    let login = proxy.basic_auth().and_then(|value| value.to_str().ok());
    let login = login.map(|value| format!("Proxy-Authorization: {value}\r\n")).unwrap_or_default();
    match head {
        Head::Plain { absolute, .. } => server.write_all(absolute.replacen("\r\n", &format!("\r\n{login}"), 1).as_bytes()).await?,
        Head::Connect(_) => {
            server.write_all(format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{login}\r\n").as_bytes()).await?;
            let (answer, _) = timeout(HEAD_TIMEOUT, read_head(&mut server)).await??;
            let line = String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned();
            if line.split(' ').nth(1) != Some("200") {
                return Err(io::Error::other(format!("the proxy of the environment answers {line:?} for {place}")));
            }
        }
    }
    Ok(server)
}

/// Everything up to the empty line, and what came with it.
async fn read_head(stream: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = head.split_off(end + 4);
            return Ok((head, rest));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn parse(head: &[u8]) -> Option<Head> {
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    request.parse(head).ok().filter(httparse::Status::is_complete)?;
    let (method, target) = (request.method?, request.path?);
    if method == "CONNECT" {
        // A tunnel always has a port.
        let (_, port) = target.rsplit_once(':')?;
        return Place::parse(target, port.parse().ok()?).map(Head::Connect);
    }
    let url = Url::parse(target).ok().filter(|url| url.scheme() == "http" && url.username().is_empty())?;
    let place = Place::parse(url.host_str()?, url.port_or_known_default()?)?;
    let place = Place { port: url.port_or_known_default()?, ..place };
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut tail = format!("Host: {place}\r\nConnection: close\r\n");
    for field in request.headers.iter().filter(|field| !OURS.iter().any(|ours| field.name.eq_ignore_ascii_case(ours))) {
        // Writing to a string cannot fail.
        let _ = write!(tail, "{}: {}\r\n", field.name, std::str::from_utf8(field.value).ok()?);
    }
    let with = |target: &str| format!("{method} {target} HTTP/1.1\r\n{tail}\r\n");
    Some(Head::Plain { direct: with(&path), absolute: with(&format!("http://{place}{path}")), place })
}

async fn say(mut client: TcpStream, status: &str) -> io::Result<()> {
    client.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    client.shutdown().await
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, meter: &Meter) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = timeout(IDLE_TIMEOUT, from.read(&mut buffer)).await??;
        if read == 0 {
            return to.shutdown().await;
        }
        if meter.traffic.bytes.fetch_add(read as u64, Ordering::Relaxed) + read as u64 > meter.limit {
            meter.traffic.over.notify_one();
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        timeout(IDLE_TIMEOUT, to.write_all(&buffer[..read])).await??;
    }
}

#[cfg(test)]
mod tests {
    use hyper_util::client::proxy::matcher::Matcher;

    use super::*;
    use crate::config::Config;

    #[test]
    fn heads_are_taken_apart() {
        let plain =
            parse(b"GET http://R.example:4873/a%2fb?x=1 HTTP/1.1\r\nHost: evil\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n").expect("plain");
        let tail = "Host: r.example:4873\r\nConnection: close\r\nAccept: */*\r\n\r\n";
        let place = Place { host: "r.example".into(), port: 4873 };
        let (direct, absolute) = (format!("GET /a%2fb?x=1 HTTP/1.1\r\n{tail}"), format!("GET http://r.example:4873/a%2fb?x=1 HTTP/1.1\r\n{tail}"));
        assert_eq!(plain, Head::Plain { place, direct, absolute });
        assert!(matches!(parse(b"CONNECT r.example:443 HTTP/1.1\r\n\r\n"), Some(Head::Connect(Place { port: 443, .. }))));
        let wrong: [&[u8]; 6] = [
            b"GET /a HTTP/1.1\r\n\r\n",
            b"CONNECT r.example HTTP/1.1\r\n\r\n",
            b"GET http://u@r.example/ HTTP/1.1\r\n\r\n",
            b"GET ftp://r.example/ HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\r\n\r\n",
            b"CONNECT r.example:443",
        ];
        for head in wrong {
            assert_eq!(parse(head), None, "{}", String::from_utf8_lossy(head));
        }
    }

    /// A server that answers each connection with what it was asked, and the number of connections that it had.
    async fn echo() -> (u16, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let (port, asked) = (listener.local_addr().expect("address").port(), Arc::new(AtomicU64::new(0)));
        let count = asked.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (head, _) = read_head(&mut stream).await.expect("head");
                let body = String::from_utf8(head).expect("text");
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.expect("write");
            }
        });
        (port, asked)
    }

    async fn ask(limit: u64, registry: &str, proxies: Matcher, request: &str) -> (String, Arc<Traffic>) {
        let env = [("PREVIEWD__BUILD__REGISTRY".to_owned(), registry.to_owned())];
        let reach = Arc::new(Reach::new(&Config::load(None, env).expect("valid").build, proxies));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let (address, traffic) = (listener.local_addr().expect("address"), Arc::new(Traffic::default()));
        let _serving = serve(listener, reach, traffic.clone(), limit);
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.write_all(request.as_bytes()).await.expect("write");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        (String::from_utf8_lossy(&answer).into_owned(), traffic)
    }

    #[tokio::test]
    async fn the_registry_is_reached_and_nothing_else() {
        let ((registry, _), (other, asked)) = (echo().await, echo().await);
        let url = format!("http://127.0.0.1:{registry}/");
        let none = || Matcher::builder().build();
        let (answer, traffic) = ask(10_000, &url, none(), &format!("GET {url}left-pad HTTP/1.1\r\n\r\n")).await;
        assert!(answer.contains("GET /left-pad HTTP/1.1") && traffic.refused().is_empty() && traffic.bytes() > 0, "{answer}");
        for request in [format!("GET http://127.0.0.1:{other}/x HTTP/1.1\r\n\r\n"), format!("CONNECT 127.0.0.1:{other} HTTP/1.1\r\n\r\n")] {
            let (answer, traffic) = ask(10_000, &url, none(), &request).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
            assert_eq!(traffic.refused(), [format!("127.0.0.1:{other}")]);
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        let (answer, _) = ask(10, &url, none(), &format!("GET {url}left-pad HTTP/1.1\r\n\r\n")).await;
        assert!(!answer.contains("left-pad"), "more than the limit: {answer}");
    }

    #[tokio::test]
    async fn the_operators_proxy_is_gone_through() {
        let (proxy, _) = echo().await;
        let matcher = || Matcher::builder().all(format!("http://me:pass@127.0.0.1:{proxy}")).build();
        let (answer, _) = ask(10_000, "http://npm.example/", matcher(), "GET http://npm.example/x HTTP/1.1\r\n\r\n").await;
        assert!(answer.contains("GET http://npm.example:80/x HTTP/1.1\r\nProxy-Authorization: Basic bWU6cGFzcw=="), "{answer}");
        let (answer, _) = ask(10_000, "https://npm.example/", matcher(), "CONNECT npm.example:443 HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 Connection Established"), "{answer}");
        let (gone, traffic) = ask(10_000, "http://127.0.0.1:1/", Matcher::builder().build(), "CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n").await;
        assert!(gone.starts_with("HTTP/1.1 502 ") && traffic.trouble().is_some_and(|why| why.contains("127.0.0.1:1")), "{gone}");
    }
}
