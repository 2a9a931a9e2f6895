//! One call to the API: bounded in time, tried again where that is harmless, and its failure in our words.
//!
//! Responsible for what a failure means. Errors are told apart by code and message, as the API reports many of them in no
//! other way. Not responsible for what is called.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use aws_sdk_autoscaling::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use super::super::ProviderError;
use super::settings::Settings;

/// What trying again can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Nothing: it only reads.
    Reads,
    /// Nothing: the same call twice happens once.
    Same,
    /// Harm, unless it is known that the first has not happened.
    Once,
}

/// How a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What it means.
    pub(crate) meaning: Meaning,
    /// The API's code; empty where there was none.
    pub(crate) code: String,
    /// In words, with a remedy where there is one.
    pub(crate) words: String,
}

/// What a failure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Too many calls; nothing happened.
    Throttled,
    /// There is no such operation here; nothing happened.
    NoSuchOperation,
    /// It would be refused again; nothing happened.
    Refused,
    /// Nothing happened, and another try may succeed.
    Failed,
    /// There was no answer, or none that can be read: it may have happened.
    Lost,
}

impl Fault {
    pub(crate) fn new(meaning: Meaning, words: impl Into<String>) -> Self {
        Self {
            meaning,
            code: String::new(),
            words: words.into(),
        }
    }

    /// Whether it is what the API says of a request that makes no sense to it, with these words in it.
    pub(crate) fn says(&self, words: &str) -> bool {
        self.words
            .to_ascii_lowercase()
            .contains(&words.to_ascii_lowercase())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

impl From<Fault> for ProviderError {
    fn from(fault: Fault) -> Self {
        match fault.meaning {
            Meaning::Throttled => Self::Throttled(fault.words),
            Meaning::NoSuchOperation | Meaning::Refused => Self::Refused(fault.words),
            Meaning::Failed => Self::Failed(fault.words),
            Meaning::Lost => Self::Unknown(fault.words),
        }
    }
}

/// How calls are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    operation_timeout: Duration,
    tries: u32,
}

/// The first pause before another try; each further one is three times as long.
const PAUSE: Duration = Duration::from_millis(250);

impl Calls {
    pub(crate) const fn new(settings: &Settings) -> Self {
        Self {
            operation_timeout: settings.operation_timeout,
            tries: settings.tries,
        }
    }

    /// Calls until there is an answer that stands, as often as that is harmless and as long as there is time.
    pub(crate) async fn call<T, E, A>(
        &self,
        operation: &'static str,
        again: Again,
        attempt: impl Fn() -> A,
    ) -> Result<T, Fault>
    where
        E: ProvideErrorMetadata + Error + 'static,
        A: Future<Output = Result<T, SdkError<E>>>,
    {
        let tries = async {
            let mut pause = PAUSE;
            let mut lost = None;
            for number in 1.. {
                let fault = match attempt().await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => fault(operation, &error),
                };
                let harmless = match fault.meaning {
                    Meaning::Throttled | Meaning::Failed => true,
                    Meaning::Lost => again != Again::Once,
                    Meaning::NoSuchOperation | Meaning::Refused => false,
                };
                // What was lost once may have happened, whatever is said of a later try.
                if fault.meaning == Meaning::Lost && again == Again::Same {
                    lost = Some(fault.clone());
                }
                if !harmless || number >= self.tries {
                    return Err(lost.unwrap_or(fault));
                }
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(3);
            }
            Err(Fault::new(
                Meaning::Failed,
                format!("{operation}: was not tried"),
            ))
        };
        let answer = tokio::time::timeout(self.operation_timeout, tries).await;
        let answer = answer.unwrap_or_else(|_| {
            Err(Fault::new(
                Meaning::Lost,
                format!("{operation}: no answer in {:?}", self.operation_timeout),
            ))
        });
        answer.map_err(|mut fault| {
            // Reading changes nothing, answered or not.
            if again == Again::Reads && fault.meaning == Meaning::Lost {
                fault.meaning = Meaning::Failed;
            }
            fault
        })
    }
}

/// What `error` means.
fn fault<E>(operation: &'static str, error: &SdkError<E>) -> Fault
where
    E: ProvideErrorMetadata + Error + 'static,
{
    if let SdkError::ServiceError(said) = error
        && let Some(code) = said.err().meta().code()
    {
        let message = said.err().meta().message().unwrap_or_default();
        return judged(operation, said.raw().status().as_u16(), code, message);
    }
    let chain = plain(&DisplayErrorContext(error).to_string());
    let lower = chain.to_ascii_lowercase();
    if lower.contains("credential") || lower.contains("identity") {
        return Fault::new(
            Meaning::Refused,
            format!(
                "{operation}: there are no credentials ({chain}); give this machine an instance profile with the role of the \
                 controller, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ),
        );
    }
    Fault::new(Meaning::Lost, format!("{operation}: {chain}"))
}

/// What an answer that the API signed with a code means.
fn judged(operation: &'static str, status: u16, code: &str, message: &str) -> Fault {
    let code = plain(code);
    let message = plain(message);
    let (meaning, remedy) = meaning(operation, status, &code, &message);
    let words = if remedy.is_empty() {
        format!("{operation}: {code}: {message}")
    } else {
        format!("{operation}: {code}: {message}; {remedy}")
    };
    Fault {
        meaning,
        code,
        words,
    }
}

fn meaning(operation: &'static str, status: u16, code: &str, message: &str) -> (Meaning, String) {
    let none = String::new();
    match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "BandwidthLimitExceeded"
        | "SlowDown" => (Meaning::Throttled, none),
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "AuthFailure" => (
            Meaning::Refused,
            format!(
                "allow autoscaling:{operation} on this group in the policy of the controller's role"
            ),
        ),
        "InvalidClientTokenId"
        | "UnrecognizedClientException"
        | "MissingAuthenticationToken"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "OptInRequired" => (
            Meaning::Refused,
            "renew the credentials of the controller".to_owned(),
        ),
        "SignatureDoesNotMatch" | "RequestExpired" | "IncompleteSignature" => (
            Meaning::Refused,
            "check this machine's clock, and the secret key".to_owned(),
        ),
        "InvalidAction" | "UnknownOperationException" | "UnknownOperation" | "NotImplemented" => {
            (Meaning::NoSuchOperation, none)
        }
        "ValidationError" | "ValidationException" => (Meaning::Refused, remedy(message)),
        "IdempotentParameterMismatch" | "LimitExceeded" | "InvalidNextToken" => {
            (Meaning::Refused, none)
        }
        // The same token is being worked on: what becomes of it is not known yet.
        "IdempotentCallInProgress" => (Meaning::Lost, none),
        "ScalingActivityInProgress" | "ResourceContention" | "ResourceInUse" => {
            (Meaning::Failed, none)
        }
        _ if status >= 500 => (Meaning::Lost, none),
        _ => (Meaning::Failed, none),
    }
}

/// The remedy for what the API calls a validation error, by its words.
fn remedy(message: &str) -> String {
    let message = message.to_ascii_lowercase();
    let words = if message.contains("min size") || message.contains("minsize") {
        "lower the group's MinSize below the policy's minimum"
    } else if message.contains("max size")
        || message.contains("maxsize")
        || message.contains("above max")
    {
        "raise the group's MaxSize above the policy's maximum and its surge"
    } else if message.contains("group name not found")
        || message.contains("autoscalinggroup name not found")
    {
        "correct provider.aws.auto-scaling-group or provider.aws.region"
    } else if message.contains("suspended") {
        "resume the group's processes: aws autoscaling resume-processes"
    } else {
        ""
    };
    words.to_owned()
}

/// Text of outside on one line, at most 400 characters: it goes to logs and to the audit trail.
pub(crate) fn plain(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(400)
        .collect();
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_mean_what_happened_and_what_to_do() {
        for (status, code, message, wanted) in [
            (400, "Throttling", "Rate exceeded", Meaning::Throttled),
            (503, "SlowDown", "", Meaning::Throttled),
            (
                403,
                "AccessDenied",
                "User is not authorized",
                Meaning::Refused,
            ),
            (
                400,
                "ValidationError",
                "group name not found",
                Meaning::Refused,
            ),
            (
                400,
                "InvalidAction",
                "Could not find operation",
                Meaning::NoSuchOperation,
            ),
            (400, "ScalingActivityInProgress", "", Meaning::Failed),
            (400, "SomethingNew", "", Meaning::Failed),
            (500, "InternalFailure", "", Meaning::Lost),
            (500, "SomethingNew", "", Meaning::Lost),
            (400, "IdempotentCallInProgress", "", Meaning::Lost),
        ] {
            let fault = judged("LaunchInstances", status, code, message);
            assert_eq!(fault.meaning, wanted, "{code}");
        }
        let denied = judged("LaunchInstances", 403, "AccessDenied", "no");
        assert!(denied.words.contains("allow autoscaling:LaunchInstances"));
    }

    #[test]
    fn text_of_outside_stays_on_one_short_line() {
        assert_eq!(plain("a\r\nb\u{1b}[31m"), "a  b [31m");
        assert_eq!(plain(&"x".repeat(5000)).len(), 400);
    }
}
