//! The program `nearcast-edge`.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::client::{Client, Protocol};
use crate::fixture::soon;

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast-edge"));
    command
        .args(["--id", "a", "--root"])
        .arg(folder)
        .arg("--ca-dir")
        .arg(folder.join("ca"))
        .env_remove("NEARCAST_EDGE_SECRET")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Starts it and reads its line.
fn start(command: &mut Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    if line.is_empty() {
        let mut error = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut error)
            .unwrap();
        panic!("it did not start: {error}");
    }
    (child, line)
}

fn field<'a>(line: &'a str, name: &str) -> &'a str {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .unwrap()
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_when_it_is_ready_serves_and_ends_on_sigterm() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hello.mpd"), "<MPD/>").unwrap();
    let log = folder.path().join("access.jsonl");
    let mut command = command(folder.path());
    command.args([
        "--plain",
        "127.0.0.1:0",
        "--rate",
        "20mbps",
        "--delay",
        "1ms",
    ]);
    // One that is set to nothing is none.
    command.env("NEARCAST_EDGE_SECRET", "");
    let (mut child, line) = start(command.arg("--access-log").arg(&log));
    assert!(
        line.starts_with("ready id=a base_url=https://127.0.0.1:"),
        "{line}"
    );
    let ca = std::fs::read_to_string(field(&line, "ca")).unwrap();
    for (protocol, url) in [
        (Protocol::H2, field(&line, "base_url")),
        (Protocol::H3, field(&line, "base_url")),
        (Protocol::Http1, field(&line, "plain_url")),
        (Protocol::Http1, field(&line, "admin_url")),
    ] {
        let mut client = soon(Client::connect(protocol, url, &ca)).await.unwrap();
        let path = if url == field(&line, "admin_url") {
            "/healthz"
        } else {
            "/hello.mpd"
        };
        assert_eq!(soon(client.get(path)).await.unwrap().status, 200);
    }
    terminate(&child);
    let status = tokio::task::spawn_blocking(move || child.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 3);
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_hangs_does_not_keep_it_from_ending() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    // Nobody reads it.
    let mut both = std::fs::OpenOptions::new();
    let reader = both.read(true).write(true).open(&pipe).unwrap();
    let mut command = command(folder.path());
    command.args(["--plain", "127.0.0.1:0"]);
    let (mut child, line) = start(command.arg("--access-log").arg(&pipe));
    let url = field(&line, "plain_url");
    let mut client = soon(Client::connect(Protocol::Http1, url, ""))
        .await
        .unwrap();
    // More than a pipe holds: 64 KiB on Linux.
    let path = format!("/{}", "x".repeat(1000));
    for _ in 0..100 {
        assert_eq!(soon(client.get(&path)).await.unwrap().status, 404);
    }
    terminate(&child);
    let ended = tokio::task::spawn_blocking(move || child.wait());
    assert_eq!(soon(ended).await.unwrap().unwrap().code(), Some(0));
    drop(reader);
}

#[cfg(unix)]
fn terminate(child: &Child) {
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.unwrap().success());
}

/// What an edge that cannot report says first: its warning, and nothing of the verifier of certificates before.
fn warning(command: &mut Command, backend: &str, secret: &str) -> String {
    let (mut child, _) = start(
        command
            .args(["--prefix", "127.0.0.0/8", "--backend", backend])
            .args(["--secret", secret]),
    );
    let mut line = String::new();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    err.read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    line
}

/// Answers every report like a backend that does not know the secret.
async fn refuse_all(listener: tokio::net::TcpListener) {
    let refusal = r#"{"title":"The secret is wrong.","status":401,"code":"secret_wrong"}"#;
    let answer = (axum::http::StatusCode::UNAUTHORIZED, refusal);
    let router = axum::Router::new().fallback(move || async move { answer });
    axum::serve(listener, router).await.unwrap();
}

/// Answers like a proxy before a backend that is away, at more length than any backend.
async fn apologise(listener: tokio::net::TcpListener) {
    let page = format!("<html>{}</html>", "<!-- sorry -->".repeat(10_000));
    let answer = (axum::http::StatusCode::BAD_GATEWAY, page);
    let router = axum::Router::new().fallback(async move || answer.clone());
    axum::serve(listener, router).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_report_is_told_why_and_what_to_check() {
    let folder = tempfile::tempdir().unwrap();
    // A root without a title would be told first.
    std::fs::create_dir(folder.path().join("title")).unwrap();
    std::fs::write(folder.path().join("title/stream.mpd"), "<MPD/>").unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(refuse_all(listener));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let apologising = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(apologise(listener));
    let other = crate::fixture::edge().await;
    let other = other.edge.base_url().trim_end_matches('/').to_owned();
    for (backend, reason, check) in [
        // Nobody listens there.
        ("http://127.0.0.1:9", "Connection refused", "is --backend"),
        (&refusing, "401 \"secret_wrong\": \"The", "is --secret"),
        (&apologising, "the answer is 502", "is --backend"),
        (&other, "invalid peer certificate", "is --ca-dir"),
    ] {
        let mut command = command(folder.path());
        let backend = backend.to_owned();
        let line = tokio::task::spawn_blocking(move || warning(&mut command, &backend, "hush"));
        let line = soon(line).await.unwrap();
        assert!(line.contains(" WARN ") && line.contains(reason), "{line}");
        assert_eq!(line.matches(reason).count(), 1, "{line}");
        assert!(line.contains(&format!("check=\"{check} ")), "{line}");
        assert!(!line.contains("hush"), "{line}");
    }
}

fn fails(command: &mut Command, code: i32) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let error = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(code), "{error}");
    assert!(stdout.is_empty());
    error
}

#[test]
fn what_is_wrong_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let tcp = taken.local_addr().unwrap().to_string();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let of_udp = udp.local_addr().unwrap().to_string();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let cases: [(&[&str], String); 9] = [
        (
            &["--listen", &tcp],
            format!(
                "listen.in_use: port {port} of 127.0.0.1 is in use (HTTPS, TCP); choose another one with --listen, or \
                 end the program that has it\n"
            ),
        ),
        (
            &["--listen", &of_udp],
            format!(
                "listen.in_use: port {} of 127.0.0.1 is in use (HTTP/3, UDP); choose another one with --listen",
                udp.local_addr().unwrap().port()
            ),
        ),
        (
            &["--plain", &tcp],
            format!(
                "listen.in_use: port {port} of 127.0.0.1 is in use (plain HTTP, TCP); choose another one with --plain"
            ),
        ),
        (
            &["--admin", &tcp],
            format!("listen.in_use: port {port} of 127.0.0.1 is in use (admin, TCP); choose another one with --admin"),
        ),
        // An address for documentation: it is no machine's own.
        (
            &["--plain", "192.0.2.1:0"],
            "listen.failed: cannot listen on 192.0.2.1:0 (plain HTTP, TCP): ".to_owned(),
        ),
        (
            &["--listen", "0.0.0.0:0"],
            "listen.no_host: clients cannot be told how to reach this edge: it would listen on any address \
             (0.0.0.0:0); give the name or address they use with --host, or a certain address with --listen\n"
                .to_owned(),
        ),
        (
            &["--admin", "0.0.0.0:0"],
            "listen.not_loopback: the admin port must be on loopback".to_owned(),
        ),
        (
            &["--backend", "ftp://x", "--secret", "s"],
            "config.backend_url: the backend's URL `ftp://x` is not an http".to_owned(),
        ),
        (
            &["--access-log", "/nowhere/at/all"],
            "access_log.unusable: cannot write the access log /nowhere/at/all: ".to_owned(),
        ),
    ];
    for (arguments, expected) in cases {
        let error = fails(command(folder.path()).args(arguments), 1);
        let expected = format!("nearcast-edge: {expected}");
        assert!(error.starts_with(&expected), "{error}\n{expected}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.matches("os error").count() <= 1, "{error}");
    }
    let file = folder.path().join("file");
    for (root, ca, expected) in [
        (
            Path::new("/nowhere/at/all"),
            folder.path(),
            "config.root: cannot serve /nowhere/at/all: ",
        ),
        (
            folder.path(),
            &file,
            "ca.unusable: no certificate authority in ",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast-edge"));
        command.args(["--id", "a", "--root"]).arg(root);
        let error = fails(command.arg("--ca-dir").arg(ca), 1);
        assert!(
            error.starts_with(&format!("nearcast-edge: {expected}")),
            "{error}"
        );
    }
}

#[test]
fn a_root_without_a_title_is_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("v1")).unwrap();
    let (mut child, line) = start(&mut command(folder.path()));
    assert!(line.starts_with("ready "), "{line}");
    let mut told = String::new();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    err.read_line(&mut told).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        told.starts_with("nearcast-edge: no manifest") && told.contains("v1/"),
        "{told}"
    );
}

#[test]
fn usage_mistakes_end_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for (wrong, expected) in [
        (&["--rate", "fast"][..], "give a rate with its unit"),
        (&["--plain"], "give an address, as 127.0.0.1:8080"),
        (&["--plain", "8080"], "give an address, as 127.0.0.1:8080"),
        (&["--prefix", "here"], "give an address and a length"),
        (&["--host", "no name"], "give a host name or an address"),
        (&["--position", "1"], "give latitude and longitude"),
        (&["--backend", "http://x"], "--secret"),
        (&["--backend", "http://x", "--secret", ""], "--secret"),
        (&["--root", "twice"], "cannot be used multiple times"),
    ] {
        let error = fails(command(folder.path()).args(wrong), 2);
        assert!(error.contains(expected), "{error}");
    }
    for id in ["", "a b", "a/b", "..", "\u{7}"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast-edge"));
        let error = fails(command.args(["--root", ".", "--id", id]), 2);
        assert!(error.contains("must be 1 to 64 letters, digits"), "{error}");
    }
}
