//! What a decoder makes of the title.

use std::f64::consts::TAU;
use std::fs::{self, File};
use std::io::Read;
use std::process::{Command, Stdio};

use nearcast_title::barcode::{self, Code};
use nearcast_title::image::Image;
use nearcast_title::picture::is_flash_lit;
use nearcast_title::sound::{SAMPLE_RATE, TONE_SAMPLES};
use nearcast_title::{FRAMES_PER_SECOND, LADDER, LANGUAGES, Rung};

use crate::{SECONDS, title};

#[test]
fn every_frame_of_the_lowest_and_the_highest_rung_says_its_number_in_order() {
    for rung in [LADDER[0], LADDER[5]] {
        let frames = frames(rung, &[1, 2, 3]);
        let expected: Vec<Code> = (0..SECONDS * FRAMES_PER_SECOND)
            .map(|frame| Code {
                frame,
                rung: rung.index,
            })
            .collect();
        assert_eq!(frames, expected);
    }
}

#[test]
fn a_segment_alone_is_decoded_whole_on_every_rung() {
    for rung in LADDER {
        let numbers: Vec<u32> = frames(rung, &[2]).iter().map(|code| code.frame).collect();
        assert_eq!(numbers, Vec::from_iter(96..192), "{}", rung.name);
    }
}

#[test]
fn a_tone_begins_each_second_in_each_language() {
    for language in LANGUAGES {
        let samples = samples(&format!("audio_{}", language.tag));
        let seconds = samples.chunks(SAMPLE_RATE as usize).take(SECONDS as usize);
        for (number, second) in seconds.enumerate() {
            let (begin, end) = burst(second, language.tone_hz).unwrap();
            // The encoder's own delay eats the beginning of the very first tone.
            let late = if number == 0 { 1024 + 480 } else { 480 };
            assert!(
                begin <= late,
                "second {number}: begins {begin} samples late"
            );
            let length = TONE_SAMPLES as usize;
            assert!(
                end.abs_diff(length) <= 480,
                "second {number}: ends at {end}"
            );
        }
        let other = LANGUAGES.into_iter().find(|l| *l != language).unwrap();
        let foreign = samples.chunks(SAMPLE_RATE as usize);
        assert_eq!(foreign.filter_map(|s| burst(s, other.tone_hz)).count(), 0);
    }
}

/// Decodes some segments of a rung, and reads each frame's bar code; checks its flash on the way.
fn frames(rung: Rung, segments: &[u32]) -> Vec<Code> {
    let input = joined(rung.name, segments);
    let mut ffmpeg = Command::new("ffmpeg")
        .args(["-v", "error", "-i", "pipe:0", "-fps_mode", "passthrough"])
        .args(["-f", "rawvideo", "-pix_fmt", "gray", "pipe:1"])
        .stdin(input)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut decoded = ffmpeg.stdout.take().unwrap();
    let mut plane = vec![0; rung.size.width as usize * rung.size.height as usize];
    let mut codes = Vec::new();
    while decoded.read_exact(&mut plane).is_ok() {
        let image = Image::luma(rung.size, &plane);
        let code = barcode::read(&image).expect("a readable code");
        let lit = code.frame % FRAMES_PER_SECOND < 3;
        assert_eq!(is_flash_lit(&image), Some(lit), "{code:?}");
        codes.push(code);
    }
    assert!(ffmpeg.wait().unwrap().success());
    codes
}

/// Decodes a whole sound track to mono.
fn samples(track: &str) -> Vec<i16> {
    let output = Command::new("ffmpeg")
        .args([
            "-v", "error", "-i", "pipe:0", "-ac", "1", "-f", "s16le", "pipe:1",
        ])
        .stdin(joined(track, &[1, 2, 3]))
        .output()
        .unwrap();
    assert!(output.status.success());
    let (pairs, _) = output.stdout.as_chunks::<2>();
    pairs.iter().copied().map(i16::from_le_bytes).collect()
}

/// Returns the init segment and some segments of a track as one file.
fn joined(track: &str, segments: &[u32]) -> File {
    let dir = title().dir.join(track);
    let mut bytes = fs::read(dir.join("init.mp4")).unwrap();
    for number in segments {
        bytes.extend(fs::read(dir.join(format!("{number:05}.m4s"))).unwrap());
    }
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    file
}

/// Returns where a tone of a pitch begins and ends, in samples: the blocks of 5 ms in which it is strong.
fn burst(samples: &[i16], hertz: u32) -> Option<(usize, usize)> {
    const BLOCK: usize = 240;
    let strong: Vec<usize> = samples
        .chunks_exact(BLOCK)
        .enumerate()
        .filter(|(_, block)| strength(block, hertz) > 0.1)
        .map(|(number, _)| number)
        .collect();
    Some((strong.first()? * BLOCK, (strong.last()? + 1) * BLOCK))
}

/// Returns the amplitude of one pitch in a block, as a share of full scale (a single Fourier coefficient).
fn strength(block: &[i16], hertz: u32) -> f64 {
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (at, sample) in block.iter().enumerate() {
        let angle = TAU * f64::from(hertz) * at as f64 / f64::from(SAMPLE_RATE);
        real += f64::from(*sample) * angle.cos();
        imaginary += f64::from(*sample) * angle.sin();
    }
    real.hypot(imaginary) * 2.0 / block.len() as f64 / f64::from(i16::MAX)
}
