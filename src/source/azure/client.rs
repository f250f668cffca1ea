//! The official client, set up: one for the whole process.
//!
//! Invariant: one client means one pool of connections, and it tries nothing twice.

use std::sync::Arc;

use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, RetryOptions, Url};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};

use super::credentials::{Account, Credential};
use super::shared_key::SharedKey;

/// One client, hence one pool of connections, kept open for 90 s after use (the transport's
/// default, without a limit in number; ours is that of the requests under way).
pub(super) fn open(account: Account, container: &str) -> azure_core::Result<BlobContainerClient> {
    let mut url = account.endpoint;
    append(&mut url, container)?;
    // The client's own retry (up to 8 times and 60 s, on refused connections too) would
    // multiply with ours, and knows nothing of bodies that break off. See `retry`.
    let mut client_options = ClientOptions { retry: RetryOptions::none(), ..ClientOptions::default() };
    let mut token = None;
    match account.credential {
        Credential::SharedKey { account, key } => {
            client_options.per_try_policies.push(Arc::new(SharedKey::new(account, key)?));
        }
        Credential::Sas(query) => url.set_query(Some(query.secret())),
        Credential::Token(credential) => token = Some(credential),
    }
    let options = BlobContainerClientOptions { client_options, ..BlobContainerClientOptions::default() };
    BlobContainerClient::new(url, token, Some(options))
}

fn append(url: &mut Url, container: &str) -> azure_core::Result<()> {
    let no_base = || azure_core::Error::with_message(ErrorKind::Other, "the endpoint cannot be a base");
    url.path_segments_mut().map_err(|()| no_base())?.pop_if_empty().push(container);
    Ok(())
}
