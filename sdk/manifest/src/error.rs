//! What can be wrong with a manifest.

/// Why a manifest, a playlist or a segment index cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes are neither an MPD nor an HLS playlist.
    #[error("not a DASH or HLS manifest: {found}")]
    NotAManifest {
        /// What was found instead.
        found: String,
    },
    /// The text breaks the rules of its format.
    #[error("malformed manifest: {what}")]
    Malformed {
        /// Which rule, and where.
        what: String,
    },
    /// Something that cannot be done without is absent or unreadable.
    #[error("{element} has no usable {attribute}")]
    MissingAttribute {
        /// XML element or HLS tag.
        element: String,
        /// Attribute, child element or tag that is missing.
        attribute: String,
    },
    /// Bigger than anything a player should take in.
    #[error("too large: {what} is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit, in the unit that `what` names.
        limit: usize,
    },
    /// More segments than a representation or a manifest may have.
    #[error("more than {limit} segments")]
    TooManySegments {
        /// The limit that was passed.
        limit: usize,
    },
    /// Well formed, but there is nothing to play in it.
    #[error("the manifest names nothing that can be played")]
    NoTracks,
    /// A reference that is no URL, uses another scheme, or climbs above the root.
    #[error("unusable reference {reference:?}: {why}")]
    BadUrl {
        /// The reference as written, shortened.
        reference: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A segment index (`sidx`) that cannot be used.
    #[error("unusable segment index: {what}")]
    BadIndex {
        /// What is wrong with it.
        what: String,
    },
    /// An index was handed in for a representation that does not exist or needs none.
    #[error("no segment index is expected for this representation")]
    UnexpectedIndex,
    /// A live presentation: a dynamic MPD, or a playlist without `EXT-X-ENDLIST`.
    #[error("live presentations are not supported: {why}")]
    Live {
        /// What shows that it is live.
        why: &'static str,
    },
    /// Encrypted media.
    #[error("encrypted media is not supported: {system}")]
    DrmSystem {
        /// DRM systems or encryption method.
        system: String,
    },
    /// Media that is neither fragmented MP4 nor WebVTT.
    #[error("unsupported container: {container}")]
    Container {
        /// Container, codec or MIME type.
        container: String,
    },
    /// Several kinds of media in one file.
    #[error("sound and picture in one file are not supported ({codecs})")]
    Muxed {
        /// Codecs string, or where the muxing shows.
        codecs: String,
    },
    /// A part of the manifest lies elsewhere.
    #[error("remote elements (xlink) are not supported")]
    Xlink,
    /// A feature of the format that this crate does not know.
    #[error("unsupported feature: {feature}")]
    Feature {
        /// Name of the feature.
        feature: String,
    },
}

impl ManifestError {
    /// Returns the stable code that telemetry and bindings depend on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAManifest { .. } => "manifest.not_a_manifest",
            Self::Malformed { .. } => "manifest.malformed",
            Self::MissingAttribute { .. } => "manifest.missing_attribute",
            Self::TooLarge { .. } => "manifest.too_large",
            Self::TooManySegments { .. } => "manifest.too_many_segments",
            Self::NoTracks => "manifest.no_tracks",
            Self::BadUrl { .. } => "manifest.bad_url",
            Self::BadIndex { .. } => "manifest.bad_index",
            Self::UnexpectedIndex => "manifest.unexpected_index",
            Self::Live { .. } => "unsupported.live",
            Self::DrmSystem { .. } => "unsupported.drm_system",
            Self::Container { .. } => "unsupported.container",
            Self::Muxed { .. } => "unsupported.muxed",
            Self::Xlink => "unsupported.xlink",
            Self::Feature { .. } => "unsupported.feature",
        }
    }

    /// Tells whether other tracks of the same manifest may still be played: the media is of a kind that is
    /// not supported, but the manifest itself is sound.
    pub(crate) const fn concerns_one_track(&self) -> bool {
        match self {
            Self::DrmSystem { .. }
            | Self::Container { .. }
            | Self::Muxed { .. }
            | Self::Feature { .. } => true,
            Self::NotAManifest { .. }
            | Self::Malformed { .. }
            | Self::MissingAttribute { .. }
            | Self::TooLarge { .. }
            | Self::TooManySegments { .. }
            | Self::NoTracks
            | Self::BadUrl { .. }
            | Self::BadIndex { .. }
            | Self::UnexpectedIndex
            | Self::Live { .. }
            | Self::Xlink => false,
        }
    }

    pub(crate) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed { what: what.into() }
    }

    pub(crate) fn missing(element: &str, attribute: &str) -> Self {
        Self::MissingAttribute {
            element: element.to_owned(),
            attribute: attribute.to_owned(),
        }
    }

    pub(crate) fn feature(feature: impl Into<String>) -> Self {
        Self::Feature {
            feature: feature.into(),
        }
    }
}

/// Shortens text from outside, so that no error grows with its input.
pub(crate) fn clip(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    let mut clipped: String = text.chars().take(CHARS_MAX).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}
