//! previewd: a build-server daemon that turns a webhook into a live preview.
//!
//! The modules lie on floors, and imports point down only (`tests/it/floors.rs` checks it):
//! see `docs/ARCHITECTURE.md` for the map.

pub mod app;
pub mod auth;
pub mod builder;
pub mod cli;
pub mod config;
pub mod disk;
pub mod domain;
pub mod events;
pub mod http;
pub mod locks;
pub mod metrics;
pub mod notify;
pub mod preview;
pub mod queue;
pub mod release;
pub mod sandbox;
pub mod server;
pub mod source;
pub mod state;
pub mod sync;
pub mod telemetry;
