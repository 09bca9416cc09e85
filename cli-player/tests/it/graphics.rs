//! Which pictures a terminal gets, and that they are the ones that were sent.

use crate::decode::{KittyCommand, kitty, sixel};
use crate::pty::{Answer, Run, Setup, find};

const WIDTH: usize = 64;
const HEIGHT: usize = 36;

/// What the fixture shows.
fn expected(x: usize, y: usize) -> [u8; 3] {
    let (column, row) = (x / 4, y / 4);
    let check = if (column + row).is_multiple_of(2) {
        200
    } else {
        40
    };
    [column * 16, row * 28, check].map(|value| u8::try_from(value).unwrap())
}

fn transmissions(output: &[u8]) -> Vec<KittyCommand> {
    let mut commands = kitty(output);
    commands.retain(|command| command.key("a") == "T");
    commands
}

fn quit(mut run: Run) {
    run.press(b"q");
    assert_eq!(run.wait_for_end(), 0);
}

#[test]
fn a_kitty_terminal_gets_every_pixel_exactly() {
    let mut run = Setup::new(Answer::Kitty).start();
    let shown = run.wait_for("picture", |output| transmissions(output).pop());
    let (width, height, rgb) = shown.picture();
    assert_eq!((width, height), (WIDTH, HEIGHT));
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let at = (y * WIDTH + x) * 3;
            assert_eq!(rgb[at..at + 3], expected(x, y), "pixel {x},{y}");
        }
    }
    // 16:9 on cells of 8x16: 37 columns and 10 rows are 296x160.
    let cells = |key| shown.key(key).parse::<i32>().unwrap();
    let (wide, high) = (cells("c") * 8, cells("r") * 16);
    assert!(
        (wide * 9 - high * 16).abs() <= 16 * 16,
        "{wide}x{high} keeps the shape"
    );
    assert_eq!(shown.key("C"), "1", "the cursor stays");
    assert_eq!(shown.key("q"), "2", "no answers among the keys");
    assert!(find(&run.output, "▀".as_bytes()).is_none());
    quit(run);
}

#[test]
fn the_next_kitty_picture_covers_the_last_before_it_goes() {
    let mut run = Setup::new(Answer::Kitty).start();
    run.wait_for("picture", |output| transmissions(output).pop());
    run.press(b" ");
    let commands = run.wait_for("second picture and the end of the first", |output| {
        let commands = kitty(output);
        let is_delete = |command: &KittyCommand| command.key("d") == "I";
        commands.iter().any(is_delete).then_some(commands)
    });
    let of_pictures: Vec<(&str, &str)> = commands
        .iter()
        .filter(|command| matches!(command.key("a"), "T" | "d"))
        .map(|command| (command.key("a"), command.key("i")))
        .collect();
    let [("T", first), ("T", second), ("d", deleted), ..] = of_pictures[..] else {
        panic!("{of_pictures:?}");
    };
    assert_ne!(first, second);
    assert_eq!(deleted, first);
    let (_, _, rgb) = transmissions(&run.output).pop().unwrap().picture();
    assert_eq!(
        rgb[..3],
        expected(0, 0).map(|value| 255 - value),
        "and it is the new one"
    );
    quit(run);
}

#[test]
fn the_help_takes_a_kitty_picture_away_and_gives_it_back() {
    let mut run = Setup::new(Answer::Kitty).start();
    run.wait_for("picture", |output| transmissions(output).pop());
    run.press(b"?");
    run.wait_for("delete", |output| {
        kitty(output)
            .iter()
            .any(|command| command.key("d") == "I")
            .then_some(())
    });
    run.press(b"?");
    run.wait_for("picture again", |output| {
        (transmissions(output).len() >= 2).then_some(())
    });
    quit(run);
}

#[test]
fn a_sixel_terminal_gets_every_pixel_within_the_palette() {
    let mut run = Setup::new(Answer::Sixel).start();
    let shown = run.wait_for("picture", sixel);
    assert_eq!(shown.width % 8, 0, "whole cells");
    assert_eq!(shown.height % 16, 0, "whole cells");
    assert_eq!(shown.holes(), 0);
    for y in 0..HEIGHT / 4 {
        for x in 0..WIDTH / 4 {
            // The middle of each square: its edges may fall between two pixels of the scaled picture.
            let at_x = (x * 4 + 2) * shown.width / WIDTH;
            let at_y = (y * 4 + 2) * shown.height / HEIGHT;
            let pixel = shown.pixel(at_x, at_y).unwrap();
            for (shown, sent) in pixel.into_iter().zip(expected(x * 4, y * 4)) {
                assert!(
                    shown.abs_diff(sent) <= 26,
                    "square {x},{y}: {shown} for {sent}"
                );
            }
        }
    }
    quit(run);
}

#[test]
fn a_plain_terminal_gets_half_blocks_in_the_right_colours() {
    let mut run = Setup::new(Answer::Plain).start();
    run.wait_for_screen();
    run.wait_for_text(0, "▀".as_bytes());
    assert!(transmissions(&run.output).is_empty() && sixel(&run.output).is_none());
    // The first square is [0, 0, 200], at 5 bits a channel [0, 0, 206].
    run.wait_for_text(0, b"38;2;0;0;206;48;2;0;0;206m");
    quit(run);
}

#[test]
fn a_terminal_that_answers_nothing_gets_half_blocks() {
    let mut run = Setup::new(Answer::Silence).start();
    run.wait_for_screen();
    run.wait_for_text(0, "▀".as_bytes());
    quit(run);
}

#[test]
fn inside_tmux_there_are_half_blocks_whatever_is_answered() {
    let mut run = Setup {
        term: "tmux-256color",
        ..Setup::new(Answer::Sixel)
    }
    .start();
    run.wait_for_screen();
    run.wait_for_text(0, "▀".as_bytes());
    assert!(sixel(&run.output).is_none());
    quit(run);
}

#[test]
fn a_wish_is_followed_against_the_answers() {
    let mut run = Setup {
        wish: "sixel",
        ..Setup::new(Answer::Plain)
    }
    .start();
    run.wait_for("picture", sixel);
    run.wait_for_text(0, b"does not promise sixels");
    quit(run);
    let mut run = Setup {
        wish: "none",
        ..Setup::new(Answer::Kitty)
    }
    .start();
    run.wait_for_screen();
    run.wait_for_text(0, b"the picture is off");
    assert!(transmissions(&run.output).is_empty());
    quit(run);
}

#[test]
fn another_font_is_another_shape_of_cells() {
    let mut run = Setup::new(Answer::Kitty).start();
    run.wait_for("picture", |output| transmissions(output).pop());
    let shape = |command: &KittyCommand| {
        let cells = |key| command.key(key).parse::<i32>().unwrap();
        (cells("c"), cells("r"))
    };
    // Square cells from now on.
    run.resize_in_pixels((100, 40), (8, 8));
    let (wide, high) = run.wait_for("a picture of another shape", |output| {
        let newest = shape(transmissions(output).last()?);
        ((newest.0 * 8 * 9 - newest.1 * 8 * 16).abs() <= 8 * 16).then_some(newest)
    });
    assert!(wide > high, "{wide}x{high}");
    quit(run);
}
