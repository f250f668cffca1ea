//! Stores that misbehave on purpose: a proxy in front of Azurite, and a server of our own where a proxy cannot do it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use azure_core::base64;
use md5::{Digest, Md5};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::azurite::{ACCOUNT, Container};

/// Forwards connections to Azurite, counts what comes back, and breaks the first `broken` connections off after so
/// many bytes of answer.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    connections: Arc<AtomicUsize>,
    answered: Arc<AtomicU64>,
}

impl Proxy {
    pub(crate) async fn start(broken: usize, after: u64) -> Self {
        let port = Container::port();
        let (listener, endpoint) = listen().await;
        let proxy = Self { endpoint, connections: Arc::default(), answered: Arc::default() };
        let (connections, answered) = (proxy.connections.clone(), proxy.answered.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let limit = if connections.fetch_add(1, Ordering::SeqCst) < broken { after } else { u64::MAX };
                tokio::spawn(forward(client, port, limit, answered.clone()));
            }
        });
        proxy
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Bytes of answers so far, heads included.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }
}

async fn forward(mut client: TcpStream, port: u16, limit: u64, answered: Arc<AtomicU64>) {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.expect("Azurite");
    let (mut from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let mut from_server = from_server.take(limit);
    let back = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
            answered.fetch_add(n as u64, Ordering::SeqCst);
            if to_client.write_all(&buffer[..n]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        () = back => {}
    }
}

/// What a fake store does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Answer(String),
    Hang,
}

/// Answers requests in turn, and all that follow with the last act; one per connection. Listings are answered with
/// one file, `index.html`, and are not counted.
#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) endpoint: String,
    requests: Arc<AtomicUsize>,
    outage: Arc<Outage>,
}

/// What a store does in place of all else, for a while, and what arrived in all.
#[derive(Debug, Default)]
struct Outage {
    act: Mutex<Option<Act>>,
    arrived: AtomicUsize,
}

impl Fake {
    pub(crate) async fn start(acts: Vec<Act>) -> Self {
        Self::with_listing(acts, false).await
    }

    /// One that also answers listings.
    pub(crate) async fn listing(acts: Vec<Act>) -> Self {
        Self::with_listing(acts, true).await
    }

    async fn with_listing(acts: Vec<Act>, lists: bool) -> Self {
        let (listener, endpoint) = listen().await;
        let fake = Self { endpoint, requests: Arc::default(), outage: Arc::default() };
        let (counter, outage) = (fake.requests.clone(), fake.outage.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acts.clone(), lists, counter.clone(), outage.clone()));
            }
        });
        fake
    }

    /// Requests so far.
    pub(crate) fn seen(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// From now on this is what every request gets, listings too; with `None` all is as before.
    pub(crate) fn outage(&self, act: Option<Act>) {
        *self.outage.act.lock().expect("lock") = act;
    }

    /// All requests so far, listings too.
    pub(crate) fn arrived(&self) -> usize {
        self.outage.arrived.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, acts: Vec<Act>, lists: bool, counter: Arc<AtomicUsize>, outage: Arc<Outage>) {
    let mut head = String::new();
    let mut reader = BufReader::new(&mut stream);
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    outage.arrived.fetch_add(1, Ordering::SeqCst);
    let instead = outage.act.lock().expect("lock").clone();
    let act = if let Some(act) = instead {
        act
    } else if lists && head.contains("comp=list") {
        listing()
    } else {
        acts[counter.fetch_add(1, Ordering::SeqCst).min(acts.len() - 1)].clone()
    };
    match act {
        Act::Answer(text) => stream.write_all(text.as_bytes()).await.unwrap_or_default(),
        Act::Hang => std::future::pending().await,
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}/{ACCOUNT}", listener.local_addr().expect("address"));
    (listener, endpoint)
}

/// An answer with its length.
pub(crate) fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> Act {
    let headers: String = headers.iter().flat_map(|(name, value)| [*name, ": ", *value, "\r\n"]).collect();
    let length = body.len();
    Act::Answer(format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"))
}

/// The whole of a blob, with the MD5 of `hashed`.
pub(crate) fn blob(body: &str, hashed: &str) -> Act {
    let md5 = base64::encode(Md5::digest(hashed.as_bytes()));
    let range = format!("bytes 0-{}/{}", body.len() - 1, body.len());
    answer("206 Partial Content", &[("etag", "\"0x1\""), ("content-range", &range), ("x-ms-blob-content-md5", &md5)], body)
}

/// An error as the store tells it, with something in it that looks like a secret.
pub(crate) fn trouble(status: &str, code: &str) -> Act {
    let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>sig=hunter2 at ?sig=hunter2</Message></Error>");
    answer(status, &[("x-ms-error-code", code)], &body)
}

fn listing() -> Act {
    let name = Container::blob_name("demo", "index.html");
    let properties = "<Last-Modified>Fri, 20 Nov 2026 10:00:00 GMT</Last-Modified><Etag>0x1</Etag><Content-Length>5</Content-Length>\
        <Content-Type>text/html</Content-Type><BlobType>BlockBlob</BlobType>";
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs><Blob><Name>{name}</Name>\
         <Properties>{properties}</Properties></Blob></Blobs><NextMarker /></EnumerationResults>"
    );
    answer("200 OK", &[("content-type", "application/xml")], &body)
}
