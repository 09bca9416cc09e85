//! How far many runs are: a bar on a terminal, elsewhere (in a pipeline, say) a line now and then.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// Pipelines end what is silent for minutes, and nobody reads a line each second.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// A count of runs.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    /// How many lines there were time for.
    lines: AtomicU64,
}

impl Progress {
    /// Begins to count up to `runs`; in the template, `{msg}` is what is run.
    pub(super) fn new(runs: u64, template: &str) -> Result<Self> {
        let style = ProgressStyle::with_template(template).context("the progress bar")?;
        let bar = ProgressBar::new(runs).with_style(style);
        bar.enable_steady_tick(Duration::from_secs(1));
        let lines = AtomicU64::new(0);
        Ok(Self { bar, lines })
    }

    /// Something is run now.
    pub(super) fn runs(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// One run more is over.
    pub(super) fn inc(&self) {
        self.bar.inc(1);
        if !self.bar.is_hidden() {
            return;
        }
        let due = self.bar.elapsed().as_secs() / LINE_EVERY.as_secs();
        if self.lines.fetch_max(due, Ordering::Relaxed) < due {
            let (done, all) = (self.bar.position(), self.bar.length().unwrap_or_default());
            let elapsed = indicatif::HumanDuration(self.bar.elapsed());
            // Without standard error there is nobody to tell.
            drop(writeln!(
                std::io::stderr(),
                "nearcast-lab: {done} of {all} runs after {elapsed}"
            ));
        }
    }

    /// Nothing is left to be run.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
