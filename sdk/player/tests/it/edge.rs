//! An edge for tests: plain HTTP/1.1 over a TCP socket, so that a test says to the byte what goes wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What an edge does with a request.
#[derive(Clone, Debug, Default)]
pub(crate) enum Serve {
    /// What was asked for.
    #[default]
    Well,
    /// Sends so many body bytes, resets the connection and refuses every later one.
    DieAfter(usize),
    /// Sends so many body bytes and then nothing.
    HangAfter(usize),
    /// The whole file, whatever range was asked for.
    IgnoreRange,
    /// One byte is another, under the digest of the right bytes.
    Corrupt,
    /// So many bytes every 10 ms.
    Slowly(usize),
    /// This status with no body.
    Status(u16),
    /// Other bytes than were asked for.
    Instead(&'static [u8]),
}

/// A request that an edge has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) range: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
}

type Behaviour = dyn Fn(&Seen, usize) -> Serve + Send + Sync;

/// A running edge; it ends when dropped.
pub(crate) struct Edge {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    behaviour: Box<Behaviour>,
    seen: Mutex<Vec<Seen>>,
    open: AtomicUsize,
    dead: tokio_util::sync::CancellationToken,
}

impl Edge {
    /// Serves the fixtures below `/title/` as they are.
    pub(crate) async fn start() -> Self {
        Self::with(|_, _| Serve::Well).await
    }

    /// Serves the fixtures; `behaviour` is asked for each request, with how often that path was asked before.
    pub(crate) async fn with(
        behaviour: impl Fn(&Seen, usize) -> Serve + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            files: fixtures(),
            behaviour: Box::new(behaviour),
            seen: Mutex::default(),
            open: AtomicUsize::new(0),
            dead: tokio_util::sync::CancellationToken::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared.clone()));
        Self {
            address,
            shared,
            _tasks: tasks,
        }
    }

    pub(crate) fn base(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn url(&self, file: &str) -> String {
        format!("http://{}/title/{file}", self.address)
    }

    pub(crate) fn name(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }
}

pub(crate) fn fixtures() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            (
                format!("/title/{}", path.file_name().unwrap().to_str().unwrap()),
                std::fs::read(&path).unwrap(),
            )
        })
        .collect()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                let shared = shared.clone();
                connections.spawn(async move {
                    shared.open.fetch_add(1, Ordering::AcqRel);
                    let _open = Open(shared.clone());
                    // A client that goes away is no failure of the test.
                    connection(stream, &shared).await.ok();
                });
            }
            Some(_) = connections.join_next() => {}
            () = shared.dead.cancelled() => return,
        }
    }
}

struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn connection(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_owned());
        }
        let target = head[0].split(' ').nth(1).unwrap().to_owned();
        let headers: BTreeMap<String, String> = head[1..]
            .iter()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let (path, query) = target
            .split_once('?')
            .map_or((target.clone(), None), |(path, query)| {
                (path.to_owned(), Some(query.to_owned()))
            });
        let seen = Seen {
            path,
            query,
            range: headers.get("range").cloned(),
            headers,
        };
        let before = {
            let mut all = shared.seen.lock().unwrap();
            let before = all.iter().filter(|other| other.path == seen.path).count();
            all.push(seen.clone());
            before
        };
        let serve = (shared.behaviour)(&seen, before);
        if !answer(stream.get_mut(), shared, &seen, serve).await? {
            return Ok(());
        }
    }
}

/// Returns whether the connection goes on.
async fn answer(
    stream: &mut TcpStream,
    shared: &Shared,
    seen: &Seen,
    serve: Serve,
) -> std::io::Result<bool> {
    if let Serve::Status(status) = serve {
        stream
            .write_all(format!("HTTP/1.1 {status} Status\r\nContent-Length: 0\r\n\r\n").as_bytes())
            .await?;
        return Ok(true);
    }
    let Some(file) = shared.files.get(&seen.path) else {
        stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            .await?;
        return Ok(true);
    };
    let mut file = file.clone();
    let digest = sha256_base64(&file);
    match &serve {
        Serve::Corrupt => {
            let middle = file.len() / 2;
            file[middle] ^= 0xff;
        }
        Serve::Instead(bytes) => file = bytes.to_vec(),
        _ => {}
    }
    let range = seen
        .range
        .as_deref()
        .filter(|_| !matches!(serve, Serve::IgnoreRange))
        .map(|range| {
            let (first, last) = range
                .strip_prefix("bytes=")
                .unwrap()
                .split_once('-')
                .unwrap();
            let first: usize = first.parse().unwrap();
            let last = last
                .parse()
                .map_or(file.len() - 1, |last: usize| last.min(file.len() - 1));
            (first, last)
        });
    let (status, extra, body) = match range {
        Some((first, _)) if first >= file.len() => {
            stream
                .write_all(b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n")
                .await?;
            return Ok(true);
        }
        Some((first, last)) => {
            let extra = format!("Content-Range: bytes {first}-{last}/{}\r\n", file.len());
            ("206 Partial Content", extra, &file[first..=last])
        }
        None => ("200 OK", String::new(), &file[..]),
    };
    let digest = if matches!(serve, Serve::Corrupt) {
        format!("Repr-Digest: sha-256=:{digest}:\r\n")
    } else {
        String::new()
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nAccept-Ranges: bytes\r\n{extra}{digest}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    match serve {
        Serve::DieAfter(bytes) => {
            stream.write_all(&body[..bytes.min(body.len())]).await?;
            // What was sent must arrive before the reset does.
            tokio::time::sleep(Duration::from_millis(30)).await;
            shared.dead.cancel();
            stream.set_zero_linger()?;
            Ok(false)
        }
        Serve::HangAfter(bytes) => {
            stream.write_all(&body[..bytes.min(body.len())]).await?;
            std::future::pending().await
        }
        Serve::Slowly(bytes) => {
            for piece in body.chunks(bytes) {
                stream.write_all(piece).await?;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(true)
        }
        Serve::Well
        | Serve::IgnoreRange
        | Serve::Corrupt
        | Serve::Instead(_)
        | Serve::Status(_) => {
            stream.write_all(body).await?;
            Ok(true)
        }
    }
}

fn sha256_base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .encode(ring::digest::digest(&ring::digest::SHA256, bytes))
}
