//! Where results go.

use std::fs;
use std::io::{self, StdoutLock, Write};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Standard output; a reader that has seen enough is no error, and what is found out counts all the same.
#[derive(Debug)]
pub(crate) struct Printed(StdoutLock<'static>);

/// Returns where results are printed.
pub(crate) fn printed() -> Printed {
    Printed(io::stdout().lock())
}

impl Write for Printed {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        unless_cut_off(self.0.write(text), text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_cut_off(self.0.flush(), ())
    }
}

fn unless_cut_off<T>(result: io::Result<T>, all: T) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(all),
        other => other,
    }
}

/// Prints.
pub(crate) fn print(text: &str) -> Result<()> {
    let done = printed().write_all(text.as_bytes());
    done.context("standard output")
}

/// Prints beside the results.
pub(crate) fn tell(text: &str) -> Result<()> {
    std::io::stderr()
        .lock()
        .write_all(text.as_bytes())
        .context("standard error")
}

/// Writes a file, into a folder that is made where there is none.
pub(crate) fn file(path: &Path, text: &str) -> Result<()> {
    let writing = || format!("writing {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(writing)?;
    }
    fs::write(path, text).with_context(writing)
}

/// Whether JSON goes to standard output, which is its own then.
pub(crate) fn is_printed(json: Option<&Path>) -> bool {
    json.is_some_and(|path| path.as_os_str() == "-")
}

/// Prints a table, or where it is to be JSON on standard output, only that; else JSON goes to its file.
pub(crate) fn table(
    json: Option<&Path>,
    text: impl FnOnce() -> String,
    as_json: impl FnOnce() -> Result<String>,
) -> Result<()> {
    match json {
        Some(_) if is_printed(json) => print(&as_json()?),
        Some(path) => {
            print(&text())?;
            file(path, &as_json()?)
        }
        None => print(&text()),
    }
}
