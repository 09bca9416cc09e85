//! One long download, by TCP and by QUIC.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use nearcast_units::{BitRate, ByteCount};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::network::PacketNetwork;
use crate::moment::Moment;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Quic,
}

/// Returns where the first server listens.
pub(super) fn server(network: &PacketNetwork) -> Result<SocketAddr> {
    let address = network.addresses().next().context("there is no server")?;
    Ok(SocketAddr::from((address, 4433)))
}

/// Downloads so much from the first server; returns at which rate all but the first quarter came.
pub(super) fn download(
    network: &PacketNetwork,
    protocol: Protocol,
    payload: ByteCount,
) -> Result<BitRate> {
    let at = server(network)?;
    let identity = Identity::new()?;
    let trusted = identity.certificate.clone();
    // The server listens before the client begins.
    let (listening, is_listening) = std::sync::mpsc::sync_channel(1);
    thread::scope(|scope| {
        let serving = scope.spawn(move || {
            network.servers().within(|| {
                block_on(async {
                    match protocol {
                        Protocol::Tcp => {
                            let listener = TcpListener::bind(at).await?;
                            listening.send(())?;
                            let (mut stream, _) = listener.accept().await?;
                            write(&mut stream, payload).await
                        }
                        Protocol::Quic => {
                            let config = identity.server()?;
                            let endpoint = quinn::Endpoint::server(config, at)?;
                            listening.send(())?;
                            let incoming = endpoint.accept().await.context("no connection came")?;
                            let connection = incoming.await?;
                            let mut stream = connection.open_uni().await?;
                            write(&mut stream, payload).await?;
                            // Until the client has all of it and says so.
                            connection.closed().await;
                            Ok(())
                        }
                    }
                })
            })
        });
        // Where it fails before, it says why.
        let reading = is_listening.recv().context("no server").and_then(|()| {
            network.client().within(|| {
                block_on(async {
                    match protocol {
                        Protocol::Tcp => {
                            let mut stream = TcpStream::connect(at).await?;
                            read(&mut stream, payload).await
                        }
                        Protocol::Quic => {
                            let here = SocketAddr::from(([0, 0, 0, 0], 0));
                            let endpoint = quinn::Endpoint::client(here)?;
                            let connecting = endpoint.connect_with(client(trusted)?, at, NAME)?;
                            let connection = connecting.await?;
                            let mut stream = connection.accept_uni().await?;
                            let rate = read(&mut stream, payload).await?;
                            connection.close(0_u8.into(), b"");
                            endpoint.wait_idle().await;
                            Ok(rate)
                        }
                    }
                })
            })
        });
        let served = serving
            .join()
            .map_err(|_| anyhow!("a thread that serves panicked"))?;
        served.with_context(|| format!("serving over {protocol:?}"))?;
        reading.with_context(|| format!("downloading over {protocol:?}"))
    })
}

/// Runs something on a runtime of this thread alone, whose sockets are in the thread's namespace.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.context("starting a runtime")?.block_on(work)
}

const CHUNK: usize = 1 << 16;

async fn write(stream: &mut (impl AsyncWrite + Unpin), payload: ByteCount) -> Result<()> {
    let chunk = vec![0; CHUNK];
    let mut left = usize::try_from(payload.get())?;
    while left > 0 {
        let part = chunk.get(..left).unwrap_or(&chunk);
        stream.write_all(part).await?;
        left -= part.len();
    }
    stream.shutdown().await?;
    Ok(())
}

async fn read(stream: &mut (impl AsyncRead + Unpin), payload: ByteCount) -> Result<BitRate> {
    let mut chunk = vec![0; CHUNK];
    let mut received = ByteCount::ZERO;
    let mut settled = None;
    loop {
        let length = stream.read(&mut chunk).await?;
        if length == 0 {
            break;
        }
        received += ByteCount::new(u64::try_from(length)?);
        if received.get() >= payload.get() / 4 {
            settled.get_or_insert_with(|| (Moment::now(), received));
        }
    }
    ensure!(
        received == payload,
        "{} of {} bytes came",
        received.get(),
        payload.get()
    );
    let (since, before) = settled.context("nothing came")?;
    let rate = (received - before).rate_over(since.elapsed());
    rate.context("it came all at once")
}

const NAME: &str = "server.invalid";

struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        let made = made.context("making a certificate")?;
        Ok(Self {
            certificate: made.cert.der().clone(),
            key: PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into()),
        })
    }

    fn server(&self) -> Result<quinn::ServerConfig> {
        let chain = vec![self.certificate.clone()];
        quinn::ServerConfig::with_single_cert(chain, self.key.clone_key())
            .context("setting up QUIC")
    }
}

fn client(trusted: CertificateDer<'static>) -> Result<quinn::ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted)?;
    quinn::ClientConfig::with_root_certificates(Arc::new(roots)).context("setting up QUIC")
}
