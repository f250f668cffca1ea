//! Azurite, Microsoft's emulator of Azure Storage: started once, each test with a container of its own.
//!
//! Invariant: it ends with the test binary, however that ends: it lives only as long as its standard input is open.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use azure_core::credentials::Secret;
use azure_core::hmac::hmac_sha256;
use azure_core::http::{RequestContent, Url};
use azure_storage_blob::BlobContainerClient;
use futures::{StreamExt, TryStreamExt, stream};
use previewd::config::Config;
use previewd::metrics::Metrics;
use previewd::source::{Source, SourceError};

use super::{Options, files_below, fixture_dir};

/// Azurite's one account and its well-known key.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
pub(crate) const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// Part of every name, with a space in it.
pub(crate) const PREFIX: &str = "team one";
/// A time that has not come yet.
pub(crate) const LATER: &str = "2099-01-01T00:00:00Z";
const SAS_VERSION: &str = "2022-11-02";
/// Uploads at once.
const UPLOADS: usize = 32;
/// Makes a Node program end with its standard input.
const ENDS_WITH_STDIN: &str = "data:text/javascript,process.stdin.on('end',()=>process.exit()).resume()";

/// A running Azurite.
#[derive(Debug)]
pub(crate) struct Azurite {
    process: Child,
    pub(crate) port: u16,
    scheme: &'static str,
}

impl Azurite {
    /// The one that all tests share.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Azurite> = OnceLock::new();
        SHARED.get_or_init(|| Self::spawn("http", &[]))
    }

    /// One with other arguments; ends when dropped.
    pub(crate) fn spawn(scheme: &'static str, arguments: &[&str]) -> Self {
        let main = tools_dir().join("node_modules/azurite/dist/src/blob/main.js");
        assert!(main.exists(), "{} is missing: scripts/test installs it", main.display());
        let mut command = Command::new("node");
        command.args(["--import", ENDS_WITH_STDIN]).arg(main).args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence"]);
        command.args(["--silent", "--disableTelemetry"]).args(arguments).current_dir(std::env::temp_dir());
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("node");
        let mut lines = BufReader::new(process.stdout.take().expect("stdout")).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("successfully listens on")).expect("Azurite starts");
        let port = line.rsplit(':').next().and_then(|port| port.trim().parse().ok()).expect("a port");
        // Whatever else it says must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, port, scheme }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}/{ACCOUNT}", self.scheme, self.port)
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(crate) fn tools_dir() -> PathBuf {
    std::env::var_os("PREVIEWD_TEST_TOOLS").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools"), PathBuf::from)
}

/// A container of a test's own.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub(crate) name: String,
    /// `http://127.0.0.1:1234/devstoreaccount1`: Azurite's own, or of something in front of it.
    pub(crate) endpoint: String,
}

impl Container {
    pub(crate) async fn create() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let container = Self { name: format!("apps-{}", NUMBER.fetch_add(1, Ordering::Relaxed)), endpoint: Azurite::shared().endpoint() };
        container.admin().create(None).await.expect("a container");
        container
    }

    /// Azurite's port.
    pub(crate) fn port() -> u16 {
        Azurite::shared().port
    }

    /// The same one, reached through `endpoint`.
    pub(crate) fn through(&self, endpoint: &str) -> Self {
        Self { endpoint: endpoint.to_owned(), name: self.name.clone() }
    }

    /// A client with all rights.
    pub(crate) fn admin(&self) -> BlobContainerClient {
        let signature = sign(&format!("{ACCOUNT}\nrwdlac\nb\nsco\n\n{LATER}\n\n\n{SAS_VERSION}\n\n"));
        let sas = format!("sv={SAS_VERSION}&ss=b&srt=sco&sp=rwdlac&se={LATER}&sig={signature}");
        let url = Url::parse(&format!("{}/{}?{sas}", self.endpoint, self.name)).expect("url");
        BlobContainerClient::new(url, None, None).expect("client")
    }

    /// The given rights (`rl`: read and list) to this container until `end`.
    pub(crate) fn sas(&self, rights: &str, end: &str) -> String {
        let resource = format!("/blob/{ACCOUNT}/{}", self.name);
        let fields = format!("{rights}\n\n{end}\n{resource}\n\n\n\n{SAS_VERSION}\nc\n\n\n\n\n\n\n");
        format!("sv={SAS_VERSION}&sr=c&sp={rights}&se={end}&sig={}", sign(&fields))
    }

    /// The environment that lets a daemon in with the account's key.
    pub(crate) fn by_key(&self) -> Vec<(String, String)> {
        self.by_this_key(KEY)
    }

    pub(crate) fn by_this_key(&self, key: &str) -> Vec<(String, String)> {
        let text = format!("DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={};", self.endpoint);
        vec![("AZURE_STORAGE_CONNECTION_STRING".to_owned(), text)]
    }

    /// The same with a SAS.
    pub(crate) fn by_sas(&self, sas: &str) -> Vec<(String, String)> {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![variable("AZURE_STORAGE_SAS_TOKEN", sas), variable("AZURE_STORAGE_BLOB_ENDPOINT", &self.endpoint)]
    }

    /// Options of a daemon on this container.
    pub(crate) fn options(&self, env: Vec<(String, String)>) -> Options {
        let options = Options::default().set("source.url", self.url());
        env.into_iter().fold(options, |options, (name, value)| options.env(&name, value))
    }

    fn url(&self) -> String {
        format!("azure://{}/{PREFIX}", self.name)
    }

    /// The source as the daemon opens it, with `PREVIEWD__…` overrides.
    pub(crate) fn source(&self, env: &[(String, String)], overrides: &[(&str, &str)]) -> Source {
        self.try_source(env, overrides).expect("a source")
    }

    pub(crate) fn try_source(&self, env: &[(String, String)], overrides: &[(&str, &str)]) -> Result<Source, SourceError> {
        let url = ("PREVIEWD__SOURCE__URL".to_owned(), self.url());
        let overrides = overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Config::load(None, overrides.chain([url])).expect("config");
        let find = |name: &str| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        Source::open(&config, &find, Arc::new(Metrics::new().expect("metrics")))
    }

    /// The name of a project's blob.
    pub(crate) fn blob_name(project: &str, path: &str) -> String {
        format!("{PREFIX}/{project}/frontend/{path}")
    }

    /// Writes a blob.
    pub(crate) async fn put(&self, project: &str, path: &str, content: impl Into<Vec<u8>>) {
        let blob = self.admin().blob_client(&Self::blob_name(project, path));
        blob.upload(RequestContent::from(content.into()), None).await.expect("upload");
    }

    pub(crate) async fn remove(&self, project: &str, path: &str) {
        self.admin().blob_client(&Self::blob_name(project, path)).delete(None).await.expect("delete");
    }

    /// Writes many blobs.
    pub(crate) async fn put_all(&self, project: &str, files: impl IntoIterator<Item = (String, Vec<u8>)>) {
        let admin = self.admin();
        let uploads = stream::iter(files).map(|(path, content)| {
            let blob = admin.blob_client(&Self::blob_name(project, &path));
            async move { blob.upload(RequestContent::from(content), None).await.map(drop) }
        });
        uploads.buffer_unordered(UPLOADS).try_collect::<()>().await.expect("uploads");
    }

    /// Copies a fixture into the source.
    pub(crate) async fn push_fixture(&self, project: &str, fixture: &str) {
        let dir = fixture_dir(fixture);
        let files = files_below(&dir).into_iter().map(|path| (path.clone(), std::fs::read(dir.join(&path)).expect("read")));
        self.put_all(project, files.collect::<Vec<_>>()).await;
    }
}

fn sign(text: &str) -> String {
    let signature = hmac_sha256(text, &Secret::new(KEY)).expect("hmac");
    signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}
