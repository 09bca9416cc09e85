//! Decoded pictures to the size that the screen wants.

use nearcast_player::{FrameInfo, FrameScaler, FrameSink, VideoFrame};
use tokio::sync::watch;

use crate::tui::{Picture, PixelSize};

/// Scales each picture that is due and keeps the newest for the screen.
pub(super) struct Projector {
    to: watch::Sender<Option<Picture>>,
    size: watch::Receiver<Option<PixelSize>>,
    scaler: FrameScaler,
}

impl Projector {
    pub(super) fn new(
        to: watch::Sender<Option<Picture>>,
        size: watch::Receiver<Option<PixelSize>>,
    ) -> Self {
        Self {
            to,
            size,
            scaler: FrameScaler::new(),
        }
    }
}

impl FrameSink for Projector {
    fn frame(&mut self, _info: &FrameInfo, frame: VideoFrame) {
        // Nobody looks: the screen shows no picture, or has not said yet how large.
        let Some(size) = *self.size.borrow() else {
            return;
        };
        let picture = match self.scaler.to_rgb(&frame, size.width, size.height) {
            Ok(image) => Picture::new(
                PixelSize {
                    width: image.width,
                    height: image.height,
                },
                image.data,
            ),
            Err(error) => {
                tracing::debug!(%error, "a picture cannot be scaled");
                return;
            }
        };
        match picture {
            Ok(picture) => self.to.send_modify(|newest| *newest = Some(picture)),
            Err(error) => tracing::debug!(%error, "a picture cannot be shown"),
        }
    }
}
