//! A viewer of a run: the whole player, and what its viewer does.

use std::fs::File;
use std::future::pending;
use std::io::BufWriter;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nearcast_player::{
    BackendOptions, NetworkOptions, Player, PlayerBuilder, PlayerError, PlayerSnapshot, Source,
    TrackKind,
};
use nearcast_scenario::{Doing, Scenario, Viewer};
use nearcast_sim::scenario::rule;
use tokio::io::{BufReader, stdin, stdout};
use tokio::time::{Instant, sleep_until};

use super::line::{self, Backend, FromViewer, ToViewer, Viewed};
use super::{Run, account, conduct, title};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: Run,
    /// Which session, from 0 on
    #[arg(long)]
    session: usize,
    /// Writes what the session was told there, for replay
    #[arg(long)]
    record: Option<PathBuf>,
}

/// Plays when it is told to, and tells what it saw.
pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let scenario = arguments.run.scenario()?;
    let viewers = scenario.viewers(arguments.run.seed);
    let viewer = viewers.into_iter().nth(arguments.session);
    let viewer = viewer.context("the scenario has no such session")?;
    let mut out = stdout();
    line::write(&mut out, &FromViewer::Ready).await?;
    let mut input = BufReader::new(stdin());
    let Some(ToViewer::Play(backend)) = line::read(&mut input).await? else {
        bail!("nobody said where to play from");
    };
    let mut left_alone = tokio::spawn(async move { line::read::<ToViewer>(&mut input).await });
    let mut builder = builder(&scenario, arguments.session, &viewer, backend);
    if let Some(path) = &arguments.record {
        let file = File::create(path);
        let file = file.with_context(|| format!("writing {}", path.display()))?;
        builder = builder.record(BufWriter::new(file));
    }
    let began_unix_ms = conduct::unix_ms();
    let player = builder.start()?;
    let began = Instant::now();
    let mut doings = scenario
        .doings(arguments.run.seed, viewer.player)
        .collect::<std::collections::VecDeque<_>>();
    let mut snapshots = player.snapshots();
    let limit = began + scenario.limit.saturating_sub(viewer.arrives);
    let (mut uses, mut playback_id) = (None, None);
    let mut ended = Box::pin(player.ended());
    loop {
        let due = async {
            match doings.front() {
                Some((at, _)) => sleep_until(began + *at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            // Whatever it ended with stands in the report.
            _ = &mut ended => break,
            () = due => {
                if let Some((_, doing)) = doings.pop_front() {
                    act(&player, doing, &mut out).await?;
                }
            }
            () = sleep_until(limit) => break,
            _ = &mut left_alone => bail!("the lab is gone"),
            changed = snapshots.changed() => {
                if changed.is_err() {
                    break;
                }
                let snapshot = snapshots.borrow_and_update().clone();
                playback_id = snapshot.playback_id.clone().or(playback_id);
                if let Some(edge) = edge_in_use(&snapshot).filter(|edge| uses.as_ref() != Some(edge)) {
                    line::write(&mut out, &FromViewer::Uses(edge.clone())).await?;
                    uses = Some(edge);
                }
            }
        }
    }
    drop(ended);
    let report = player.close().await?;
    let viewed = Viewed {
        began_unix_ms,
        playback_id,
        report,
    };
    line::write(&mut out, &FromViewer::Ended(Box::new(viewed))).await
}

fn builder(
    scenario: &Scenario,
    session: usize,
    viewer: &Viewer,
    backend: Backend,
) -> PlayerBuilder {
    let player = &scenario.players[viewer.player];
    let network = NetworkOptions {
        extra_ca_pem: vec![backend.ca_pem.into_bytes()],
        nameservers: backend.nameserver.into_iter().collect(),
        ..NetworkOptions::default()
    };
    let mut backend = BackendOptions::new(backend.url);
    backend.account = account(session);
    backend.device_id = account(session);
    let source = Source::Title {
        backend,
        title: title::NAME.to_owned(),
    };
    let mut builder = Player::builder(source)
        .network_options(network)
        .seed(viewer.seed)
        .abr(rule(player.abr))
        .buffer_goal(player.buffer_goal)
        .memory_cap(player.memory_cap)
        .race_width(player.race_width)
        .start_at(Duration::from_secs_f64(player.start_at.as_secs_f64()));
    if let Some(cap) = player.cap {
        builder = builder.cap_rung(cap);
    }
    if let Some(after) = player.give_up {
        builder = builder.give_up(after);
    }
    builder
}

/// The edge that the picture comes from.
fn edge_in_use(snapshot: &PlayerSnapshot) -> Option<String> {
    let session = &snapshot.session;
    let picture = session
        .transfers
        .iter()
        .find(|transfer| transfer.track == Some(TrackKind::Video) && transfer.received.get() > 0)?;
    let edge = session.edges.iter().find(|edge| edge.id == picture.edge)?;
    Some(edge.name.clone())
}

async fn act(
    player: &Player,
    doing: Doing,
    out: &mut (impl tokio::io::AsyncWrite + Unpin),
) -> Result<()> {
    let done = match doing {
        Doing::Seek(to) => player.seek(to),
        Doing::Pause => player.pause(),
        Doing::Play => player.play(),
        Doing::Cap(bitrate) => player.cap_rung(bitrate),
        Doing::LockRung(rung) => player.lock_rung(rung),
        Doing::Audio(track) => player.select_audio(track),
        Doing::Subtitles(track) => player.select_text(track),
        Doing::NetworkChange => player.network_changed(None),
        Doing::Stop => player.stop(),
        Doing::Rebind => {
            line::write(out, &FromViewer::Rebind).await?;
            Ok(())
        }
    };
    match done {
        // What a viewer does when all is over is told of with what came of the run.
        Ok(()) | Err(PlayerError::Closed) => Ok(()),
        Err(error) => Err(error).context(format!("the viewer's action {doing:?}")),
    }
}
