//! Titles that a foreign packager made, from the pieces of ours.

use std::env::consts::{ARCH, OS};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::play::Play;
use crate::program::Program;
use crate::room::{Room, workspace};
use crate::title::title;
use crate::web::Nginx;

/// Four seconds each.
const SEGMENTS: u32 = 6;
const TRACKS: [&str; 4] = ["v1", "v3", "v4", "audio_en"];

fn packager() -> PathBuf {
    let os = if OS == "macos" { "osx" } else { OS };
    let arch = if ARCH == "aarch64" { "arm64" } else { "x64" };
    let path = workspace()
        .join("target/tools/shaka/node_modules/shaka-packager/bin")
        .join(format!("packager-{os}-{arch}"));
    assert!(
        path.is_file(),
        "{} is missing: run `make setup-test` first (`make test` does; it needs npm)",
        path.display()
    );
    path
}

/// Packages a short title into `folder`; `outputs` gives each track's output, `more` says what else is wanted.
async fn package(room: &Room, folder: &Path, outputs: impl Fn(&str) -> String, more: &[&str]) {
    let mut command = Command::new(packager());
    command
        .current_dir(folder)
        .args(["--segment_duration", "4"])
        .args(more);
    for track in TRACKS {
        let input = room.path().join(format!("{track}.mp4"));
        if !input.exists() {
            fs::write(&input, joined(track)).unwrap();
        }
        let stream = if track.starts_with('v') {
            "video"
        } else {
            "audio"
        };
        command.arg(format!(
            "in={},stream={stream},{}",
            input.display(),
            outputs(track)
        ));
    }
    let ended = Program::start(room, "packager", command)
        .ended(Duration::from_secs(60))
        .await;
    assert_eq!(ended.status, Some(0), "{}", ended.err);
}

/// Returns the first segments of a track as one file.
fn joined(track: &str) -> Vec<u8> {
    let folder = title().join(track);
    let mut bytes = fs::read(folder.join("init.mp4")).unwrap();
    for segment in 1..=SEGMENTS {
        bytes.extend(fs::read(folder.join(format!("{segment:05}.m4s"))).unwrap());
    }
    bytes
}

/// Plays a manifest to its end.
async fn assert_plays_to_the_end(room: &Room, folder: &Path, manifest: &str) {
    let nginx = Nginx::start(room, "nginx", folder, None).await;
    let url = nginx.url(manifest);
    let played = Play::start(room, "play", &["play", &url])
        .played(4 * u64::from(SEGMENTS))
        .await;
    let report = &played.report;
    assert!(played.ended.out.contains("ended"), "{}", played.ended.out);
    assert_eq!(
        played.frames.len(),
        4 * 24 * usize::try_from(SEGMENTS).unwrap()
    );
    assert_eq!(report.content.ladder.len(), 3);
    let length_s = 4.0 * f64::from(SEGMENTS);
    assert!(
        (report.played_s - length_s).abs() < 0.1,
        "{}",
        report.played_s
    );
    for track in ["video", "audio"] {
        assert!(
            report.segments.iter().any(|segment| segment.track == track),
            "{track}"
        );
    }
}

/// Each track in one file.
fn whole(track: &str) -> String {
    format!("output={track}.mp4")
}

#[tokio::test]
async fn dash_with_segment_base_plays() {
    let room = Room::new().await;
    let folder = room.folder("packaged");
    package(&room, &folder, whole, &["--mpd_output", "stream.mpd"]).await;
    let mpd = fs::read_to_string(folder.join("stream.mpd")).unwrap();
    assert!(mpd.contains("<SegmentBase"), "{mpd}");
    assert_plays_to_the_end(&room, &folder, "stream.mpd").await;
}

fn templated(track: &str) -> String {
    format!("init_segment={track}-init.mp4,segment_template={track}-$Time$.m4s")
}

#[tokio::test]
async fn dash_with_segment_template_plays() {
    let room = Room::new().await;
    let folder = room.folder("packaged");
    let more = ["--generate_static_live_mpd", "--mpd_output", "stream.mpd"];
    package(&room, &folder, templated, &more).await;
    let mpd = fs::read_to_string(folder.join("stream.mpd")).unwrap();
    assert!(mpd.contains("<SegmentTemplate"), "{mpd}");
    assert_plays_to_the_end(&room, &folder, "stream.mpd").await;
}

#[tokio::test]
async fn hls_with_byte_ranges_plays() {
    let room = Room::new().await;
    let folder = room.folder("packaged");
    let more = ["--hls_master_playlist_output", "master.m3u8"];
    package(&room, &folder, whole, &more).await;
    let playlists: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|name| name == "m3u8"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let ranged = playlists
        .iter()
        .filter(|text| text.contains("#EXT-X-BYTERANGE:"));
    assert_eq!(ranged.count(), TRACKS.len(), "{playlists:?}");
    assert_plays_to_the_end(&room, &folder, "master.m3u8").await;
}

#[tokio::test]
async fn hls_plays() {
    let room = Room::new().await;
    let folder = room.folder("packaged");
    package(
        &room,
        &folder,
        templated,
        &["--hls_master_playlist_output", "master.m3u8"],
    )
    .await;
    assert_plays_to_the_end(&room, &folder, "master.m3u8").await;
}
