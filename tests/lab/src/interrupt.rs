//! Ctrl-C ends a run in good order: what was done is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result};

/// Whether somebody wants the run to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches for SIGINT and SIGTERM; the second one ends the process at once.
    pub(crate) fn watch() -> Result<Self> {
        let interrupt = Self::default();
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            let wanted = Arc::clone(&interrupt.0);
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&wanted))
                .and_then(|_| signal_hook::flag::register(signal, wanted))
                .context("watching for Ctrl-C")?;
        }
        Ok(interrupt)
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
