//! Names of zones, instances and launches: text of outside that has been looked at.
//!
//! Responsible for their form. Not responsible for which zones are allowed (`policy`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing is written.
    #[error("is empty")]
    Empty,
    /// More than 128 characters.
    #[error("is longer than 128 characters")]
    Long,
    /// Something else than letters, digits and `- _ . : /`.
    #[error("has other characters than letters, digits and - _ . : /")]
    Characters,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                check(&text).map(|()| Self(text))
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A zone by its id, such as `apse2-az1`: the same place in every account, which a zone's name is not. Zones of one
    /// region may lie in different countries.
    ZoneId
}

name! {
    /// A relay's host by the provider's id, such as `i-0123456789abcdef0`.
    InstanceId
}

name! {
    /// Makes a launch that is asked for twice happen once.
    LaunchToken
}

fn check(text: &str) -> Result<(), NameError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    if text.is_empty() {
        Err(NameError::Empty)
    } else if text.len() > 128 {
        Err(NameError::Long)
    } else if !text.chars().all(fits) {
        Err(NameError::Characters)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        assert_eq!(
            ZoneId::try_from("apse2-az1").map(String::from),
            Ok("apse2-az1".to_owned())
        );
        assert_eq!(ZoneId::try_from(""), Err(NameError::Empty));
        assert_eq!(InstanceId::try_from("a".repeat(129)), Err(NameError::Long));
        for text in ["a b", "a\n", "a\u{202e}b", "a\"", "ä"] {
            assert_eq!(
                InstanceId::try_from(text),
                Err(NameError::Characters),
                "{text:?}"
            );
        }
    }
}
