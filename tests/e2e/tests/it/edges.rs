//! Backend and edges, each in a process of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{interval, timeout};

use crate::access::{Entry, read_entries};
use crate::program::Program;
use crate::room::{Room, binary};
use crate::title::title;

/// A backend, the edges that report to it, and their certificate authority.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) backend: Backend,
    pub(crate) edges: Vec<Edge>,
}

/// One `nearcast-backend`.
#[derive(Debug)]
pub(crate) struct Backend {
    _program: Program,
    pub(crate) url: String,
    pub(crate) ca: PathBuf,
}

/// One `nearcast-edge`.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) program: Program,
    pub(crate) id: String,
    pub(crate) base_url: String,
    admin_url: String,
    log: PathBuf,
}

const SECRET: &str = "a secret of this test";
const START_MAX: Duration = Duration::from_secs(20);

impl System {
    /// Starts a backend with the made title, and one edge for each of these, told this on top.
    pub(crate) async fn start(room: &Room, edges: &[(&str, &[&str])]) -> Self {
        Self::start_with(room, &title().join("catalogue.toml"), edges).await
    }

    /// The same with a catalogue of its own.
    pub(crate) async fn start_with(
        room: &Room,
        catalogue: &Path,
        edges: &[(&str, &[&str])],
    ) -> Self {
        let backend = Backend::start(room, catalogue, &[]).await;
        let mut system = Self {
            backend,
            edges: Vec::new(),
        };
        for (id, arguments) in edges {
            system
                .edges
                .push(Edge::start(room, id, Some(&system.backend), arguments).await);
        }
        system.backend.knows(edges.len()).await;
        system
    }

    /// Returns the arguments of `nearcast` that play the title from here.
    pub(crate) fn play(&self) -> Vec<&str> {
        self.backend.play("demo")
    }

    pub(crate) fn edge(&mut self, id: &str) -> &mut Edge {
        self.edges.iter_mut().find(|edge| edge.id == id).unwrap()
    }

    /// Ends all edges and returns what they logged: a line may be written later than its answer is read.
    pub(crate) async fn entries_at_end(&mut self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for edge in &mut self.edges {
            entries.extend(edge.entries_at_end().await);
        }
        entries
    }
}

impl Backend {
    pub(crate) async fn start(room: &Room, titles: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary("nearcast-backend"));
        command
            .args(["--listen", "127.0.0.1:0", "--secret", SECRET, "--titles"])
            .arg(titles)
            .arg("--ca-dir")
            .arg(room.path().join("ca"))
            .args(arguments)
            .env_remove("NEARCAST_LOG")
            .current_dir(room.path());
        let mut program = Program::start(room, "backend", command);
        let ready = program.line("nearcast-backend ready:", START_MAX).await;
        Self {
            _program: program,
            url: field(&ready, "url").to_owned(),
            ca: PathBuf::from(field(&ready, "ca")),
        }
    }

    /// Returns the arguments of `nearcast` that play a title from here.
    pub(crate) fn play<'a>(&'a self, title: &'a str) -> Vec<&'a str> {
        let ca = self.ca.to_str().unwrap();
        vec!["play", title, "--backend", &self.url, "--ca", ca]
    }

    /// Waits until so many edges have reported.
    pub(crate) async fn knows(&self, edges: usize) {
        // Every client needs one; whoever comes first sets it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let ca = Certificate::from_pem(&std::fs::read(&self.ca).unwrap()).unwrap();
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([ca])
            .build()
            .unwrap();
        let known = async {
            let mut soon = interval(Duration::from_millis(20));
            loop {
                soon.tick().await;
                let answer = client
                    .get(format!("{}/metrics", self.url))
                    .send()
                    .await
                    .unwrap();
                let metrics = answer.text().await.unwrap();
                if metrics
                    .lines()
                    .any(|line| line == format!("nearcast_backend_appliances {edges}"))
                {
                    return;
                }
            }
        };
        timeout(START_MAX, known).await.expect("all edges report");
    }
}

impl Edge {
    /// Starts an edge that has the made title, with a backend or without one.
    pub(crate) async fn start(
        room: &Room,
        id: &str,
        backend: Option<&Backend>,
        arguments: &[&str],
    ) -> Self {
        let title = title();
        let log = room.path().join(format!("{id}.jsonl"));
        let mut command = Command::new(binary("nearcast-edge"));
        command
            .args(["--id", id, "--prefix", "127.0.0.0/8", "--root"])
            .arg(title.parent().unwrap())
            .arg("--ca-dir")
            .arg(room.path().join("ca"))
            .arg("--access-log")
            .arg(&log)
            .args(arguments)
            .env_remove("NEARCAST_LOG")
            .current_dir(room.path());
        if let Some(backend) = backend {
            command.args(["--backend", &backend.url, "--secret", SECRET]);
        }
        let mut program = Program::start(room, id, command);
        let ready = program.line("ready id=", START_MAX).await;
        Self {
            program,
            id: id.to_owned(),
            base_url: field(&ready, "base_url").to_owned(),
            admin_url: field(&ready, "admin_url").to_owned(),
            log,
        }
    }

    /// Returns what a report calls it where no backend gave it a name.
    pub(crate) fn host(&self) -> &str {
        self.base_url
            .trim_start_matches("https://")
            .trim_end_matches('/')
    }

    /// Puts this fault in the place of all others.
    pub(crate) async fn fault(&self, fault: Value) {
        self.fault_on(fault, json!({})).await;
    }

    /// The same for what is selected.
    pub(crate) async fn fault_on(&self, fault: Value, on: Value) {
        let order = json!({ "clear": true, "faults": [{ "fault": fault, "on": on }] });
        let url = format!("{}control/faults", self.admin_url);
        let answer = admin().post(url).json(&order).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Returns how many bytes of bodies it has sent so far.
    pub(crate) async fn body_bytes(&self) -> u64 {
        let answer = admin()
            .get(format!("{}metrics", self.admin_url))
            .send()
            .await
            .unwrap();
        let text = answer.text().await.unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("nearcast_edge_body_bytes_total"));
        line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Ends it, unless it was killed, and returns its whole access log.
    pub(crate) async fn entries_at_end(&mut self) -> Vec<Entry> {
        if self.program.is_running() {
            self.program.sigterm().await;
        }
        self.entries()
    }

    /// Returns its access log so far.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        read_entries(&self.log)
    }
}

fn admin() -> Client {
    drop(rustls::crypto::ring::default_provider().install_default());
    Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap()
}

/// Returns what a ready line says after `name=`.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let value = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {line:?}"))
}
