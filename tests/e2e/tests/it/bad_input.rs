//! Whatever is wrong outside: one clear line, the right exit status, nothing half-written, no panic.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustix::process::Signal;
use tokio::process::Command;

use crate::edges::{Backend, Edge};
use crate::frames::assert_every_frame_once;
use crate::play::{Failing, Play, nearcast};
use crate::program::{Ended, Program};
use crate::room::{Room, binary};
use crate::title::{linked_title, replace, rungs, title};
use crate::web::Nginx;

const SOON: Duration = Duration::from_secs(20);

/// A server with titles that are broken in one way each.
async fn broken_titles(room: &Room) -> Nginx {
    let root = room.folder("root");
    room.file(
        "root/page.mpd",
        "<!DOCTYPE html><html><body><h1>Welcome</h1></body></html>",
    );
    room.file("root/page.m3u8", "Please log in to the hotel's network.");
    let mpd = fs::read(title().join("stream.mpd")).unwrap();
    room.file("root/cut.mpd", &mpd[..mpd.len() / 2]);
    let each = |name: &str, file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let folder = linked_title(room, &format!("root/{name}"));
        for rung in rungs() {
            let path = folder.join(rung).join(file);
            let bytes = fs::read(&path).unwrap();
            replace(&path, change(bytes));
        }
    };
    each("zeros", "00001.m4s", &|bytes| vec![0; bytes.len()]);
    each("cut", "00001.m4s", &|mut bytes| {
        bytes.truncate(bytes.len() / 3);
        bytes
    });
    // The first box claims to be larger than anything.
    each("huge", "00001.m4s", &|mut bytes| {
        bytes[..4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
        bytes
    });
    each("init", "init.mp4", &|_| b"not an init segment".to_vec());
    let folder = linked_title(room, "root/gone");
    for rung in rungs() {
        fs::remove_file(folder.join(rung).join("00001.m4s")).unwrap();
    }
    Nginx::start(room, "nginx", &root, None).await
}

#[tokio::test]
async fn what_is_no_title_is_told_apart() {
    let room = Room::new().await;
    let nginx = broken_titles(&room).await;
    let host = nginx.edge();
    for (name, path, code, texts) in [
        (
            "page",
            "page.mpd",
            "manifest.not_a_manifest",
            ["not a DASH or HLS manifest", "a web page"],
        ),
        (
            "words",
            "page.m3u8",
            "manifest.not_a_manifest",
            ["not a DASH or HLS manifest", "Please log in"],
        ),
        (
            "half",
            "cut.mpd",
            "manifest.malformed",
            ["malformed manifest", "package the title again"],
        ),
        (
            "zeros",
            "zeros/stream.mpd",
            "media.malformed",
            ["broken wherever it is fetched", "packaged again"],
        ),
        (
            "cut",
            "cut/stream.mpd",
            "media.truncated",
            ["broken wherever it is fetched", "packaged again"],
        ),
        (
            "huge",
            "huge/stream.mpd",
            "media.truncated",
            ["broken wherever it is fetched", "packaged again"],
        ),
        (
            "init",
            "init/stream.mpd",
            "media.truncated",
            ["broken wherever it is fetched", "packaged again"],
        ),
        (
            "none",
            "nothing.mpd",
            "edge.not_found",
            ["no edge has the manifest", "check the title or address"],
        ),
        (
            "gone",
            "gone/stream.mpd",
            "edge.not_found",
            ["no edge has", "check the title or address"],
        ),
    ] {
        let url = nginx.url(path);
        let failed = Failing::start(&room, name, &["play", &url])
            .failed(20)
            .await;
        failed.assert_says(code, &texts);
        failed.assert_says(code, &[&host]);
    }
}

/// Nobody there, or nobody who may be trusted: it is tried for 15 s, then told.
#[tokio::test]
async fn nobody_to_play_from_is_told_after_a_while() {
    let room = Room::new().await;
    let edge = Edge::start(&room, "edge", None, &[]).await;
    let backend = Backend::start(&room, &title().join("catalogue.toml"), &[]).await;
    // Taken by a listener that accepts and says nothing, or by nobody.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().unwrap().to_string();
    let nobody = format!("127.0.0.1:{}", crate::room::free_port());
    let (http_nobody, https_nobody) = (
        format!("http://{nobody}/x.mpd"),
        format!("https://{nobody}"),
    );
    let http_silent = format!("http://{silent}/x.mpd");
    let https_silent = format!("https://{silent}");

    let untrusted = edge
        .base_url
        .strip_prefix("https://")
        .unwrap()
        .trim_end_matches('/');
    let strange = backend
        .url
        .strip_prefix("https://")
        .unwrap()
        .trim_end_matches('/');
    let nobody_else = format!("http://127.0.0.1:{}", crate::room::free_port());
    let http_edge = format!("http://{nobody}");
    let cases: [(&str, Vec<&str>, &str, Vec<&str>); 8] = [
        (
            "closed",
            vec!["play", &http_nobody],
            "net.connect_refused",
            vec![&nobody, "refused", "is the server running"],
        ),
        (
            "all-closed",
            vec![
                "play",
                "x.mpd",
                "--edge",
                &http_edge,
                "--edge",
                &nobody_else,
            ],
            "net.connect_refused",
            vec!["127.0.0.1:", "refused", "is the server running"],
        ),
        (
            "mute",
            vec!["play", &http_silent],
            "net.stalled",
            vec![&silent, "nothing came"],
        ),
        (
            "no-backend",
            vec!["play", "demo", "--backend", &https_nobody],
            "backend.unreachable",
            vec![&nobody, "cannot be reached", "check its address"],
        ),
        (
            "mute-backend",
            vec!["play", "demo", "--backend", &https_silent],
            "backend.timeout",
            vec![&silent, "in time", "check the network"],
        ),
        (
            "untrusted",
            vec!["play", "title/stream.mpd", "--edge", &edge.base_url],
            "net.tls_certificate",
            vec![untrusted, "certificate", "--ca"],
        ),
        (
            "strange",
            vec!["play", "demo", "--backend", &backend.url],
            "backend.tls",
            vec![strange, "UnknownIssuer", "--ca"],
        ),
        (
            "no-edges",
            backend.play("demo"),
            "play.no_edges",
            vec!["no edge has reported here", "start one with --backend"],
        ),
    ];
    let failing: Vec<_> = cases
        .iter()
        .map(|(name, arguments, ..)| Failing::start(&room, name, arguments))
        .collect();
    for (failing, (_, _, code, texts)) in failing.into_iter().zip(&cases) {
        let failed = failing.failed(30).await;
        failed.assert_says(code, texts);
    }
}

/// A certificate that is not accepted, whatever is wrong with it, is told at once, with the code and the remedy.
#[tokio::test]
async fn certificates_that_are_not_accepted_are_told() {
    let room = Room::new().await;
    let root = room.folder("root");
    std::os::unix::fs::symlink(title(), root.join("title")).unwrap();
    for (name, host, expires, text) in [
        ("expired", "127.0.0.1", 2001, "expired"),
        ("misnamed", "elsewhere.test", 4000, "for another name"),
    ] {
        let made = Certificates::make(&room, name, host, expires);
        let nginx = Nginx::start_tls(&room, name, &root, (&made.leaf, &made.key)).await;
        let base = format!("https://{}", nginx.edge());
        let ca = made.ca.to_str().unwrap();
        let arguments = ["play", "title/stream.mpd", "--edge", &base, "--ca", ca];
        let failed = Failing::start(&room, &format!("{name}-play"), &arguments)
            .failed(20)
            .await;
        failed.assert_says("net.tls_certificate", &[&nginx.edge(), text, "--ca"]);
        assert_eq!(nginx.lines(), [], "it was asked for something");

        // It is nothing else that is wrong.
        let arguments = ["play", "title/stream.mpd", "--edge", &base, "--insecure"];
        let mut command = nearcast(&room);
        command.args(arguments).arg("--headless");
        let mut play = Program::start(&room, &format!("{name}-insecure"), command);
        play.line("playing", SOON).await;
        play.signal(Signal::INT);
        let ended = play.ended(SOON).await;
        assert_eq!(ended.status, Some(0), "{}", ended.err);
        assert!(ended.err.contains("WARNING: --insecure"), "{}", ended.err);
    }
}

/// A certificate authority and a certificate from it, as files.
struct Certificates {
    ca: PathBuf,
    leaf: PathBuf,
    key: PathBuf,
}

impl Certificates {
    /// Makes a certificate for a host that expires at the beginning of a year.
    fn make(room: &Room, name: &str, host: &str, expires: i32) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(expires, 1, 1);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let file = |kind: &str, pem: String| room.file(&format!("{name}-{kind}.pem"), pem);
        Self {
            ca: file("ca", ca.pem()),
            leaf: file("leaf", leaf.pem()),
            key: file("key", key.serialize_pem()),
        }
    }
}

/// A title may be damaged far behind its start, when the viewer has seen some of it already.
#[tokio::test]
async fn a_segment_damaged_later_is_told_and_nothing_of_it_is_seen() {
    let room = Room::new().await;
    let folder = linked_title(&room, "root/title");
    for rung in rungs() {
        let path = folder.join(rung).join("00003.m4s");
        let mut bytes = fs::read(&path).unwrap();
        // The boxes stay as they are, so that only what takes the samples apart notices.
        let samples = bytes.len() / 2;
        bytes[samples..].fill(0);
        replace(&path, bytes);
    }
    let nginx = Nginx::start(&room, "nginx", &room.path().join("root"), None).await;
    let url = nginx.url("title/stream.mpd");
    let played = Play::start(&room, "play", &["play", &url]).ended(60).await;
    let report = &played.report;
    assert_one_line(
        &played.ended,
        "nearcast",
        "media.malformed",
        &[&nginx.edge(), "broken wherever", "packaged again"],
    );
    assert_eq!(report.error.as_ref().unwrap().code, "media.malformed");
    assert!(report.startup_s.is_some() && report.played_s > 1.0);
    assert_every_frame_once(&played.frames, report.played_s);
    let damaged = 2 * 4 * 24;
    let last = played.frames.last().unwrap();
    assert!(last.number < damaged, "{last:?}");
}

#[tokio::test]
async fn wrong_arguments_are_told_with_status_two() {
    let room = Room::new().await;
    let not_pem = room.file("not.pem", "nothing");
    for (name, arguments, texts) in [
        (
            "duration",
            vec!["http://127.0.0.1:9/x.mpd", "--duration", "soon"],
            ["`soon`", "90s"],
        ),
        (
            "http",
            vec!["http://127.0.0.1:9/x.mpd", "--http", "h4"],
            ["h4", "http1"],
        ),
        (
            "cap",
            vec!["http://127.0.0.1:9/x.mpd", "--cap", "fast"],
            ["`fast`", "1500kbps"],
        ),
        ("source", vec!["demo"], ["`demo` is a title", "--backend"]),
        (
            "scheme",
            vec!["ftp://127.0.0.1/x.mpd"],
            ["`ftp://127.0.0.1/x.mpd`", "http"],
        ),
        (
            "ca",
            vec![
                "http://127.0.0.1:9/x.mpd",
                "--ca",
                not_pem.to_str().unwrap(),
            ],
            ["certificate authority", "PEM"],
        ),
        (
            "edge",
            vec!["x.mpd", "--edge", "127.0.0.1:9"],
            ["127.0.0.1:9", "http"],
        ),
    ] {
        let mut command = nearcast(&room);
        command.arg("play").args(arguments).arg("--headless");
        let ended = Program::start(&room, name, command).ended(SOON).await;
        assert_eq!(ended.status, Some(2), "{name}: {}", ended.err);
        assert_eq!(ended.out, "", "{name}");
        assert_calm(&ended);
        for text in texts {
            assert!(
                ended.err.contains(text),
                "{name}: no {text:?} in {}",
                ended.err
            );
        }
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let room = Room::new().await;
    let nginx = broken_titles(&room).await;
    let url = nginx.url("zeros/master.m3u8");
    // No folder can be made below a file.
    let below = room.file("file", "x").join("below");
    let below = below.to_str().unwrap();
    for (name, arguments, code) in [
        ("ca", ["--ca", below], "cli.ca"),
        ("frames", ["--frames", below], "cli.frames"),
        ("record", ["--record", below], "cli.record"),
        ("log", ["--log", below], "cli.log"),
    ] {
        let mut command = nearcast(&room);
        command.args(["play", &url, "--headless"]).args(arguments);
        let ended = Program::start(&room, name, command).ended(SOON).await;
        assert_one_line(&ended, "nearcast", code, &[below]);
    }
    // A report goes wrong at the end, or before anything is played.
    let mut command = nearcast(&room);
    let good = nginx.url("cut.mpd");
    command.args(["play", &good, "--headless", "--report", below]);
    let ended = Program::start(&room, "report", command).ended(SOON).await;
    assert_one_line(&ended, "nearcast", "cli.report", &[below]);
}

#[tokio::test]
async fn a_failed_play_leaves_a_whole_report_or_none() {
    let room = Room::new().await;
    let nginx = broken_titles(&room).await;
    let url = nginx.url("cut.mpd");
    let folder = room.folder("reports");
    let report = folder.join("report.json");
    let mut command = nearcast(&room);
    command
        .args(["play", &url, "--headless", "--report"])
        .arg(&report);
    let ended = Program::start(&room, "play", command).ended(SOON).await;
    assert_one_line(&ended, "nearcast", "manifest.malformed", &[]);
    let text = fs::read(&report).unwrap();
    let report: nearcast_protocol::report::SessionReport = serde_json::from_slice(&text).unwrap();
    assert_eq!(report.error.unwrap().code, "manifest.malformed");
    assert_eq!((report.startup_s, report.segments.len()), (None, 0));
    assert_eq!(names(&folder), ["report.json"]);
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let room = Room::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let port = taken.local_addr().unwrap().port().to_string();
    let backend: &[&str] = &["--ca-dir", "ca-b", "--listen", "127.0.0.1:0"];
    let edge: &[&str] = &["--ca-dir", "ca-e", "--id", "a", "--root", "."];
    for (name, arguments, listen) in [
        ("nearcast-backend", &backend[..2], "--listen"),
        ("nearcast-backend", backend, "--sealed-listen"),
        ("nearcast-edge", edge, "--listen"),
        ("nearcast-edge", edge, "--plain"),
        ("nearcast-edge", edge, "--admin"),
    ] {
        let mut command = Command::new(binary(name));
        command
            .current_dir(room.path())
            .args(arguments)
            .args([listen, &address]);
        let ended = Program::start(&room, &format!("{name}{listen}"), command)
            .ended(SOON)
            .await;
        assert_eq!(
            (ended.status, ended.out.as_str()),
            (Some(1), ""),
            "{}",
            ended.err
        );
        assert_calm(&ended);
        let lines: Vec<&str> = ended.err.lines().collect();
        let [line] = lines.as_slice() else {
            panic!("one line: {lines:?}")
        };
        assert!(
            line.starts_with(name) && line.contains(&port) && line.contains("in use"),
            "{line}"
        );
        assert!(line.contains("choose another"), "{line}");
    }
}

#[tokio::test]
async fn a_title_cannot_be_made_without_ffmpeg() {
    let room = Room::new().await;
    let empty = room.folder("empty");
    let media = room.folder("media");
    let mut command = nearcast(&room);
    command
        .env("PATH", &empty)
        .args(["demo", "--headless", "--duration", "5s", "--title-dir"])
        .arg(media.join("title"));
    let ended = Program::start(&room, "demo", command).ended(SOON).await;
    assert_one_line(
        &ended,
        "nearcast",
        "demo.title",
        &["`ffmpeg` was not found", "install FFmpeg"],
    );
    assert_eq!(ended.out, "");
    let left: Vec<String> = names(&media)
        .into_iter()
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    assert!(left.is_empty(), "half a title: {left:?}");
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// Asserts status 1 and one line on standard error: who, the code, and these texts.
fn assert_one_line(ended: &Ended, program: &str, code: &str, texts: &[&str]) {
    assert_eq!(ended.status, Some(1), "{}\n{}", ended.err, ended.out);
    assert_calm(ended);
    let lines: Vec<&str> = ended.err.lines().collect();
    let [line] = lines.as_slice() else {
        panic!("one line: {lines:?}")
    };
    assert!(line.starts_with(&format!("{program}: {code}: ")), "{line}");
    for text in texts {
        assert!(line.contains(text), "no {text:?} in {line:?}");
    }
}

fn assert_calm(ended: &Ended) {
    for text in [&ended.err, &ended.out] {
        assert!(
            !text.contains("panicked") && !text.contains("RUST_BACKTRACE"),
            "{text}"
        );
    }
}
