//! What earlier plays learnt of networks, in the user's cache folder: a pity where it is lost, and no failure.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use nearcast_player::{Memory, Player, PlayerBuilder};

use super::say;
use super::settings::{folders, keep};

/// The file, and what was in it.
#[derive(Debug)]
pub(super) struct Networks {
    file: PathBuf,
    memory: Memory,
}

/// A memory at its largest has a fifth of this.
const FILE_MAX: u64 = 1 << 20;

impl Networks {
    /// Takes up what there is; says where it cannot be read. `None` where the user has no folders.
    pub(super) fn open() -> Option<Self> {
        Some(Self::at(folders()?.cache_dir().join("networks.json")))
    }

    fn at(file: PathBuf) -> Self {
        let memory = match read(&file) {
            Ok(memory) => memory,
            Err(error) => {
                say(format_args!(
                    "nearcast: what is remembered of networks ({}) cannot be read: {error}; it is begun anew",
                    file.display()
                ));
                Memory::default()
            }
        };
        Self { file, memory }
    }

    /// Begins on the network of this name.
    pub(super) fn begin(&self, builder: PlayerBuilder, network: &str) -> PlayerBuilder {
        builder
            .network_identity(network)
            .memory(self.memory.clone())
    }

    /// Keeps what a player has learnt; says where it cannot.
    pub(super) async fn keep(&self, player: &Player) {
        let Ok(memory) = player.memory().await else {
            return;
        };
        if let Err(error) = self.write(&memory) {
            say(format_args!(
                "nearcast: what was learnt of the network is not kept in {}: {error}",
                self.file.display()
            ));
        }
    }

    fn write(&self, memory: &Memory) -> io::Result<()> {
        if *memory == self.memory {
            return Ok(());
        }
        let text = serde_json::to_string(memory).map_err(io::Error::other)?;
        keep(&self.file, &text)
    }
}

fn read(file: &PathBuf) -> io::Result<Memory> {
    let mut text = String::new();
    match File::open(file) {
        Ok(opened) => opened.take(FILE_MAX).read_to_string(&mut text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
        Err(error) => return Err(error),
    };
    Ok(serde_json::from_str(&text)?)
}

/// Takes a name that can be remembered.
pub(super) fn parse_network(text: &str) -> Result<String, String> {
    if Memory::takes(text) {
        return Ok(text.to_owned());
    }
    Err(format!("a name has 1 to {} bytes", Memory::NAME_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: &str = r#"{"networks":{"home":{"at_s":1790000000,"rate_bps":{"typical":8000000.0,"sessions":1.0},"edges":{}}}}"#;

    #[test]
    fn what_is_written_is_read_and_the_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache/networks.json");
        let networks = Networks::at(file.clone());
        assert_eq!(networks.memory, Memory::default());
        networks.write(&Memory::default()).unwrap();
        assert!(!file.exists(), "nothing new is not written");
        let memory: Memory = serde_json::from_str(KEPT).unwrap();
        networks.write(&memory).unwrap();
        assert_eq!(Networks::at(file.clone()).memory, memory);
        let beside = std::fs::read_dir(file.parent().unwrap()).unwrap();
        assert_eq!(beside.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_cannot_be_read_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("networks.json");
        let half = &KEPT[..KEPT.len() / 2];
        let long = " ".repeat(usize::try_from(FILE_MAX).unwrap() + 1) + KEPT;
        for broken in [
            &b"\xff\xfe"[..],
            b"",
            b"[1]",
            half.as_bytes(),
            long.as_bytes(),
        ] {
            std::fs::write(&file, broken).unwrap();
            assert!(read(&file).is_err());
            let networks = Networks::at(file.clone());
            assert_eq!(networks.memory, Memory::default());
            let memory: Memory = serde_json::from_str(KEPT).unwrap();
            networks.write(&memory).unwrap();
            assert_eq!(read(&file).unwrap(), memory);
        }
        assert!(read(&folder.path().to_path_buf()).is_err(), "a folder");
    }

    #[test]
    fn a_name_is_neither_empty_nor_long() {
        assert!(parse_network("home").is_ok());
        assert!(parse_network("").is_err());
        assert!(parse_network(&"x".repeat(129)).is_err());
    }
}
