//! The few facts about a certificate that its strength and its end are judged by, read from its DER encoding (RFC 5280 §4.1).
//!
//! Responsible for finding them. Not responsible for validating a certificate: the clients do that, and TLS does not
//! use what is read here. Times are in seconds since 1970-01-01 UTC. The input comes from the operator's own files, and for the name of an issuer from strangers;
//! malformed input is `None`, never a panic.

use rustls::pki_types::CertificateDer;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SET: u8 = 0x31;
/// UTF8String, PrintableString, TeletexString, IA5String.
const TEXTS: [u8; 4] = [0x0C, 0x13, 0x14, 0x16];
/// 2.5.4.3 and 2.5.4.10.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANISATION: &[u8] = &[0x55, 0x04, 0x0A];
const OCTET_STRING: u8 = 0x04;
const BOOLEAN: u8 = 0x01;
/// 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];
/// Context tag 2, primitive: a DNS name among a certificate's names.
const DNS_NAME: u8 = 0x82;
/// Context tag 3, constructed: the extensions of a certificate.
const CONTEXT_3: u8 = 0xA3;
/// Context tag 0, constructed: the version of a certificate, the hash of RSASSA-PSS.
const CONTEXT_0: u8 = 0xA0;

/// The arc 1.2.840.113549.1.1 (PKCS #1); what follows is one byte.
const PKCS1: [u8; 8] = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01];
/// 1.2.840.10045.4.1: ECDSA with SHA-1.
const ECDSA_SHA1: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01];
/// 1.2.840.10040.4.3: DSA with SHA-1.
const DSA_SHA1: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x38, 0x04, 0x03];
/// 1.3.14.3.2.26: SHA-1.
const SHA1: &[u8] = &[0x2B, 0x0E, 0x03, 0x02, 0x1A];
/// 1.2.840.10045.2.1: an elliptic curve key.
const EC_KEY: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];
/// P-256, P-384, P-521.
const STRONG_CURVES: [&[u8]; 3] = [
    &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07],
    &[0x2B, 0x81, 0x04, 0x00, 0x22],
    &[0x2B, 0x81, 0x04, 0x00, 0x23],
];

/// What is known about one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts<'a> {
    /// Who has issued it: a distinguished name, as it is encoded.
    pub issuer: &'a [u8],
    /// Whose it is, in the same form.
    pub subject: &'a [u8],
    /// From when on it is good.
    pub not_before: u64,
    /// Until when.
    pub not_after: u64,
    /// Signed with MD2, MD4, MD5 or SHA-1.
    pub weak_signature: bool,
    /// Its public key.
    pub key: PublicKey,
}

/// A certificate's public key, by its strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA, with the length of its modulus in bits.
    Rsa {
        /// That length.
        bits: usize,
    },
    /// P-256, P-384 or P-521.
    StrongCurve,
    /// Another elliptic curve.
    OtherCurve,
    /// Something else, such as Ed25519: TLS judges it.
    Other,
}

impl<'a> CertificateFacts<'a> {
    /// Reads the facts of one certificate; `None` where it is none.
    pub fn parse(certificate: &'a [u8]) -> Option<Self> {
        let mut outer = Reader(Reader(certificate).value(SEQUENCE)?);
        let mut body = Reader(outer.value(SEQUENCE)?);
        let signature = outer.value(SEQUENCE)?;
        if body.next_is(CONTEXT_0) {
            body.value(CONTEXT_0)?;
        }
        body.value(INTEGER)?;
        body.value(SEQUENCE)?;
        let issuer = body.value(SEQUENCE)?;
        let mut validity = Reader(body.value(SEQUENCE)?);
        let not_before = validity.time()?;
        let not_after = validity.time()?;
        let subject = body.value(SEQUENCE)?;
        let key = public_key(body.value(SEQUENCE)?)?;
        Some(Self {
            issuer,
            subject,
            not_before,
            not_after,
            weak_signature: is_weak_signature(signature)?,
            key,
        })
    }
}

/// When the first certificate of a chain expires; `None` where none of it can be read.
pub fn expiry(chain: &[CertificateDer<'_>]) -> Option<u64> {
    chain
        .iter()
        .filter_map(|certificate| CertificateFacts::parse(certificate))
        .map(|facts| facts.not_after)
        .min()
}

/// Who says to have issued a certificate: the common name, else the organisation. Whoever made the certificate chose it.
pub fn issuer_name(certificate: &[u8]) -> Option<String> {
    let facts = CertificateFacts::parse(certificate)?;
    let mut common_name = None;
    let mut organisation = None;
    let mut names = Reader(facts.issuer);
    while let Some(one) = names.value(SET) {
        let mut attribute = Reader(Reader(one).value(SEQUENCE)?);
        let kind = attribute.value(OBJECT_IDENTIFIER)?;
        let text = TEXTS
            .into_iter()
            .find(|tag| attribute.next_is(*tag))
            .and_then(|tag| attribute.value(tag));
        match kind {
            COMMON_NAME => common_name = text,
            ORGANISATION => organisation = text,
            _ => {}
        }
    }
    let name = common_name.or(organisation)?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The DNS names that a certificate is for (RFC 5280 §4.2.1.6), in lower case; none when it has none or is malformed.
pub fn dns_names(certificate: &[u8]) -> Vec<String> {
    let Some(mut names) = alternative_names(certificate).map(Reader) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    while let Some((tag, value)) = names.any() {
        if tag == DNS_NAME && value.is_ascii() {
            found.push(String::from_utf8_lossy(value).to_ascii_lowercase());
        }
    }
    found
}

/// What is in the extension.
fn alternative_names(certificate: &[u8]) -> Option<&[u8]> {
    let mut body = Reader(Reader(Reader(certificate).value(SEQUENCE)?).value(SEQUENCE)?);
    let mut part = body.any()?;
    while part.0 != CONTEXT_3 {
        part = body.any()?;
    }
    let mut extensions = Reader(Reader(part.1).value(SEQUENCE)?);
    loop {
        let mut extension = Reader(extensions.value(SEQUENCE)?);
        if extension.value(OBJECT_IDENTIFIER)? != SUBJECT_ALT_NAME {
            continue;
        }
        if extension.next_is(BOOLEAN) {
            extension.value(BOOLEAN)?;
        }
        return Reader(extension.value(OCTET_STRING)?).value(SEQUENCE);
    }
}

fn is_weak_signature(algorithm: &[u8]) -> Option<bool> {
    let mut reader = Reader(algorithm);
    let identifier = reader.value(OBJECT_IDENTIFIER)?;
    if identifier == ECDSA_SHA1 || identifier == DSA_SHA1 {
        return Some(true);
    }
    match identifier.strip_prefix(&PKCS1) {
        Some([2..=5]) => Some(true),
        // RSASSA-PSS names its hash in the parameters, and SHA-1 is the default (RFC 4055 §3.1).
        Some([10]) => {
            let mut parameters = Reader(reader.value(SEQUENCE)?);
            if !parameters.next_is(CONTEXT_0) {
                return Some(true);
            }
            let mut hash = Reader(Reader(parameters.value(CONTEXT_0)?).value(SEQUENCE)?);
            Some(hash.value(OBJECT_IDENTIFIER)? == SHA1)
        }
        Some(_) | None => Some(false),
    }
}

fn public_key(spki: &[u8]) -> Option<PublicKey> {
    let mut spki = Reader(spki);
    let mut algorithm = Reader(spki.value(SEQUENCE)?);
    let identifier = algorithm.value(OBJECT_IDENTIFIER)?;
    if identifier == EC_KEY {
        let curve = algorithm.value(OBJECT_IDENTIFIER);
        let strong = curve.is_some_and(|curve| STRONG_CURVES.contains(&curve));
        return Some(if strong {
            PublicKey::StrongCurve
        } else {
            PublicKey::OtherCurve
        });
    }
    if !matches!(identifier.strip_prefix(&PKCS1), Some([1 | 10])) {
        return Some(PublicKey::Other);
    }
    let (_unused_bits, key) = spki.value(BIT_STRING)?.split_first()?;
    let modulus = Reader(Reader(key).value(SEQUENCE)?).value(INTEGER)?;
    let leading = modulus.iter().take_while(|byte| **byte == 0).count();
    let significant = &modulus[leading..];
    let first_bits = significant
        .first()
        .map_or(0, |first| 8 - first.leading_zeros() as usize);
    Some(PublicKey::Rsa {
        bits: significant.len().saturating_sub(1) * 8 + first_bits,
    })
}

/// Reads one value after another.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next_is(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// The next value, when it has this tag.
    fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, value) = self.any()?;
        (found == tag).then_some(value)
    }

    /// The next value and its tag.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (len, rest) = match first {
            0..=0x7F => (usize::from(*first), rest),
            0x81..=0x83 => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x0F))?;
                (
                    digits
                        .iter()
                        .fold(0, |len, digit| len << 8 | usize::from(*digit)),
                    rest,
                )
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((*found, value))
    }

    /// A UTCTime or a GeneralizedTime (RFC 5280 §4.1.2.5).
    fn time(&mut self) -> Option<u64> {
        if self.next_is(UTC_TIME) {
            let text = self.value(UTC_TIME)?;
            let year = number(text.get(..2)?)?;
            return seconds(
                if year >= 50 { 1900 + year } else { 2000 + year },
                text.get(2..)?,
            );
        }
        let text = self.value(GENERALIZED_TIME)?;
        seconds(number(text.get(..4)?)?, text.get(4..)?)
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// Seconds since 1970 of a year and the text `MMDDHHMMSSZ`; what lies before is 1970.
fn seconds(year: u64, rest: &[u8]) -> Option<u64> {
    let part = |at: usize| number(rest.get(at..at + 2)?);
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    if rest.get(10..)? != b"Z" || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March end with the leap day, which makes the days before a month a linear function.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year.checked_sub(1)?, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let since_1970 = days.saturating_sub(719_468);
    Some(((since_1970 * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn times_count_from_1970() {
        let at = |text: &[u8]| {
            let tag = if text.len() == 13 {
                UTC_TIME
            } else {
                GENERALIZED_TIME
            };
            let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
            der.extend_from_slice(text);
            Reader(&der).time()
        };
        assert_eq!(at(b"700101000000Z"), Some(0));
        assert_eq!(at(b"000229120000Z"), Some(951_825_600));
        assert_eq!(at(b"20000301000000Z"), Some(951_868_800));
        assert_eq!(at(b"261121150014Z"), Some(1_795_273_214));
        assert_eq!(at(b"99991231235959Z"), Some(253_402_300_799));
        assert_eq!(at(b"20261121150014+"), None);
        assert_eq!(at(b"20261321150014Z"), None);
    }

    #[test]
    fn signature_algorithms_are_told_apart() {
        let algorithm = |identifier: &[u8], rest: &[u8]| {
            let mut der = vec![OBJECT_IDENTIFIER, u8::try_from(identifier.len()).unwrap()];
            der.extend_from_slice(identifier);
            der.extend_from_slice(rest);
            is_weak_signature(&der)
        };
        let pkcs1 = |last: u8| [PKCS1.as_slice(), &[last]].concat();
        assert_eq!(algorithm(&pkcs1(4), &[5, 0]), Some(true), "MD5 with RSA");
        assert_eq!(algorithm(&pkcs1(5), &[5, 0]), Some(true), "SHA-1 with RSA");
        assert_eq!(
            algorithm(&pkcs1(11), &[5, 0]),
            Some(false),
            "SHA-256 with RSA"
        );
        assert_eq!(algorithm(ECDSA_SHA1, &[]), Some(true));
        assert_eq!(
            algorithm(&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 0x02], &[]),
            Some(false),
            "ECDSA with SHA-256"
        );
        assert_eq!(
            algorithm(&pkcs1(10), &[0x30, 0]),
            Some(true),
            "RSASSA-PSS with its default hash"
        );
        let sha256 = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
        let mut parameters = vec![0x30, 15, 0xA0, 13, 0x30, 11, 0x06, 9];
        parameters.extend_from_slice(&sha256);
        assert_eq!(
            algorithm(&pkcs1(10), &parameters),
            Some(false),
            "RSASSA-PSS with SHA-256"
        );
    }

    #[test]
    fn weak_curves_are_told_apart() {
        let key = |curve: &[u8]| {
            let mut algorithm = vec![OBJECT_IDENTIFIER, 7];
            algorithm.extend_from_slice(EC_KEY);
            algorithm.extend_from_slice(&[OBJECT_IDENTIFIER, u8::try_from(curve.len()).unwrap()]);
            algorithm.extend_from_slice(curve);
            let mut spki = vec![SEQUENCE, u8::try_from(algorithm.len()).unwrap()];
            spki.extend_from_slice(&algorithm);
            public_key(&spki)
        };
        for curve in STRONG_CURVES {
            assert_eq!(key(curve), Some(PublicKey::StrongCurve));
        }
        assert_eq!(
            key(&[0x2B, 0x81, 0x04, 0x00, 0x21]),
            Some(PublicKey::OtherCurve),
            "P-224"
        );
        assert_eq!(
            key(&[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x01]),
            Some(PublicKey::OtherCurve),
            "P-192"
        );
    }

    #[test]
    fn an_issuer_is_known_by_its_common_name_or_else_its_organisation() {
        use rcgen::{CertificateParams, DnType, KeyPair};
        let key = KeyPair::generate().unwrap();
        let issued_by = |entries: &[(DnType, &str)]| {
            let mut params = CertificateParams::new(["turn.example.org".to_owned()]).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            for (kind, text) in entries {
                params.distinguished_name.push(kind.clone(), *text);
            }
            issuer_name(params.self_signed(&key).unwrap().der())
        };
        let organisation = (DnType::OrganizationName, "Example Clinic");
        let common_name = (DnType::CommonName, "Inspection CA");
        assert_eq!(
            issued_by(&[organisation.clone(), common_name]).as_deref(),
            Some("Inspection CA")
        );
        assert_eq!(
            issued_by(&[organisation]).as_deref(),
            Some("Example Clinic")
        );
        assert_eq!(issued_by(&[]), None);
    }

    #[test]
    fn the_dns_names_of_a_certificate_are_read() {
        let of = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let made = rcgen::generate_simple_self_signed(names).unwrap();
            dns_names(made.cert.der())
        };
        assert_eq!(
            of(&["Turn.example.org", "192.0.2.1", "*.example.org"]),
            ["turn.example.org", "*.example.org"]
        );
        assert_eq!(of(&[]), [""; 0]);
        assert_eq!(dns_names(&[]), [""; 0]);
    }

    #[test]
    fn malformed_input_is_none() {
        let certificate = rcgen::generate_simple_self_signed(["turn.example.org".to_owned()])
            .unwrap()
            .cert;
        let der = certificate.der();
        assert!(CertificateFacts::parse(der).is_some());
        for len in 0..der.len() {
            assert_eq!(CertificateFacts::parse(&der[..len]), None);
        }
        for at in 0..der.len() {
            let mut changed = der.to_vec();
            changed[at] = changed[at].wrapping_add(1);
            // Only that it ends matters here.
            let _ = CertificateFacts::parse(&changed);
            let _ = issuer_name(&changed);
            let _ = dns_names(&changed);
        }
    }
}
