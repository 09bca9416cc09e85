//! How far many runs are: a bar on a terminal, elsewhere (in a pipeline, say) a line now and then.

use std::io::Write as _;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use anyhow::{Context as _, Result};
use indicatif::{FormattedDuration, ProgressBar, ProgressStyle};

/// Pipelines end what is silent for minutes, and nobody reads a line each second.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// A count of runs.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    /// Lines are written as long as it is there.
    _lines: Option<Sender<()>>,
}

impl Progress {
    /// Begins to count up to `runs`; in the template, `{msg}` is what is run.
    pub(super) fn new(runs: u64, template: &str) -> Result<Self> {
        let style = ProgressStyle::with_template(template).context("the progress bar")?;
        let bar = ProgressBar::new(runs).with_style(style);
        bar.enable_steady_tick(Duration::from_secs(1));
        let lines = bar.is_hidden().then(|| write_lines(bar.clone()));
        Ok(Self { bar, _lines: lines })
    }

    /// Something is run now.
    pub(super) fn runs(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }

    /// One run more is over.
    pub(super) fn inc(&self) {
        self.bar.inc(1);
    }

    /// Nothing is left to be run.
    pub(super) fn end(self) {
        self.bar.finish_and_clear();
    }
}

/// Writes a line now and then, until what is returned is dropped.
fn write_lines(bar: ProgressBar) -> Sender<()> {
    let (lines, ended) = mpsc::channel();
    std::thread::spawn(move || {
        while ended.recv_timeout(LINE_EVERY) == Err(RecvTimeoutError::Timeout) {
            let (done, all) = (bar.position(), bar.length().unwrap_or_default());
            let elapsed = FormattedDuration(bar.elapsed());
            // Without standard error there is nobody to tell.
            drop(writeln!(
                std::io::stderr(),
                "nearcast-lab: {done} of {all} runs after {elapsed}"
            ));
        }
    });
    lines
}
