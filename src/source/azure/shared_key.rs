//! Shared Key authorization, which the official client lacks: a pipeline policy that signs
//! every request with the storage account's key.
//!
//! Invariant: what is signed is exactly what is sent. The policy stands last before the
//! transport and runs anew for each try, so the date is always fresh. The rules are those of
//! "Authorize with Shared Key" in the REST documentation, for versions from 2015-02-21 on.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::Secret;
use azure_core::error::ErrorKind;
use azure_core::hmac::hmac_sha256;
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request, Url};
use azure_core::time::{OffsetDateTime, to_rfc7231};

/// The headers that are signed by position, in the order of the REST documentation.
/// `content-length` comes third, is computed, and so stands apart.
const SIGNED_BEFORE_LENGTH: [&str; 2] = ["content-encoding", "content-language"];
const SIGNED_AFTER_LENGTH: [&str; 8] = [
    "content-md5",
    "content-type",
    // Always empty: `x-ms-date` takes its place.
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// Signs requests for one storage account.
#[derive(Debug)]
pub(super) struct SharedKey {
    account: String,
    key: Secret,
}

impl SharedKey {
    /// `key` is the account key in base64; one that is not is an error here rather than at
    /// the first request.
    pub(super) fn new(account: String, key: Secret) -> azure_core::Result<Self> {
        hmac_sha256("", &key)?;
        Ok(Self { account, key })
    }

    fn sign(&self, request: &mut Request, now: OffsetDateTime) -> azure_core::Result<()> {
        make_path_legal(request.url_mut());
        request.insert_header("x-ms-date", to_rfc7231(&now));
        let signature = hmac_sha256(&string_to_sign(&self.account, request), &self.key)?;
        request.insert_header("authorization", format!("SharedKey {}:{signature}", self.account));
        Ok(())
    }
}

#[async_trait]
impl Policy for SharedKey {
    async fn send(&self, ctx: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        self.sign(request, OffsetDateTime::now_utc())?;
        let Some((policy, rest)) = next.split_first() else {
            return Err(azure_core::Error::with_message(ErrorKind::Other, "no transport after the signing policy"));
        };
        policy.send(ctx, request, rest).await
    }
}

/// `Url` leaves a few characters as they are that RFC 3986 does not allow in a path. Whoever
/// forwards the request may encode them, and then the signature no longer fits.
fn make_path_legal(url: &mut Url) {
    let path = url.path();
    if path.contains(['[', ']', '|', '^']) {
        let legal = path.replace('[', "%5B").replace(']', "%5D").replace('|', "%7C").replace('^', "%5E");
        url.set_path(&legal);
    }
}

fn string_to_sign(account: &str, request: &Request) -> String {
    let header = |name: &'static str| {
        let value = request.headers().get_optional_str(&HeaderName::from_static(name));
        value.unwrap_or_default()
    };
    let mut text = format!("{}\n", request.method());
    for name in SIGNED_BEFORE_LENGTH {
        text.extend([header(name), "\n"]);
    }
    // The transport sets the header later; a length of zero is signed as nothing.
    if let Some(length @ 1..) = request.body().len() {
        text.push_str(&length.to_string());
    }
    text.push('\n');
    for name in SIGNED_AFTER_LENGTH {
        text.extend([header(name), "\n"]);
    }
    text.push_str(&canonical_headers(request));
    text.push_str(&canonical_resource(account, request.url()));
    text
}

fn canonical_headers(request: &Request) -> String {
    let ours = request.headers().iter().filter(|(name, _)| name.as_str().starts_with("x-ms-"));
    let sorted: BTreeMap<_, _> = ours.map(|(name, value)| (name.as_str(), value.as_str().trim())).collect();
    sorted.into_iter().flat_map(|(name, value)| [name, ":", value, "\n"]).collect()
}

/// The path as it goes over the wire, and the decoded query parameters in order.
fn canonical_resource(account: &str, url: &Url) -> String {
    let mut parameters: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        parameters.entry(name.to_ascii_lowercase()).or_default().push(value.into_owned());
    }
    let mut text = format!("/{account}{}", url.path());
    for (name, mut values) in parameters {
        values.sort();
        text.extend(["\n", &name, ":", &values.join(",")]);
    }
    text
}

#[cfg(test)]
mod tests {
    use azure_core::http::Method;

    use super::*;

    const LIST: &str = "https://acct.blob.core.windows.net/apps?restype=container&comp=list&prefix=a%2Fb%20c&include=metadata";

    fn request(url: &str, method: Method) -> Request {
        Request::new(Url::parse(url).unwrap(), method)
    }

    #[test]
    fn a_list_is_signed_with_sorted_and_decoded_parameters() {
        let mut list = request(LIST, Method::Get);
        list.insert_header("x-ms-version", "2025-11-05");
        list.insert_header("x-ms-date", "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            string_to_sign("acct", &list),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Sun, 06 Nov 1994 08:49:37 GMT\nx-ms-version:2025-11-05\n\
             /acct/apps\ncomp:list\ninclude:metadata\nprefix:a/b c\nrestype:container"
        );
    }

    #[test]
    fn a_put_is_signed_with_its_length_and_an_empty_one_without() {
        let mut put = request("http://127.0.0.1:10000/devstoreaccount1/apps/a%2Fb", Method::Put);
        put.insert_header("if-none-match", "\"0x1\"");
        put.set_body("hello");
        let text = string_to_sign("devstoreaccount1", &put);
        assert!(text.starts_with("PUT\n\n\n5\n\n\n\n\n\n\"0x1\"\n\n\n"), "{text}");
        assert!(text.ends_with("/devstoreaccount1/devstoreaccount1/apps/a%2Fb"), "{text}");
        put.set_body("");
        assert!(string_to_sign("devstoreaccount1", &put).starts_with("PUT\n\n\n\n\n"));
    }

    #[test]
    fn signing_sets_date_and_authorization_and_debug_keeps_the_key() {
        let signer = SharedKey::new("acct".to_owned(), Secret::new("c2VjcmV0LWtleQ==")).unwrap();
        let mut get = request("https://acct.blob.core.windows.net/apps/[id]|x.tsx", Method::Get);
        signer.sign(&mut get, OffsetDateTime::UNIX_EPOCH).unwrap();
        let authorization = get.headers().get_str(&HeaderName::from_static("authorization")).unwrap();
        assert!(authorization.starts_with("SharedKey acct:"), "{authorization}");
        assert_eq!(get.url().path(), "/apps/%5Bid%5D%7Cx.tsx");
        assert!(!format!("{signer:?}").contains("c2VjcmV0"));
    }

    #[test]
    fn a_key_that_is_no_base64_is_refused_early() {
        assert!(SharedKey::new("acct".to_owned(), Secret::new("not base64!")).is_err());
    }
}
