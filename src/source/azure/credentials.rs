//! Where the storage account is and how to prove who we are, from the environment alone.
//!
//! Invariant: a secret is wrapped as soon as it is read and is in no error and no `Debug`
//! output. Empty variables count as unset, so a deployment can blank one out.
//!
//! The first that applies wins: `AZURE_STORAGE_CONNECTION_STRING`; the account's name with
//! its key; its name with a SAS; then workload identity, then managed identity.

use std::sync::Arc;

use azure_core::credentials::{Secret, TokenCredential};
use azure_core::http::{ClientOptions, RetryOptions, Url};
use azure_identity::{
    ClientAssertionCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};

use super::SourceError;

const CONNECTION_STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";
const ACCOUNT_NAME: &str = "AZURE_STORAGE_ACCOUNT_NAME";
const ACCOUNT_KEY: &str = "AZURE_STORAGE_ACCOUNT_KEY";
const SAS_TOKEN: &str = "AZURE_STORAGE_SAS_TOKEN";
/// Overrides the endpoint in every case: sovereign clouds, private endpoints, emulators.
const BLOB_ENDPOINT: &str = "AZURE_STORAGE_BLOB_ENDPOINT";

const PUBLIC_CLOUD_SUFFIX: &str = "core.windows.net";
/// The storage emulator's account and key are public: the same on every machine, by design.
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// How requests are authorized.
#[derive(Debug)]
pub(super) enum Credential {
    SharedKey {
        account: String,
        key: Secret,
    },
    /// A query string without the leading `?`.
    Sas(Secret),
    Token(Arc<dyn TokenCredential>),
}

/// An account's blob endpoint, without a trailing slash in its path, and the key to it.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) endpoint: Url,
    pub(super) credential: Credential,
}

type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Account {
    pub(super) fn from_env(env: Env<'_>) -> Result<Self, SourceError> {
        let get = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let endpoint = get(BLOB_ENDPOINT);
        if let Some(text) = get(CONNECTION_STRING) {
            return from_connection_string(&text, endpoint);
        }
        let name = get(ACCOUNT_NAME);
        let credential = match (&name, get(ACCOUNT_KEY), get(SAS_TOKEN)) {
            (Some(account), Some(key), _) => Credential::SharedKey { account: account.clone(), key: Secret::new(key) },
            (None, Some(_), _) => return Err(misconfigured(format!("{ACCOUNT_KEY} needs {ACCOUNT_NAME}"))),
            (_, None, Some(token)) => sas(&token),
            (_, None, None) => {
                if name.is_none() && endpoint.is_none() {
                    return Err(misconfigured(format!(
                        "no credentials for Azure: set {CONNECTION_STRING}, or {ACCOUNT_NAME} with {ACCOUNT_KEY}, {SAS_TOKEN} or a managed identity"
                    )));
                }
                identity(&get)?
            }
        };
        let endpoint = match (endpoint, name) {
            (Some(endpoint), _) => endpoint,
            (None, Some(name)) => public_endpoint("https", &name, PUBLIC_CLOUD_SUFFIX)?,
            (None, None) => return Err(misconfigured(format!("{SAS_TOKEN} needs {ACCOUNT_NAME} or {BLOB_ENDPOINT}"))),
        };
        Self::new(&endpoint, credential)
    }

    fn new(endpoint: &str, credential: Credential) -> Result<Self, SourceError> {
        // The text is not repeated: somebody may have pasted a URL with a SAS.
        let endpoint = Url::parse(endpoint.trim_end_matches('/')).ok();
        let usable = |url: &Url| matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.password().is_none();
        let Some(endpoint) = endpoint.filter(usable) else {
            return Err(misconfigured("the blob endpoint is no http or https URL without query and password"));
        };
        if matches!(credential, Credential::Token(_)) && endpoint.scheme() != "https" {
            return Err(misconfigured("a managed or workload identity needs an https endpoint"));
        }
        Ok(Self { endpoint, credential })
    }

    /// Every text that must not leave the process, in the forms in which it travels.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        match &self.credential {
            Credential::SharedKey { key, .. } => vec![key.clone()],
            Credential::Sas(token) => {
                let mut all = vec![token.clone()];
                for pair in token.secret().split('&') {
                    all.extend(pair.strip_prefix("sig=").map(|raw| Secret::new(raw.to_owned())));
                }
                let query = Url::parse(&format!("http://sas/?{}", token.secret()));
                let pairs = query.iter().flat_map(|url| url.query_pairs());
                all.extend(pairs.filter(|(name, _)| name == "sig").map(|(_, value)| Secret::new(value.into_owned())));
                all
            }
            // Tokens come and go inside of the client: only their shape is known.
            Credential::Token(_) => Vec::new(),
        }
    }
}

fn from_connection_string(text: &str, endpoint: Option<String>) -> Result<Account, SourceError> {
    let bad = |why: &str| misconfigured(format!("{CONNECTION_STRING}: {why}"));
    let mut fields = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        // Keys and signatures have '=' in them: only the first one separates.
        fields.push(part.split_once('=').ok_or_else(|| bad("a part is not name=value"))?);
    }
    let field = |name: &str| {
        let found = fields.iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    if field("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        let key = Secret::new(EMULATOR_KEY);
        let credential = Credential::SharedKey { account: EMULATOR_ACCOUNT.to_owned(), key };
        return Account::new(endpoint.as_deref().unwrap_or(EMULATOR_ENDPOINT), credential);
    }
    let name = field("AccountName");
    let credential = match (name, field("AccountKey"), field("SharedAccessSignature")) {
        (Some(account), Some(key), _) => Credential::SharedKey { account: account.to_owned(), key: Secret::new(key.to_owned()) },
        (_, _, Some(token)) => sas(token),
        _ => return Err(bad("neither AccountName with AccountKey nor SharedAccessSignature")),
    };
    let endpoint = match (endpoint, field("BlobEndpoint"), name) {
        (Some(endpoint), _, _) => endpoint,
        (None, Some(endpoint), _) => endpoint.to_owned(),
        (None, None, Some(name)) => {
            let protocol = field("DefaultEndpointsProtocol").unwrap_or("https");
            public_endpoint(protocol, name, field("EndpointSuffix").unwrap_or(PUBLIC_CLOUD_SUFFIX))?
        }
        (None, None, None) => return Err(bad("neither BlobEndpoint nor AccountName")),
    };
    Account::new(&endpoint, credential)
}

fn public_endpoint(protocol: &str, account: &str, suffix: &str) -> Result<String, SourceError> {
    // It becomes a host name: nothing in it may end the host early.
    if !account.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        return Err(misconfigured("the storage account's name may have lower-case letters and digits only"));
    }
    Ok(format!("{protocol}://{account}.blob.{suffix}"))
}

fn sas(token: &str) -> Credential {
    // A bare '+' in a signature would be read as a space by whoever decodes the query.
    Credential::Sas(Secret::new(token.trim_start_matches('?').replace('+', "%2B")))
}

fn identity(get: &dyn Fn(&str) -> Option<String>) -> Result<Credential, SourceError> {
    // Only our own retry, which runs the whole request again, see `retry`.
    let client_options = ClientOptions { retry: RetryOptions::none(), ..ClientOptions::default() };
    let client_id = get("AZURE_CLIENT_ID");
    let token: Arc<dyn TokenCredential> = match (get("AZURE_FEDERATED_TOKEN_FILE"), get("AZURE_TENANT_ID")) {
        (Some(file), Some(tenant)) if client_id.is_some() => {
            let options = WorkloadIdentityCredentialOptions {
                credential_options: ClientAssertionCredentialOptions { client_options },
                client_id,
                tenant_id: Some(tenant),
                token_file_path: Some(file.into()),
            };
            WorkloadIdentityCredential::new(Some(options)).map_err(|e| misconfigured(e.to_string()))?
        }
        (Some(_), _) => {
            return Err(misconfigured("AZURE_FEDERATED_TOKEN_FILE needs AZURE_CLIENT_ID and AZURE_TENANT_ID"));
        }
        (None, _) => {
            let user_assigned_id = client_id.map(UserAssignedId::ClientId);
            let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
            ManagedIdentityCredential::new(Some(options)).map_err(|e| misconfigured(e.to_string()))?
        }
    };
    Ok(Credential::Token(token))
}

fn misconfigured(why: impl Into<String>) -> SourceError {
    SourceError::Misconfigured(why.into())
}

#[cfg(test)]
mod tests;
