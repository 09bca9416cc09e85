//! A client library of Toxiproxy, from npm, drives `nearcast-lab relay`.

mod answers;
mod effects;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::relay::soon;

/// The relay's program, and the library beside it.
struct Driver {
    api: SocketAddr,
    relay: Child,
    _node: Child,
    said: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    async fn start() -> Self {
        let mut relay = Command::new(env!("CARGO_BIN_EXE_nearcast-lab"))
            .args(["relay", "--api", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(relay.stdout.take().unwrap()).lines();
        let ready = soon(lines.next_line()).await.unwrap().unwrap();
        let url = ready.strip_prefix("ready api=").unwrap();

        let lab = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = lab.ancestors().nth(2).unwrap();
        let library = root.join("target/tools/toxiproxy/node_modules/toxiproxy-node-client");
        assert!(
            library.is_dir(),
            "no client library: `make setup-test` installs it"
        );
        let mut node = Command::new("node")
            .arg(lab.join("tests/it/toxiproxy/driver.js"))
            .arg(library)
            .arg(url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            api: url.strip_prefix("http://").unwrap().parse().unwrap(),
            said: node.stdin.take().unwrap(),
            answers: BufReader::new(node.stdout.take().unwrap()).lines(),
            relay,
            _node: node,
        }
    }

    /// Has the library do something: its name in the driver, and what it takes.
    async fn tries(&mut self, step: Value) -> Result<Value, String> {
        let line = format!("{step}\n");
        self.said.write_all(line.as_bytes()).await.unwrap();
        let answer = soon(self.answers.next_line()).await.unwrap().unwrap();
        let mut answer: Value = serde_json::from_str(&answer).unwrap();
        match answer["failed"].as_str() {
            Some(failed) => Err(failed.to_owned()),
            None => Ok(answer["done"].take()),
        }
    }

    async fn does(&mut self, step: Value) -> Value {
        let name = step.to_string();
        let done = self.tries(step).await;
        done.expect(&name)
    }

    /// Asks the API itself; returns the status and the body.
    async fn asks(&self, request: &str, agent: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.api).await.unwrap();
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nhost: relay\r\nuser-agent: {agent}\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

/// A server that hands its connections to the test, and a proxy `p` in front of it.
struct Stage {
    driver: Driver,
    server: TcpListener,
    proxy: SocketAddr,
}

impl Stage {
    async fn new() -> Self {
        let mut driver = Driver::start().await;
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = server.local_addr().unwrap().to_string();
        let body = json!({ "name": "p", "listen": "127.0.0.1:0", "upstream": upstream });
        let proxy = driver.does(json!(["create", body])).await;
        Self {
            driver,
            server,
            proxy: proxy["listen"].as_str().unwrap().parse().unwrap(),
        }
    }

    /// Opens a connection; returns the client's and the server's end of it.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = soon(TcpStream::connect(self.proxy)).await.unwrap();
        let (server, _) = soon(self.server.accept()).await.unwrap();
        (client, server)
    }

    /// Puts a toxic on, downstream and on all connections unless more is said.
    async fn add(&mut self, kind: &str, attributes: Value, more: Value) -> Value {
        let mut body = json!({
            "name": kind, "type": kind, "stream": "downstream", "toxicity": 1, "attributes": attributes
        });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.driver.does(json!(["addToxic", "p", body])).await
    }

    async fn change(&mut self, toxic: &str, attributes: Value) {
        let body = json!({ "attributes": attributes });
        self.driver
            .does(json!(["updateToxic", "p", toxic, body]))
            .await;
    }

    async fn remove(&mut self, toxic: &str) {
        self.driver.does(json!(["removeToxic", "p", toxic])).await;
    }

    async fn receipts(&self) -> Vec<Value> {
        let (status, body) = self
            .driver
            .asks("GET /proxies/p/receipts", "test", "")
            .await;
        assert_eq!(status, 200);
        body["receipts"].as_array().unwrap().clone()
    }
}
