//! Numbers of the rule `horizon` in files.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nearcast_core::abr::HorizonConfig;
use serde_json::Value;

/// Reads numbers; those that a file does not name are the product's own.
pub(crate) fn read(path: &Path) -> Result<HorizonConfig> {
    let place = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(place)?;
    let told: Value = serde_json::from_str(&text).with_context(place)?;
    let known = serde_json::to_value(HorizonConfig::default())?;
    for name in told.as_object().into_iter().flatten().map(|(name, _)| name) {
        ensure!(
            known.get(name).is_some(),
            "{}: there is no number \"{name}\"",
            place()
        );
    }
    serde_json::from_value(told).with_context(place)
}
