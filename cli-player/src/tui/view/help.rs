//! The list of keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::theme::Theme;

const KEYS: [(&str, &str); 16] = [
    ("space", "play, pause"),
    ("← →", "10 seconds back, on"),
    ("↓ ↑", "a minute back, on (also shift ← →)"),
    ("0 … 9", "to a tenth of the title"),
    ("Home", "to the start"),
    ("- +", "volume"),
    ("m", "mute"),
    ("a", "next audio track"),
    ("s", "next subtitles, off after the last"),
    ("[ ]", "hold the rung below, above"),
    ("r", "let the player choose the rung"),
    ("i", "view details, or the picture alone"),
    ("Ctrl-L", "draw everything again"),
    ("Ctrl-Z", "back to the shell; `fg` returns"),
    ("?", "this help"),
    ("q", "quit"),
];

pub(super) fn draw(frame: &mut Frame<'_>, can_kill: bool, theme: &Theme) {
    let mut keys = KEYS.to_vec();
    if can_kill {
        keys.insert(11, ("K", "kill the edge in use now, not at 20 s"));
    }
    let lines: Vec<Line<'_>> = keys
        .into_iter()
        .map(|(key, does)| {
            Line::from(vec![
                Span::styled(format!(" {key:<7}"), theme.accent()),
                Span::raw(does),
            ])
        })
        .collect();
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let [area] = Layout::horizontal([Constraint::Length(52)])
        .flex(Flex::Center)
        .areas(frame.area());
    let [area] = Layout::vertical([Constraint::Length(height)])
        .flex(Flex::Center)
        .areas(area);
    frame.render_widget(Clear, area);
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" keys ")),
        area,
    );
}
