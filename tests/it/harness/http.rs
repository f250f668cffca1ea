//! HTTP as callers and browsers speak it.

use reqwest::header::{HOST, HeaderMap};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// A client of one daemon.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client,
    pub(crate) address: String,
    pub(crate) token: String,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A page as the app wrote it: without the preview client's tag.
    pub(crate) fn app_text(&self) -> String {
        let text = self.text();
        let Some((before, rest)) = text.split_once("<script data-previewd ") else { return text };
        let (_, after) = rest.split_once("</script>").expect("the tag ends");
        format!("{before}{after}")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    /// A header's value; empty where it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }

    /// Status and the stable code of a problem.
    pub(crate) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text());
        let body = self.json();
        assert_eq!(body["status"], self.status);
        (self.status, body["code"].as_str().expect("code").to_owned())
    }
}

impl Http {
    pub(crate) fn new(address: &str, token: &str) -> Self {
        // Nothing is asked for or decoded that the test does not see. No connection is kept: it would belong to the runtime of one test, and a daemon may be shared by several.
        let client = Client::builder().no_proxy().pool_max_idle_per_host(0).redirect(reqwest::redirect::Policy::none());
        let client = client.no_gzip().no_brotli().no_deflate().no_zstd().build().expect("client");
        Self { client, address: address.trim().to_owned(), token: token.trim().to_owned() }
    }

    /// A request without a token.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn send(request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.bytes().await.expect("a body").to_vec() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Self::send(self.request(Method::GET, path).bearer_auth(&self.token)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        Self::send(self.request(Method::POST, path).bearer_auth(&self.token).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Self::send(self.request(Method::DELETE, path).bearer_auth(&self.token)).await
    }

    /// A request to a preview's own origin, without a token.
    pub(crate) async fn preview(&self, label: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let port = self.address.rsplit(':').next().expect("port");
        let request = self.request(Method::GET, path).header(HOST, format!("{label}.localhost:{port}"));
        Self::send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }
}
