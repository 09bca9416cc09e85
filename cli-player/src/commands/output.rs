//! What a command writes. Files are opened before the work begins, so that a place that cannot be written is
//! told then and not an hour later.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tempfile::NamedTempFile;

/// A file that is there whole or not at all, or a device, a pipe or standard output that takes it in one go.
#[derive(Debug)]
pub(crate) enum Output {
    /// Standard output.
    Standard,
    /// Something that is no regular file, or a link to nothing: replacing it would take it away from others.
    Through(File),
    /// A file beside the place where it goes in the end.
    Whole(NamedTempFile, PathBuf),
}

impl Output {
    /// Opens a place in a folder that is there; `-` is standard output. Waits for a reader where it is a pipe
    /// with a name.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Standard);
        }
        // A link stays one: what it points to is replaced.
        let place = match path.canonicalize() {
            Ok(place) if place.is_file() => place,
            Ok(_) => return Ok(Self::Through(File::options().write(true).open(path)?)),
            Err(_) if path.is_symlink() => return Ok(Self::Through(File::create(path)?)),
            Err(_) => path.to_owned(),
        };
        let folder = place
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        if !folder.exists() {
            let missing = format!("there is no folder {}", folder.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, missing));
        }
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let beside = tempfile::Builder::new()
            .prefix(&format!(".{}.", name.to_string_lossy()))
            // The user's mask takes from these what others are not to have.
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            // The file beside it is nobody's concern.
            .map_err(|error| io::Error::from(error.kind()))?;
        Ok(Self::Whole(beside, place))
    }

    /// Writes all of it.
    pub(crate) fn write(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Standard => print_bytes(bytes),
            Self::Through(mut to) => to.write_all(bytes),
            Self::Whole(mut beside, place) => {
                beside.write_all(bytes)?;
                beside.persist(place)?;
                Ok(())
            }
        }
    }
}

/// Writes to standard output.
pub(crate) fn print_bytes(bytes: &[u8]) -> io::Result<()> {
    let mut to = io::stdout().lock();
    unless_gone(to.write_all(bytes).and_then(|()| to.flush()))
}

/// A reader of standard output that has gone away (`| head`) has what it wants: that is no failure, in any
/// command.
pub(crate) fn unless_gone(printed: io::Result<()>) -> io::Result<()> {
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// A writer whose first failure is kept for whoever asks at the end: those that write in between have nobody
/// to tell.
#[derive(Debug)]
pub(crate) struct Watched<W: Write> {
    to: W,
    failed: WriteError,
}

/// Why something could not be written, once it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteError(Arc<OnceLock<String>>);

impl WriteError {
    /// Returns what the system said, if anything went wrong.
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

impl<W: Write> Watched<W> {
    /// Watches a writer.
    pub(crate) fn new(to: W) -> (Self, WriteError) {
        let failed = WriteError::default();
        let kept = failed.clone();
        (Self { to, failed }, kept)
    }

    fn keep<T>(&self, done: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &done
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.failed.0.get_or_init(|| error.to_string());
        }
        done
    }
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.to.write(bytes);
        self.keep(done)
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.to.flush();
        self.keep(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn write(path: &Path, text: &str) -> io::Result<()> {
        Output::open(path)?.write(text.as_bytes())
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let output = Output::open(&path).unwrap();
        assert!(!path.exists(), "nothing is there before it is written");
        output.write(b"one").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        drop(Output::open(&path).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write(&path, "two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let names = std::fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(names.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_link_stays_one_and_what_it_points_to_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link"), folder.path().join("file"));
        std::fs::write(&file, "old").unwrap();
        for target in [&file, &folder.path().join("nothing yet")] {
            symlink(target, &link).unwrap();
            write(&link, "new").unwrap();
            assert!(link.is_symlink());
            assert_eq!(std::fs::read(target).unwrap(), b"new");
            std::fs::remove_file(&link).unwrap();
        }
    }

    #[test]
    fn a_pipe_gets_it_and_stays_a_pipe() {
        use std::os::unix::fs::FileTypeExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let reader = std::thread::spawn({
            let path = path.clone();
            move || std::fs::read(path).unwrap()
        });
        write(&path, "through").unwrap();
        assert_eq!(reader.join().unwrap(), b"through");
        assert!(path.metadata().unwrap().file_type().is_fifo());
    }

    #[test]
    fn what_cannot_be_written_is_told_when_it_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(Output::open(&file.join("below")).is_err());
        assert!(Output::open(folder.path()).is_err(), "a folder is no file");
        let nowhere = Output::open(&folder.path().join("new/file")).unwrap_err();
        assert!(nowhere.to_string().contains("there is no folder"));
        assert!(!folder.path().join("new").exists(), "nothing was made");
        if Path::new("/proc/self").exists() {
            let refused = Output::open(Path::new("/proc/x")).unwrap_err().to_string();
            assert!(!refused.contains("/proc"), "{refused}");
        }
    }

    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_first_failure_of_a_watched_writer_is_kept() {
        let (mut watched, failed) = Watched::new(io::BufWriter::new(Full));
        watched.write_all(b"in the buffer still").unwrap();
        assert_eq!(failed.get(), None);
        assert!(watched.flush().is_err());
        assert!(failed.get().is_some());
    }
}
