//! Files under a root, and nothing outside it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use nearcast_appliance::token::decode;
use ring::digest;

use crate::config::EdgeError;

/// The folder an edge serves.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    /// Canonical.
    root: Arc<PathBuf>,
    digests: Arc<Mutex<BTreeMap<PathBuf, Arc<Digest>>>>,
}

/// A file that is open, and what HTTP says of it.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) file: File,
    pub(crate) length: u64,
    /// `None` while the digest of a large file is being made.
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) modified: Option<SystemTime>,
    pub(crate) content_type: &'static str,
}

/// Why a file is not served.
#[derive(Debug)]
pub(crate) enum FileError {
    /// There is none that may be served.
    NotFound,
    /// There is one and it cannot be read.
    Unreadable(io::Error),
}

/// The digest of one version of a file. Whoever holds the lock makes it; others wait and find it made.
#[derive(Debug)]
struct Digest {
    length: u64,
    modified: Option<SystemTime>,
    sha256: Mutex<Option<[u8; 32]>>,
}

/// Digests of more files are forgotten: some 100 bytes each.
const DIGESTS_MAX: usize = 65_536;
/// Segments are smaller, and their digest is in the first answer; it takes some 10 ms. Of a file that is larger, a whole
/// rung in one, the digest comes when it is ready: nobody waits a second for the first byte.
const DIGEST_AT_ONCE_MAX: u64 = 16 * 1024 * 1024;
/// More titles than this are not reported.
const PREFIXES_MAX: usize = 1000;

impl Files {
    pub(crate) fn open(root: &Path) -> Result<Self, EdgeError> {
        let failed = |source| EdgeError::Root {
            path: root.to_owned(),
            source,
        };
        let canonical = root.canonicalize().map_err(failed)?;
        fs::read_dir(&canonical).map_err(failed)?;
        Ok(Self {
            root: Arc::new(canonical),
            digests: Arc::default(),
        })
    }

    /// Opens a file by a path from a URL that was decoded already. Blocks.
    pub(crate) fn find(&self, path: &str) -> Result<Object, FileError> {
        if !is_plain(path) {
            return Err(FileError::NotFound);
        }
        // Links are followed here, so that one that leads out of the root is found out.
        let file = self.root.join(path).canonicalize();
        let file = file.map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                FileError::Unreadable(error)
            } else {
                FileError::NotFound
            }
        })?;
        if !file.starts_with(self.root.as_path()) {
            return Err(FileError::NotFound);
        }
        // Asked before it is opened: opening a pipe waits for whoever writes to it.
        let about = fs::metadata(&file).map_err(FileError::Unreadable)?;
        if !about.is_file() {
            return Err(FileError::NotFound);
        }
        let opened = File::open(&file).map_err(FileError::Unreadable)?;
        let about = opened.metadata().map_err(FileError::Unreadable)?;
        let (length, modified) = (about.len(), about.modified().ok());
        let digest = self.digest(&file, length, modified);
        let sha256 = if length <= DIGEST_AT_ONCE_MAX {
            let mut sha256 = digest.lock();
            let made = match *sha256 {
                Some(made) => made,
                None => *sha256.insert(sha256_of(&file).map_err(FileError::Unreadable)?),
            };
            Some(made)
        } else {
            digest_later(file.clone(), digest)
        };
        Ok(Object {
            content_type: content_type(&file),
            file: opened,
            length,
            sha256,
            modified,
        })
    }

    /// Returns path prefixes of what is stored: the folders and files at the top of the root, those whose names can
    /// be a part of a URL's path as they are. Blocks.
    pub(crate) fn prefixes(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.as_path()) else {
            return Vec::new();
        };
        let names = entries.flatten().filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let folder = entry.path().is_dir();
            is_reportable(&name).then(|| if folder { format!("{name}/") } else { name })
        });
        // Sorted first: a folder gives its names in another order each time.
        let mut names: Vec<String> = names.collect();
        names.sort_unstable();
        names.truncate(PREFIXES_MAX);
        names
    }

    /// Finds the digest of a version of a file, or a place for it.
    fn digest(&self, path: &Path, length: u64, modified: Option<SystemTime>) -> Arc<Digest> {
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let known = digests.get(path);
        if let Some(known) =
            known.filter(|known| known.length == length && known.modified == modified)
        {
            return Arc::clone(known);
        }
        if digests.len() >= DIGESTS_MAX {
            digests.clear();
        }
        let digest = Arc::new(Digest {
            length,
            modified,
            sha256: Mutex::default(),
        });
        digests.insert(path.to_owned(), Arc::clone(&digest));
        digest
    }
}

impl Digest {
    fn lock(&self) -> MutexGuard<'_, Option<[u8; 32]>> {
        self.sha256.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns a digest if it is made; has it made beside what goes on if nobody does so yet.
fn digest_later(path: PathBuf, digest: Arc<Digest>) -> Option<[u8; 32]> {
    if let Ok(sha256) = digest.sha256.try_lock() {
        if sha256.is_some() {
            return *sha256;
        }
    } else {
        return None;
    }
    // A thread of its own: it reads gigabytes, and those of the runtime are for answers.
    let thread = std::thread::Builder::new().name(String::from("nearcast-digest"));
    let made = thread.spawn(move || {
        let Ok(mut sha256) = digest.sha256.try_lock() else {
            return;
        };
        if sha256.is_none() {
            match sha256_of(&path) {
                Ok(made) => *sha256 = Some(made),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "no digest could be made")
                }
            }
        }
    });
    if let Err(error) = made {
        tracing::warn!(%error, "no digest could be made");
    }
    None
}

/// Reads a whole file.
fn sha256_of(path: &Path) -> io::Result<[u8; 32]> {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        context.update(&buffer[..read]);
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.finish().as_ref());
    Ok(sha256)
}

/// Decodes the path of a URL, without its first slash; `None` when it is no path of a file.
pub(crate) fn decode_path(path: &str) -> Option<String> {
    decode(path.strip_prefix('/')?).filter(|path| !path.contains('\0'))
}

/// Only plain names between the slashes: nothing hidden, nothing that means something to a file system.
fn is_plain(path: &str) -> bool {
    let plain = |name: &str| {
        !name.is_empty() && !name.starts_with('.') && !name.contains(['\\', '\0', ':'])
    };
    path.len() <= 4096 && path.split('/').all(plain)
}

/// Whether the backend can make something of a name.
fn is_reportable(name: &str) -> bool {
    is_plain(name) && !name.contains(|c: char| c.is_control() || matches!(c, '?' | '#'))
}

fn content_type(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("mpd") => "application/dash+xml",
        Some("m3u8") => "application/vnd.apple.mpegurl",
        Some("m4s") => "video/iso.segment",
        Some("mp4" | "m4v" | "cmfv") => "video/mp4",
        Some("m4a" | "cmfa") => "audio/mp4",
        Some("vtt") => "text/vtt",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("demo")).unwrap();
        fs::write(root.join("demo/a.m4s"), b"abc").unwrap();
        fs::write(root.join(".hidden"), b"x").unwrap();
        fs::write(folder.path().join("secret"), b"secret").unwrap();
        let files = Files::open(&root).unwrap();
        (folder, files)
    }

    #[test]
    fn only_files_under_the_root_are_found() {
        let (folder, files) = tree();
        assert_eq!(files.find("demo/a.m4s").unwrap().length, 3);
        for path in [
            "",
            "demo",
            "demo/",
            "/demo/a.m4s",
            "demo//a.m4s",
            "../secret",
            "demo/../../secret",
            "./demo/a.m4s",
            "demo\\a.m4s",
            ".hidden",
            "demo/b",
            "demo/a.m4s/b",
            "C:secret",
        ] {
            assert!(
                matches!(files.find(path), Err(FileError::NotFound)),
                "{path}"
            );
        }
        #[cfg(unix)]
        {
            let link = |to: &str, name: &str| {
                std::os::unix::fs::symlink(
                    folder.path().join(to),
                    folder.path().join("root").join(name),
                )
                .unwrap();
            };
            link("secret", "out");
            link("root/demo/a.m4s", "in");
            assert!(matches!(files.find("out"), Err(FileError::NotFound)));
            assert_eq!(files.find("in").unwrap().length, 3);
        }
        drop(folder);
    }

    #[test]
    fn a_changed_file_has_a_new_digest() {
        let (folder, files) = tree();
        let first = files.find("demo/a.m4s").unwrap().sha256.unwrap();
        assert_eq!(first[..4], [0xba, 0x78, 0x16, 0xbf], "sha-256 of abc");
        fs::write(folder.path().join("root/demo/a.m4s"), b"abcd").unwrap();
        assert_ne!(files.find("demo/a.m4s").unwrap().sha256, Some(first));
    }

    #[test]
    fn nobody_waits_for_the_digest_of_a_large_file_and_it_is_made_once() {
        let (folder, files) = tree();
        let path = folder.path().join("root/demo/large.mp4");
        File::create(&path)
            .and_then(|file| file.set_len(DIGEST_AT_ONCE_MAX + 1))
            .unwrap();
        assert_eq!(files.find("demo/large.mp4").unwrap().sha256, None);
        let sha256 = loop {
            if let Some(made) = files.find("demo/large.mp4").unwrap().sha256 {
                break made;
            }
            std::thread::yield_now();
        };
        assert_eq!(sha256, sha256_of(&path).unwrap());
    }

    #[test]
    fn those_who_ask_at_once_share_one_digest() {
        let (folder, files) = tree();
        let path = folder
            .path()
            .join("root/demo/a.m4s")
            .canonicalize()
            .unwrap();
        let about = fs::metadata(&path).unwrap();
        let digest = files.digest(&path, about.len(), about.modified().ok());
        // While one of them makes it…
        let mut made = digest.lock();
        let asked: Vec<_> = (0..3)
            .map(|_| {
                let files = files.clone();
                std::thread::spawn(move || files.find("demo/a.m4s").unwrap().sha256)
            })
            .collect();
        // …the others wait, and take what it made, whatever that is.
        *made = Some([7; 32]);
        drop(made);
        for asked in asked {
            assert_eq!(asked.join().unwrap(), Some([7; 32]));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_pipe_is_no_file_and_nobody_waits_for_it() {
        let (folder, files) = tree();
        let made = std::process::Command::new("mkfifo")
            .arg(folder.path().join("root/pipe"))
            .status();
        assert!(made.unwrap().success());
        assert!(matches!(files.find("pipe"), Err(FileError::NotFound)));
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode_path("/a%20b").as_deref(), Some("a b"));
        assert_eq!(decode_path("/%252e%252e/x").as_deref(), Some("%2e%2e/x"));
        assert_eq!(decode_path("/a%00b"), None);
        assert_eq!(decode_path("/a%zz"), None);
        assert_eq!(decode_path("a"), None);
    }

    #[test]
    fn titles_are_the_folders_at_the_top() {
        let (folder, files) = tree();
        for name in ["top.mpd", "what?.mp4", "a#b", "bell\u{7}", "back\\slash"] {
            fs::write(folder.path().join("root").join(name), b"x").unwrap();
        }
        assert_eq!(files.prefixes(), ["demo/", "top.mpd"]);
    }

    #[test]
    fn of_too_many_titles_the_same_are_reported_each_time() {
        let (folder, files) = tree();
        for number in 0..PREFIXES_MAX {
            fs::write(folder.path().join(format!("root/{number:04}")), b"x").unwrap();
        }
        let prefixes = files.prefixes();
        assert_eq!(prefixes.len(), PREFIXES_MAX);
        assert_eq!(prefixes.last().map(String::as_str), Some("0999"));
    }
}
