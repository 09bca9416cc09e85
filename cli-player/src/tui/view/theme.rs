//! Colours by role.

use ratatui::style::{Color, Modifier, Style};

use crate::tui::graphics::Colours;

/// Styles by what they say. They use the terminal's own 16 colours, which the user has chosen to be
/// readable; under `NO_COLOR` only bold, dim and reverse are left.
pub(super) struct Theme {
    has_colours: bool,
}

impl Theme {
    pub(super) const fn new(colours: Colours) -> Self {
        Self {
            has_colours: !matches!(colours, Colours::None),
        }
    }

    pub(super) const fn text(&self) -> Style {
        Style::new()
    }

    pub(super) const fn dim(&self) -> Style {
        if self.has_colours {
            Style::new().fg(Color::DarkGray)
        } else {
            Style::new().add_modifier(Modifier::DIM)
        }
    }

    pub(super) const fn title(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) const fn subtitle(&self) -> Style {
        self.coloured(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    pub(super) const fn accent(&self) -> Style {
        self.coloured(Color::Cyan)
    }

    pub(super) const fn good(&self) -> Style {
        self.coloured(Color::Green)
    }

    pub(super) const fn warning(&self) -> Style {
        self.coloured(Color::Yellow)
    }

    pub(super) const fn bad(&self) -> Style {
        self.coloured(Color::Red)
    }

    /// What is chosen or in use.
    pub(super) const fn chosen(&self) -> Style {
        self.coloured(Color::Green).add_modifier(Modifier::BOLD)
    }

    const fn coloured(&self, colour: Color) -> Style {
        if self.has_colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}
