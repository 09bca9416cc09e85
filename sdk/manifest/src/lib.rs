//! DASH and HLS text to the manifest model.
