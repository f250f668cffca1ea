//! The integration tests: one binary, real parts, temporary directories, port 0.
//!
//! They run the daemon as a process and talk to it as its callers do. `scripts/test` installs what they need.

mod api;
mod authentication;
mod azure;
mod azure_faults;
mod azure_identity;
mod azure_source;
mod browser;
mod builds;
mod cgroups;
mod circuit;
mod cli;
mod clients;
mod crash;
mod credentials;
mod embedding;
mod events;
mod faults;
mod floors;
mod front;
mod harness;
mod healing;
mod hostile_builds;
mod hostile_installs;
mod install;
mod install_integrity;
mod installs;
mod lifecycle;
mod limits;
mod monitoring;
mod nginx;
mod openapi;
mod operations;
mod private;
mod queue;
mod refusals;
mod restart;
mod rollback;
mod serving;
mod sync;
mod sync_safety;
mod systemd;
mod watchdog;
