//! Edges, ladder, status and decisions.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::theme::Theme;
use super::words::{self, cell, cell_with_ends};
use crate::tui::state::{Decision, Edge, EdgeState, Playback, RungChoice, Track, ViewState};

/// A grant holds at most ten appliances.
const EDGES_MAX: usize = 10;

pub(super) fn edges(frame: &mut Frame<'_>, area: Rect, playback: &Playback, theme: &Theme) {
    let columns = EdgeColumns::of(area, playback);
    let mut lines = vec![Line::styled(columns.heading(), theme.dim())];
    if playback.edges.is_empty() {
        lines.push(Line::styled("  no edges yet", theme.dim()));
    }
    for edge in playback.edges.iter().take(EDGES_MAX) {
        lines.push(columns.line(edge, theme));
    }
    frame.render_widget(ratatui::text::Text::from(lines), area);
}

/// How wide the columns of the table are that hold names.
struct EdgeColumns {
    id: usize,
    /// Site and bytes are for wide screens only.
    site: Option<usize>,
}

/// What the other columns take: the mark, state, protocol, first byte, rate.
const EDGE_REST: usize = 26;
/// What the bytes take.
const EDGE_BYTES: usize = 9;

impl EdgeColumns {
    /// Names get the room they need; when there is too little, sites are cut before ids.
    fn of(area: Rect, playback: &Playback) -> Self {
        let longest = |text: fn(&Edge) -> &str, heading: &str| {
            let edges = playback.edges.iter().take(EDGES_MAX);
            let widths = edges.map(|edge| Span::raw(text(edge)).width());
            widths.max().unwrap_or(0).max(heading.len())
        };
        let room = usize::from(area.width).saturating_sub(EDGE_REST);
        let id = longest(|edge| &edge.id, "edge");
        let is_wide = area.width >= 50;
        if !is_wide {
            return Self {
                id: id.min(room),
                site: None,
            };
        }
        // Edges that nobody named a site for leave its room to their names.
        if playback.edges.iter().all(|edge| edge.site.is_empty()) {
            return Self {
                id: id.min(room),
                site: None,
            };
        }
        let room = room.saturating_sub(EDGE_BYTES + 1);
        let site = longest(|edge| &edge.site, "site");
        let id = id.min(room.saturating_sub(site).max(room * 2 / 3));
        Self {
            id,
            site: Some(site.min(room.saturating_sub(id))),
        }
    }

    fn heading(&self) -> String {
        let mut heading = format!("  {} ", cell("edge", self.id));
        if let Some(site) = self.site {
            heading.push_str(&format!("{} ", cell("site", site)));
        }
        heading.push_str(&format!(
            "{} pr {:>6} {:>6}",
            cell("state", 7),
            "ttfb",
            "rate"
        ));
        if self.site.is_some() {
            heading.push_str(&format!(" {:>8}", "bytes"));
        }
        heading
    }

    fn line(&self, edge: &Edge, theme: &Theme) -> Line<'static> {
        let (word, state_style) = edge_state(edge, theme);
        let id_style = if edge.in_use {
            theme.chosen()
        } else {
            theme.text()
        };
        let protocol = match edge.protocol.as_deref() {
            Some("http1") => "h1",
            Some(protocol) => protocol,
            None => "-",
        };
        let unknown = || "-".to_owned();
        let ttfb = edge.ttfb.map_or_else(unknown, |ttfb| {
            format!("{} ms", ttfb.as_millis().min(9_999))
        });
        let rate = edge.throughput.map_or_else(unknown, words::rate);
        let mut spans = vec![
            Span::styled(if edge.in_use { "▶ " } else { "  " }, theme.chosen()),
            Span::styled(cell_with_ends(&edge.id, self.id), id_style),
            Span::raw(" "),
        ];
        if let Some(site) = self.site {
            let text = format!("{} ", cell(&edge.site, site));
            spans.push(Span::styled(text, theme.dim()));
        }
        spans.push(Span::styled(cell(word, 7), state_style));
        spans.push(Span::styled(
            format!(" {} {ttfb:>6} {rate:>6}", cell(protocol, 2)),
            theme.text(),
        ));
        if self.site.is_some() {
            let text = format!(" {:>8}", words::amount(edge.bytes));
            spans.push(Span::styled(text, theme.text()));
        }
        Line::from(spans)
    }
}

fn edge_state(edge: &Edge, theme: &Theme) -> (&'static str, Style) {
    match edge.state {
        _ if edge.killed => ("killed", theme.bad()),
        EdgeState::Untried => ("untried", theme.dim()),
        EdgeState::Closed => ("ok", theme.good()),
        EdgeState::Open => ("resting", theme.bad()),
        EdgeState::HalfOpen => ("probing", theme.warning()),
    }
}

/// The ladder on one line, for small screens.
pub(super) fn ladder_line(frame: &mut Frame<'_>, area: Rect, playback: &Playback, theme: &Theme) {
    let mut spans = vec![Span::styled(" rungs ", theme.dim())];
    for (index, rung) in playback.ladder.iter().enumerate() {
        let text = format!("{} {}", rung.name, words::rate(rung.bitrate));
        if playback.rung == Some(index) {
            spans.push(Span::styled(format!("▐{text}▌"), theme.chosen()));
        } else {
            spans.push(Span::styled(format!(" {text} "), theme.text()));
        }
    }
    spans.push(Span::styled(
        format!(" {}", choice(playback)),
        theme.accent(),
    ));
    frame.render_widget(Line::from(spans), area);
}

/// The ladder as a list, highest rung on top, for large screens.
pub(super) fn ladder_list(frame: &mut Frame<'_>, area: Rect, playback: &Playback, theme: &Theme) {
    let mut lines = vec![Line::from(vec![
        Span::styled("  rungs ", theme.dim()),
        Span::styled(choice(playback), theme.accent()),
    ])];
    let top = playback
        .ladder
        .iter()
        .map(|rung| rung.bitrate.as_bps())
        .max()
        .unwrap_or(1)
        .max(1);
    for (index, rung) in playback.ladder.iter().enumerate().rev() {
        let is_current = playback.rung == Some(index);
        let style = if is_current {
            theme.chosen()
        } else {
            theme.text()
        };
        let bar = rung
            .bitrate
            .as_bps()
            .saturating_mul(20)
            .div_ceil(top)
            .min(20);
        let height = rung
            .height
            .map_or_else(String::new, |height| format!("{height}p"));
        lines.push(Line::from(vec![
            Span::styled(if is_current { "▶ " } else { "  " }, theme.chosen()),
            Span::styled(
                format!(
                    "{} {height:>5} {:>6} ",
                    cell(&rung.name, 8),
                    words::rate(rung.bitrate)
                ),
                style,
            ),
            Span::styled("▪".repeat(usize::try_from(bar).unwrap_or(20)), style),
        ]));
    }
    frame.render_widget(ratatui::text::Text::from(lines), area);
}

fn choice(playback: &Playback) -> String {
    match playback.rung_choice {
        RungChoice::Auto => "auto".to_owned(),
        RungChoice::Locked(rung) => {
            let name = playback
                .ladder
                .get(rung)
                .map_or("?", |rung| rung.name.as_str());
            format!("held at {name}")
        }
    }
}

/// Counts, volume and tracks: one line on a small screen, a list on a large one.
pub(super) fn status(frame: &mut Frame<'_>, area: Rect, state: &ViewState, theme: &Theme) {
    let playback = &state.playback;
    // Why there is none stands on the line for notices.
    let volume = if playback.sound_note.is_some() {
        "no sound".to_owned()
    } else if playback.muted {
        "volume muted".to_owned()
    } else {
        format!("volume {} %", words::percent(playback.volume))
    };
    let stalls = if playback.stall_count == 0 {
        "0".to_owned()
    } else {
        format!(
            "{} ({})",
            playback.stall_count,
            words::seconds(playback.stalled)
        )
    };
    let counts = format!("stalls {stalls}  failovers {}", playback.failover_count);
    let tracks = format!(
        "audio {}  subtitles {}",
        chosen(&playback.audio_tracks, playback.audio),
        chosen(&playback.subtitle_tracks, playback.subtitles)
    );
    if area.height > 1 {
        let lines = [
            format!("  {counts}"),
            format!("  {volume}"),
            format!("  {tracks}"),
            format!(
                "  frames too fast for this terminal {}",
                state.frames_dropped
            ),
        ];
        let lines = lines.map(|line| Line::styled(line, theme.text()));
        frame.render_widget(ratatui::text::Text::from_iter(lines), area);
    } else {
        let line = format!(" {counts}  {volume}  {tracks}");
        frame.render_widget(Line::styled(line, theme.text()), area);
    }
}

fn chosen(tracks: &[Track], index: Option<usize>) -> &str {
    index
        .and_then(|index| tracks.get(index))
        .map_or("off", |track| track.label.as_str())
}

fn compared(decision: &Decision) -> String {
    match decision.compared.as_str() {
        "" => String::new(),
        compared => format!(" ({compared})"),
    }
}

/// The newest decision is on top, where the eye finds it.
pub(super) fn decisions(frame: &mut Frame<'_>, area: Rect, playback: &Playback, theme: &Theme) {
    let mut lines = vec![Line::styled(" decisions", theme.dim())];
    let room = usize::from(area.height).saturating_sub(1);
    for (index, decision) in playback.decisions.iter().rev().take(room).enumerate() {
        let style = if index == 0 {
            theme.text()
        } else {
            theme.dim()
        };
        lines.push(Line::from(vec![
            Span::styled(format!(" {:>7} ", words::seconds(decision.at)), theme.dim()),
            Span::styled(cell(&decision.kind, 8), theme.accent()),
            Span::styled(format!(" {}", decision.text), style),
            Span::styled(compared(decision), theme.dim()),
        ]));
    }
    if playback.decisions.is_empty() {
        lines.push(Line::styled("  none yet", theme.dim()));
    }
    frame.render_widget(ratatui::text::Text::from(lines), area);
}
