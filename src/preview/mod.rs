//! What a browser gets of a release: which file, with which headers, under which address.
//!
//! Invariant: a request reaches regular files inside of one release and nothing else.

pub mod cache;
pub mod client;
pub mod headers;
mod live;
pub mod pages;
pub mod report;
pub mod resolve;
pub mod rewrite;
pub mod urls;

pub use client::PreviewClient;
pub use live::{LiveRelease, LiveReleases};
pub use resolve::{Request, Resolved, resolve};
pub use urls::{HostTarget, Urls};

#[cfg(test)]
mod proptests;
