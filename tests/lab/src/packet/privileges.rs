//! What the system has to allow before networks can be made, and what to do where it does not.

use std::fs::{self, OpenOptions};
use std::io::{Error, ErrorKind};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, unshare};
use rustix::process::{getegid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
    set_capabilities,
};

/// Makes sure that this process, and the programs it starts, may make and use network namespaces and the devices in
/// them. Where it may not, it moves into a user namespace of its own, in which it may and has no other user: call this
/// before the process has a second thread, since only then the system allows that.
///
/// # Errors
/// Where the system allows neither, or no TUN devices: what is missing, and how to get it.
pub(crate) fn gain() -> Result<()> {
    if !is_allowed()? {
        enter_user_namespace()?;
    }
    let tun = OpenOptions::new().read(true).write(true).open(TUN);
    tun.map(drop).map_err(|error| {
        let advice = no_tun(error.kind());
        anyhow::Error::new(error).context(format!("{TUN} cannot be opened: {advice}"))
    })
}

const TUN: &str = "/dev/net/tun";

fn is_allowed() -> Result<bool> {
    let sets = capabilities(None).context("reading this process's capabilities")?;
    Ok(sets.effective.contains(needed()))
}

fn needed() -> CapabilitySet {
    CapabilitySet::NET_ADMIN | CapabilitySet::SYS_ADMIN
}

fn enter_user_namespace() -> Result<()> {
    // They are others afterwards, until the maps are written.
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    if let Err(error) = unshare(CloneFlags::CLONE_NEWUSER) {
        let advice = no_user_namespace();
        return Err(Error::from(error)).context(format!(
            "this needs CAP_NET_ADMIN and CAP_SYS_ADMIN, or a user namespace, and has neither: {advice}"
        ));
    }
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        // Nobody else, in particular not root: many programs go other ways where they are that.
        ("uid_map", format!("{user} {user} 1")),
        ("gid_map", format!("{group} {group} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        fs::write(&path, text).with_context(|| format!("writing {path}"))?;
    }
    hand_on().context("handing on capabilities to programs")?;
    // Some systems let everybody make a user namespace and nobody do anything in it.
    let made = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    match made {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            let advice = no_user_namespace();
            Err(Error::from(error)).context(format!(
                "this system allows user namespaces, but no network namespaces in them: {advice}"
            ))
        }
        Err(_) => bail!("a thread that tried to make a network namespace panicked"),
    }
}

/// Keeps, of all that the namespace allows, what this process and those behind its links use, and lets programs that are
/// started have that too: they would lose it, since they are not root. Not more than they have: the system lets nobody
/// look into a process that may more than himself, and they have to find its namespaces.
fn hand_on() -> Result<()> {
    // Servers may have port 80, and `ping` its packets.
    let all = needed() | CapabilitySet::NET_BIND_SERVICE | CapabilitySet::NET_RAW;
    let sets = CapabilitySets {
        effective: all,
        permitted: all,
        inheritable: all,
    };
    set_capabilities(None, sets)?;
    for capability in all.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// What keeps a process from using a user namespace, by the switches that systems have for it.
fn no_user_namespace() -> String {
    let switches = [
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user/max_user_namespaces", "0", "10000"),
    ];
    let thrown: Vec<String> = switches
        .iter()
        .filter(|(file, off, _)| {
            let value = fs::read_to_string(format!("/proc/sys/{file}"));
            value.is_ok_and(|value| value.trim() == *off)
        })
        .map(|(file, _, on)| format!("`sudo sysctl -w {}={on}`", file.replace('/', ".")))
        .collect();
    if thrown.is_empty() {
        "run it as root; in a container, start that with `--cap-add NET_ADMIN --cap-add SYS_ADMIN \
         --device /dev/net/tun`"
            .to_owned()
    } else {
        format!(
            "run it as root, or allow user namespaces: {}",
            thrown.join(", ")
        )
    }
}

fn no_tun(kind: ErrorKind) -> &'static str {
    if kind == ErrorKind::PermissionDenied {
        "allow it to you (`sudo chmod 0666 /dev/net/tun`), or run this as root; in a container, start that with \
         `--device /dev/net/tun`"
    } else {
        "load the kernel's module (`sudo modprobe tun`); in a container, start that with `--device /dev/net/tun`"
    }
}
