//! How we connect to the broker: MQTT 5, last will, credentials and TLS.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rumqttc::v5::MqttOptions;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnectProperties, LastWill};
use rumqttc::{TlsConfiguration, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::topics::Topics;
use crate::config::{Broker, Credentials, Server};

/// Largest message that we take: a question with one picture of the largest size, in base64.
const PACKET_BYTES_MAX: u32 = 24 << 20;
/// Pause after which the broker and we look whether the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Unacknowledged messages that the client library has room for.
const UNACKNOWLEDGED_MAX: u16 = 256;

/// Makes the options of one connection of the daemon.
///
/// # Errors
/// If the password or certificates cannot be read.
pub(super) fn of_daemon(
    broker: &Broker,
    server: &Server,
    topics: &Topics,
) -> anyhow::Result<MqttOptions> {
    let client = format!("{}-{}", broker.prefix.replace('/', "-"), broker.node);
    let mut options = of_client(client, broker, server)?;
    let properties =
        ConnectProperties { max_packet_size: Some(PACKET_BYTES_MAX), ..ConnectProperties::new() };
    options
        .set_connect_properties(properties)
        .set_outgoing_inflight_upper_limit(UNACKNOWLEDGED_MAX)
        .set_last_will(LastWill::new(topics.status(), "offline", QoS::AtLeastOnce, true, None));
    Ok(options)
}

/// Makes the options of any client with the daemon's credentials. Password and certificates are
/// read here, so that a mended file is seen at the next attempt.
///
/// # Errors
/// If the password or certificates cannot be read.
pub(super) fn of_client(
    client: String,
    broker: &Broker,
    server: &Server,
) -> anyhow::Result<MqttOptions> {
    let literal = server.host.contains(':') && !server.tls;
    let host = if literal { format!("[{}]", server.host) } else { server.host.clone() };
    let mut options = MqttOptions::new(client, host, server.port);
    options.set_clean_start(true).set_keep_alive(KEEP_ALIVE);
    if let Some(credentials) = &broker.credentials {
        options.set_credentials(&credentials.user, password(credentials)?);
    }
    if server.tls {
        options.set_transport(Transport::tls_with_config(tls(server)?));
    }
    Ok(options)
}

/// The password without the end of its line; empty where there is no file.
fn password(credentials: &Credentials) -> anyhow::Result<String> {
    let Some(file) = &credentials.password_file else { return Ok(String::new()) };
    let password = std::fs::read_to_string(file)
        .with_context(|| format!("[broker] password_file {} cannot be read", file.display()))?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

/// TLS with the configured certificates, else the system's.
fn tls(server: &Server) -> anyhow::Result<TlsConfiguration> {
    let mut roots = RootCertStore::empty();
    match &server.ca_file {
        Some(file) => {
            let certificates = CertificateDer::pem_file_iter(file)
                .with_context(|| format!("{} cannot be read", file.display()))?;
            for certificate in certificates {
                let added = roots.add(certificate?);
                added.with_context(|| format!("a certificate in {} is wrong", file.display()))?;
            }
            ensure!(!roots.is_empty(), "{} holds no certificate (PEM)", file.display());
        }
        None => {
            let system = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(system.certs);
            ensure!(!roots.is_empty(), "the system has no certificates; set [broker] ca_file");
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConfiguration::Rustls(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_password_is_read_without_the_end_of_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let credentials =
            Credentials { user: "house".to_owned(), password_file: Some(file.clone()) };
        let missing = format!("{:#}", password(&credentials).unwrap_err());
        assert!(missing.starts_with("[broker] password_file "), "{missing}");
        std::fs::write(file, "secret \r\n").unwrap();
        assert_eq!(password(&credentials).unwrap(), "secret ");
    }
}
