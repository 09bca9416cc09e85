//! `nearcast play` without a screen, from a small server in this process.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// A title of five seconds.
const MEDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../sdk/player/tests/data");

/// Serves that title.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || answer(stream));
        }
    });
    url
}

/// Answers requests, one after the other, until the client goes.
fn answer(mut stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return,
            }
            if line == "\r\n" {
                break;
            }
            lines.push(line.to_ascii_lowercase());
        }
        let path = lines[0].split(' ').nth(1).unwrap().trim_start_matches('/');
        let range = lines
            .iter()
            .find_map(|line| line.strip_prefix("range: bytes="));
        let body = std::fs::read(Path::new(MEDIA).join(path));
        let (status, headers, body) = match (body, range) {
            (Err(_), _) => ("404 Not Found", String::new(), Vec::new()),
            (Ok(body), None) => ("200 OK", String::new(), body),
            (Ok(body), Some(range)) => {
                let (first, last) = range.trim().split_once('-').unwrap();
                let first: usize = first.parse().unwrap();
                let last = last.parse().unwrap_or(usize::MAX).min(body.len() - 1);
                let header = format!("content-range: bytes {first}-{last}/{}\r\n", body.len());
                ("206 Partial Content", header, body[first..=last].to_vec())
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n",
            body.len()
        );
        if stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(&body))
            .is_err()
        {
            return;
        }
    }
}

/// A folder with everything that a person has.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn nearcast(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nearcast"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let is_proxy = name.to_ascii_lowercase().ends_with("_proxy");
            if name.starts_with("NEARCAST_") || name.starts_with("XDG_") || is_proxy {
                command.env_remove(name);
            }
        }
        command
            .env("HOME", self.0.path())
            .current_dir(self.0.path())
            .args(arguments)
            .stdin(Stdio::null());
        command
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_failed(output: &Output, code: &str) -> String {
    let error = text(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{error}\n{}",
        text(&output.stdout)
    );
    assert!(error.starts_with(&format!("nearcast: {code}: ")), "{error}");
    assert!(error.contains("; "), "it says what to do: {error}");
    error
}

/// A play that does not outlive its test, nor [`PATIENCE`]: whoever reads from it does not wait for ever.
struct Running {
    /// `None` when it has ended.
    child: Option<Child>,
    /// Gone when nobody needs to watch any more.
    _watched: mpsc::Sender<()>,
}

/// No play here takes longer, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Running {
    fn spawn(command: &mut Command) -> Self {
        let child = command.spawn().unwrap();
        let pid = Pid::from_child(&child);
        let (watched, gone) = mpsc::channel();
        std::thread::spawn(move || {
            if gone.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                // Who waits for it says what was expected.
                kill_process(pid, Signal::KILL).ok();
            }
        });
        Self {
            child: Some(child),
            _watched: watched,
        }
    }

    fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(self.child()), signal).unwrap();
    }

    /// Waits for its end; returns what was not read yet.
    fn ended(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Waits for a line with these words.
fn wait_for_line(play: &mut Running, words: &str) -> BufReader<std::process::ChildStdout> {
    let mut out = BufReader::new(play.child().stdout.take().unwrap());
    let mut all = String::new();
    while !all.contains(words) {
        assert_ne!(out.read_line(&mut all).unwrap(), 0, "no {words} in {all}");
    }
    out
}

#[test]
fn a_signal_ends_a_play_as_asked_and_its_report_is_written() {
    let url = serve() + "/stream.mpd";
    for number in [Signal::INT, Signal::TERM, Signal::HUP] {
        let home = Home::new();
        let mut play = Running::spawn(
            home.nearcast(&["play", &url, "--headless", "--report", "report.json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        );
        let mut out = wait_for_line(&mut play, "playing");
        play.signal(number);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        let ended = play.ended();
        assert_eq!(ended.status.code(), Some(0), "{}", text(&ended.stderr));
        assert!(rest.contains("stopped"), "the last lines are there: {rest}");
        let report = std::fs::read_to_string(home.path("report.json")).unwrap();
        assert!(report.contains("\"error\": null"), "{report}");
    }
}

/// Somebody who takes a connection and says nothing.
fn silence() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x.mpd", listener.local_addr().unwrap());
    (listener, url)
}

#[test]
fn a_signal_before_anything_was_shown_is_told_by_the_status() {
    let (listener, url) = silence();
    for (number, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let home = Home::new();
        let mut play = Running::spawn(
            home.nearcast(&["play", &url, "--headless", "--report", "report.json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped()),
        );
        let _asked = listener.accept().unwrap();
        play.signal(number);
        let ended = play.ended();
        assert_eq!(ended.status.code(), Some(status), "{}", text(&ended.stderr));
        assert!(home.path("report.json").exists());
    }
}

#[test]
fn a_signal_while_it_waits_to_begin_is_heard() {
    let home = Home::new();
    let pipe = home.path("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    // Nobody reads it, so that nothing begins.
    let url = serve() + "/stream.mpd";
    let log = home.path("log");
    let arguments = [
        "play",
        &url,
        "--headless",
        "--report",
        "pipe",
        "--log",
        "log",
    ];
    let mut play = Running::spawn(
        home.nearcast(&arguments)
            .env("NEARCAST_LOG", "trace")
            .stdout(Stdio::null())
            .stderr(Stdio::piped()),
    );
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains("opening the files")) {
        assert_eq!(play.child().try_wait().unwrap(), None);
        std::thread::park_timeout(Duration::from_millis(10));
    }
    play.signal(Signal::TERM);
    let ended = play.ended();
    assert_eq!(ended.status.code(), Some(143), "{}", text(&ended.stderr));
}

#[test]
fn the_time_being_up_before_the_first_frame_is_in_the_report_too() {
    let (_listener, url) = silence();
    let home = Home::new();
    let output = home
        .nearcast(&[
            "play",
            &url,
            "--headless",
            "--duration",
            "500ms",
            "--report",
            "report.json",
        ])
        .output()
        .unwrap();
    assert_failed(&output, "playback.start_timeout");
    let report = std::fs::read_to_string(home.path("report.json")).unwrap();
    assert!(report.contains("\"playback.start_timeout\""), "{report}");
}

#[test]
fn what_cannot_be_written_is_told_before_anything_is_played() {
    let (listener, url) = silence();
    let home = Home::new();
    std::fs::write(home.path("file"), "").unwrap();
    for (option, code) in [
        ("--report", "cli.report"),
        ("--frames", "cli.frames"),
        ("--record", "cli.record"),
    ] {
        let arguments = ["play", &url, "--headless", option, "file/below"];
        let output = home.nearcast(&arguments).output().unwrap();
        let error = assert_failed(&output, code);
        assert!(error.contains("file/below"), "{error}");
        assert_eq!(text(&output.stdout), "");
    }
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nothing was asked for");
}

#[test]
fn a_full_disk_is_told_at_the_end_and_stands_in_the_report() {
    let url = serve() + "/stream.mpd";
    for (option, code) in [("--frames", "cli.frames"), ("--record", "cli.record")] {
        if option == "--frames" && cfg!(not(feature = "video")) {
            continue;
        }
        let home = Home::new();
        let arguments = ["play", &url, "--headless", option, "/dev/full"];
        let output = home
            .nearcast(&arguments)
            .args(["--report", "report.json"])
            .output()
            .unwrap();
        assert_failed(&output, code);
        let report = std::fs::read_to_string(home.path("report.json")).unwrap();
        assert!(report.contains(&format!("\"{code}\"")), "{report}");
    }
}

#[test]
fn a_report_goes_through_what_is_no_regular_file() {
    let url = serve() + "/nothing.mpd";
    let home = Home::new();
    for to in ["/dev/null", "/dev/stdout"] {
        let output = home
            .nearcast(&["play", &url, "--headless", "--report", to])
            .output()
            .unwrap();
        let error = assert_failed(&output, "edge.not_found");
        assert!(!error.contains("cli.report"), "{error}");
        let out = text(&output.stdout);
        assert_eq!(
            out.contains("nearcast.report/1"),
            to == "/dev/stdout",
            "{out}"
        );
    }
}

#[test]
fn the_cause_of_a_failed_play_comes_before_a_report_that_cannot_be_written() {
    let url = serve() + "/nothing.mpd";
    let output = Home::new()
        .nearcast(&["play", &url, "--headless", "--report", "/dev/full"])
        .output()
        .unwrap();
    let error = assert_failed(&output, "edge.not_found");
    assert!(error.contains("besides, cli.report: "), "{error}");
}

#[test]
fn an_authority_that_is_none_is_named() {
    let home = Home::new();
    std::fs::write(home.path("ca.pem"), "nothing").unwrap();
    let output = home
        .nearcast(&["probe", "https://127.0.0.1:9/x", "--ca", "ca.pem"])
        .output()
        .unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("ca.pem (--ca)") && error.contains("PEM"),
        "{error}"
    );
}

#[test]
fn one_edge_that_cannot_be_measured_is_a_failure() {
    let alive = serve() + "/stream.mpd";
    let dead = "http://127.0.0.1:9/x";
    let output = Home::new()
        .nearcast(&["probe", &alive, dead])
        .output()
        .unwrap();
    let error = assert_failed(&output, "net.connect_refused");
    assert!(
        error.contains("1 of 2 edges") && error.contains(dead),
        "{error}"
    );
    assert!(text(&output.stdout).contains("connected after"));
}

#[test]
fn an_account_that_the_backend_does_not_know_is_told_as_such() {
    use nearcast_backend_server::{Backend, BackendConfig, Catalogue};
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = BackendConfig {
        plain: true,
        ..BackendConfig::loopback(Catalogue::default())
    };
    let backend = runtime.block_on(Backend::start(config)).unwrap();
    let nobody = ["--backend", backend.url(), "--account", "nobody"];
    let run = |command: &[&str]| {
        let arguments = [command, &nobody].concat();
        Home::new().nearcast(&arguments).output().unwrap()
    };
    for command in [&["titles"][..], &["play", "x", "--headless"]] {
        let error = assert_failed(&run(command), "backend.problem");
        assert!(
            error.contains("\"nobody\"") && error.contains("--account NAME"),
            "{error}"
        );
    }
    let findings = text(&run(&["doctor"]).stdout);
    assert!(findings.contains("--account NAME"), "{findings}");
}

/// Somebody who answers everything with a status.
fn refuse(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x.mpd", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let head =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            // One that went away got its answer.
            stream.write_all(head.as_bytes()).ok();
        }
    });
    url
}

#[test]
fn an_edge_that_wants_a_token_is_not_said_to_get_one_from_nowhere() {
    let url = refuse("401 Unauthorized");
    for command in [&["probe", &url][..], &["play", &url, "--headless"]] {
        let output = Home::new().nearcast(command).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("edge.token_rejected"), "{error}");
        assert!(error.contains("with --backend URL"), "{error}");
        assert!(!error.contains("asks the backend"), "{error}");
    }
}

#[test]
fn what_the_title_does_not_have_is_told_with_what_there_is() {
    let url = serve() + "/stream.mpd";
    let home = Home::new();
    let play = |wish: &[&str]| {
        let mut play = home.nearcast(&[&["play", &url, "--headless"][..], wish].concat());
        play.stdout(Stdio::piped()).stderr(Stdio::piped());
        play
    };
    for (wish, note) in [
        (
            ["--start", "5h"],
            "--start 5:00:00 is not before the end at 0:00:05: played from the beginning",
        ),
        (
            ["--cap", "1bps"],
            "--cap 1 bit/s is below the lowest rung: played at its ",
        ),
        (
            ["--audio", "xx"],
            "--audio xx is not there; there is: one of no language",
        ),
        (
            ["--subtitles", "xx"],
            "--subtitles xx is not there; there is: en",
        ),
    ] {
        let mut play = Running::spawn(&mut play(&wish));
        let mut notes = BufReader::new(play.child().stderr.take().unwrap());
        let mut said = String::new();
        notes.read_line(&mut said).unwrap();
        assert!(
            said.starts_with(&format!("nearcast: note: {note}")),
            "{said}"
        );
        let mut out = wait_for_line(&mut play, "playing");
        play.signal(Signal::TERM);
        out.read_to_string(&mut String::new()).unwrap();
        said.clear();
        notes.read_to_string(&mut said).unwrap();
        assert_eq!(play.ended().status.code(), Some(0), "{said}");
        assert_eq!(said, "", "once");
    }
    let ended = play(&["--start", "2s", "--cap", "5Mbps"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(text(&ended.stderr), "", "{ended:?}");
}

#[test]
fn a_network_with_a_name_is_remembered_and_a_broken_file_stops_nothing() {
    let url = format!("{}/stream.mpd", serve());
    let home = Home::new();
    let play = |network: &[&str]| {
        let mut command = home.nearcast(&["play", &url, "--headless", "--explain"]);
        let output = command.args(network).output().unwrap();
        let error = text(&output.stderr);
        assert!(output.status.success(), "{error}");
        (text(&output.stdout), error)
    };
    let named = ["--network", "home"];
    let file = home.path(".cache/nearcast/networks.json");
    let (told, error) = play(&[]);
    assert!(!told.contains("remembered") && error.is_empty(), "{error}");
    assert!(!file.exists(), "without a name nothing is kept");

    let (told, error) = play(&named);
    assert!(!told.contains("remembered") && error.is_empty(), "{error}");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains(r#""home""#), "{kept}");
    let (told, error) = play(&named);
    assert!(told.contains("remembered"), "{told}");
    assert!(error.is_empty(), "{error}");

    std::fs::write(&file, &kept[..kept.len() / 2]).unwrap();
    let (told, error) = play(&named);
    assert!(!told.contains("remembered"), "{told}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("networks.json") && error.contains("begun anew"));
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .contains(r#""home""#)
    );

    // Where nothing can be written.
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let (_, error) = play(&named);
    assert_eq!(error.lines().count(), 2, "{error}");
    assert!(error.contains("is not kept"), "{error}");
}
