//! Brings the charts' library from npm, exactly as the lock file says, for the page to embed.

use std::error::Error;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

/// What the lock file is made of.
const LOCKED: [&str; 2] = ["package.json", "package-lock.json"];
/// What the page embeds of it.
const TAKEN: [(&str, &str); 3] = [
    ("dist/uPlot.iife.min.js", "uplot.js"),
    ("dist/uPlot.min.css", "uplot.css"),
    ("LICENSE", "uplot.licence"),
];

fn main() -> ExitCode {
    match bring() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without standard error there is nobody to tell.
            let told = writeln!(io::stderr(), "{error}");
            told.map_or(ExitCode::from(2), |()| ExitCode::FAILURE)
        }
    }
}

fn bring() -> Result<(), Box<dyn Error>> {
    let page = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("page");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    for name in LOCKED {
        println!("cargo::rerun-if-changed=page/{name}");
    }
    let room = out.join("npm");
    if !is_installed(&page, &room) {
        install(&page, &room)?;
    }
    for (from, to) in TAKEN {
        let from = room.join("node_modules/uplot").join(from);
        fs::copy(&from, out.join(to)).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    Ok(())
}

/// Whether what is there was installed by the same lock file: it is put beside it last.
fn is_installed(page: &Path, room: &Path) -> bool {
    let read = |folder: &Path| LOCKED.map(|name| fs::read(folder.join(name)).ok());
    room.join("installed").exists() && read(page) == read(room)
}

fn install(page: &Path, room: &Path) -> Result<(), String> {
    let told = |error: io::Error| format!("{}: {error}", room.display());
    if room.exists() {
        fs::remove_dir_all(room).map_err(told)?;
    }
    fs::create_dir_all(room).map_err(told)?;
    for name in LOCKED {
        fs::copy(page.join(name), room.join(name)).map_err(told)?;
    }
    let done = Command::new("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefer-offline",
        ])
        .current_dir(room)
        .output();
    let output = match done {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(
                "npm was not found, and the lab's report page embeds a chart library that comes from it: run \
                 `make setup-test`, or install Node.js (with apt: `apt-get install npm`)"
                    .to_owned(),
            );
        }
        Err(error) => return Err(format!("npm cannot be run: {error}")),
    };
    if !output.status.success() {
        return Err(format!(
            "`npm ci` failed in {}. It needs a registry once, or npm's cache:\n{}",
            room.display(),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    fs::write(room.join("installed"), "").map_err(told)
}
