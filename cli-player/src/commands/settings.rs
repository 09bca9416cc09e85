//! Defaults from a configuration file, and places that outlive a run.
//!
//! `config.toml` in the user's configuration folder (`~/.config/nearcast/` on Linux) or where
//! `NEARCAST_CONFIG` points; command line and environment come first.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use directories::ProjectDirs;
use serde::{Deserialize, Serialize};

use super::Failure;
use super::output::Output;
use super::source::parse_url;

/// What the file may hold; unknown keys are an error, so that a slip of the pen is noticed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// The backend's URL.
    pub(crate) backend: Option<String>,
    /// A certificate authority to trust.
    pub(crate) ca: Option<PathBuf>,
    /// The account's name.
    pub(crate) account: Option<String>,
    /// Preferred audio language.
    pub(crate) audio: Option<String>,
    /// Preferred subtitle language.
    pub(crate) subtitles: Option<String>,
}

/// An example of each key, which is called as its option.
const KEYS: [(&str, &str); 5] = [
    ("backend", "https://backend.example"),
    ("ca", "/home/me/ca.pem"),
    ("account", "me"),
    ("audio", "sv"),
    ("subtitles", "en"),
];

/// Says what the file may hold, a line for each key.
pub(super) fn documented() -> String {
    let lines = KEYS.map(|(key, value)| {
        let example = format!("{key} = \"{value}\"");
        let more = match key {
            "ca" => ", from the folder of this file unless it begins with /",
            _ => "",
        };
        format!("  {example:<36} # as --{key}{more}")
    });
    lines.join("\n")
}

impl Settings {
    /// Reads the file, if there is one.
    pub(crate) fn read() -> Result<Self, Failure> {
        let Some(path) = Self::path() else {
            return Ok(Self::default());
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(Failure::io(
                    "cli.config",
                    format_args!("cannot read {}", path.display()),
                    "mend it, or let NEARCAST_CONFIG name another",
                )(error));
            }
        };
        let settings = Self::parse(&text).map_err(|message| {
            Failure::new(
                "cli.config",
                format_args!(
                    "{}: {message}; mend it, or let NEARCAST_CONFIG name another",
                    path.display()
                ),
            )
        })?;
        Ok(settings.beside(&path))
    }

    /// Takes the paths in a file as beginning where that file lies: a command is given anywhere.
    fn beside(mut self, file: &Path) -> Self {
        if let (Some(ca), Some(folder)) = (&mut self.ca, file.parent()) {
            *ca = folder.join(&*ca);
        }
        self
    }

    fn parse(text: &str) -> Result<Self, String> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            // In one line: its picture of the place takes several.
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            format!("line {line}: {}", error.message().replace('\n', " "))
        })?;
        if let Some(backend) = &settings.backend {
            parse_url(backend).map_err(|why| format!("backend = \"{backend}\": {why}"))?;
        }
        Ok(settings)
    }

    /// Returns where the file is looked for.
    pub(crate) fn path() -> Option<PathBuf> {
        std::env::var_os("NEARCAST_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(folders()?.config_dir().join("config.toml")))
    }
}

/// The user's folders for this program.
pub(crate) fn folders() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "nearcast")
}

/// Returns what a backend tells this device from others by: made once, and kept in the user's state folder.
///
/// Where nothing can be kept it is another one each time.
pub(crate) fn device_id() -> String {
    let file = folders().map(|folders| state_folder(&folders).join("device"));
    let kept = file
        .as_ref()
        .and_then(|file| std::fs::read_to_string(file).ok());
    if let Some(id) = kept.as_deref().map(str::trim)
        && (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return id.to_owned();
    }
    let random = || RandomState::new().build_hasher().finish();
    let id = format!("{:016x}{:016x}", random(), random());
    if let Some(file) = file
        && let Err(error) = keep(&file, &format!("{id}\n"))
    {
        tracing::debug!(%error, "the device's identifier is not kept");
    }
    id
}

/// Writes a file whole or not at all; its folder is made where it is not there.
pub(super) fn keep(file: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    Output::open(file)?.write(text.as_bytes())
}

fn state_folder(folders: &ProjectDirs) -> &Path {
    folders
        .state_dir()
        .unwrap_or_else(|| folders.data_local_dir())
}

/// Where each source was left, in the user's state folder.
#[derive(Debug)]
pub(crate) struct Positions {
    file: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// Seconds by source.
    positions_s: BTreeMap<String, f64>,
}

/// More sources than this are forgotten, in the order of their names.
const KEPT_MAX: usize = 500;
/// Nearer to the beginning or the end than this is not worth going back to.
const MARGIN: Duration = Duration::from_secs(10);

impl Positions {
    /// Opens the list; `None` where the user has no folders.
    pub(crate) fn open() -> Option<Self> {
        let folders = folders()?;
        Some(Self {
            file: state_folder(&folders).join("positions.toml"),
        })
    }

    /// Returns where a source was left.
    pub(crate) fn of(&self, source: &str) -> Option<Duration> {
        let seconds = *self.read().positions_s.get(source)?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Keeps where a source was left; forgets it at the beginning and at the end.
    pub(crate) fn keep(
        &self,
        source: &str,
        position: Duration,
        duration: Option<Duration>,
    ) -> io::Result<()> {
        let mut kept = self.read();
        let ended = duration.is_some_and(|duration| position + MARGIN >= duration);
        if position < MARGIN || ended {
            if kept.positions_s.remove(source).is_none() {
                return Ok(());
            }
        } else {
            kept.positions_s
                .insert(source.to_owned(), position.as_secs_f64());
        }
        while kept.positions_s.len() > KEPT_MAX {
            kept.positions_s.pop_first();
        }
        let text = toml::to_string(&kept).map_err(io::Error::other)?;
        keep(&self.file, &text)
    }

    /// A list that cannot be read is an empty one: it is worth no error.
    fn read(&self) -> Kept {
        std::fs::read_to_string(&self.file)
            .ok()
            .and_then(|text| toml::from_str(&text).ok())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_kept_and_forgotten_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let positions = Positions {
            file: folder.path().join("state/positions.toml"),
        };
        let minute = Duration::from_secs(60);
        assert_eq!(positions.of("demo"), None);
        positions.keep("demo", minute, Some(minute * 2)).unwrap();
        assert_eq!(positions.of("demo"), Some(minute));
        positions
            .keep("demo", minute * 2, Some(minute * 2))
            .unwrap();
        assert_eq!(positions.of("demo"), None);
    }

    #[test]
    fn the_keys_that_are_documented_are_those_that_are_taken() {
        let example = Settings::parse(&documented()).unwrap();
        let all = Settings {
            backend: Some("https://backend.example".to_owned()),
            ca: Some(PathBuf::from("/home/me/ca.pem")),
            account: Some("me".to_owned()),
            audio: Some("sv".to_owned()),
            subtitles: Some("en".to_owned()),
        };
        assert_eq!(example, all);
    }

    #[test]
    fn a_backend_that_is_no_url_is_told() {
        let error = Settings::parse("backend = 'backend.example'").unwrap_err();
        assert!(error.contains("https://backend.example"), "{error}");
    }

    #[test]
    fn a_slip_in_the_file_is_told_with_its_place_in_one_line() {
        for (text, says) in [
            (
                "backnd = 'x'",
                "line 1: unknown field `backnd`, expected one of",
            ),
            (
                "audio = 'sv'\n\nca = 3",
                "line 3: invalid type: integer `3`",
            ),
            ("audio = 'sv", "line 1: "),
        ] {
            let error = Settings::parse(text).unwrap_err();
            assert!(error.starts_with(says), "{error}");
            for picture in ["\n", "|", "^"] {
                assert!(!error.contains(picture), "{error}");
            }
        }
    }

    #[test]
    fn a_path_in_the_file_begins_where_the_file_lies() {
        let file = Path::new("/home/me/nearcast.toml");
        for (written, meant) in [
            ("ca.pem", "/home/me/ca.pem"),
            ("/etc/ca.pem", "/etc/ca.pem"),
        ] {
            let settings = Settings::parse(&format!("ca = '{written}'")).unwrap();
            assert_eq!(settings.beside(file).ca, Some(PathBuf::from(meant)));
        }
    }
}
