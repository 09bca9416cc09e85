//! Keys, out of what the terminal sends.

use std::time::Duration;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::time::Instant;

/// A key that means something to [`update`](super::update()).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left with shift.
    ShiftLeft,
    /// Arrow right with shift.
    ShiftRight,
    /// Home.
    Home,
    /// Escape.
    Escape,
    /// Ctrl-C.
    Interrupt,
}

/// What the loop does with something the terminal sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// A key for [`update`](super::update()).
    Key(Key),
    /// Ctrl-Z.
    Suspend,
    /// Ctrl-L: draw everything again.
    Redraw,
    /// The terminal has another size.
    Resize,
}

/// Turns events into input, leaving out the terminal's late answers to the start-up queries.
///
/// An answer to the graphics query that arrives after its deadline (a slow remote terminal) looks like
/// Alt-`_`, some characters, Alt-`\`; without this filter the characters would act as keys.
#[derive(Debug, Default)]
pub(super) struct KeyReader {
    /// Set while a late answer is being read.
    answer_until: Option<Instant>,
}

/// How long the rest of a late answer may take; its bytes come in one piece.
const ANSWER_SPAN: Duration = Duration::from_millis(50);

impl KeyReader {
    pub(super) fn read(&mut self, event: &Event, now: Instant) -> Option<Input> {
        match event {
            Event::Key(key) if key.kind == KeyEventKind::Release => None,
            Event::Key(key) if self.is_answer(*key, now) => None,
            Event::Key(key) => input(*key),
            Event::Resize(..) => Some(Input::Resize),
            Event::FocusGained | Event::FocusLost | Event::Mouse(_) | Event::Paste(_) => None,
        }
    }

    fn is_answer(&mut self, key: KeyEvent, now: Instant) -> bool {
        let alt = key.modifiers.contains(KeyModifiers::ALT);
        if alt && key.code == KeyCode::Char('_') {
            self.answer_until = Some(now + ANSWER_SPAN);
            return true;
        }
        let inside = self.answer_until.is_some_and(|until| now <= until);
        if !inside || (alt && key.code == KeyCode::Char('\\')) {
            self.answer_until = None;
        }
        inside
    }
}

/// Reads keys that were typed before the loop began, as raw bytes. What is not known is left out.
pub(super) fn typed(mut bytes: &[u8]) -> Vec<Input> {
    let mut inputs = Vec::new();
    while let Some((&first, rest)) = bytes.split_first() {
        let (found, rest) = match (first, rest) {
            (0x1b, [b'[' | b'O', b'A', rest @ ..]) => (Some(Input::Key(Key::Up)), rest),
            (0x1b, [b'[' | b'O', b'B', rest @ ..]) => (Some(Input::Key(Key::Down)), rest),
            (0x1b, [b'[' | b'O', b'C', rest @ ..]) => (Some(Input::Key(Key::Right)), rest),
            (0x1b, [b'[' | b'O', b'D', rest @ ..]) => (Some(Input::Key(Key::Left)), rest),
            (0x1b, [b'[' | b'O', rest @ ..]) => {
                let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
                (None, &rest[end.map_or(rest.len(), |end| end + 1)..])
            }
            (0x1b, rest) => (Some(Input::Key(Key::Escape)), rest),
            (0x03, rest) => (Some(Input::Key(Key::Interrupt)), rest),
            (0x0c, rest) => (Some(Input::Redraw), rest),
            (0x1a, rest) => (Some(Input::Suspend), rest),
            (b' '..=b'~', rest) => (Some(Input::Key(Key::Char(char::from(first)))), rest),
            (_, rest) => (None, rest),
        };
        inputs.extend(found);
        bytes = rest;
    }
    inputs
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "most of a keyboard's keys mean nothing here"
)]
fn input(key: KeyEvent) -> Option<Input> {
    let shift = key.modifiers.contains(KeyModifiers::SHIFT);
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'C') => Some(Input::Key(Key::Interrupt)),
            KeyCode::Char('z' | 'Z') => Some(Input::Suspend),
            KeyCode::Char('l' | 'L') => Some(Input::Redraw),
            _ => None,
        };
    }
    let key = match key.code {
        KeyCode::Char(character) => Key::Char(character),
        KeyCode::Left if shift => Key::ShiftLeft,
        KeyCode::Right if shift => Key::ShiftRight,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Home => Key::Home,
        KeyCode::Esc => Key::Escape,
        _ => return None,
    };
    Some(Input::Key(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: KeyCode, modifiers: KeyModifiers) -> Event {
        Event::Key(KeyEvent::new(code, modifiers))
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_no_typing_and_keys_after_it_are() {
        let mut reader = KeyReader::default();
        let now = Instant::now();
        for character in "_Gi=31;OK\\".chars() {
            let modifiers = match character {
                '_' | '\\' => KeyModifiers::ALT,
                _ => KeyModifiers::NONE,
            };
            let input = reader.read(&event(KeyCode::Char(character), modifiers), now);
            assert_eq!(input, None, "{character}");
        }
        assert_eq!(
            reader.read(&event(KeyCode::Char('q'), KeyModifiers::NONE), now),
            Some(Input::Key(Key::Char('q')))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_person_who_types_alt_underscore_is_heard_again_soon() {
        let mut reader = KeyReader::default();
        let now = Instant::now();
        reader.read(&event(KeyCode::Char('_'), KeyModifiers::ALT), now);
        let later = now + ANSWER_SPAN * 2;
        assert_eq!(
            reader.read(&event(KeyCode::Char('q'), KeyModifiers::NONE), later),
            Some(Input::Key(Key::Char('q')))
        );
    }

    #[test]
    fn control_keys_are_not_characters() {
        let control = |character| {
            input(KeyEvent::new(
                KeyCode::Char(character),
                KeyModifiers::CONTROL,
            ))
        };
        assert_eq!(control('c'), Some(Input::Key(Key::Interrupt)));
        assert_eq!(control('z'), Some(Input::Suspend));
        assert_eq!(control('q'), None);
    }

    #[test]
    fn keys_typed_before_the_start_are_not_lost() {
        assert_eq!(
            typed(b" \x1b[C\x1b[1;5Px\x03\x1b"),
            [
                Input::Key(Key::Char(' ')),
                Input::Key(Key::Right),
                Input::Key(Key::Char('x')),
                Input::Key(Key::Interrupt),
                Input::Key(Key::Escape),
            ]
        );
    }
}
