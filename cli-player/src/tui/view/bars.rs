//! The seek bar and the buffer gauges.

use std::time::Duration;

use nearcast_units::MediaTime;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::theme::Theme;
use super::words;
use crate::tui::state::Playback;

/// Draws ` 1:23 ━━━●───┄┄┄ 10:00 `: played, playhead, buffered, the rest.
pub(super) fn seek(frame: &mut Frame<'_>, area: Rect, playback: &Playback, theme: &Theme) {
    let now = format!(
        " {} ",
        words::position(playback.position, playback.duration)
    );
    let end = playback.duration.map_or_else(
        || " -:-- ".to_owned(),
        |duration| {
            let end = MediaTime::from_duration(duration);
            format!(" {} ", words::position(end, Some(duration)))
        },
    );
    let width = usize::from(area.width).saturating_sub(now.len() + end.len());
    let Ok(width) = u16::try_from(width) else {
        return;
    };
    let duration = playback.duration.unwrap_or(Duration::MAX / 4);
    let played = playback.position.since(MediaTime::ZERO);
    let reach = played.saturating_add(playback.video_buffer.min(playback.audio_buffer));
    let head = words::steps(played, duration, width.saturating_sub(1));
    let ahead = words::steps(reach, duration, width.saturating_sub(1));
    let bar = |symbol: &str, count: u16| symbol.repeat(usize::from(count));
    let line = Line::from(vec![
        Span::styled(now, theme.text()),
        Span::styled(bar("━", head), theme.good()),
        Span::styled("●", theme.chosen()),
        Span::styled(bar("─", ahead.saturating_sub(head)), theme.text()),
        Span::styled(
            bar("┄", width.saturating_sub(ahead.max(head) + 1)),
            theme.dim(),
        ),
        Span::styled(end, theme.text()),
    ]);
    frame.render_widget(line, area);
}

/// Draws both buffer levels and the past of the video buffer, on one line.
pub(super) fn buffers(frame: &mut Frame<'_>, area: Rect, playback: &Playback, theme: &Theme) {
    const GAUGE: u16 = 12;
    let mut spans = vec![Span::styled(" buffer ", theme.dim())];
    let levels = [
        ("video", playback.video_buffer),
        ("audio", playback.audio_buffer),
    ];
    for (name, level) in levels {
        let full = words::steps(level, playback.buffer_goal, GAUGE);
        let style = if level < LOW {
            theme.warning()
        } else {
            theme.good()
        };
        spans.push(Span::styled(format!("{name} "), theme.text()));
        spans.push(Span::styled("█".repeat(usize::from(full)), style));
        spans.push(Span::styled(
            "░".repeat(usize::from(GAUGE - full)),
            theme.dim(),
        ));
        spans.push(Span::styled(
            format!(" {:>6}  ", words::seconds(level)),
            theme.text(),
        ));
    }
    let used: usize = spans.iter().map(Span::width).sum();
    let room = usize::from(area.width).saturating_sub(used + 1);
    let skip = playback.buffer_history.len().saturating_sub(room);
    let curve: String = playback.buffer_history[skip..]
        .iter()
        .map(|level| CURVE[usize::from(words::steps(*level, playback.buffer_goal, 7))])
        .collect();
    spans.push(Span::styled(curve, theme.accent()));
    frame.render_widget(Line::from(spans), area);
}

/// Below this the next trouble stalls playback.
const LOW: Duration = Duration::from_secs(4);

const CURVE: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
