//! Whether a viewer may watch a title on a device: the part of a play decision that no other viewer and
//! no earlier request has a say in.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use nearcast_protocol::play::{Capabilities, Refusal};

use crate::catalogue::{Account, Index, Title};

/// A refusal with what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {detail}", refusal.code())]
pub struct Refused {
    /// Which one.
    pub refusal: Refusal,
    /// What happened and what to do, for people.
    pub detail: String,
    /// When to ask again, where that helps.
    pub retry_after: Option<Duration>,
}

impl Refused {
    pub(crate) const fn new(refusal: Refusal, detail: String) -> Self {
        Self {
            refusal,
            detail,
            retry_after: None,
        }
    }
}

/// Who asks, and from where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viewer<'a> {
    pub(crate) account: &'a Account,
    /// Country of the client's network, else of the account.
    pub(crate) country: &'a str,
    pub(crate) platform: &'a str,
}

/// Checks region, platform, plan and maturity, in this order: first what the viewer cannot change, so that
/// nobody is asked to pay for a plan that would not help.
pub(crate) fn check_licence(
    index: &Index,
    title: &Title,
    viewer: Viewer<'_>,
) -> Result<(), Refused> {
    let Viewer {
        account,
        country,
        platform,
    } = viewer;
    let name = &title.name;
    if !allows(&title.countries, country) {
        return Err(Refused::new(
            Refusal::RegionBlocked,
            format!("{name:?} is not available in {country}."),
        ));
    }
    if !allows(&title.platforms, platform) {
        return Err(Refused::new(
            Refusal::PlatformBlocked,
            format!("{name:?} is not available on {platform}; try another device."),
        ));
    }
    if let Some(needed) = &title.plan
        && rank(index, needed) > rank(index, &account.plan)
    {
        let plan = &account.plan;
        return Err(Refused::new(
            Refusal::PlanRequired,
            format!("{name:?} needs the plan {needed:?}; this account has {plan:?}."),
        ));
    }
    if title.maturity > account.maturity {
        let (fit, allowed) = (title.maturity, account.maturity);
        return Err(Refused::new(
            Refusal::MaturityBlocked,
            format!("{name:?} is for age {fit} and above; this profile allows up to {allowed}."),
        ));
    }
    Ok(())
}

/// Checks that the device can play some version of the title.
pub(crate) fn check_device(title: &Title, capabilities: &Capabilities) -> Result<(), Refused> {
    let name = &title.name;
    let fails = |detail| Err(Refused::new(Refusal::DeviceUnsupported, detail));
    if let Some(codec) = title.codecs.iter().find(|codec| {
        !capabilities
            .codecs
            .iter()
            .any(|able| same_codec(able, codec))
    }) {
        return fails(format!(
            "{name:?} needs the codec {codec:?}, which this device does not name among its own."
        ));
    }
    if let Some(height) = capabilities.height_max
        && height < title.height_min
    {
        let lines = title.height_min;
        return fails(format!(
            "{name:?} has no picture below {lines} lines; this device shows up to {height}."
        ));
    }
    if !title.drm_systems.is_empty()
        && !title
            .drm_systems
            .iter()
            .any(|system| capabilities.drm_systems.contains(system))
    {
        let systems = title.drm_systems.join(", ");
        return fails(format!(
            "{name:?} is protected by {systems}, and this device has none of these."
        ));
    }
    Ok(())
}

/// An empty list allows all.
fn allows(list: &[String], item: &str) -> bool {
    list.is_empty() || list.iter().any(|entry| entry.eq_ignore_ascii_case(item))
}

/// A plan that is not in the catalogue includes nothing.
fn rank(index: &Index, plan: &str) -> Option<usize> {
    index.plan(plan).map(|(place, _)| place)
}

/// Compares codecs by their four characters (`avc1.64001f` is `avc1`).
fn same_codec(a: &str, b: &str) -> bool {
    let kind = |codec: &str| -> String {
        let kind = codec.split('.').next().unwrap_or_default();
        kind.to_ascii_lowercase()
    };
    kind(a) == kind(b)
}
