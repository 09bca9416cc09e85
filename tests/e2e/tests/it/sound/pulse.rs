//! A sound card that keeps real time and can be listened to: PulseAudio's null sink and its monitor.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::process::Command as TokioCommand;

use crate::program::{Program, eventually};
use crate::room::Room;

/// A sound server of our own, with one sink; it ends when dropped.
#[derive(Debug)]
pub(crate) struct SoundServer {
    folder: PathBuf,
    _daemon: Program,
}

/// Programs that find their sound device by ALSA's `default` reach the server by this.
const ASOUNDRC: &str = "pcm.!default { type pulse }\nctl.!default { type pulse }\n";
/// A server on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

impl SoundServer {
    pub(crate) async fn start(room: &Room) -> Self {
        let folder = room.folder("pulse");
        fs::write(room.folder("home").join(".asoundrc"), ASOUNDRC).unwrap();
        let mut daemon = TokioCommand::new("pulseaudio");
        let socket = format!(
            "module-native-protocol-unix auth-anonymous=1 socket={}",
            folder.join("native").display()
        );
        daemon
            .args([
                "-n",
                "--daemonize=no",
                "--system=false",
                "--use-pid-file=no",
            ])
            .args(["--exit-idle-time=-1", "--realtime=no", "--high-priority=no"])
            .args(["-L", "module-null-sink sink_name=null rate=48000"])
            .args(["-L", &socket])
            .env("HOME", &folder)
            .env("XDG_RUNTIME_DIR", &folder)
            .env("PULSE_RUNTIME_PATH", &folder)
            .env("PULSE_STATE_PATH", &folder)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("DISPLAY")
            .env_remove("PULSE_SERVER");
        let server = Self {
            _daemon: Program::start(room, "pulseaudio", daemon),
            folder,
        };
        let answers = || {
            let mut info = Command::new("pactl");
            info.arg("info").env("PULSE_SERVER", server.address());
            let info = info.env("HOME", &server.folder).output().unwrap();
            info.status.success().then_some(())
        };
        eventually("the sound server answers", PATIENCE, answers).await;
        server
    }

    /// Returns what `PULSE_SERVER` is to be.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.folder.join("native").display())
    }

    /// Listens to what is played.
    pub(crate) fn record(&self) -> Recording {
        let mut parec = Command::new("parec");
        parec
            .args(["--device=null.monitor", "--raw", "--format=s16le"])
            .args(["--channels=1", "--latency-msec=10"])
            .arg(format!("--rate={RATE}"))
            .env("PULSE_SERVER", self.address())
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = parec.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let to = Arc::clone(&heard);
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                to.lock().unwrap().take(&buffer[..count], Instant::now());
            }
        });
        Recording { child, heard }
    }
}

const RATE: u32 = 48_000;

/// What is heard; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Recording {
    child: Child,
    heard: Arc<Mutex<Heard>>,
}

#[derive(Debug, Default)]
struct Heard {
    /// How many samples came, and the half of one that did.
    samples: usize,
    half: Option<u8>,
    /// The moment of the first sample, by that piece that came with the least delay.
    began: Option<Instant>,
    /// The samples with which tones began, and the last one that was loud.
    tones: Vec<usize>,
    last_loud: Option<usize>,
}

impl Heard {
    fn take(&mut self, piece: &[u8], now: Instant) {
        for &byte in piece {
            match self.half.take() {
                None => self.half = Some(byte),
                Some(half) => self.sample(i16::from_le_bytes([half, byte])),
            }
        }
        let Some(began) = now.checked_sub(span(self.samples)) else {
            return;
        };
        self.began = Some(self.began.map_or(began, |known| known.min(began)));
    }

    fn sample(&mut self, sample: i16) {
        let index = self.samples;
        self.samples += 1;
        if sample.unsigned_abs() < LOUD {
            return;
        }
        if self.last_loud.is_none_or(|last| index > last + QUIET) {
            self.tones.push(index);
        }
        self.last_loud = Some(index);
    }
}

fn span(samples: usize) -> Duration {
    Duration::from_secs(1) * u32::try_from(samples).unwrap() / RATE
}

/// A share of full scale that the tone is above and nothing else is.
const LOUD: u16 = 3_000;
/// Between tones it is quiet for longer than this.
const QUIET: usize = RATE as usize / 4;

impl Recording {
    /// Returns when tones began.
    pub(crate) fn tones(&self) -> Vec<Instant> {
        let heard = self.heard.lock().unwrap();
        let Some(began) = heard.began else {
            return Vec::new();
        };
        let tones = heard.tones.iter();
        tones.map(|index| began + span(*index)).collect()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Makes a named pipe.
pub(crate) fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// However the bytes are cut into pieces.
#[test]
fn tones_are_heard_where_they_begin() {
    let second = RATE as usize;
    let mut samples = vec![0_i16; 3 * second];
    for start in [second / 2, 2 * second] {
        // A tone passes through zero.
        for pair in samples[start..start + second / 10].chunks_exact_mut(2) {
            pair.copy_from_slice(&[-20_000, 0]);
        }
    }
    let bytes: Vec<u8> = samples.into_iter().flat_map(i16::to_le_bytes).collect();
    for size in [1, 999, bytes.len()] {
        let mut heard = Heard::default();
        for piece in bytes.chunks(size) {
            heard.take(piece, Instant::now());
        }
        assert_eq!(heard.tones, [second / 2, 2 * second], "pieces of {size}");
        assert_eq!(heard.samples, 3 * second);
    }
}
