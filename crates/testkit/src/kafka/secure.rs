//! A broker that asks who you are: SASL over TLS and over plain connections, and TLS with certificates of clients. Keys and
//! certificates are made for it alone.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd};

use super::Broker;
use super::broker::free_ports;

/// Who may come in by SCRAM.
pub const SCRAM_USER: (&str, &str) = ("alice", "alice-secret");
/// Who may come in by PLAIN.
pub const PLAIN_USER: (&str, &str) = ("bob", "bob-secret");

/// A running broker; dropped, it is killed and its folder removed.
#[derive(Debug)]
pub struct SecureBroker {
    /// The broker; its own address is one without TLS and passwords, for helpers.
    pub broker: Broker,
    certificates: PathBuf,
    ports: Vec<u16>,
}

impl SecureBroker {
    /// Starts one in an empty `folder`.
    pub fn start(jars: &Path, folder: &Path) -> Result<Self, String> {
        let certificates = folder.join("certificates");
        fs::create_dir_all(&certificates).map_err(|e| format!("cannot create {}: {e}", certificates.display()))?;
        make_certificates(&certificates)?;
        let ports = free_ports(5)?;
        let (&[plain, controller, sasl_tls, tls, sasl], at) = (ports.as_slice(), certificates.display()) else {
            return Err("five ports were asked for".to_owned());
        };
        let more = format!(
            "listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},SASL_SSL://127.0.0.1:{sasl_tls},SSL://127.0.0.1:{tls},SASL_PLAINTEXT://127.0.0.1:{sasl}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL_SSL://127.0.0.1:{sasl_tls},SSL://127.0.0.1:{tls},SASL_PLAINTEXT://127.0.0.1:{sasl}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={at}/server.pem
ssl.truststore.type=PEM
ssl.truststore.location={at}/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
{}",
            login_modules(PLAIN_USER.1)
        );
        let (name, password) = SCRAM_USER;
        let scram = ["SCRAM-SHA-256", "SCRAM-SHA-512"].map(|mechanism| format!("{mechanism}=[name={name},password={password}]"));
        let [first, second] = &scram;
        let broker = Broker::start_with(jars, folder, &ports, &more, &["--add-scram", first, "--add-scram", second])?;
        Ok(Self { broker, certificates, ports })
    }

    /// The listener of SASL over TLS.
    pub fn sasl_tls(&self) -> String {
        self.at(2)
    }

    /// The listener of TLS with a certificate of the client.
    pub fn tls(&self) -> String {
        self.at(3)
    }

    /// The listener of SASL without TLS.
    pub fn sasl(&self) -> String {
        self.at(4)
    }

    fn at(&self, nth: usize) -> String {
        format!("127.0.0.1:{}", self.ports.get(nth).copied().unwrap_or_default())
    }

    /// A PEM file: `ca.pem`, `other-ca.pem` (of nobody here), `client.crt` and `client.key`, `expired.crt` and `expired.key`.
    pub fn certificate(&self, name: &str) -> String {
        self.certificates.join(name).display().to_string()
    }

    /// From the next start on, [`PLAIN_USER`] has another password.
    pub fn change_password(&self) -> Result<(), String> {
        self.broker.reconfigure(&login_modules("changed"))
    }
}

fn login_modules(password: &str) -> String {
    let listener = |listener: &str| {
        let module = |mechanism: &str, class: &str, more: &str| {
            format!(
                "listener.name.{listener}.{mechanism}.sasl.jaas.config=org.apache.kafka.common.security.{class}LoginModule required{more};"
            )
        };
        let user = format!(" user_{}=\"{password}\"", PLAIN_USER.0);
        let scram = ["scram-sha-256", "scram-sha-512"].map(|mechanism| module(mechanism, "scram.Scram", ""));
        format!("{}\n{}", module("plain", "plain.Plain", &user), scram.join("\n"))
    };
    format!("{}\n{}", listener("sasl_ssl"), listener("sasl_plaintext"))
}

fn make_certificates(folder: &Path) -> Result<(), String> {
    let failed = |e: rcgen::Error| format!("a certificate cannot be made: {e}");
    let write = |name: &str, text: &str| {
        let file = folder.join(name);
        fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))
    };
    let authority = |name: &str| -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate()?)
    };
    let (ours, other) = (authority("test authority").map_err(failed)?, authority("other authority").map_err(failed)?);
    write("ca.pem", &ours.pem())?;
    write("other-ca.pem", &other.pem())?;
    let issue = |names: &[&str], purpose: ExtendedKeyUsagePurpose, last_year: Option<i32>| -> Result<(String, String), rcgen::Error> {
        let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        // One name with its authority would look like a certificate that vouches for itself.
        params.distinguished_name.push(DnType::CommonName, names.join("-"));
        params.extended_key_usages = vec![purpose];
        if let Some(year) = last_year {
            params.not_after = date_time_ymd(year, 1, 1);
        }
        let key = KeyPair::generate()?;
        Ok((key.serialize_pem(), params.signed_by(&key, &ours)?.pem()))
    };
    let (key, certificate) = issue(&["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth, None).map_err(failed)?;
    write("server.pem", &format!("{key}{certificate}"))?;
    for (name, last_year) in [("client", None), ("expired", Some(2001))] {
        let (key, certificate) = issue(&[name], ExtendedKeyUsagePurpose::ClientAuth, last_year).map_err(failed)?;
        write(&format!("{name}.key"), &key)?;
        write(&format!("{name}.crt"), &certificate)?;
    }
    Ok(())
}
