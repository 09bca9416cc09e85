//! `nearcast-lab mutants`, as far as it goes without building: `make mutants` does all of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

fn mutants() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast-lab"));
    command.arg("mutants").current_dir(workspace());
    command
}

/// Who changes what a mutation changes makes the mutation anew.
#[test]
fn every_mutation_can_still_be_made() {
    let output = mutants().arg("--check").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let kept = fs::read_dir(workspace().join("tests/mutations")).unwrap();
    let kept =
        kept.filter(|file| file.as_ref().unwrap().path().extension() == Some("patch".as_ref()));
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(told, format!("{} mutations can be made\n", kept.count()));
}

#[test]
fn a_mutation_that_cannot_be_made_any_more_is_told_by_its_name() {
    let room = TempDir::new().unwrap();
    let patch =
        "Nothing.\n--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-no such line\n+another\n";
    fs::write(room.path().join("stale.patch"), patch).unwrap();
    let output = mutants().arg("--dir").arg(room.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("stale.patch does not fit") && said.contains("README.md"),
        "{said}"
    );
}

/// The compiler is one that never ends.
#[test]
fn an_interrupt_ends_the_compiler_too() {
    let room = TempDir::new().unwrap();
    let cargo = room.path().join("cargo");
    let begun = room.path().join("begun");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = build ] || {{ echo '{}/Cargo.toml'; exit; }}\nsleep 1000 &\necho $! > '{}.new' && mv '{}.new' '{}'\nwait\n",
        workspace().display(),
        begun.display(),
        begun.display(),
        begun.display()
    );
    fs::write(&cargo, script).unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o755)).unwrap();
    let scenario = workspace().join("tests/scenarios/characterisation/shock.toml");
    let mut child = mutants()
        .args(["--only", "breaker-never-opens", "--seeds", "1"])
        .arg("--room")
        .arg(room.path().join("room"))
        .arg(scenario)
        .env("CARGO", &cargo)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    while !begun.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        assert!(
            Command::new("sleep")
                .arg("0.05")
                .status()
                .unwrap()
                .success()
        );
    }
    let interrupt = ["-INT", &child.id().to_string()];
    assert!(
        Command::new("kill")
            .args(interrupt)
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("interrupted"), "{told}");
    let sleeper = fs::read_to_string(&begun).unwrap();
    // Dead is also who nobody has asked what came of it.
    let state = ["-o", "stat=", "-p", sleeper.trim()];
    let state = Command::new("ps").args(state).output().unwrap().stdout;
    let state = String::from_utf8(state).unwrap();
    assert!(state.is_empty() || state.starts_with('Z'), "{state}");
}
