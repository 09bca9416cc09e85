//! `--frames`: a line for each decoded frame, with what its bar code says.

use std::io::Write;

use nearcast_player::{FrameInfo, FrameSink, VideoFrame};
use nearcast_title::barcode;
use nearcast_title::image::{Image, Size};

/// Writes `presentation time in seconds, rung, frame number`; `-` stands for what cannot be read. The writer
/// keeps its failures for whoever asks at the end.
pub(crate) struct FrameLines<W: Write> {
    to: W,
}

/// Large enough for the bar code's cells, small enough to cost little.
const WIDTH: u32 = 320;
const HEIGHT: u32 = 180;

impl<W: Write> FrameLines<W> {
    pub(crate) const fn new(to: W) -> Self {
        Self { to }
    }
}

impl<W: Write + Send> FrameSink for FrameLines<W> {
    fn frame(&mut self, info: &FrameInfo, frame: VideoFrame) {
        let code = frame.to_rgb(WIDTH, HEIGHT).ok().and_then(|picture| {
            let size = Size {
                width: picture.width,
                height: picture.height,
            };
            barcode::read(&Image::rgb(size, &picture.data))
        });
        let (rung, number) = code.map_or_else(
            || ("-".to_owned(), "-".to_owned()),
            |code| (code.rung.to_string(), code.frame.to_string()),
        );
        let written = writeln!(self.to, "{:.6} {rung} {number}", info.pts.as_secs_f64());
        if let Err(error) = written {
            tracing::debug!(%error, "a frame cannot be written");
        }
    }
}

impl<W: Write> Drop for FrameLines<W> {
    fn drop(&mut self) {
        if let Err(error) = self.to.flush() {
            tracing::error!(%error, "the last frames cannot be written");
        }
    }
}
