//! The program: its ready line, its exit status, its one line when something is wrong.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::client_builder;

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast-backend"));
    command
        .current_dir(folder)
        .env_remove("NEARCAST_EDGE_SECRET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Waits for the ready line.
async fn ready(child: &mut Child) -> String {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next_line().await.unwrap().unwrap()
}

/// The value of `name=value` in the ready line.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .unwrap()
}

/// Runs to the end: exit status and stderr.
async fn fails(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().await.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), stderr)
}

#[cfg(unix)]
#[tokio::test]
async fn it_says_where_it_is_and_stops_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = program(folder.path())
        .args(["--listen", "127.0.0.1:0", "--state", "state.redb"])
        .spawn()
        .unwrap();
    let line = ready(&mut child).await;
    assert!(line.starts_with("nearcast-backend ready: url=https://127.0.0.1:"));
    let ca = std::fs::read_to_string(folder.path().join(field(&line, "ca"))).unwrap();
    let client = client_builder(&ca).build().unwrap();
    let health = client.get(format!("{}/healthz", field(&line, "url")));
    assert_eq!(health.send().await.unwrap().text().await.unwrap(), "ok\n");

    // A second one on the same port says so in one line.
    let taken = field(&line, "url").strip_prefix("https://").unwrap();
    let (status, stderr) = fails(program(folder.path()).args(["--listen", taken])).await;
    assert_eq!(status, Some(1));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    let (ip, port) = taken.split_once(':').unwrap();
    let taken =
        format!("nearcast-backend: listen.in_use: port {port} of {ip} is in use (main API); ");
    assert!(stderr.starts_with(&taken), "{stderr}");

    let pid = child.id().unwrap().to_string();
    let told = Command::new("kill").args(["-TERM", &pid]).status().await;
    assert!(told.unwrap().success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
    let mut stderr = String::new();
    let mut pipe = child.stderr.take().unwrap();
    pipe.read_to_string(&mut stderr).await.unwrap();
    assert_eq!(stderr, "");
}

#[tokio::test]
async fn what_is_wrong_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("catalogue.toml"),
        "[[title]]\nid = \"x\"\nname = \"X\"\nduration_ms = 1\nfiles = \"x\"\n",
    )
    .unwrap();
    let run = |arguments: &'static [&'static str]| {
        let mut command = program(folder.path());
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        command
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sealed = taken.local_addr().unwrap();
    let (status, stderr) = fails(run(&[]).arg("--sealed-listen").arg(sealed.to_string())).await;
    assert_eq!(status, Some(1), "{stderr}");
    assert_eq!(
        stderr,
        format!(
            "nearcast-backend: listen.in_use: port {} of 127.0.0.1 is in use (sealed play requests, by default on the \
             port after the one of --listen); choose another one with --sealed-listen, or end the program that has \
             it\n",
            sealed.port()
        )
    );
    for (arguments, expected) in [
        (
            &["--titles", "."][..],
            "nearcast-backend: catalogue.contradiction: ./catalogue.toml:1: files = \"x\" must be a folder",
        ),
        (
            &["--titles", "nothing.toml"],
            "nearcast-backend: catalogue.unreadable: cannot read the catalogue nothing.toml",
        ),
        (
            &["--state", "no/such/folder/state"],
            "nearcast-backend: state.unusable: cannot use the state file no/such/folder/state",
        ),
        (
            &["--ca-dir", "catalogue.toml"],
            "nearcast-backend: ca.unusable: cannot use catalogue.toml",
        ),
        (
            // An address for documentation: it is no machine's own.
            &["--sealed-listen", "192.0.2.1:0"],
            "nearcast-backend: listen.failed: cannot listen on 192.0.2.1:0 (sealed play requests, ",
        ),
        (
            &["--sealed-listen", "[::]:0"],
            "nearcast-backend: listen.no_host: clients cannot be told how to reach this backend: it would listen on any address \
             ([::]:0); give the name or address they use with --public-host",
        ),
    ] {
        let (status, stderr) = fails(&mut run(arguments)).await;
        assert_eq!(status, Some(1), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with(expected), "{stderr}");
        assert!(stderr.matches("os error").count() <= 1, "{stderr}");
    }
}

#[tokio::test]
async fn usage_mistakes_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["--listen", "nowhere"][..],
        &["--what"],
        &["--listen", "0.0.0.0:0"],
        &["--secret", ""],
        &["--public-host", "no name"],
    ] {
        let (status, stderr) = fails(program(folder.path()).args(arguments)).await;
        assert_eq!(status, Some(2), "{stderr}");
    }
    let output = program(folder.path()).arg("--help").output().await.unwrap();
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
}
