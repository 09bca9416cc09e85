//! The sound device, through cpal.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};
use cpal::{
    BufferSize, Device, ErrorKind, FromSample, OutputCallbackInfo, SampleFormat, SizedSample,
    Stream, StreamConfig, SupportedBufferSize, SupportedStreamConfigRange,
};

use super::device::Feed;
use super::{Clock, Format};

/// Why there is no sound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The system names no device.
    #[error("there is none")]
    NoDevice,
    /// The device exists by name and cannot be used; the text is the system's.
    #[error("{0}")]
    Refused(String),
    /// Opening it took longer than anybody waits.
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Silent,
}

/// How long a sound system may take to answer. One that hangs must not hold up the picture.
const PATIENCE: Duration = Duration::from_secs(3);

/// Keeps what ALSA has to say about devices that are not there off standard error, in this thread.
#[cfg(target_os = "linux")]
struct AlsaMessages(std::rc::Rc<std::cell::RefCell<alsa::Output>>);

#[cfg(target_os = "linux")]
impl AlsaMessages {
    /// `None` when ALSA cannot: then it prints.
    fn collect() -> Option<Self> {
        alsa::Output::local_error_handler().ok().map(Self)
    }
}

#[cfg(target_os = "linux")]
impl Drop for AlsaMessages {
    fn drop(&mut self) {
        let text = self.0.borrow().to_string();
        for line in text.lines() {
            tracing::debug!(line, "ALSA");
        }
    }
}

/// A thread that owns the stream: opening may hang, and some streams must stay on their thread.
#[derive(Debug)]
pub(super) struct StreamThread {
    /// The stream ends when this is dropped.
    _stop: Sender<()>,
}

impl StreamThread {
    pub(super) fn open(clock: Clock, wanted: Format) -> Result<(Self, Feed), OpenError> {
        let (stop, stopped) = channel();
        let (answer, opened) = sync_channel(1);
        std::thread::Builder::new()
            .name("sound".to_owned())
            .spawn(move || {
                #[cfg(target_os = "linux")]
                let _messages = AlsaMessages::collect();
                match open(clock, wanted) {
                    // When nobody waits for the answer any more, the stream ends at once.
                    Ok((stream, feed)) => {
                        if answer.send(Ok(feed)).is_ok() {
                            hold(stream, &stopped);
                        }
                    }
                    Err(error) => drop(answer.send(Err(error))),
                }
            })
            .map_err(|error| OpenError::Refused(error.to_string()))?;
        let feed = match opened.recv_timeout(PATIENCE) {
            Ok(answer) => answer?,
            Err(RecvTimeoutError::Timeout) => return Err(OpenError::Silent),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(OpenError::Refused("its driver failed".to_owned()));
            }
        };
        Ok((Self { _stop: stop }, feed))
    }
}

fn hold(stream: Stream, stopped: &Receiver<()>) {
    // Nothing is ever sent: this ends when the other side is dropped.
    stopped.recv().ok();
    drop(stream);
}

/// Any error of these steps means that there is no sound: a system without a device still names one, and
/// the first error comes when its configuration is asked for.
fn open(clock: Clock, wanted: Format) -> Result<(Stream, Feed), OpenError> {
    let host = cpal::default_host();
    let device = host.default_output_device().ok_or(OpenError::NoDevice)?;
    let offers: Vec<Offer> = match device.supported_output_configs() {
        Ok(offers) => offers.map(Offer::from).collect(),
        Err(_) => Vec::new(),
    };
    let choice = match pick(&offers, wanted) {
        Some(choice) => choice,
        None => Choice::of_default(&device)?,
    };
    let feed = Feed::new(choice.format, clock);
    let stream = build(&device, &choice, &feed)?;
    stream.play().map_err(refused)?;
    Ok((stream, feed))
}

/// What the device offers, of cpal's description.
#[derive(Clone, Copy, Debug)]
struct Offer {
    channels: u16,
    rate_hz_min: u32,
    rate_hz_max: u32,
    sample: SampleFormat,
    frames_max: Option<u32>,
}

impl From<SupportedStreamConfigRange> for Offer {
    fn from(range: SupportedStreamConfigRange) -> Self {
        Self {
            channels: range.channels(),
            rate_hz_min: range.min_sample_rate(),
            rate_hz_max: range.max_sample_rate(),
            sample: range.sample_format(),
            frames_max: frames_max(*range.buffer_size()),
        }
    }
}

fn frames_max(size: SupportedBufferSize) -> Option<u32> {
    match size {
        SupportedBufferSize::Range { min, max } if min <= PERIOD_FRAMES => Some(max),
        SupportedBufferSize::Range { .. } | SupportedBufferSize::Unknown => None,
    }
}

/// 43 ms at 48 kHz, and the device holds two of them: short enough for pause and volume to feel immediate. Half
/// of it ran dry every few seconds under PulseAudio on a busy machine with two cores.
const PERIOD_FRAMES: u32 = 2048;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Choice {
    format: Format,
    sample: SampleFormat,
    buffer: BufferSize,
}

impl Choice {
    fn of_default(device: &Device) -> Result<Self, OpenError> {
        let config = device.default_output_config().map_err(refused)?;
        let format = Format::new(config.sample_rate(), config.channels())
            .map_err(|error| OpenError::Refused(error.to_string()))?;
        Ok(Self {
            format,
            sample: config.sample_format(),
            buffer: BufferSize::Default,
        })
    }
}

/// Picks the offer that needs the least conversion: the wanted rate, else the usual ones; two channels, else
/// few; floating point, else what keeps most bits. `None` leaves the choice to the system.
fn pick(offers: &[Offer], wanted: Format) -> Option<Choice> {
    [wanted.rate_hz(), 48_000, 44_100]
        .into_iter()
        .find_map(|rate_hz| {
            let holds = |offer: &&Offer| (offer.rate_hz_min..=offer.rate_hz_max).contains(&rate_hz);
            let best = offers
                .iter()
                .filter(holds)
                .filter_map(|offer| Some((*offer, sample_rank(offer.sample)?)))
                .min_by_key(|(offer, rank)| {
                    (offer.channels == 1, offer.channels.abs_diff(2), *rank)
                })?;
            let (offer, _) = best;
            let buffer = match offer.frames_max {
                Some(max) if max >= PERIOD_FRAMES => BufferSize::Fixed(PERIOD_FRAMES),
                Some(_) | None => BufferSize::Default,
            };
            Some(Choice {
                format: Format::new(rate_hz, offer.channels).ok()?,
                sample: offer.sample,
                buffer,
            })
        })
}

/// Lower is better; `None` for what is not written here.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "cpal's list grows; what is not written below is not offered"
)]
const fn sample_rank(sample: SampleFormat) -> Option<u8> {
    match sample {
        SampleFormat::F32 => Some(0),
        SampleFormat::I32 => Some(1),
        SampleFormat::I16 => Some(2),
        SampleFormat::U16 => Some(3),
        SampleFormat::U8 => Some(4),
        _ => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "cpal's list grows; the rest is refused"
)]
fn build(device: &Device, choice: &Choice, feed: &Feed) -> Result<Stream, OpenError> {
    let typed = match choice.sample {
        SampleFormat::F32 => build_typed::<f32>,
        SampleFormat::I32 => build_typed::<i32>,
        SampleFormat::I16 => build_typed::<i16>,
        SampleFormat::U16 => build_typed::<u16>,
        SampleFormat::U8 => build_typed::<u8>,
        other => {
            return Err(OpenError::Refused(format!(
                "samples of {other} are not supported"
            )));
        }
    };
    // A device may offer a range of buffer sizes and refuse the one that is asked for.
    typed(device, choice, choice.buffer, feed)
        .or_else(|_| typed(device, choice, BufferSize::Default, feed))
}

fn build_typed<T: SizedSample + FromSample<f32>>(
    device: &Device,
    choice: &Choice,
    buffer_size: BufferSize,
    feed: &Feed,
) -> Result<Stream, OpenError> {
    let config = StreamConfig {
        channels: choice.format.channels(),
        sample_rate: choice.format.rate_hz(),
        buffer_size,
    };
    let to_fill = feed.clone();
    let to_lose = feed.clone();
    // Grows to the device's buffer once, then no memory is asked for in the callback.
    let mut samples: Vec<f32> = Vec::new();
    let fill = move |out: &mut [T], info: &OutputCallbackInfo| {
        let stamp = info.timestamp();
        let delay = stamp.playback.saturating_duration_since(stamp.callback);
        samples.resize(out.len(), 0.0);
        to_fill.fill(&mut samples, delay);
        for (slot, sample) in out.iter_mut().zip(&samples) {
            *slot = T::from_sample(*sample);
        }
    };
    let on_error = move |error: cpal::Error| {
        if is_fatal(error.kind()) {
            to_lose.lose(text(&error));
        } else {
            tracing::debug!(error = %error, "the sound device hiccuped");
        }
    };
    device
        .build_output_stream::<T, _, _>(config, fill, on_error, None)
        .map_err(refused)
}

/// The others report something that goes on by itself: under ALSA's PulseAudio plugin, for one, asking for
/// the delay fails now and then with an I/O error. A device that plays no more after such a thing is found
/// out because it asks for no more samples.
const fn is_fatal(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::DeviceNotAvailable
            | ErrorKind::HostUnavailable
            | ErrorKind::PermissionDenied
            | ErrorKind::StreamInvalidated
    )
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` wants"
)]
fn refused(error: cpal::Error) -> OpenError {
    OpenError::Refused(text(&error))
}

fn text(error: &cpal::Error) -> String {
    short(&error.to_string())
}

/// One sentence, short: it is shown on the screen.
fn short(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    // "ALSA function 'snd_pcm_open' failed with error 'Connection refused (111)'"
    let parts = line
        .strip_prefix("ALSA function '")
        .and_then(|rest| rest.split_once("' failed with error '"));
    if let Some((function, error)) = parts {
        return format!("{function}: {}", error.trim_end_matches('\''));
    }
    let sentence = line.split(". ").next().unwrap_or(line);
    sentence.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(channels: u16, rates: (u32, u32), sample: SampleFormat) -> Offer {
        Offer {
            channels,
            rate_hz_min: rates.0,
            rate_hz_max: rates.1,
            sample,
            frames_max: None,
        }
    }

    #[test]
    fn the_device_does_the_least_conversion() {
        let wanted = Format::new(44_100, 2).unwrap();
        let any = (8_000, 192_000);
        let offers = [
            offer(1, any, SampleFormat::F32),
            offer(2, any, SampleFormat::I16),
            offer(2, any, SampleFormat::F32),
            offer(2, (48_000, 48_000), SampleFormat::F32),
            offer(6, any, SampleFormat::F32),
        ];
        let choice = pick(&offers, wanted).unwrap();
        assert_eq!(choice.format, wanted);
        assert_eq!(choice.sample, SampleFormat::F32);
        let choice = pick(&offers[3..4], wanted).unwrap();
        assert_eq!(
            choice.format,
            Format::USUAL,
            "another rate is better than none"
        );
        assert_eq!(
            pick(&[offer(2, (96_000, 96_000), SampleFormat::F32)], wanted),
            None
        );
        assert_eq!(pick(&[], wanted), None);
    }

    #[test]
    fn what_is_shown_of_an_error_is_short() {
        let text = "ALSA function 'snd_pcm_open' failed with error 'Connection refused (111)'";
        assert_eq!(short(text), "snd_pcm_open: Connection refused (111)");
        let text = "The requested audio device is not available. It may have been disconnected.";
        assert_eq!(short(text), "The requested audio device is not available");
        assert_eq!(short("gone.\nsecond line"), "gone");
        assert_eq!(short(""), "");
    }

    #[test]
    fn a_short_buffer_is_asked_for_where_the_device_allows_it() {
        let range = |min, max| frames_max(SupportedBufferSize::Range { min, max });
        let with = |frames_max| Offer {
            frames_max,
            ..offer(2, (48_000, 48_000), SampleFormat::F32)
        };
        let buffer = |frames_max| pick(&[with(frames_max)], Format::USUAL).unwrap().buffer;
        assert_eq!(buffer(range(64, 8192)), BufferSize::Fixed(PERIOD_FRAMES));
        assert_eq!(buffer(range(4096, 8192)), BufferSize::Default);
        assert_eq!(buffer(range(64, 256)), BufferSize::Default);
        assert_eq!(
            buffer(frames_max(SupportedBufferSize::Unknown)),
            BufferSize::Default
        );
    }
}
