//! What is said outside of the configuration file: environment variables, and systemd's credentials.
//!
//! A credential is a file in `$CREDENTIALS_DIRECTORY` (`LoadCredential=` of a unit) that is named like the variable which
//! it stands for. So a secret needs neither to be in the environment, which children and `/proc` show, nor in a file
//! that the daemon's user owns. A real variable wins; an empty file says nothing.
//!
//! Invariant: no error and no `Debug` repeats a value.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// Variables that override a key: `PREVIEWD__SECTION__KEY`.
pub(super) const PREFIX: &str = "PREVIEWD__";
/// Where systemd puts a unit's credentials.
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// Largest credential, in bytes: hundreds of tokens, and far more than any key of a storage account.
const CREDENTIAL_BYTES_MAX: u64 = 64 * 1024;
/// What a credential can be besides an override of a key: the variables that the source's client asks for.
const OTHER_CREDENTIALS: [&str; 8] = [
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_BLOB_ENDPOINT",
    "AZURE_CLIENT_ID",
    "AZURE_TENANT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
];

/// Variables and credentials, by name.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Environment {{ {} names }}", self.0.len())
    }
}

impl Environment {
    /// What this process was started with.
    pub fn read() -> Result<Self, ConfigError> {
        let vars: BTreeMap<_, _> = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
        let credentials = vars.get(CREDENTIALS_DIRECTORY).map(PathBuf::from);
        Self::new(vars, credentials.as_deref())
    }

    /// `vars`, and below them the credentials in a directory.
    pub(super) fn new(vars: BTreeMap<String, OsString>, credentials: Option<&Path>) -> Result<Self, ConfigError> {
        let mut all = credentials.map(read_credentials).transpose()?.unwrap_or_default();
        all.extend(vars);
        Ok(Self(all))
    }

    /// A variable or credential that is text.
    pub fn get(&self, name: &str) -> Option<String> {
        self.0.get(name)?.to_str().map(str::to_owned)
    }

    /// What overrides keys, for [`Config::load`](super::Config::load); other variables may be anything.
    pub fn overrides(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let ours = self.0.iter().filter(|(name, _)| name.starts_with(PREFIX));
        ours.map(|(name, value)| match value.to_str() {
            Some(value) => Ok((name.clone(), value.to_owned())),
            None => Err(ConfigError::NotText(name.clone())),
        })
        .collect()
    }
}

/// Every credential of a directory; one that nobody would read is an error: it is a secret with a misspelt name.
fn read_credentials(dir: &Path) -> Result<BTreeMap<String, OsString>, ConfigError> {
    let failed = |path: &Path, source| ConfigError::Read { path: path.to_owned(), source };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(|e| failed(dir, e))? {
        let path = entry.map_err(|e| failed(dir, e))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(PREFIX) && !OTHER_CREDENTIALS.contains(&name.as_str()) {
            return Err(ConfigError::Credential { name, message: format!("it is not a name that previewd knows ({PREFIX}SECTION__KEY, AZURE_…)") });
        }
        let mut text = Vec::new();
        let file = File::open(&path).map_err(|e| failed(&path, e))?;
        file.take(CREDENTIAL_BYTES_MAX + 1).read_to_end(&mut text).map_err(|e| failed(&path, e))?;
        if text.len() as u64 > CREDENTIAL_BYTES_MAX {
            return Err(ConfigError::Credential { name, message: format!("it has more than {CREDENTIAL_BYTES_MAX} bytes") });
        }
        let text = String::from_utf8(text).map_err(|_| ConfigError::NotText(format!("the credential {name}")))?;
        // Whoever writes such a file with `echo` or an editor ends its line.
        let value = text.trim_end_matches(['\n', '\r']);
        if !value.is_empty() {
            found.insert(name, value.into());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)], files: &[(&str, &[u8])]) -> Result<Environment, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        for (name, content) in files {
            std::fs::write(dir.path().join(name), content).expect("write");
        }
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        Environment::new(vars, Some(dir.path())).map_err(|e| e.to_string())
    }

    #[test]
    fn a_credential_stands_for_the_variable_of_its_name() {
        let files: &[(&str, &[u8])] = &[
            ("PREVIEWD__AUTH__TOKENS", b"hidden-token-0001\nhidden-token-0002\n"),
            ("AZURE_STORAGE_ACCOUNT_KEY", b"a key with a space\r\n"),
            ("AZURE_STORAGE_SAS_TOKEN", b"\n"),
        ];
        let env = read(&[("OTHER", "x")], files).expect("valid");
        assert_eq!(env.get("AZURE_STORAGE_ACCOUNT_KEY").as_deref(), Some("a key with a space"));
        assert_eq!((env.get("AZURE_STORAGE_SAS_TOKEN"), env.get("OTHER").as_deref()), (None, Some("x")));
        let config = super::super::Config::load(None, env.overrides().expect("text")).expect("valid");
        assert_eq!(config.auth.tokens, ["hidden-token-0001", "hidden-token-0002"]);
        assert!(!format!("{env:?} {config:?}").contains("hidden"));
    }

    #[test]
    fn a_variable_wins_over_a_credential() {
        let env = read(&[("AZURE_CLIENT_ID", "variable")], &[("AZURE_CLIENT_ID", b"credential")]).expect("valid");
        assert_eq!(env.get("AZURE_CLIENT_ID").as_deref(), Some("variable"));
    }

    #[test]
    fn what_is_wrong_with_a_credential_is_told_without_its_value() {
        let long = vec![b'x'; usize::try_from(CREDENTIAL_BYTES_MAX).expect("small") + 1];
        let cases: [(&str, &[u8], &str); 4] = [
            ("PREVIEWD_AUTH_TOKENS", b"hidden", "credential PREVIEWD_AUTH_TOKENS: it is not a name that previewd knows"),
            ("AZURE_STORAGE_KEY", b"hidden", "credential AZURE_STORAGE_KEY: it is not a name"),
            ("PREVIEWD__AUTH__TOKENS", b"hidden\xff", "the credential PREVIEWD__AUTH__TOKENS is not UTF-8"),
            ("PREVIEWD__AUTH__TOKENS", &long, "credential PREVIEWD__AUTH__TOKENS: it has more than 65536 bytes"),
        ];
        for (name, content, expected) in cases {
            let message = read(&[], &[(name, content)]).expect_err(name);
            assert!(message.contains(expected) && !message.contains("hidden") && !message.contains("xxx"), "{message}");
        }
        let gone = Environment::new(BTreeMap::new(), Some(Path::new("/no/such/directory"))).expect_err("gone").to_string();
        assert!(gone.contains("/no/such/directory"), "{gone}");
        let dir = tempfile::tempdir().expect("temp dir");
        std::fs::create_dir(dir.path().join("AZURE_CLIENT_ID")).expect("mkdir");
        let folder = Environment::new(BTreeMap::new(), Some(dir.path())).expect_err("a folder").to_string();
        assert!(folder.contains("AZURE_CLIENT_ID"), "{folder}");
    }
}
