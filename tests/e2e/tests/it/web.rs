//! A plain nginx that knows nothing of us.

use std::env;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;

use crate::network::{Network, has_begun};
use crate::program::{Program, eventually, whole_lines};
use crate::room::{Room, free_port};

/// One nginx in one process.
#[derive(Debug)]
pub(crate) struct Nginx {
    program: Program,
    port: u16,
    access_log: PathBuf,
    config: PathBuf,
    _version: Version,
}

/// Which nginx it is, told when the test fails.
#[derive(Debug)]
struct Version(String);

impl Drop for Version {
    #[expect(
        clippy::print_stderr,
        reason = "the test harness shows it with the failure"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the web server was {}", self.0);
        }
    }
}

/// A line of its access log, written when a request ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) protocol: String,
}

impl Nginx {
    /// Serves the files under `root`, each answer at no more than `limit_rate` bytes a second.
    pub(crate) async fn start(
        room: &Room,
        name: &str,
        root: &Path,
        limit_rate: Option<&str>,
    ) -> Self {
        let folder = room.folder(name);
        let port = free_port();
        let access_log = folder.join("access.log");
        let limit = limit_rate.map_or_else(String::new, |rate| format!("limit_rate {rate};"));
        let config = room.file(
            &format!("{name}/nginx.conf"),
            config(&folder, root, port, "", &limit),
        );
        Self::run(room, None, name.to_owned(), port, access_log, config).await
    }

    /// Serves the files under `root` at a port of a network of its own.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "other systems have no namespaces")
    )]
    pub(crate) async fn start_in(
        (room, network): (&Room, &Network),
        name: &str,
        root: &Path,
        port: u16,
    ) -> Self {
        let folder = room.folder(name);
        let access_log = folder.join("access.log");
        let config = room.file(
            &format!("{name}/nginx.conf"),
            config(&folder, root, port, "", ""),
        );
        let name = name.to_owned();
        Self::run(room, Some(network), name, port, access_log, config).await
    }

    /// Serves the files under `root` over TLS, with this certificate and its key.
    pub(crate) async fn start_tls(
        room: &Room,
        name: &str,
        root: &Path,
        (certificate, key): (&Path, &Path),
    ) -> Self {
        let folder = room.folder(name);
        let port = free_port();
        let tls = format!(
            "ssl_certificate {}; ssl_certificate_key {};",
            certificate.display(),
            key.display()
        );
        let config = room.file(
            &format!("{name}/nginx.conf"),
            config(&folder, root, port, "ssl", &tls),
        );
        Self::run(
            room,
            None,
            name.to_owned(),
            port,
            folder.join("access.log"),
            config,
        )
        .await
    }

    async fn run(
        room: &Room,
        network: Option<&Network>,
        name: String,
        port: u16,
        access_log: PathBuf,
        config: PathBuf,
    ) -> Self {
        let path = program();
        let version = version(&path).await;
        let mut command = Command::new(path);
        // The error log is named here too, for what happens before the configuration is read.
        command
            .args(["-e", "stderr", "-p"])
            .arg(config.parent().unwrap())
            .arg("-c")
            .arg(&config);
        if let Some(network) = network {
            command = network.inside(&command);
        }
        let pid_file = config.with_file_name("pid");
        let listens = || match network {
            Some(_) => has_begun(&pid_file),
            None => TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(),
        };
        let mut program = Program::start(room, &name, command);
        eventually("nginx listens", Duration::from_secs(20), || {
            assert!(program.is_running(), "nginx ended: {}", program.err());
            listens().then_some(())
        })
        .await;
        Self {
            program,
            port,
            access_log,
            config,
            _version: version,
        }
    }

    /// Starts it again, after it was killed, where it was.
    pub(crate) async fn again(self, room: &Room) -> Self {
        let Self {
            program,
            port,
            access_log,
            config,
            _version: _,
        } = self;
        drop(program);
        let name = config
            .parent()
            .unwrap()
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        Self::run(
            room,
            None,
            format!("{name}-again"),
            port,
            access_log,
            config,
        )
        .await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Returns what the report calls it.
    pub(crate) fn edge(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) async fn sigkill(&mut self) {
        self.program.sigkill().await;
    }

    pub(crate) fn sigstop(&self) {
        self.program.signal(Signal::STOP);
    }

    /// Returns the requests that ended, in the order of their ends.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let text = std::fs::read_to_string(&self.access_log).unwrap_or_default();
        whole_lines(&text).map(line).collect()
    }

    /// Returns how many bytes it wrote anywhere so far.
    pub(crate) fn written(&self) -> u64 {
        let path = format!("/proc/{}/io", self.program.pid());
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let count = text.lines().find_map(|line| line.strip_prefix("wchar: "));
        count.unwrap().parse().unwrap()
    }
}

/// Waits until one of these is in the middle of a video segment, and returns which one.
///
/// The middle is where so many `bytes`, and not half as many again, went out of answers that the log has not yet: more than anything but a video
/// segment has, and less than those have that are asked for when `limit_rate` leaves room for them.
pub(crate) async fn in_mid_segment(servers: &[Nginx], bytes: u64) -> usize {
    // What left beside what the log has: `limit_rate` sends a second's worth at once, and as much again later.
    let middle = bytes..bytes + bytes / 2;
    eventually(
        "a video segment is half sent",
        Duration::from_secs(30),
        || {
            servers.iter().position(|server| {
                let before = server.lines();
                let written = server.written();
                let is_current = server.lines().len() == before.len();
                let logged: u64 = before.iter().map(|line| line.bytes).sum();
                is_current && middle.contains(&written.saturating_sub(logged))
            })
        },
    )
    .await
}

fn line(text: &str) -> Line {
    let words: Vec<&str> = text.split(' ').collect();
    let [path, range, status, bytes, protocol] = words.as_slice() else {
        panic!("no line of our format: {text:?}")
    };
    Line {
        path: (*path).to_owned(),
        range: (*range != "-").then(|| (*range).to_owned()),
        status: status.parse().unwrap(),
        bytes: bytes.parse().unwrap(),
        protocol: (*protocol).to_owned(),
    }
}

fn program() -> PathBuf {
    let folders = env::var_os("PATH").unwrap_or_default();
    // Where systems put it that keep it out of the PATH of those who are not root.
    let places = ["/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"].map(PathBuf::from);
    env::split_paths(&folders)
        .chain(places)
        .map(|folder| folder.join("nginx"))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("nginx is missing: run `make setup-test` first (`make test` does)")
        })
}

/// Makes sure that it is nginx, and returns where it is and which version.
async fn version(path: &Path) -> Version {
    let said = Command::new(path).arg("-v").output().await.unwrap();
    let said = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    assert!(
        said.starts_with("nginx version: nginx/"),
        "{} is no plain nginx: {said}",
        path.display()
    );
    Version(format!("{}, {said}", path.display()))
}

/// One process, so that a signal hits all of it; nothing outside the room, so that anybody can run it.
///
/// `listen` and `more` are added to how the one server listens, and to what else is said of it.
fn config(folder: &Path, root: &Path, port: u16, listen: &str, more: &str) -> String {
    let folder = folder.display();
    let root = root.display();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  log_format plain '$uri $http_range $status $body_bytes_sent $server_protocol';
  access_log {folder}/access.log plain;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{ listen 127.0.0.1:{port} {listen}; root {root}; {more} }}
}}
"
    )
}
