//! What the program says about itself.

use std::process::{Command, Output};

fn nearcast(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast"));
    // Help texts show what the environment sets.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NEARCAST_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).env("HOME", "/nonexistent");
    command
}

/// What prints without asking anybody.
const PRINTING: [&[&str]; 4] = [
    &["completions", "bash"],
    &["doctor"],
    &["--help"],
    &["--version"],
];

#[test]
fn what_cannot_be_printed_is_a_failure() {
    for arguments in PRINTING {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = command(arguments).stdout(full.unwrap()).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.starts_with("nearcast: cli.output: "), "{error}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_none() {
    for arguments in PRINTING {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {error}");
        assert_eq!(error, "");
    }
}

fn text(bytes: &[u8]) -> String {
    let text = std::str::from_utf8(bytes).unwrap();
    // Editors and reviews do not see blanks at the end of a line.
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

fn help(command: &str) -> String {
    let output = nearcast(&[command, "--help"]);
    assert!(output.status.success(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn help_texts_are_as_reviewed() {
    for command in ["demo", "titles", "play", "probe", "doctor", "completions"] {
        insta::assert_snapshot!(format!("help_{command}"), help(command));
    }
}

#[test]
fn without_a_command_the_help_is_shown_and_the_status_says_usage() {
    let output = nearcast(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    insta::assert_snapshot!("help", text(&output.stderr));
}

#[test]
fn the_version_names_what_was_compiled_in() {
    let version = text(&nearcast(&["--version"]).stdout);
    let features = if cfg!(feature = "video") {
        "(features: video, sound)"
    } else {
        "(features: sound; built without video)"
    };
    let first = format!("nearcast {} {features}", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.lines().next(), Some(first.as_str()));
}

#[test]
fn shells_get_completions_for_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = nearcast(&["completions", shell]);
        assert!(output.status.success());
        let script = text(&output.stdout);
        for word in ["demo", "probe", "--title-dir", "--give-up"] {
            let word = if shell == "fish" {
                word.trim_start_matches("--")
            } else {
                word
            };
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    // The shell itself takes the script.
    let script = nearcast(&["completions", "bash"]).stdout;
    let script = String::from_utf8(script).unwrap();
    let status = Command::new("bash").args(["-n", "-c", &script]).status();
    assert!(status.unwrap().success());
}

#[test]
fn slips_in_arguments_are_usage_and_say_what_to_write() {
    for (arguments, says) in [
        (&["play"][..], "<SOURCE>"),
        (&["play", "x"], "give --backend URL"),
        (&["play", "x", "--start", "soon"], "write 90s, 10m or 1h30m"),
        (&["play", "x", "--cap", "fast"], "write 1500kbps or 1.5Mbps"),
        (&["play", "x", "--frames", "f"], "--headless"),
        (&["titles"], "Give --backend URL"),
        (&["titles", "--backend", "banana"], "https://banana"),
        (&["probe", "http://a/x", "banana"], "https://banana"),
        (&["probe", "http://a/x", "--http", "h3"], "write https://"),
        (&["play", "http://a/x", "--http", "h2"], "write https://"),
        (&["play", "./x.mp4"], "a file of this machine"),
        (
            &["play", "tests/it/help.rs"],
            "nearcast-edge --id e1 --root FOLDER --plain 127.0.0.1:8080",
        ),
        (
            &["play", "127.0.0.1:8080/title/stream.mpd"],
            "did you mean http://127.0.0.1:8080/title/stream.mpd",
        ),
        (&["completions", "tcsh"], "elvish, fish, powershell, zsh"),
        (&["play", "file:///x.mp4"], "a file of this machine"),
        (
            &["doctor", "--proxy", "http://[", "--backend", "http"],
            "https://http",
        ),
        (
            &["probe", "http://a/x", "--proxy", "p:1"],
            "--proxy p:1 cannot be used",
        ),
        (&["play", "x", "--edge", "a:1"], "https://a:1"),
        (&["play", "x", "--headless", "--frames", "-"], "name a file"),
        (&["play", "x", "--record", "-"], "name a file"),
    ] {
        let output = nearcast(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let error = text(&output.stderr);
        assert!(error.contains(says), "{arguments:?}: {error}");
        // One shell is not like another.
        assert!(!error.contains("similar value"), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_doctor_looks_at_this_machine_without_noise() {
    let output = nearcast(&["doctor"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    for finding in [
        "version", "terminal", "pictures", "sound", "ffmpeg", "settings", "network", "backend",
    ] {
        assert!(out.contains(finding), "{out}");
    }
    assert_eq!(err, "", "libraries are kept quiet");
}

#[test]
fn a_variable_that_is_set_to_nothing_is_none() {
    for name in ["NEARCAST_BACKEND", "NEARCAST_ACCOUNT", "NEARCAST_CA"] {
        let output = command(&["doctor"]).env(name, "").output().unwrap();
        let error = text(&output.stderr);
        assert_ne!(output.status.code(), Some(2), "{name}: {error}");
        assert_eq!(
            text(&output.stdout),
            text(&nearcast(&["doctor"]).stdout),
            "{name}"
        );
    }
    let output = nearcast(&["doctor", "--backend", ""]);
    assert_eq!(output.status.code(), Some(2), "said is said");
}

#[test]
fn the_doctor_tells_what_is_broken_and_goes_on() {
    let config = std::env::temp_dir().join(format!("nearcast-broken-{}.toml", std::process::id()));
    std::fs::write(&config, "backnd = 'x'").unwrap();
    let doctor = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_nearcast"))
            .args(["doctor", "--ca", "/nonexistent/ca.pem"])
            .args(arguments)
            .env("NEARCAST_CONFIG", &config)
            .env("HOME", "/nonexistent")
            .output()
            .unwrap()
    };
    let (people, programs) = (doctor(&[]), doctor(&["--json"]));
    std::fs::remove_file(&config).unwrap();
    for output in [&people, &programs] {
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.starts_with("nearcast: doctor.bad: 2 of"), "{error}");
    }
    let out = text(&people.stdout);
    assert!(
        out.contains("BAD   settings") && out.contains("backnd"),
        "{out}"
    );
    assert!(
        out.contains("BAD   network") && out.contains("ca.pem"),
        "{out}"
    );
    assert!(out.contains("ok    version"), "{out}");
    let found: Vec<serde_json::Value> = serde_json::from_slice(&programs.stdout).unwrap();
    let settings = found.iter().find(|one| one["what"] == "settings").unwrap();
    assert_eq!(settings["state"], "bad");
}

#[test]
fn careless_connections_are_told_by_every_command_that_makes_them() {
    for arguments in [
        &["titles", "--backend", "http://127.0.0.1:9"][..],
        &["probe", "http://127.0.0.1:9/x"],
        &["doctor"],
    ] {
        let output = nearcast(&[arguments, &["--insecure"]].concat());
        let error = text(&output.stderr);
        assert!(
            error.contains("WARNING: --insecure"),
            "{arguments:?}: {error}"
        );
    }
}

#[test]
fn options_of_the_network_are_heeded_by_every_command() {
    let proxy = ["--proxy", "ftp://nowhere"];
    for arguments in [
        &["probe", "http://127.0.0.1:9/x"][..],
        &["titles", "--backend", "http://127.0.0.1:9"],
    ] {
        let output = nearcast(&[arguments, &proxy].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("proxy"), "{error}");
    }
    let output = nearcast(&[&["doctor", "--lookup", "localhost"][..], &proxy].concat());
    let out = text(&output.stdout);
    assert!(
        out.contains("BAD   network") && out.contains("proxy"),
        "{out}"
    );
}
