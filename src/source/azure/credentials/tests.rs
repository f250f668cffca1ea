//! What each set of variables leads to.

use super::*;

const AZURITE: &str =
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5a2V5a2V5a2V5==;BlobEndpoint=http://127.0.0.1:41000/devstoreaccount1;";

fn open(vars: &[(&str, &str)]) -> Result<Account, String> {
    let env = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Account::from_env(&env).map_err(|e| e.to_string())
}

/// The endpoint, and the credential in short.
fn short(vars: &[(&str, &str)]) -> (String, String) {
    let account = open(vars).unwrap();
    let credential = match &account.credential {
        Credential::SharedKey { account, key } => format!("key {account} {}", key.secret()),
        Credential::Sas(token) => format!("sas {}", token.secret()),
        Credential::Token(token) => format!("{token:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    };
    (account.endpoint.to_string(), credential)
}

fn pair(endpoint: &str, credential: &str) -> (String, String) {
    (endpoint.to_owned(), credential.to_owned())
}

#[test]
fn connection_strings() {
    let from = |text: &str| short(&[(CONNECTION_STRING, text)]);
    assert_eq!(from(AZURITE), pair("http://127.0.0.1:41000/devstoreaccount1", "key devstoreaccount1 a2V5a2V5a2V5a2V5=="));
    assert_eq!(from("UseDevelopmentStorage=true"), pair(EMULATOR_ENDPOINT, &format!("key {EMULATOR_ACCOUNT} {EMULATOR_KEY}")));
    assert_eq!(
        from("AccountName=acct;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn"),
        pair("https://acct.blob.core.chinacloudapi.cn/", "key acct a2V5")
    );
    assert_eq!(
        from(" BlobEndpoint=https://h.example/ ; SharedAccessSignature=?sv=1&sig=a+b%3D ; "),
        pair("https://h.example/", "sas sv=1&sig=a%2Bb%3D")
    );
    let over = [(CONNECTION_STRING, AZURITE), (BLOB_ENDPOINT, "http://127.0.0.1:5/devstoreaccount1/")];
    assert_eq!(short(&over).0, "http://127.0.0.1:5/devstoreaccount1");
}

#[test]
fn single_variables() {
    let name = (ACCOUNT_NAME, "acct");
    let public = "https://acct.blob.core.windows.net/";
    assert_eq!(short(&[name, (ACCOUNT_KEY, "a2V5"), (SAS_TOKEN, "sig=x")]), pair(public, "key acct a2V5"));
    assert_eq!(short(&[name, (ACCOUNT_KEY, ""), (SAS_TOKEN, "?sig=x")]), pair(public, "sas sig=x"));
    let us = (BLOB_ENDPOINT, "https://acct.blob.core.usgovcloudapi.net");
    assert_eq!(short(&[name, us, (SAS_TOKEN, "sig=x")]), pair("https://acct.blob.core.usgovcloudapi.net/", "sas sig=x"));
}

#[test]
fn identities() {
    let name = (ACCOUNT_NAME, "acct");
    assert!(short(&[name]).1.contains("ManagedIdentityCredential"));
    assert!(short(&[name, ("AZURE_CLIENT_ID", "id")]).1.contains("ManagedIdentityCredential"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = ("AZURE_FEDERATED_TOKEN_FILE", file.path().to_str().unwrap());
    let workload = [name, file, ("AZURE_CLIENT_ID", "id"), ("AZURE_TENANT_ID", "tenant")];
    assert!(short(&workload).1.contains("WorkloadIdentityCredential"));
    assert!(open(&[name, file]).unwrap_err().contains("AZURE_TENANT_ID"));
    assert!(open(&[name, (BLOB_ENDPOINT, "http://h/")]).unwrap_err().contains("https"));
}

#[test]
fn mistakes_are_told_without_secrets() {
    let cases: [&[(&str, &str)]; 9] = [
        &[],
        &[(ACCOUNT_KEY, "hunter2")],
        &[(SAS_TOKEN, "sig=hunter2")],
        &[(CONNECTION_STRING, "hunter2")],
        &[(CONNECTION_STRING, "AccountKey=hunter2")],
        &[(CONNECTION_STRING, "AccountName=evil.example/x;AccountKey=hunter2")],
        &[(CONNECTION_STRING, "AccountName=a;AccountKey=hunter2;DefaultEndpointsProtocol=ftp")],
        &[(SAS_TOKEN, "sig=hunter2"), (BLOB_ENDPOINT, "https://h/?sig=hunter2")],
        &[(SAS_TOKEN, "sig=hunter2"), (BLOB_ENDPOINT, "hunter2")],
    ];
    for vars in cases {
        let error = open(vars).unwrap_err();
        assert!(!error.is_empty() && !error.contains("hunter2"), "{vars:?}: {error}");
    }
}

#[test]
fn debug_prints_no_secret_and_all_forms_of_it_are_known() {
    let account = open(&[(ACCOUNT_NAME, "acct"), (SAS_TOKEN, "sv=1&sig=a%2Fb%3D&se=2")]).unwrap();
    assert!(!format!("{account:?}").contains("a%2Fb"));
    let known: Vec<String> = account.secrets().iter().map(|s| s.secret().to_owned()).collect();
    assert_eq!(known, ["sv=1&sig=a%2Fb%3D&se=2", "a%2Fb%3D", "a/b="]);
    let account = open(&[(CONNECTION_STRING, AZURITE)]).unwrap();
    assert!(!format!("{account:?}").contains("a2V5"));
    assert_eq!(account.secrets().len(), 1);
}
