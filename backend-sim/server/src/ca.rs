//! The certificate authority that a machine's backend and edges share.
//!
//! A folder holds `ca.pem`, which clients trust, and `ca-key.pem`, which is secret: the key and the
//! certificate, in one file so that both appear at once. Whoever starts first makes them; several that start
//! at the same time agree.

use std::fs;
use std::io;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nearcast_appliance::fault::TlsProblem;
use nearcast_units::Instant;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;

/// The certificate clients trust, in a CA folder.
pub const CA_CERTIFICATE_FILE: &str = "ca.pem";

/// The authority's secret key and its certificate, in a CA folder.
pub const CA_KEY_FILE: &str = "ca-key.pem";

/// The subject of the authority, part of the agreement with the edges.
const CA_NAME: &str = "Nearcast local authority";

/// A certificate authority that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file that cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is none of ours.
    #[error(
        "{path} is not a Nearcast CA ({why}); remove {CA_CERTIFICATE_FILE} and {CA_KEY_FILE} there to have new \
         ones made"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A certificate that could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(String),
}

impl CaError {
    /// Returns a code that stays the same for the same kind of error.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::File { .. } | Self::Foreign { .. } => "ca.unusable",
            Self::Certificate(_) => "ca.certificate",
        }
    }
}

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// Opens the authority of a folder, or makes one there; without a folder makes one in memory.
    pub(crate) fn open(folder: Option<&Path>, now: Instant) -> Result<Self, CaError> {
        let Some(folder) = folder else {
            let key = KeyPair::generate().map_err(failed)?;
            let pem = certificate(&key, now)?;
            return Ok(Self::new(key, pem));
        };
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| CaError::File { path, source }
        };
        fs::create_dir_all(folder).map_err(at(folder))?;
        let key_path = folder.join(CA_KEY_FILE);
        let certificate_path = folder.join(CA_CERTIFICATE_FILE);
        if !key_path.exists() {
            let key = KeyPair::generate().map_err(failed)?;
            let both = key.serialize_pem() + &certificate(&key, now)?;
            match place(&key_path, &both, |draft| fs::hard_link(draft, &key_path)) {
                // Another was faster: its authority counts.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                placed => placed.map_err(at(&key_path))?,
            }
        }
        let both = fs::read_to_string(&key_path).map_err(at(&key_path))?;
        let (key, pem) = parse(&both, now).map_err(|why| CaError::Foreign {
            path: key_path,
            why,
        })?;
        if fs::read_to_string(&certificate_path).ok().as_deref() != Some(pem.as_str()) {
            place(&certificate_path, &pem, |draft| {
                fs::rename(draft, &certificate_path)
            })
            .map_err(at(&certificate_path))?;
        }
        Ok(Self::new(key, pem))
    }

    fn new(key: KeyPair, pem: String) -> Self {
        Self {
            issuer: Issuer::new(authority_params(), key),
            pem,
        }
    }

    /// Returns the certificate that clients are to trust.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Makes a TLS configuration for HTTP/1.1 and HTTP/2 with a certificate for these names, or one with a problem. A
    /// stalled handshake shows none.
    pub(crate) fn server_config(
        &self,
        names: &[String],
        now: Instant,
        problem: Option<TlsProblem>,
    ) -> Result<rustls::ServerConfig, CaError> {
        let key = KeyPair::generate().map_err(failed)?;
        let names = match problem {
            Some(TlsProblem::WrongName) => vec![NOBODYS_NAME.to_owned()],
            None | Some(TlsProblem::Expired | TlsProblem::Stall) => names.to_vec(),
        };
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = named("nearcast-backend");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (from, validity) = match problem {
            Some(TlsProblem::Expired) => (now - 3 * DAY, DAY),
            None | Some(TlsProblem::WrongName | TlsProblem::Stall) => (now, LEAF_VALIDITY),
        };
        set_validity(&mut params, from, validity)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let authority = CertificateDer::from_pem_slice(self.pem.as_bytes())
            .map_err(|error| CaError::Certificate(error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder.with_no_client_auth().with_single_cert(
                    vec![certificate.der().clone(), authority],
                    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
                )
            })
            .map_err(|error| CaError::Certificate(error.to_string()))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Apple's platforms refuse certificates of servers that are good for longer than 398 days, and a new one is
/// made at each start.
const LEAF_VALIDITY: Duration = Duration::from_secs(397 * DAY_S);

const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3650 * DAY_S);

const DAY_S: u64 = 24 * 3600;

const DAY: Duration = Duration::from_secs(DAY_S);

/// A name that nobody has (RFC 6761).
const NOBODYS_NAME: &str = "elsewhere.invalid";

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(CA_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    params
}

fn certificate(key: &KeyPair, now: Instant) -> Result<String, CaError> {
    let mut params = authority_params();
    set_validity(&mut params, now, AUTHORITY_VALIDITY)?;
    Ok(params.self_signed(key).map_err(failed)?.pem())
}

fn named(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

/// Valid from a day ago, for clients whose clocks are behind.
fn set_validity(
    params: &mut CertificateParams,
    now: Instant,
    validity: Duration,
) -> Result<(), CaError> {
    let at = |time: Instant| {
        i64::try_from(time.as_nanos() / 1_000_000_000)
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .ok_or_else(|| CaError::Certificate("the clock is far off".to_owned()))
    };
    params.not_before = at(now - DAY)?;
    params.not_after = at(now + validity)?;
    Ok(())
}

/// Reads a key and its certificate.
fn parse(both: &str, now: Instant) -> Result<(KeyPair, String), String> {
    let start = both
        .find("-----BEGIN CERTIFICATE-----")
        .ok_or("there is no certificate in it")?;
    let (key, pem) = both.split_at(start);
    let key = KeyPair::from_pem(key).map_err(|error| error.to_string())?;
    let ours = certificate(&key, now).map_err(|error| error.to_string())?;
    if !same_authority(pem, &ours) {
        return Err(format!(
            "its certificate is not of its key, or not named {CA_NAME:?}"
        ));
    }
    Ok((key, pem.to_owned()))
}

/// Whether two certificates name the same authority with the same key.
fn same_authority(a: &str, b: &str) -> bool {
    let anchor = |pem: &str| {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(pem.as_bytes()).ok()?)
            .ok()?;
        let anchor = roots.roots.into_iter().next()?;
        Some((anchor.subject, anchor.subject_public_key_info))
    };
    anchor(a).is_some_and(|seen| anchor(b) == Some(seen))
}

/// Makes a file appear with all its content, readable by its owner alone.
fn place(
    path: &Path,
    content: &str,
    appear: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    // Several may start at once in one process, too.
    static DRAFTS: AtomicU64 = AtomicU64::new(0);
    let (process, number) = (std::process::id(), DRAFTS.fetch_add(1, Ordering::Relaxed));
    let draft = path.with_extension(format!("backend-{process}-{number}.draft"));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let placed = options
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(content.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .and_then(|()| appear(&draft));
    match fs::remove_file(&draft) {
        // Renamed away, or never made.
        Err(error) if error.kind() == io::ErrorKind::NotFound => placed,
        removed => placed.and(removed),
    }
}

fn failed(error: rcgen::Error) -> CaError {
    CaError::Certificate(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_nanos(1_700_000_000_000_000_000);

    #[test]
    fn a_folder_keeps_its_authority() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(Some(folder.path()), NOW).unwrap();
        let again = Authority::open(Some(folder.path()), NOW).unwrap();
        assert_eq!(first.pem(), again.pem());
        assert!(
            again
                .server_config(&["localhost".to_owned()], NOW, None)
                .is_ok()
        );
        let files = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(files, 2, "no draft is left");
    }

    #[test]
    fn several_that_start_at_once_agree() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let pems: Vec<String> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| Authority::open(Some(path), NOW)))
                .collect();
            starters
                .into_iter()
                .map(|starter| starter.join().unwrap().unwrap().pem().to_owned())
                .collect()
        });
        assert!(pems.iter().all(|pem| *pem == pems[0]));
    }

    #[test]
    fn what_is_not_an_authority_is_refused_and_a_lost_certificate_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let first = Authority::open(Some(folder.path()), NOW).unwrap();
        let certificate_path = folder.path().join(CA_CERTIFICATE_FILE);
        fs::write(&certificate_path, "lost").unwrap();
        Authority::open(Some(folder.path()), NOW).unwrap();
        assert_eq!(fs::read_to_string(&certificate_path).unwrap(), first.pem());
        let other = KeyPair::generate().unwrap().serialize_pem();
        for content in ["nothing", &(other + first.pem())] {
            fs::write(folder.path().join(CA_KEY_FILE), content).unwrap();
            let Err(error) = Authority::open(Some(folder.path()), NOW) else {
                panic!("it was taken");
            };
            assert!(matches!(error, CaError::Foreign { .. }));
            let text = error.to_string();
            assert!(
                text.ends_with("; remove ca.pem and ca-key.pem there to have new ones made"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_foreign_authority_is_replaced_as_the_error_says() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(CA_KEY_FILE), "nothing").unwrap();
        assert!(Authority::open(Some(folder.path()), NOW).is_err());
        fs::remove_file(folder.path().join(CA_KEY_FILE)).unwrap();
        assert!(Authority::open(Some(folder.path()), NOW).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_reads_the_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        Authority::open(Some(folder.path()), NOW).unwrap();
        let key = fs::metadata(folder.path().join(CA_KEY_FILE)).unwrap();
        assert_eq!(key.permissions().mode() & 0o077, 0);
    }
}
