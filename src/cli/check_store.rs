//! `previewd check-store`: tells what is damaged in store and layers, and removes it where that is asked for.
//!
//! Exit code 1 while something damaged is there. Works on the data directory itself, whether a daemon runs or not.

use std::fmt::Write as _;

use super::{CliError, block_on, print};
use crate::builder::check_store;
use crate::config::Config;
use crate::domain::DataDir;

/// Lines of each kind at most; the counts say how many there are.
const LINES_MAX: usize = 100;

pub(super) fn run(config: &Config, repair: bool) -> Result<(), CliError> {
    block_on(async {
        let root = config.server.data_dir.canonicalize().map_err(|e| anyhow::anyhow!("cannot open {}: {e}", config.server.data_dir.display()))?;
        let checked = check_store(&DataDir::new(root), repair).await.map_err(|e| anyhow::anyhow!("the store cannot be checked: {e}"))?;
        let mut text = format!("{} files checked, {} damaged\n", checked.files, checked.damage.len());
        // Writing to a string cannot fail.
        for damage in checked.damage.iter().take(LINES_MAX) {
            let _ = writeln!(text, "damaged: {}: {}", damage.path.display(), damage.what);
        }
        for path in checked.removed.iter().take(LINES_MAX) {
            let _ = writeln!(text, "removed: {}", path.display());
        }
        if !checked.removed.is_empty() {
            let _ = writeln!(text, "{} removed; builds that need them install them anew", checked.removed.len());
        }
        print(&text);
        match (checked.damage.is_empty(), repair) {
            (false, false) => Err(anyhow::anyhow!("the store is damaged; `previewd check-store --repair` removes what is")),
            _ => Ok(()),
        }
    })
}
