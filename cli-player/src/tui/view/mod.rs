//! Draws the state.
//!
//! There are three layouts: details beside the picture on a large and on a small screen (80x24), and the
//! picture with little else, which is also what a screen below 80x24 gets.

mod bars;
mod help;
mod panels;
#[cfg(test)]
mod tests;
mod theme;
mod words;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

pub(super) use self::words::percent;
use super::graphics::half_blocks::HalfBlocks;
use super::graphics::{Method, affordable, fit};
use super::picture::PixelSize;
use super::state::{Phase, ViewState};
use theme::Theme;

#[cfg(test)]
pub(super) use tests::sample;

/// Draws everything that is made of characters. Kitty and sixel pictures go into
/// [`picture_area`] afterwards.
pub fn view(frame: &mut Frame<'_>, state: &ViewState) {
    let theme = Theme::new(state.screen.colours);
    let Some(places) = Places::of(frame.area(), state) else {
        too_small(frame, &theme);
        return;
    };
    header(frame, places.header, state, &theme);
    picture(frame, places.picture, state, &theme);
    if let Some(area) = places.subtitles {
        let lines: Vec<Line<'_>> = state.playback.cue.lines().map(Line::from).collect();
        let text = Paragraph::new(lines)
            .alignment(Alignment::Center)
            .style(theme.subtitle())
            .wrap(Wrap { trim: true });
        frame.render_widget(text, area);
    }
    bars::seek(frame, places.seek, &state.playback, &theme);
    if let Some(details) = &places.details {
        panels::edges(frame, details.edges, &state.playback, &theme);
        bars::buffers(frame, details.buffers, &state.playback, &theme);
        if details.is_large {
            panels::ladder_list(frame, details.ladder, &state.playback, &theme);
        } else {
            panels::ladder_line(frame, details.ladder, &state.playback, &theme);
        }
        panels::status(frame, details.status, state, &theme);
        panels::decisions(frame, details.decisions, &state.playback, &theme);
    }
    notice(frame, places.notice, state, &theme);
    hints(frame, places.hints, state, &theme);
    if state.help {
        help::draw(frame, state.playback.can_kill, &theme);
    }
}

/// Returns the cells that show the picture, for a picture of the shape at hand (16:9 before the first).
/// `None` when there is no room, no picture is wanted, or the help lies over it and the terminal cannot
/// draw characters over pixels.
#[must_use]
pub fn picture_area(area: Rect, state: &ViewState) -> Option<Rect> {
    let method = state.screen.method;
    if method == Method::None || (state.help && method != Method::HalfBlocks) {
        return None;
    }
    let room = Places::of(area, state)?.picture;
    let shape = state
        .picture
        .as_ref()
        .map_or(WIDE, |picture| picture.size());
    let room = affordable(method, room, state.screen.cell);
    Some(fit(shape, room, state.screen.cell)).filter(|cells| !cells.is_empty())
}

const WIDE: PixelSize = PixelSize {
    width: 16,
    height: 9,
};

/// Where everything goes.
struct Places {
    header: Rect,
    picture: Rect,
    subtitles: Option<Rect>,
    seek: Rect,
    details: Option<Details>,
    notice: Rect,
    hints: Rect,
}

struct Details {
    is_large: bool,
    edges: Rect,
    buffers: Rect,
    ladder: Rect,
    status: Rect,
    decisions: Rect,
}

/// The smallest screen that holds the details.
const DETAILS_MIN: (u16, u16) = (80, 24);
/// From here on there is room for lists instead of lines.
const LARGE_MIN: (u16, u16) = (110, 34);
/// The smallest screen at all.
const MIN: (u16, u16) = (40, 10);

const LINE: Constraint = Constraint::Length(1);
const REST: Constraint = Constraint::Fill(1);

impl Places {
    fn of(area: Rect, state: &ViewState) -> Option<Self> {
        let holds = |(width, height)| area.width >= width && area.height >= height;
        let mut places = if !holds(MIN) {
            return None;
        } else if state.picture_only || !holds(DETAILS_MIN) {
            Self::picture_only(area)
        } else if holds(LARGE_MIN) {
            Self::large(area)
        } else {
            Self::small(area)
        };
        // Two lines below the picture, whether there is text at the moment or not: the picture must not
        // change its size with every cue.
        if state.playback.subtitles.is_some() {
            let [picture, subtitles] =
                Layout::vertical([REST, Constraint::Length(2)]).areas(places.picture);
            places.picture = picture;
            places.subtitles = Some(subtitles);
        }
        Some(places)
    }

    fn picture_only(area: Rect) -> Self {
        let [header, picture, seek, notice, hints] =
            Layout::vertical([LINE, REST, LINE, LINE, LINE]).areas(area);
        Self {
            header,
            picture,
            subtitles: None,
            seek,
            details: None,
            notice,
            hints,
        }
    }

    fn small(area: Rect) -> Self {
        let [
            header,
            middle,
            seek,
            buffers,
            ladder,
            status,
            decisions,
            notice,
            hints,
        ] = Layout::vertical([
            LINE,
            Constraint::Min(11),
            LINE,
            LINE,
            LINE,
            LINE,
            Constraint::Length(5),
            LINE,
            LINE,
        ])
        .areas(area);
        let [picture, _, edges] =
            Layout::horizontal([REST, LINE, Constraint::Length(38)]).areas(middle);
        Self {
            header,
            picture,
            subtitles: None,
            seek,
            details: Some(Details {
                is_large: false,
                edges,
                buffers,
                ladder,
                status,
                decisions,
            }),
            notice,
            hints,
        }
    }

    fn large(area: Rect) -> Self {
        let [header, middle, seek, buffers, decisions, notice, hints] =
            Layout::vertical([LINE, REST, LINE, LINE, Constraint::Length(8), LINE, LINE])
                .areas(area);
        // A screen much wider than the smallest large one has room for long names.
        let side = (54 + area.width.saturating_sub(LARGE_MIN.0) / 4).min(66);
        let [picture, _, side] =
            Layout::horizontal([REST, LINE, Constraint::Length(side)]).areas(middle);
        let [edges, ladder, status] =
            Layout::vertical([Constraint::Length(12), REST, Constraint::Length(4)]).areas(side);
        Self {
            header,
            picture,
            subtitles: None,
            seek,
            details: Some(Details {
                is_large: true,
                edges,
                buffers,
                ladder,
                status,
                decisions,
            }),
            notice,
            hints,
        }
    }
}

fn too_small(frame: &mut Frame<'_>, theme: &Theme) {
    let area = frame.area();
    let text = format!(
        "The screen is {}x{}: at least {}x{} is needed. q quits.",
        area.width, area.height, MIN.0, MIN.1
    );
    let text = Paragraph::new(text)
        .style(theme.warning())
        .wrap(Wrap { trim: true });
    frame.render_widget(text, area);
}

fn header(frame: &mut Frame<'_>, area: Rect, state: &ViewState, theme: &Theme) {
    let playback = &state.playback;
    let mut right = vec![phase(playback.phase, theme)];
    if let Some(rung) = playback.rung.and_then(|rung| playback.ladder.get(rung)) {
        let text = format!("  {} {}", rung.name, words::rate(rung.bitrate));
        right.push(Span::styled(text, theme.text()));
    }
    if let Some(edge) = playback.edge_in_use() {
        right.push(Span::styled(format!("  {}", edge.id), theme.accent()));
    }
    right.push(Span::raw(" "));
    let right = Line::from(right);
    let width = u16::try_from(right.width())
        .unwrap_or(u16::MAX)
        .min(area.width);
    let [left_area, right_area] = Layout::horizontal([REST, Constraint::Length(width)]).areas(area);
    frame.render_widget(
        Span::styled(format!(" {}", playback.title), theme.title()),
        left_area,
    );
    frame.render_widget(right, right_area);
}

fn phase(phase: Phase, theme: &Theme) -> Span<'static> {
    match phase {
        Phase::Starting => Span::styled("… starting", theme.text()),
        Phase::Playing => Span::styled("▶ playing", theme.good()),
        Phase::Paused => Span::styled("⏸ paused", theme.accent()),
        Phase::Stalled => Span::styled("◌ waiting for media", theme.warning()),
        Phase::Seeking => Span::styled("» seeking", theme.accent()),
        Phase::Ended => Span::styled("■ ended", theme.text()),
        Phase::Failed => Span::styled("✗ failed", theme.bad()),
    }
}

fn picture(frame: &mut Frame<'_>, room: Rect, state: &ViewState, theme: &Theme) {
    let cells = picture_area(frame.area(), state);
    match (&state.picture, cells) {
        (Some(picture), Some(cells)) if state.screen.method == Method::HalfBlocks => {
            let colours = state.screen.colours;
            frame.render_widget(HalfBlocks { picture, colours }, cells);
        }
        (Some(_), Some(_)) => {} // pixels follow the characters
        _ => {
            let playback = &state.playback;
            let (text, style) = match (&playback.obstacle, &playback.picture_note) {
                (Some(obstacle), _) => (obstacle.as_str(), obstacle_style(playback.phase, theme)),
                (None, Some(note)) => (note.as_str(), theme.dim()),
                (None, None) if state.screen.method == Method::None => {
                    ("the picture is off", theme.dim())
                }
                (None, None) if state.help => ("", theme.dim()),
                (None, None) => ("no picture yet", theme.dim()),
            };
            let full = Span::raw(text).width() / usize::from(room.width).max(1);
            // Words do not fill lines: half as many more for what they leave over.
            let lines = if full > 0 { full + full / 2 + 2 } else { 1 };
            let lines = u16::try_from(lines).unwrap_or(u16::MAX);
            let lines = Constraint::Length(lines);
            let [_, middle, _] = Layout::vertical([REST, lines, REST]).areas(room);
            let text = Paragraph::new(text)
                .style(style)
                .alignment(Alignment::Center)
                .wrap(Wrap { trim: true });
            frame.render_widget(text, middle);
        }
    }
}

/// What may pass by itself is a warning.
const fn obstacle_style(phase: Phase, theme: &Theme) -> Style {
    match phase {
        Phase::Failed => theme.bad(),
        Phase::Starting
        | Phase::Playing
        | Phase::Paused
        | Phase::Stalled
        | Phase::Seeking
        | Phase::Ended => theme.warning(),
    }
}

fn notice(frame: &mut Frame<'_>, area: Rect, state: &ViewState, theme: &Theme) {
    let playback = &state.playback;
    let resumed = playback.resumed_from.map(|from| {
        let from = words::position(from, None);
        format!("taken up again at {from}, Home starts over")
    });
    // Where there is no picture it stands in its place.
    let has_picture = state.picture.is_some() && picture_area(frame.area(), state).is_some();
    let obstacle = playback.obstacle.as_deref().filter(|_| has_picture);
    // An answer to a key is newest, trouble comes before what is merely good to know.
    let (text, style) = if let Some(answer) = &state.answer {
        (answer.clone(), theme.accent())
    } else if playback.trouble.is_some() || obstacle.is_some() {
        // What happens meanwhile is part of it.
        let parts = [
            playback.trouble.as_deref(),
            obstacle,
            playback.notice.as_deref(),
        ];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        (parts.join("  "), theme.bad())
    } else if let Some(notice) = &playback.notice {
        (notice.clone(), theme.warning())
    } else if let Some(resumed) = resumed {
        (resumed, theme.text())
    } else {
        (String::new(), theme.text())
    };
    let text = Span::styled(format!(" {text}"), style);
    let lasting: Vec<&str> = [&playback.tls_note, &playback.sound_note]
        .into_iter()
        .filter_map(|note| note.as_deref())
        .collect();
    if lasting.is_empty() {
        frame.render_widget(text, area);
        return;
    }
    let lasting = Span::styled(format!(" {} ", lasting.join("  ")), theme.warning());
    if text.content.trim().is_empty() {
        frame.render_widget(lasting, area);
        return;
    }
    // What lasts can wait: half of it says nothing.
    if text.width() + lasting.width() > usize::from(area.width) {
        frame.render_widget(text, area);
        return;
    }
    let width = u16::try_from(text.width() + 1)
        .unwrap_or(u16::MAX)
        .min(area.width);
    let [left, right] = Layout::horizontal([Constraint::Length(width), REST]).areas(area);
    frame.render_widget(text, left);
    frame.render_widget(Line::from(lasting).right_aligned(), right);
}

fn hints(frame: &mut Frame<'_>, area: Rect, state: &ViewState, theme: &Theme) {
    // The first ones are those that stay when there is no room for all.
    let mut keys = vec![("space", "pause"), ("?", "help"), ("q", "quit")];
    if state.playback.can_kill {
        keys.push(("K", "kill"));
    }
    keys.extend([
        ("←→", "10 s"),
        ("[]", "rung"),
        ("a", "audio"),
        ("s", "subs"),
        ("i", "view"),
    ]);
    let mut line = Line::default();
    for (key, does) in keys {
        let hint = [
            Span::styled(format!(" {key}"), theme.accent()),
            Span::styled(format!(" {does} "), theme.dim()),
        ];
        let width: usize = hint.iter().map(Span::width).sum();
        if line.width() + width <= usize::from(area.width) {
            line.extend(hint);
        }
    }
    frame.render_widget(line, area);
}
