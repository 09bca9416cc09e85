//! Bytes to samples to frames.
