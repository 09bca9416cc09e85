//! Makes a real title with the real FFmpeg, and looks at it with FFmpeg's own eyes.
#![expect(
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "tests: a failure is the point, and sizes are small"
)]

mod decoded;
mod listed;
mod refused;

use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use nearcast_title::{Progress, Title, TitleConfig, TitleError, make, take_or_make};
use tempfile::TempDir;

/// Long enough for three segments, the last one short, and two scenes.
const SECONDS: u32 = 11;

/// Returns one title that all tests look at, and none changes.
fn title() -> &'static Title {
    static TITLE: OnceLock<(TempDir, Title)> = OnceLock::new();
    let (_, title) = TITLE.get_or_init(|| {
        let temp = TempDir::new().unwrap();
        let (title, progress) = made(&config(temp.path()));
        let mut sorted = progress.clone();
        sorted.sort_by_key(|progress| match progress {
            Progress::Waiting | Progress::Renewing => 0,
            Progress::Making { percent } => *percent,
            Progress::Done { .. } => 100,
        });
        assert_eq!(progress, sorted, "progress never goes back");
        assert_eq!(progress[0], Progress::Making { percent: 0 });
        assert_eq!(progress.last(), Some(&Progress::Done { cached: false }));
        (temp, title.unwrap())
    });
    title
}

fn config(parent: &Path) -> TitleConfig {
    let mut config = TitleConfig::new(parent.join("title"));
    config.duration = Duration::from_secs(SECONDS.into());
    config
}

fn made(config: &TitleConfig) -> (Result<Title, TitleError>, Vec<Progress>) {
    let mut progress = Vec::new();
    let title = make(config, &mut |step| progress.push(step));
    (title, progress)
}

#[test]
fn a_title_is_made_once_and_found_afterwards() {
    let mut config = TitleConfig::new(&title().dir);
    config.duration = title().duration;
    // Were anything encoded again, this program would be missed.
    config.ffmpeg = "no-such-program".into();
    let (again, progress) = made(&config);
    assert_eq!(again.unwrap().dash, title().dash);
    assert_eq!(progress, [Progress::Done { cached: true }]);
}

#[test]
fn another_wish_or_a_damaged_file_is_not_taken_for_the_title() {
    let temp = TempDir::new().unwrap();
    let mut config = config(temp.path());
    config.ffmpeg = "no-such-program".into();
    copy(&title().dir, &config.dir);
    assert!(made(&config).0.is_ok());
    let missed = |config: &TitleConfig| {
        let error = made(config).0.unwrap_err();
        assert!(matches!(error, TitleError::FfmpegMissing { .. }), "{error}");
    };

    let mut longer = config.clone();
    longer.duration += Duration::from_secs(1);
    missed(&longer);

    let segment = config.dir.join("v3/00002.m4s");
    let whole = fs::read(&segment).unwrap();
    fs::write(&segment, &whole[1..]).unwrap();
    missed(&config);
    fs::remove_file(&segment).unwrap();
    missed(&config);
    fs::write(&segment, &whole).unwrap();
    assert!(made(&config).0.is_ok());
}

#[test]
fn a_title_that_is_there_is_taken_however_long_it_is() {
    let temp = TempDir::new().unwrap();
    let mut longer = config(temp.path());
    longer.dir = temp.path().join("copy");
    longer.duration = Duration::from_secs(126);
    longer.ffmpeg = "no-such-program".into();
    let taken = |config: &TitleConfig| {
        let mut progress = Vec::new();
        let title = take_or_make(config, &mut |step| progress.push(step));
        (title, progress)
    };
    let (none, progress) = taken(&longer);
    assert!(matches!(none, Err(TitleError::FfmpegMissing { .. })));
    assert_eq!(progress, []);

    copy(&title().dir, &longer.dir);
    let (there, progress) = taken(&longer);
    assert_eq!(there.as_ref().unwrap().duration, title().duration);
    assert_eq!(progress, [Progress::Done { cached: true }]);
    // Its catalogue names the folder that it was copied from no more.
    let catalogue = fs::read_to_string(&there.unwrap().catalogue).unwrap();
    let folder = longer.dir.file_name().unwrap().to_str().unwrap();
    assert!(
        catalogue.contains(&format!("dash = \"{folder}/")),
        "{catalogue}"
    );

    // One of an older version is not played; the new one is as long.
    let record = longer.dir.join("title.json");
    let text = fs::read_to_string(&record).unwrap();
    let older = text.replacen("\"version\": ", "\"version\": 1", 1);
    assert_ne!(text, older);
    fs::write(&record, older).unwrap();
    let (renewed, progress) = taken(&longer);
    assert!(matches!(renewed, Err(TitleError::FfmpegMissing { .. })));
    assert_eq!(progress, [Progress::Renewing]);
    longer.ffmpeg = "ffmpeg".into();
    let (renewed, progress) = taken(&longer);
    assert_eq!(renewed.unwrap().duration, title().duration);
    assert_eq!(progress.last(), Some(&Progress::Done { cached: false }));
}

#[test]
fn two_makers_of_one_title_make_it_once() {
    let temp = TempDir::new().unwrap();
    let mut config = config(temp.path());
    config.duration = Duration::from_secs(4);
    let made_once = std::thread::scope(|scope| {
        let makers = [(); 2].map(|()| scope.spawn(|| made(&config)));
        makers.map(|maker| {
            let (title, progress) = maker.join().unwrap();
            assert!(title.is_ok(), "{title:?}");
            *progress.last().unwrap()
        })
    });
    assert!(made_once.contains(&Progress::Done { cached: false }));
    assert!(made_once.contains(&Progress::Done { cached: true }));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}
