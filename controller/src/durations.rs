//! Durations as people and programs write them: `"30m"` in configurations, seconds in JSON.
//!
//! Responsible for both forms, for serde's `with`. Not responsible for what a duration is for.

use std::time::Duration;

/// Reads `"90s"`, `"30m"`, `"2h"`, `"7d"` or `"250ms"`: a whole number and one unit.
///
/// # Errors
/// What to write instead.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "\"{text}\" is not a duration: write a whole number and ms, s, m, h or d, such as \"90s\" or \"30m\""
        )
    };
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(wrong)
}

/// The shortest form that [`parse`] reads back; parts of a millisecond are left out.
pub fn words(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let unit = units
        .iter()
        .find(|(size, _)| milliseconds > 0 && milliseconds.is_multiple_of(*size));
    match unit {
        Some((size, unit)) => format!("{}{unit}", milliseconds / size),
        None if milliseconds == 0 => "0s".to_owned(),
        None => format!("{milliseconds}ms"),
    }
}

/// `"30m"`, for configurations.
pub mod human {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Reads it.
    ///
    /// # Errors
    /// The text is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse(&text).map_err(de::Error::custom)
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::words(*duration))
    }
}

/// Seconds as a number, for JSON; a `Duration` or an `Option` of one.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    /// A duration that is written as a number of seconds.
    pub trait InSeconds: Sized {
        /// As it is written.
        type Number: Serialize + for<'de> Deserialize<'de>;
        /// To a number.
        fn number(&self) -> Self::Number;
        /// From a number.
        ///
        /// # Errors
        /// It is negative, not a number, or more than a clock can hold.
        fn from_number(number: Self::Number) -> Result<Self, String>;
    }

    impl InSeconds for Duration {
        type Number = f64;

        fn number(&self) -> f64 {
            self.as_secs_f64()
        }

        fn from_number(number: f64) -> Result<Self, String> {
            Self::try_from_secs_f64(number).map_err(|_| {
                format!("{number} is not a number of seconds: it is zero or more, and finite")
            })
        }
    }

    impl InSeconds for Option<Duration> {
        type Number = Option<f64>;

        fn number(&self) -> Option<f64> {
            self.as_ref().map(InSeconds::number)
        }

        fn from_number(number: Option<f64>) -> Result<Self, String> {
            number.map(InSeconds::from_number).transpose()
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is no number of seconds.
    pub fn deserialize<'de, D: Deserializer<'de>, T: InSeconds>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let number = T::Number::deserialize(deserializer)?;
        T::from_number(number).map_err(de::Error::custom)
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of the format.
    pub fn serialize<S: Serializer, T: InSeconds>(
        duration: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        duration.number().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["0s", "90s", "30m", "2h", "7d", "250ms"] {
            assert_eq!(words(parse(text).expect(text)), text);
        }
        assert_eq!(parse("60s"), Ok(Duration::from_secs(60)));
    }

    #[test]
    fn everything_else_is_refused_with_an_example() {
        for text in [
            "",
            "5",
            "m",
            "-1s",
            "1.5h",
            "1h30m",
            "1 h",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(
                parse(text).is_err_and(|why| why.contains("such as")),
                "{text:?}"
            );
        }
    }
}
