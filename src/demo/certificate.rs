//! A certificate authority for one run, and the relay's certificate under it.
//!
//! Both live in memory and end with the process. Not responsible for anybody's trust in them.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};

/// What the demo's TLS listeners show, and who vouches for it.
pub(crate) struct TestAuthority {
    /// The relay's certificate.
    pub(crate) certificate_pem: String,
    /// Its key.
    pub(crate) key_pem: String,
    /// The authority, for a browser to import.
    pub(crate) authority_pem: String,
    /// The same, for the demo's own client.
    pub(crate) authority_der: Vec<u8>,
}

/// Makes both, for the names by which this machine calls itself and for those given.
pub(crate) fn make(more: impl IntoIterator<Item = String>) -> Result<TestAuthority, rcgen::Error> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Taciturn demo, this run only");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let names: Vec<String> = own.into_iter().chain(more).collect();
    let mut params = CertificateParams::new(names)?;
    params
        .distinguished_name
        .push(DnType::CommonName, "Taciturn demo relay");
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &authority)?;
    Ok(TestAuthority {
        certificate_pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        authority_pem: authority.pem(),
        authority_der: authority.der().to_vec(),
    })
}
