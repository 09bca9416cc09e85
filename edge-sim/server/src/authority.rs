//! The certificate authority of a set of edges.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nearcast_appliance::fault::TlsProblem;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

use crate::clock::wall_time;
use crate::config::EdgeError;

/// A certificate authority made for this machine: clients trust its certificate, edges get theirs from it.
/// Cheap to clone; several edges may share one.
#[derive(Clone)]
pub struct Authority(Arc<Kept>);

struct Kept {
    key: KeyPair,
    pem: String,
}

impl std::fmt::Debug for Authority {
    /// Leaves the key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

/// A certificate with its key.
pub(crate) struct Leaf {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// The key and the certificate in one file, so that both appear at once.
const KEPT_FILE: &str = "ca-key.pem";
const CERTIFICATE_FILE: &str = "ca.pem";
/// A name that nobody has (RFC 6761).
const NOBODYS_NAME: &str = "elsewhere.invalid";
const DAY: Duration = Duration::from_secs(86_400);

impl Authority {
    /// Makes an authority that lives in memory.
    ///
    /// # Errors
    /// [`EdgeError::Authority`] when no key can be made.
    pub fn new() -> Result<Self, EdgeError> {
        Self::make().map_err(|error| failed("memory", &error))
    }

    /// Takes the authority kept in a folder, or makes one and keeps it there: `ca.pem` is for clients,
    /// `ca-key.pem` is secret. Processes that start at the same time get the same one.
    ///
    /// # Errors
    /// [`EdgeError::Authority`] when the folder cannot be read or written, or holds something else.
    pub fn load_or_create(folder: &Path) -> Result<Self, EdgeError> {
        let place = folder.display().to_string();
        let io = |error: io::Error| failed(&place, &error);
        fs::create_dir_all(folder).map_err(io)?;
        let kept = folder.join(KEPT_FILE);
        if !kept.try_exists().map_err(io)? {
            let made = Self::make().map_err(|error| failed(&place, &error))?;
            let text = format!("{}{}", made.0.key.serialize_pem(), made.0.pem);
            let draft = folder.join(format!(".{KEPT_FILE}.{}", std::process::id()));
            write_secret(&draft, &text).map_err(io)?;
            // A link fails when another process was faster: then its authority counts.
            let linked = fs::hard_link(&draft, &kept);
            fs::remove_file(&draft).map_err(io)?;
            if let Err(error) = linked
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(io(error));
            }
        }
        let text = fs::read_to_string(&kept).map_err(io)?;
        let authority = Self::parse(&text).map_err(|reason| EdgeError::Authority {
            place: place.clone(),
            reason: format!("{reason}; remove {} to have a new one made", kept.display()),
        })?;
        let certificate = folder.join(CERTIFICATE_FILE);
        if fs::read_to_string(&certificate).ok().as_deref() != Some(authority.ca_pem()) {
            let draft = folder.join(format!(".{CERTIFICATE_FILE}.{}", std::process::id()));
            fs::write(&draft, authority.ca_pem()).map_err(io)?;
            fs::rename(&draft, &certificate).map_err(io)?;
        }
        Ok(authority)
    }

    /// Returns the authority's certificate in PEM, for clients to trust.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.0.pem
    }

    fn make() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate()?;
        let pem = ca_params().self_signed(&key)?.pem();
        Ok(Self(Arc::new(Kept { key, pem })))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let from = text
            .find("-----BEGIN CERTIFICATE-----")
            .ok_or("there is no certificate in it")?;
        let (key, pem) = text.split_at(from);
        let key = KeyPair::from_pem(key).map_err(|error| error.to_string())?;
        Ok(Self(Arc::new(Kept {
            key,
            pem: pem.to_owned(),
        })))
    }

    /// Issues a certificate for loopback and the names given, or one with a problem. A stalled handshake shows none.
    pub(crate) fn issue(
        &self,
        names: &[String],
        problem: Option<TlsProblem>,
    ) -> Result<Leaf, EdgeError> {
        let failed = |error: rcgen::Error| EdgeError::Tls {
            reason: error.to_string(),
        };
        let mut all: Vec<String> = ["127.0.0.1", "::1", "localhost"].map(String::from).into();
        all.extend(names.iter().cloned());
        if problem == Some(TlsProblem::WrongName) {
            all = vec![NOBODYS_NAME.to_owned()];
        }
        all.sort_unstable();
        all.dedup();
        let mut params = CertificateParams::new(all).map_err(failed)?;
        params.distinguished_name = name("Nearcast edge");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // A day back for clocks that are slow; 398 days is the most that platforms accept.
        let (not_before, not_after) = match problem {
            Some(TlsProblem::Expired) => (wall_time() - 3 * DAY, wall_time() - DAY),
            None | Some(TlsProblem::WrongName | TlsProblem::Stall) => {
                (wall_time() - DAY, wall_time() + 397 * DAY)
            }
        };
        params.not_before = OffsetDateTime::from(not_before);
        params.not_after = OffsetDateTime::from(not_after);
        let key = KeyPair::generate().map_err(failed)?;
        let of_ca = ca_params();
        let issuer = Issuer::from_params(&of_ca, &self.0.key);
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        Ok(Leaf {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        })
    }
}

/// The same for every authority but for the key, so that one read back issues what fits its certificate.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Nearcast local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = OffsetDateTime::from(wall_time() - DAY);
    params.not_after = OffsetDateTime::from(wall_time() + 3650 * DAY);
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn failed(place: &str, error: &dyn std::error::Error) -> EdgeError {
    EdgeError::Authority {
        place: place.to_owned(),
        reason: error.to_string(),
    }
}

fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_authority_and_its_key_secret() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca");
        let first = Authority::load_or_create(&ca).unwrap();
        let second = Authority::load_or_create(&ca).unwrap();
        assert_eq!(first.ca_pem(), second.ca_pem());
        let public = fs::read_to_string(ca.join("ca.pem")).unwrap();
        assert_eq!(public, first.ca_pem());
        assert!(!public.contains("PRIVATE"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(ca.join("ca-key.pem")).unwrap().permissions();
            assert_eq!(mode.mode() & 0o077, 0);
        }
        assert_eq!(fs::read_dir(&ca).unwrap().count(), 2, "no drafts are left");
    }

    #[test]
    fn what_is_not_an_authority_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca-key.pem"), "hello").unwrap();
        let error = Authority::load_or_create(folder.path()).unwrap_err();
        assert!(
            error.to_string().contains("ca-key.pem to have a new one"),
            "{error}"
        );
    }
}
