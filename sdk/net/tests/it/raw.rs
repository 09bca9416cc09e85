//! Servers that do one thing with a socket, most of them a bad one.

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub(crate) struct Raw {
    pub(crate) port: u16,
    accepted: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Raw {
    pub(crate) fn url(&self) -> String {
        format!("http://localhost:{}/", self.port)
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Runs `behave` on every connection, told which one it is, from 0.
pub(crate) async fn raw<F>(behave: impl Fn(usize, TcpStream) -> F + Send + 'static) -> Raw
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = accepted.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let number = counter.fetch_add(1, Ordering::SeqCst);
            connections.spawn(behave(number, socket));
        }
    });
    Raw {
        port,
        accepted,
        _tasks: tasks,
    }
}

/// Reads a request to its end and sends `answer`, whatever that is. Returns the socket.
pub(crate) async fn reply(mut socket: TcpStream, answer: &[u8]) -> TcpStream {
    read_head(&mut socket).await;
    socket.write_all(answer).await.unwrap();
    socket
}

/// Reads up to the blank line, or to the end.
pub(crate) async fn read_head(socket: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A server that sends `answer` to every request and closes.
pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> Raw {
    let answer: Vec<u8> = answer.into();
    raw(move |_, socket| {
        let answer = answer.clone();
        async move {
            drop(reply(socket, &answer).await);
        }
    })
    .await
}
