//! A lease in an object of S3, for controllers on several machines: written on a condition, so that of any number of writers
//! one has written.
//!
//! Responsible for two requests, each signed, bounded in time and read for what it says of the object. Not responsible for
//! trying again (`Keeper` does, soon enough), nor for anything else that a bucket can do: an SDK for all of it would be the
//! largest crate of this program.

mod exchange;
mod place;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_autoscaling::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use hyper::{Method, Request, StatusCode, header};

use super::{Lease, LeaseError, Record, Seen};
use crate::clock::Clock;
use exchange::{Answer, Fault, Roots};
use place::Place;

pub use place::PlaceError;

/// The longest that one request may take. The lease is renewed every 10 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest object that is read: a record is a line.
const MOST: usize = 4096;
/// Credentials that end sooner than this are asked for again.
const RESERVE: Duration = Duration::from_secs(300);

/// A lease in an object.
pub struct S3Lease {
    place: Place,
    region: String,
    credentials: SharedCredentialsProvider,
    known: Mutex<Option<Credentials>>,
    roots: Arc<Roots>,
    clock: Clock,
}

impl fmt::Debug for S3Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Lease")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl S3Lease {
    /// A lease in `key` of `bucket`. Credentials are found as every AWS tool finds them, and so is another endpoint:
    /// `AWS_ENDPOINT_URL_S3`, else `AWS_ENDPOINT_URL`. Nothing is asked yet.
    ///
    /// # Errors
    /// The endpoint is no URL that can be used, or there are no credentials to be looked for.
    pub async fn open(bucket: &str, key: &str, region: &str) -> Result<Self, PlaceError> {
        let sdk = crate::provider::aws::sdk_config(region).await;
        let endpoint = std::env::var("AWS_ENDPOINT_URL_S3").ok();
        let endpoint = endpoint.filter(|url| !url.is_empty());
        Self::over(&sdk, endpoint.as_deref(), bucket, key, region)
    }

    /// The lease over credentials that are given; `endpoint` goes before that of `sdk`.
    ///
    /// # Errors
    /// The endpoint is no URL that can be used, or `sdk` has no credentials.
    pub fn over(
        sdk: &SdkConfig,
        endpoint: Option<&str>,
        bucket: &str,
        key: &str,
        region: &str,
    ) -> Result<Self, PlaceError> {
        let endpoint = endpoint.or_else(|| sdk.endpoint_url());
        Ok(Self {
            place: Place::new(endpoint, bucket, key, region)?,
            region: region.to_owned(),
            credentials: sdk
                .credentials_provider()
                .ok_or(PlaceError::NoCredentials)?,
            known: Mutex::default(),
            roots: Arc::default(),
            clock: Clock::start(),
        })
    }

    /// Credentials that are good for a while.
    async fn credentials(&self) -> Result<Credentials, LeaseError> {
        let now = self.wall();
        let good = |it: &Credentials| it.expiry().is_none_or(|end| end > now + RESERVE);
        let known = self.known().clone().filter(good);
        if let Some(known) = known {
            return Ok(known);
        }
        let found = self.credentials.provide_credentials().await.map_err(|error| {
            LeaseError::Failed(format!(
                "there are no credentials for the bucket: {error}; give this machine an instance profile with the role of the \
                 controller, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ))
        })?;
        *self.known() = Some(found.clone());
        Ok(found)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Credentials>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wall(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.clock.unix().as_secs())
    }

    /// One signed request, and its answer. Errors are of before anything was sent, or [`LeaseError::Unknown`].
    async fn ask(
        &self,
        method: Method,
        condition: Option<(header::HeaderName, &str)>,
        body: String,
    ) -> Result<Answer, LeaseError> {
        let credentials = self.credentials().await?;
        let refused =
            |what: &str| LeaseError::Failed(format!("the request cannot be made: {what}"));
        let mut request = Request::builder()
            .method(method)
            .uri(self.place.path())
            .header(header::HOST, self.place.host())
            .header(header::CONTENT_LENGTH, body.len());
        if let Some((name, value)) = condition {
            request = request.header(name, value);
        }
        let mut request = request
            .body(body)
            .map_err(|error| refused(&error.to_string()))?;
        self.sign(&mut request, credentials)
            .map_err(|error| refused(&error))?;
        let exchange = exchange::exchange(&self.place, &self.roots, request, MOST);
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Fault::Before(words))) => {
                Err(LeaseError::Failed(format!("{}: {words}", self.place)))
            }
            Ok(Err(Fault::After(words))) => {
                Err(LeaseError::Unknown(format!("{}: {words}", self.place)))
            }
            Err(_) => Err(LeaseError::Unknown(format!(
                "{}: no answer in {PATIENCE:?}",
                self.place
            ))),
        }
    }

    fn sign(&self, request: &mut Request<String>, credentials: Credentials) -> Result<(), String> {
        let mut settings = SigningSettings::default();
        // As S3 wants it: the path as it stands, and what the body is beside it.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = credentials.into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(self.wall())
            .settings(settings)
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let url = format!("{}{}", self.place.url(), self.place.path());
        let headers = request.headers().iter();
        let headers =
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let body = SignableBody::Bytes(request.body().as_bytes());
        let signable = SignableRequest::new(request.method().as_str(), url, headers, body)
            .map_err(|error| error.to_string())?;
        let (instructions, _) = sign(signable, &parameters)
            .map_err(|error| error.to_string())?
            .into_parts();
        instructions.apply_to_request_http1x(request);
        Ok(())
    }

    /// What an answer means that is neither a success nor a conflict. The status says whether the request was carried out.
    fn fault(&self, answer: &Answer) -> LeaseError {
        let code = answer.code();
        let remedy = match (answer.status.as_u16(), code.as_str()) {
            (_, "NoSuchBucket") => "; create the bucket, or correct lease.bucket",
            (_, "RequestTimeTooSkewed") => "; check this machine's clock",
            (
                301 | 307 | 400,
                "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed",
            ) => "; correct lease.region: the bucket is in another one",
            (403, _) => {
                "; allow s3:GetObject and s3:PutObject on the object and s3:ListBucket on the bucket in the policy of the \
                 controller's role"
            }
            _ => "",
        };
        let words = format!("{}: {} {code}{remedy}", self.place, answer.status.as_u16());
        if answer.status.is_server_error() {
            LeaseError::Unknown(words)
        } else {
            LeaseError::Failed(words)
        }
    }
}

#[async_trait]
impl Lease for S3Lease {
    fn kind(&self) -> &'static str {
        "s3"
    }

    async fn read(&self) -> Result<Option<Seen>, LeaseError> {
        let answer = self.ask(Method::GET, None, String::new()).await;
        let answer = answer.map_err(of_a_read)?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND if answer.code() == "NoSuchKey" => return Ok(None),
            _ => return Err(of_a_read(self.fault(&answer))),
        }
        let version = answer
            .version
            .clone()
            .ok_or_else(|| LeaseError::Failed(format!("{}: the answer has no ETag", self.place)))?;
        let record = serde_json::from_slice(&answer.body).map_err(|error| {
            LeaseError::Unreadable(format!(
                "{}: {error}; put it aside if no controller runs, and its epoch begins anew",
                self.place
            ))
        })?;
        Ok(Some(Seen { record, version }))
    }

    async fn write(&self, expected: Option<&str>, record: &Record) -> Result<String, LeaseError> {
        let body = serde_json::to_string(record).map_err(|error| {
            LeaseError::Failed(format!("the record cannot be written: {error}"))
        })?;
        let condition = match expected {
            Some(version) => (header::IF_MATCH, version),
            None => (header::IF_NONE_MATCH, "*"),
        };
        let answer = self.ask(Method::PUT, Some(condition), body).await?;
        match answer.status {
            StatusCode::OK => answer.version.ok_or_else(|| {
                LeaseError::Unknown(format!("{}: the answer has no ETag", self.place))
            }),
            // 409: another conditional write of the same object is on its way, and this one was given up.
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Err(LeaseError::Conflict),
            // What was to be replaced is gone.
            StatusCode::NOT_FOUND if answer.code() == "NoSuchKey" => Err(LeaseError::Conflict),
            _ => Err(self.fault(&answer)),
        }
    }
}

/// A read that is lost is a read that failed.
fn of_a_read(error: LeaseError) -> LeaseError {
    match error {
        LeaseError::Unknown(words) => LeaseError::Failed(words),
        LeaseError::Conflict | LeaseError::Unreadable(_) | LeaseError::Failed(_) => error,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests;
