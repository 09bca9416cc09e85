//! What the processes of a run tell each other: a line of JSON each, over standard input and output.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use nearcast_appliance::fault::FaultReceipt;
use nearcast_protocol::report::SessionReport;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What servers are told. When their input ends, so do they.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToServers {
    /// The run begins.
    Begin,
    /// The first viewer plays from this edge now.
    Uses(String),
    /// The viewers' address translator gives them other ports.
    Rebind,
}

/// What servers tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromServers {
    /// They serve.
    Ready(Backend),
    /// They have ended.
    Ended(Served),
}

/// How viewers reach the backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Backend {
    /// Its URL.
    pub(super) url: String,
    /// The certificate to trust.
    pub(super) ca_pem: String,
    /// Whom to ask for names; `None` is whom the system asks.
    pub(super) nameserver: Option<SocketAddr>,
}

/// What servers did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Served {
    /// When the run began, by the wall clock.
    pub(super) began_unix_ms: u64,
    /// What went wrong: with which edge (`None` is the backend).
    pub(super) receipts: Vec<(Option<usize>, FaultReceipt)>,
    /// Bytes in each second since the run began, by edge.
    pub(super) load: Vec<Vec<u64>>,
    /// Orders that could not be carried out.
    pub(super) problems: Vec<String>,
}

/// What a viewer is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToViewer {
    /// Play from there.
    Play(Backend),
}

/// What a viewer tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromViewer {
    /// It waits to be told where to play from.
    Ready,
    /// The picture comes from this edge now.
    Uses(String),
    /// Its address translator is to give it other ports.
    Rebind,
    /// Playback has ended.
    Ended(Box<Viewed>),
}

/// What a viewer saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Viewed {
    /// The play intent, by the wall clock.
    pub(super) began_unix_ms: u64,
    /// What its tokens name it.
    pub(super) playback_id: Option<String>,
    /// What it did.
    pub(super) report: SessionReport,
}

/// Writes a line.
pub(super) async fn write(
    out: &mut (impl AsyncWrite + Unpin),
    line: &(impl Serialize + Sync),
) -> Result<()> {
    let mut text = serde_json::to_vec(line).context("writing a line of JSON")?;
    text.push(b'\n');
    out.write_all(&text)
        .await
        .context("telling another process")?;
    out.flush().await.context("telling another process")
}

/// Reads a line; `None` at the end.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncBufRead + Unpin),
) -> Result<Option<T>> {
    let mut text = Vec::new();
    let length = from
        .read_until(b'\n', &mut text)
        .await
        .context("hearing from another process")?;
    if length == 0 {
        return Ok(None);
    }
    let line = serde_json::from_slice(&text);
    line.map(Some).with_context(|| {
        format!(
            "another process said what nobody understands: {}",
            String::from_utf8_lossy(&text[..text.len().min(200)]).trim_end()
        )
    })
}
