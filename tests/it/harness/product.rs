//! A product that shows previews: another server, on other origins of this machine.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::Daemon;

/// A chat product's own server: the same page at every address of it.
pub(crate) struct Product {
    pub(crate) port: u16,
}

impl Product {
    /// `headers`: whole lines.
    pub(crate) async fn serve(html: String, headers: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{html}",
                    html.len()
                );
                // Browsers open connections ahead of time, and ask nothing on some of them.
                tokio::spawn(async move {
                    let mut request = [0; 8192];
                    let _ = stream.read(&mut request).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { port }
    }

    pub(crate) fn at(&self, host: &str) -> String {
        format!("http://{host}.localhost:{}", self.port)
    }
}

/// The address of a project's preview, in host mode.
pub(crate) fn preview_url(daemon: &Daemon, project: &str) -> String {
    let port = daemon.http.address.rsplit(':').next().expect("port");
    format!("http://{project}.localhost:{port}/")
}
