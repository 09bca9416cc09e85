//! The crate from outside: real segments in, samples and frames out.

// `cfg(test)` is always on here; it tells clippy that the helpers are tests too.
#[cfg(test)]
mod audio;
#[cfg(test)]
mod demux;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod hostile;
#[cfg(test)]
#[cfg(feature = "video")]
mod video;
