//! AAC-LC by Symphonia's decoder, fed by our own demultiplexer (Symphonia's ignores `tfdt`).

use symphonia_codec_aac::AacDecoder as Symphonia;
use symphonia_core::codecs::audio::well_known::CODEC_ID_AAC;
use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder as _, AudioDecoderOptions};
use symphonia_core::packet::PacketRef;
use symphonia_core::units::{Duration as Ticks, Timestamp};

use super::{AudioDecoder, AudioFrame};
use crate::decode::DecodeError;
use crate::fmp4::{Sample, TrackInfo};

/// AAC-LC in mono or stereo.
pub(super) struct AacDecoder {
    parameters: AudioCodecParameters,
    decoder: Symphonia,
}

impl AacDecoder {
    pub(super) fn new(track: &TrackInfo) -> Result<Self, DecodeError> {
        let mut parameters = AudioCodecParameters::new();
        parameters
            .for_codec(CODEC_ID_AAC)
            .with_extra_data(track.codec.config.clone().into_boxed_slice());
        let decoder = open(&parameters).map_err(|reason| DecodeError::Configuration {
            codec: track.codec.codec_string(),
            reason,
        })?;
        Ok(Self {
            parameters,
            decoder,
        })
    }
}

impl AudioDecoder for AacDecoder {
    fn decode(&mut self, sample: &Sample) -> Result<AudioFrame, DecodeError> {
        let packet = PacketRef::new(0, Timestamp::new(0), Ticks::new(1024), &sample.data);
        let mut samples = Vec::new();
        match self.decoder.decode_ref(&packet) {
            Ok(buffer) => {
                buffer.copy_to_vec_interleaved(&mut samples);
                let spec = buffer.spec();
                let frame = AudioFrame {
                    pts: sample.pts,
                    sample_rate: spec.rate(),
                    channels: u16::try_from(spec.channels().count()).unwrap_or(0),
                    samples,
                };
                Ok(frame.trimmed(sample))
            }
            Err(error) => {
                // It keeps the element order of the first block, even of one that was refused: start anew.
                if let Ok(decoder) = open(&self.parameters) {
                    self.decoder = decoder;
                }
                Err(DecodeError::Corrupt {
                    pts: sample.pts,
                    reason: error.to_string(),
                })
            }
        }
    }

    fn reset(&mut self) {
        self.decoder.reset();
    }
}

fn open(parameters: &AudioCodecParameters) -> Result<Symphonia, String> {
    Symphonia::try_new(parameters, &AudioDecoderOptions::default())
        .map_err(|error| error.to_string())
}
