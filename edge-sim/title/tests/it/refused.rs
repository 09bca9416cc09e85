//! What is said, and what is left behind, when a title cannot be made.

use std::fs;
use std::path::Path;

use nearcast_title::{TitleConfig, TitleError};
use tempfile::TempDir;

use crate::{config, made};

#[test]
fn a_missing_program_is_named_with_its_remedy() {
    let temp = TempDir::new().unwrap();
    let mut config = config(temp.path());
    config.ffmpeg = "no-such-program".into();
    let error = made(&config).0.unwrap_err();
    assert!(matches!(error, TitleError::FfmpegMissing { .. }));
    let text = error.to_string();
    assert!(text.contains("no-such-program") && text.contains("apt install ffmpeg"));
    assert!(!text.contains('\n'));
    assert!(!config.dir.exists());
}

#[test]
fn a_directory_with_something_else_in_it_is_left_alone() {
    let temp = TempDir::new().unwrap();
    let config = config(temp.path());
    fs::create_dir(&config.dir).unwrap();
    fs::write(config.dir.join("holiday.jpg"), "precious").unwrap();
    let error = made(&config).0.unwrap_err();
    assert!(matches!(error, TitleError::NotATitle { .. }), "{error}");
    let kept = fs::read_to_string(config.dir.join("holiday.jpg"));
    assert_eq!(kept.unwrap(), "precious");
}

#[test]
fn a_place_that_cannot_be_written_is_named() {
    let temp = TempDir::new().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    let error = made(&TitleConfig::new(file.join("title"))).0.unwrap_err();
    assert!(matches!(error, TitleError::File { .. }), "{error}");
    assert!(error.to_string().contains(file.to_str().unwrap()));
}

#[cfg(unix)]
#[test]
fn a_program_without_the_encoder_is_refused_before_anything_is_made() {
    let (temp, config) = with_ffmpeg("no-encoder");
    let error = made(&config).0.unwrap_err();
    assert!(
        matches!(&error, TitleError::EncoderMissing { encoder, .. } if *encoder == "libx264"),
        "{error}"
    );
    assert_nothing_was_left(temp.path());
}

#[cfg(unix)]
#[test]
fn an_encoder_that_fails_is_quoted_and_leaves_nothing() {
    let (temp, config) = with_ffmpeg("breaks");
    let error = made(&config).0.unwrap_err();
    assert!(
        matches!(&error, TitleError::Encoding { complaint, .. } if complaint == "it broke"),
        "{error}"
    );
    assert_nothing_was_left(temp.path());
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_called_a_full_disk_and_leaves_nothing() {
    let (temp, config) = with_ffmpeg("disk-full");
    let error = made(&config).0.unwrap_err();
    assert!(matches!(&error, TitleError::DiskFull { .. }), "{error}");
    assert_nothing_was_left(temp.path());
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_without_a_word_is_found_out() {
    let (temp, config) = with_ffmpeg("fills-the-disk");
    let error = made(&config).0.unwrap_err();
    assert!(matches!(&error, TitleError::DiskFull { .. }), "{error}");
    assert_nothing_was_left(temp.path());
}

#[cfg(unix)]
#[test]
fn an_encoder_that_ends_well_without_output_is_not_believed() {
    let (temp, config) = with_ffmpeg("says-nothing");
    assert!(made(&config).0.is_err());
    assert_nothing_was_left(temp.path());
}

/// Returns a place with a stand-in for FFmpeg in it that behaves as it is called.
#[cfg(unix)]
fn with_ffmpeg(behaviour: &str) -> (TempDir, TitleConfig) {
    let temp = TempDir::new().unwrap();
    let program = temp.path().join(behaviour);
    // A link, not a copy: a program that was just written may still be open for writing in a child of another
    // test's thread, and then cannot be started.
    let double = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/ffmpeg-double");
    std::os::unix::fs::symlink(double, &program).unwrap();
    let mut config = config(temp.path());
    config.ffmpeg = program;
    (temp, config)
}

#[cfg(unix)]
fn assert_nothing_was_left(dir: &Path) {
    let names = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let made: Vec<_> = names.filter(|name| name != ".title.lock").collect();
    assert_eq!(made.len(), 1, "{made:?}");
}
