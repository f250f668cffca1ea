//! Which hosts an install may reach, and how the way leads there.
//!
//! Invariant: a connection goes to a host that the operator configured, and to no address of this machine, of a private network
//! or of the link, unless the operator said that it is there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use reqwest::Url;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::config;
use crate::domain::address::Nearness;

/// A resolver that loses an answer waits 5 s before it asks again; asking beside it is quicker.
const RESOLVE_AGAIN: Duration = Duration::from_millis(700);
/// Questions for one name at most.
const RESOLVE_TRIES: usize = 5;
/// How long an answer is believed.
const RESOLVED_TTL: Duration = Duration::from_mins(1);
/// One address may take so long to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses that are tried for one connection.
const ADDRESSES_MAX: usize = 4;
const HTTPS_PORT: u16 = 443;

/// Where a request may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Lower-case; an IPv6 address in brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Place {
    /// Of `host[:port]`.
    pub(super) fn parse(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, port.parse().ok()?),
            _ => (text, default_port),
        };
        let valid = !host.is_empty() && (host.starts_with('[') || host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)));
        valid.then(|| Self { host: host.trim_end_matches('.').to_ascii_lowercase(), port })
    }

    fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The operator wrote an address, or the name of this machine: what is there is meant.
    fn is_literal(&self) -> bool {
        self.address().is_some() || self.host == "localhost" || self.host.ends_with(".localhost")
    }
}

/// The hosts that installs may reach.
#[derive(Debug)]
pub(super) struct Reach {
    places: Vec<Place>,
    private_names: bool,
    /// The operator's own proxy, from the environment.
    proxies: Matcher,
    resolved: Mutex<Vec<(Place, Instant, Vec<SocketAddr>)>>,
}

impl Reach {
    pub(super) fn new(config: &config::Build, proxies: Matcher) -> Self {
        let registry = Url::parse(&config.registry).ok().and_then(|url| {
            let port = url.port_or_known_default()?;
            Place::parse(url.host_str()?, port)
        });
        let others = config.registry_hosts.iter().filter_map(|host| Place::parse(host, HTTPS_PORT));
        Self { places: registry.into_iter().chain(others).collect(), private_names: config.registry_private, proxies, resolved: Mutex::default() }
    }

    pub(super) fn allows(&self, place: &Place) -> bool {
        self.places.contains(place)
    }

    /// The operator's proxy for a request to `place`, if there is one.
    pub(super) fn proxy_for(&self, scheme: &str, place: &Place) -> Option<Intercept> {
        let uri: Uri = format!("{scheme}://{place}/").parse().ok()?;
        self.proxies.intercept(&uri)
    }

    /// A connection to an allowed place.
    pub(super) async fn connect(&self, place: &Place) -> io::Result<TcpStream> {
        let found = self.resolve(place).await?;
        let open: Vec<_> = found.iter().filter(|address| self.may_be_at(place, address.ip())).copied().collect();
        if let (Some(address), true) = (found.first(), open.is_empty()) {
            let message = format!("{place} stands for the private address {}; if it is meant, set build.registry_private", address.ip());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        connect_any(place, &open).await
    }

    /// A connection to the operator's own proxy, which may be anywhere.
    pub(super) async fn connect_to_proxy(&self, proxy: &Uri) -> io::Result<TcpStream> {
        let unusable = |why: &str| io::Error::new(io::ErrorKind::Unsupported, format!("the proxy of the environment {why}"));
        if proxy.scheme_str() != Some("http") {
            return Err(unusable("is not an http:// one"));
        }
        let host = proxy.host().ok_or_else(|| unusable("has no host"))?;
        let place = Place::parse(host, proxy.port_u16().unwrap_or(80)).ok_or_else(|| unusable("has no host"))?;
        let place = Place { port: proxy.port_u16().unwrap_or(80), ..place };
        connect_any(&place, &self.resolve(&place).await?).await
    }

    fn may_be_at(&self, place: &Place, address: IpAddr) -> bool {
        match Nearness::of(address) {
            Nearness::Public => true,
            Nearness::Private => self.private_names || place.is_literal(),
            Nearness::Never => place.address() == Some(address),
        }
    }

    async fn resolve(&self, place: &Place) -> io::Result<Vec<SocketAddr>> {
        if let Some(address) = place.address() {
            return Ok(vec![SocketAddr::new(address, place.port)]);
        }
        let known = |list: &[(Place, Instant, Vec<SocketAddr>)]| list.iter().find(|known| known.0 == *place).map(|known| known.2.clone());
        if let Ok(mut resolved) = self.resolved.lock() {
            resolved.retain(|(_, at, _)| at.elapsed() < RESOLVED_TTL);
            if let Some(addresses) = known(&resolved) {
                return Ok(addresses);
            }
        }
        let addresses = ask(place).await?;
        if let Ok(mut resolved) = self.resolved.lock() {
            resolved.push((place.clone(), Instant::now(), addresses.clone()));
        }
        Ok(addresses)
    }
}

/// Asks for a name, again beside the first question when an answer does not come at once.
async fn ask(place: &Place) -> io::Result<Vec<SocketAddr>> {
    let (mut questions, mut last) = (JoinSet::new(), io::Error::from(io::ErrorKind::TimedOut));
    for _ in 0..RESOLVE_TRIES {
        let name = place.to_string();
        questions.spawn(async move { lookup_host(name).await.map(Iterator::collect::<Vec<_>>) });
        match timeout(RESOLVE_AGAIN, questions.join_next()).await {
            Ok(Some(Ok(Ok(addresses)))) if !addresses.is_empty() => return Ok(addresses),
            Ok(Some(Ok(Err(error)))) => last = error,
            _ => {}
        }
    }
    Err(io::Error::new(last.kind(), format!("cannot resolve {}: {last}", place.host)))
}

async fn connect_any(place: &Place, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses.iter().take(ADDRESSES_MAX) {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(io::Error::new(last.kind(), format!("cannot connect to {place}: {last}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn reach(registry: &str, extra: &[(&str, &str)]) -> Reach {
        let env = [("PREVIEWD__BUILD__REGISTRY", registry)].into_iter().chain(extra.iter().copied());
        let config = Config::load(None, env.map(|(name, value)| (name.to_owned(), value.to_owned()))).expect("valid");
        Reach::new(&config.build, Matcher::builder().build())
    }

    #[test]
    fn only_configured_hosts_and_ports_are_allowed() {
        let reach = reach("https://registry.npmjs.org/", &[("PREVIEWD__BUILD__REGISTRY_HOSTS", "cdn.example:8443,Files.Example")]);
        let allowed = |text: &str| Place::parse(text, HTTPS_PORT).is_some_and(|place| reach.allows(&place));
        for place in ["registry.npmjs.org", "REGISTRY.npmjs.org:443", "registry.npmjs.org.:443", "cdn.example:8443", "files.example:443"] {
            assert!(allowed(place), "{place}");
        }
        for place in ["registry.npmjs.org:80", "npmjs.org", "cdn.example", "evil.example", "x@registry.npmjs.org:443", "registry.npmjs.org:443:1", ""]
        {
            assert!(!allowed(place), "{place}");
        }
    }

    #[test]
    fn addresses_near_us_have_to_be_configured_as_such() {
        let (public, here, private) = (
            reach("https://registry.npmjs.org/", &[]),
            reach("http://127.0.0.1:4873/", &[]),
            reach("http://npm.corp/", &[("PREVIEWD__BUILD__REGISTRY_PRIVATE", "true")]),
        );
        let near = ["127.0.0.1", "10.1.2.3", "192.168.0.1", "172.16.5.5", "100.64.0.1", "::1", "fd00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"];
        let never = ["169.254.169.254", "0.0.0.0", "224.0.0.1", "fe80::1", "::", "ff02::1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"];
        for (reach, near_allowed) in [(&public, false), (&here, true), (&private, true)] {
            let may = |address: &str| reach.may_be_at(&reach.places[0], address.parse().expect("address"));
            assert!(near.iter().all(|address| may(address) == near_allowed), "{reach:?}");
            assert!(!never.iter().any(|address| may(address)) && may("203.0.113.9"), "{reach:?}");
        }
    }

    #[tokio::test]
    async fn a_name_that_leads_here_is_told() {
        let reach = reach("https://registry.npmjs.org/", &[]);
        let place = Place { host: "registry.npmjs.org".into(), port: 443 };
        reach.resolved.lock().expect("lock").push((place.clone(), Instant::now(), vec!["10.0.0.1:443".parse().expect("address")]));
        let error = reach.connect(&place).await.expect_err("private").to_string();
        assert_eq!(error, "registry.npmjs.org:443 stands for the private address 10.0.0.1; if it is meant, set build.registry_private");
    }
}
