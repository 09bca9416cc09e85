//! Opens what was written earlier: shows it, writes it in another form, compares it with another.

mod read;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::documents::{self, Documents};
use crate::page::{self, Side};
use crate::write;
use crate::{compare, run};

/// What to open, and where to write it.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What `run --json` or `run --jsonl` wrote, a folder of `run --record`, or `nearcast play --report`; several become one
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Puts another such file beside these: figures (means over seeds that are in both), and both timelines in the page
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "junit"])]
    compare: Option<PathBuf>,
    #[command(flatten)]
    documents: Documents,
}

/// Reads and tells; writes what is asked for. Exit status 1 where a document says that its runs were interrupted: it says
/// nothing of the whole. Lines do not say.
pub(crate) fn execute(arguments: &Arguments) -> Result<ExitCode> {
    let is_compared = arguments.compare.is_some();
    let read = arguments.files.iter().chain(&arguments.compare);
    let (read, written): (Vec<&Path>, Vec<&Path>) = (
        read.map(PathBuf::as_path).collect(),
        arguments.documents.paths().collect(),
    );
    documents::check(&written, &read)?;
    let ours = read::all(&arguments.files, is_compared)?;
    let report = &ours.report;
    let mut out = write::printed();
    let Some(path) = &arguments.compare else {
        arguments.documents.write(report, None)?;
        run::tell(&mut out, report)?;
        return Ok(status(report.interrupted));
    };
    let theirs = read::all(std::slice::from_ref(path), is_compared)?;
    let pairs = compare::pairs(&ours, &theirs);
    compare::tell(&mut out, &ours, &theirs, &pairs)?;
    if let Some(html) = &arguments.documents.html {
        let names: Vec<String> = arguments
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        let sides = [
            Side {
                label: &names.join(", "),
                report,
            },
            Side {
                label: &path.display().to_string(),
                report: &theirs.report,
            },
        ];
        let mut file = documents::create(html)?;
        page::write(&mut file, &sides, &pairs)
            .and_then(|()| io::Write::flush(&mut file))
            .with_context(|| format!("writing {}", html.display()))?;
    }
    Ok(status(report.interrupted || theirs.report.interrupted))
}

fn status(interrupted: bool) -> ExitCode {
    if interrupted {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
