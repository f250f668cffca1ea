//! Sends one webhook.
//!
//! 1. sign  2. resolve, and refuse addresses near us  3. connect to what was resolved and to nothing else  4. look at the status
//!
//! Invariant: no request goes to an address of this machine, of a private network or of the link, unless `notify.private` says
//! so (the link's: never). A name is resolved once for a connection, and the connection goes to that answer, so a name that changes
//! its mind in between gains nothing. No redirect is followed, no proxy is asked, and nothing of an answer's body is read.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url, redirect};
use tokio::net::lookup_host;

use crate::auth::sign;
use crate::config::Config;
use crate::domain::address::Nearness;
use crate::state::Outgoing;

/// One delivery, from the name's resolution to the answer's headers.
pub(super) const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that are kept for the next webhook to the same host, and how long.
const IDLE_MAX: usize = 2;
const IDLE_KEPT: Duration = Duration::from_secs(30);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;

/// Signs and sends.
pub(super) struct Sender {
    client: Client,
    gate: Gate,
    secret: String,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl Sender {
    pub(super) fn new(config: &Config) -> anyhow::Result<Self> {
        let gate = Gate { private: config.notify.private };
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .dns_resolver(Arc::new(gate))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(DELIVERY_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_idle_timeout(IDLE_KEPT)
            .user_agent(concat!("previewd/", env!("CARGO_PKG_VERSION")))
            .build()?;
        // Where nothing is configured, nothing is sent; where something is, there is a secret (`config::check`).
        Ok(Self { client, gate, secret: config.auth.webhook_secrets.first().cloned().unwrap_or_default() })
    }

    /// `Ok`: it was taken. Else why not, without anything secret.
    pub(super) async fn send(&self, url: Url, outgoing: &Outgoing) -> Result<(), String> {
        // An address in place of a name is never resolved, so it never comes to the resolver.
        if let Some(address) = literal(&url) {
            self.gate.check(address)?;
        }
        let path_and_query = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let signature = sign(&self.secret, Timestamp::now().as_second(), "POST", &path_and_query, outgoing.body.as_bytes());
        let delivery = format!("{}", outgoing.id);
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header("x-previewd-signature", signature)
            .header("x-previewd-event", &outgoing.event)
            .header("x-previewd-delivery", delivery)
            .body(outgoing.body.clone());
        let answer = request.send().await.map_err(|error| root_cause(&error))?;
        let status = answer.status();
        // Dropped with its body unread: whatever that is, it is not waited for.
        if status.is_success() { Ok(()) } else { Err(format!("it was answered {}", status.as_u16())) }
    }
}

/// Who may be reached.
#[derive(Debug, Clone, Copy)]
struct Gate {
    private: bool,
}

impl Gate {
    fn check(self, address: IpAddr) -> Result<(), String> {
        match Nearness::of(address) {
            Nearness::Public => Ok(()),
            Nearness::Private if self.private => Ok(()),
            Nearness::Private => Err(format!("{address} is an address of this machine or of a private network; if it is meant, set notify.private")),
            Nearness::Never => Err(format!("{address} is an address of the link, or of no host")),
        }
    }
}

impl Resolve for Gate {
    /// All addresses of a name have to be allowed: one that stands for both sides is up to something.
    fn resolve(&self, name: Name) -> Resolving {
        let gate = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> = lookup_host((name.as_str(), 0)).await?.take(ADDRESSES_MAX).collect();
            for address in &found {
                gate.check(address.ip())?;
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// What is at the bottom of an error: what is above it repeats the address, which may hold a secret.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    if error.is_timeout() { "it took too long".to_owned() } else { cause.to_string() }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_here_is_refused_when_it_is_resolved() {
        let resolve = |private: bool| Gate { private }.resolve(Name::from_str("localhost").expect("name"));
        let Err(error) = resolve(false).await else { panic!("it was resolved") };
        assert!(error.to_string().contains("notify.private"), "{error}");
        assert!(resolve(true).await.expect("allowed").all(|address| address.ip().is_loopback()));
    }

    #[tokio::test]
    async fn addresses_near_us_are_refused_however_they_are_written() {
        let env = [("PREVIEWD__AUTH__WEBHOOK_SECRETS".to_owned(), "a-webhook-secret-of-ours".to_owned())];
        let sender = Sender::new(&Config::load(None, env).expect("valid")).expect("sender");
        let outgoing = Outgoing {
            id: 1,
            project: "demo".parse().expect("id"),
            url: String::new(),
            event: "build".into(),
            body: "{}".into(),
            created_at: 0,
            attempts: 0,
        };
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "017700000001",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "10.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "localhost",
        ] {
            let url = Url::parse(&format!("http://{host}:9/hook")).expect("url");
            let why = sender.send(url, &outgoing).await.expect_err(host);
            assert!(why.contains("private network") || why.contains("of the link"), "{host}: {why}");
        }
    }
}
