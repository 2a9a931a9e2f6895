//! Where the object is: host, port, path, and whether the way there is encrypted.
//!
//! Responsible for both forms of address: the bucket in the host's name, as AWS prefers it, or in the path, as everybody else
//! understands it. Not responsible for going there.

use std::fmt;

/// Why there is no such place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// The endpoint is no URL of the form `http://host:port` or `https://host:port`.
    #[error(
        "the endpoint \"{0}\" cannot be used; write http:// or https://, a host and perhaps a port into AWS_ENDPOINT_URL_S3"
    )]
    Endpoint(String),
    /// The bucket has no name that a URL can carry.
    #[error(
        "lease.bucket = \"{0}\" is no name of a bucket: write 3 to 63 lower-case letters, digits, hyphens and dots"
    )]
    Bucket(String),
    /// The key is empty or too long.
    #[error(
        "lease.key = \"{0}\" is no name of an object: write 1 to 512 characters, not beginning with a slash"
    )]
    Key(String),
    /// Nobody has been told where credentials are.
    #[error("there is no source of credentials")]
    NoCredentials,
}

/// Where the object is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) encrypted: bool,
    /// Without brackets, also of an IPv6 address.
    pub(super) name: String,
    pub(super) port: u16,
    /// As the header has it: without a port that goes without saying.
    host: String,
    path: String,
}

impl Place {
    pub(super) fn new(
        endpoint: Option<&str>,
        bucket: &str,
        key: &str,
        region: &str,
    ) -> Result<Self, PlaceError> {
        let letters =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(letters) {
            return Err(PlaceError::Bucket(bucket.to_owned()));
        }
        if key.is_empty() || key.len() > 512 || key.starts_with('/') {
            return Err(PlaceError::Key(key.to_owned()));
        }
        let key = encoded(key);
        if let Some(endpoint) = endpoint {
            let (encrypted, host, name, port) =
                split(endpoint).ok_or_else(|| PlaceError::Endpoint(endpoint.to_owned()))?;
            return Ok(Self {
                encrypted,
                name,
                port,
                host,
                path: format!("/{bucket}/{key}"),
            });
        }
        let ending = if region.starts_with("cn-") { ".cn" } else { "" };
        let service = format!("s3.{region}.amazonaws.com{ending}");
        // A dot in the bucket's name would be one level more than the service's certificate has.
        let (host, path) = if bucket.contains('.') {
            (service, format!("/{bucket}/{key}"))
        } else {
            (format!("{bucket}.{service}"), format!("/{key}"))
        };
        Ok(Self {
            encrypted: true,
            name: host.clone(),
            port: 443,
            host,
            path,
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Without the path.
    pub(super) fn url(&self) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.url(), self.path)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether it is encrypted, the host as the header has it, its name, and its port.
fn split(url: &str) -> Option<(bool, String, String, u16)> {
    let (encrypted, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return None,
    };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if host.is_empty() || !host.chars().all(fits) {
        return None;
    }
    let standard = if encrypted { 443 } else { 80 };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()?),
        Some(_) | None => (host, standard),
    };
    let name = name
        .strip_prefix('[')
        .map_or(Some(name), |name| name.strip_suffix(']'))?;
    if name.is_empty() {
        return None;
    }
    Some((encrypted, host.to_owned(), name.to_owned(), port))
}

/// A key in a path: everything but the plainest characters as %XX, and slashes as they are.
fn encoded(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    key.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(endpoint: Option<&str>, bucket: &str, key: &str) -> Result<String, PlaceError> {
        Place::new(endpoint, bucket, key, "ap-southeast-2").map(|place| place.to_string())
    }

    #[test]
    fn aws_has_the_bucket_in_the_host_and_others_in_the_path() {
        assert_eq!(
            place(None, "relays", "fleet/lease.json").as_deref(),
            Ok("https://relays.s3.ap-southeast-2.amazonaws.com/fleet/lease.json")
        );
        assert_eq!(
            place(None, "relays.example", "a b").as_deref(),
            Ok("https://s3.ap-southeast-2.amazonaws.com/relays.example/a%20b")
        );
        assert_eq!(
            place(Some("http://127.0.0.1:9000/"), "relays", "lease").as_deref(),
            Ok("http://127.0.0.1:9000/relays/lease")
        );
    }

    #[test]
    fn ports_and_addresses_are_read() {
        for (url, name, port) in [
            ("http://localhost", "localhost", 80),
            ("https://s3.example", "s3.example", 443),
            ("https://s3.example:8443", "s3.example", 8443),
            ("http://[::1]:9000", "::1", 9000),
            ("http://[::1]", "::1", 80),
        ] {
            let place = Place::new(Some(url), "relays", "lease", "x").expect(url);
            assert_eq!((place.name.as_str(), place.port), (name, port), "{url}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_its_key() {
        for url in [
            "",
            "ftp://a",
            "http://",
            "http://a b",
            "http://a/b",
            "http://u@a",
            "http://a:x",
            "http://[::1",
        ] {
            assert!(
                matches!(
                    place(Some(url), "relays", "lease"),
                    Err(PlaceError::Endpoint(_))
                ),
                "{url}"
            );
        }
        assert!(matches!(
            place(None, "Relays", "lease"),
            Err(PlaceError::Bucket(_))
        ));
        assert!(matches!(
            place(None, "re/lays", "lease"),
            Err(PlaceError::Bucket(_))
        ));
        assert!(matches!(
            place(None, "relays", "/lease"),
            Err(PlaceError::Key(_))
        ));
    }
}
