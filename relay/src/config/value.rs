//! Single values: durations, numbers, words, addresses, address ranges, port ranges.
//!
//! Responsible for judging one value on its own, without panics on any text. Not for what two values mean together.

use core::ops::RangeInclusive;
use core::time::Duration;
use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv6Net};
use toml::de::DeValue;

use super::section::{Wrong, kind};

/// A string.
pub(super) fn text<'t>(value: &'t DeValue<'t>) -> Result<&'t str, Wrong> {
    value.as_str().ok_or_else(|| {
        Wrong::new(
            format!("must be a string, found {}", kind(value)),
            "put it between double quotes",
        )
    })
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| {
        Wrong::new(
            format!("must be true or false, found {}", kind(value)),
            "write true or false without quotes",
        )
    })
}

/// An integer within `range`.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Result<T, Wrong>
where
    T: Copy + PartialOrd + core::fmt::Display + TryFrom<i64>,
{
    move |value| {
        let remedy = || {
            format!(
                "write a whole number without quotes, {} to {}",
                range.start(),
                range.end()
            )
        };
        let Some(number) = value.as_integer() else {
            return Err(Wrong::new(
                format!("must be a whole number, found {}", kind(value)),
                remedy(),
            ));
        };
        let outside = || {
            Wrong::new(
                format!("must be within {} to {}", range.start(), range.end()),
                remedy(),
            )
        };
        let number = i64::from_str_radix(number.as_str(), number.radix()).map_err(|_| outside())?;
        T::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(outside)
    }
}

/// A duration such as `"90s"`, within `range`.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&DeValue<'_>) -> Result<Duration, Wrong> {
    move |value| {
        let limits = format!(
            "{} to {}",
            duration_text(*range.start()),
            duration_text(*range.end())
        );
        let malformed = || {
            Wrong::new(
                "must be a whole number with its unit between quotes",
                format!(
                    "write e.g. {:?}; units are us, ms, s, m, h and d, the limits {limits}",
                    duration_text(*range.end())
                ),
            )
        };
        let parsed = value
            .as_str()
            .and_then(parse_duration)
            .ok_or_else(malformed)?;
        if range.contains(&parsed) {
            return Ok(parsed);
        }
        Err(Wrong::new(
            format!("must be within {limits}"),
            format!("write e.g. {:?}", duration_text(*range.end())),
        ))
    }
}

/// Reads `"50us"`, `"500ms"`, `"90s"`, `"10m"`, `"24h"`, `"7d"`: digits and one unit, nothing else.
///
/// `None` when it is not that, or longer than a `u64` of seconds.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "us" => return Some(Duration::from_micros(number)),
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    number.checked_mul(seconds).map(Duration::from_secs)
}

/// The shortest text that [`parse_duration`] reads as `duration`, in whole microseconds.
fn duration_text(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if !duration.subsec_micros().is_multiple_of(1000) {
        return format!("{}us", duration.as_micros());
    }
    if duration.subsec_nanos() > 0 {
        return format!("{}ms", duration.as_millis());
    }
    let (size, unit) = match seconds {
        0 => (1, "s"),
        s if s.is_multiple_of(24 * 60 * 60) && s > 24 * 60 * 60 => (24 * 60 * 60, "d"),
        s if s.is_multiple_of(60 * 60) => (60 * 60, "h"),
        s if s.is_multiple_of(60) => (60, "m"),
        _ => (1, "s"),
    };
    format!("{}{unit}", seconds / size)
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&DeValue<'_>) -> Result<T, Wrong> {
    move |value| {
        let written = value.as_str();
        words
            .iter()
            .find(|(word, _)| Some(*word) == written)
            .map(|(_, meaning)| *meaning)
            .ok_or_else(|| {
                let known: Vec<String> =
                    words.iter().map(|(word, _)| format!("{word:?}")).collect();
                Wrong::new(
                    "is not one of the known words",
                    format!("write {}", known.join(" or ")),
                )
            })
    }
}

/// An address without a port that a socket may be bound to or a peer may see.
pub(super) fn address(value: &DeValue<'_>) -> Result<IpAddr, Wrong> {
    let remedy =
        "write an IPv4 or IPv6 address without a port, e.g. \"192.0.2.7\" or \"2001:db8::7\"";
    let address: IpAddr = text(value)?
        .parse()
        .map_err(|_| Wrong::new("is not an address; names are not resolved here", remedy))?;
    refuse_unusable(address)?;
    Ok(address)
}

/// An address with a port.
pub(super) fn socket_address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    let remedy = "write address and port, e.g. \"0.0.0.0:3478\" or \"[::]:3478\"";
    let address: SocketAddr = text(value)?.parse().map_err(|_| {
        Wrong::new(
            "is not an address with a port; names are not resolved here",
            remedy,
        )
    })?;
    refuse_unusable(address.ip())?;
    Ok(address)
}

fn refuse_unusable(address: IpAddr) -> Result<(), Wrong> {
    let mapped = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    if let Some(v4) = mapped {
        return Err(Wrong::new(
            "is an IPv4 address in IPv6 form",
            format!("write {v4}"),
        ));
    }
    if address.is_multicast() {
        return Err(Wrong::new(
            "is a multicast address",
            "write a unicast address of this machine",
        ));
    }
    Ok(())
}

/// An address range such as `"10.0.0.0/8"`, or a single address.
pub(super) fn network(value: &DeValue<'_>) -> Result<IpNet, Wrong> {
    let written = text(value)?;
    let example = "write e.g. \"10.0.0.0/8\" or \"2001:db8::/32\"";
    let (address, length) = match written.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (written, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| Wrong::new("is not an address or an address range", example))?;
    if let IpAddr::V6(v6) = address
        && v6.to_ipv4_mapped().is_some()
    {
        // Peers are judged in their IPv4 form, so that this entry would never match anything.
        return Err(Wrong::new(
            "is an IPv4 range in IPv6 form and would never match",
            "write the IPv4 range",
        ));
    }
    let Some(length) = length else {
        return Ok(IpNet::from(address));
    };
    let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
    let plain = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
    let network = length
        .parse()
        .ok()
        .filter(|_| plain)
        .and_then(|length: u8| IpNet::new(address, length).ok());
    let Some(network) = network else {
        return Err(Wrong::new(
            format!("must have a prefix length of 0 to {longest}"),
            example,
        ));
    };
    if network.trunc() != network {
        return Err(Wrong::new(
            "has bits set after its prefix",
            format!("write \"{}\"", network.trunc()),
        ));
    }
    Ok(network)
}

/// A NAT64 prefix: IPv6, of one of the lengths that RFC 6052 §2.2 defines.
pub(super) fn nat64_prefix(value: &DeValue<'_>) -> Result<Ipv6Net, Wrong> {
    let remedy =
        "write an IPv6 range of length 32, 40, 48, 56, 64 or 96, e.g. \"2001:db8:64::/96\"";
    match network(value)? {
        IpNet::V6(prefix) if matches!(prefix.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96) => {
            Ok(prefix)
        }
        IpNet::V4(_) | IpNet::V6(_) => Err(Wrong::new("is not a NAT64 prefix", remedy)),
    }
}

/// Ports of relayed sockets, such as `"49152-65535"`.
pub(super) fn relayed_ports(value: &DeValue<'_>) -> Result<RangeInclusive<u16>, Wrong> {
    let remedy = "write e.g. ports = \"49152-65535\"";
    let ports = text(value)
        .ok()
        .and_then(|written| parse_ports(written).filter(|_| written.contains('-')));
    match ports {
        Some(ports) if *ports.start() >= 1024 => Ok(ports),
        _ => Err(Wrong::new(
            "ports must be a range \"low-high\" within 1024-65535",
            remedy,
        )),
    }
}

/// A port, or a range of ports such as `"0-442"`.
pub(super) fn ports(value: &DeValue<'_>) -> Result<RangeInclusive<u16>, Wrong> {
    let ports = if value.is_integer() {
        integer(0..=u16::MAX)(value).ok().map(|port| port..=port)
    } else {
        value.as_str().and_then(parse_ports)
    };
    ports.ok_or_else(|| {
        Wrong::new(
            "is not a port or a range of ports within 0-65535",
            "write e.g. 1900 or \"0-442\"",
        )
    })
}

fn parse_ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let plain = |number: &str| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    if !plain(low) || !plain(high) {
        return None;
    }
    let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then_some(low..=high)
}

/// Sorts ranges and joins those that overlap or touch.
pub(super) fn merged(mut ranges: Vec<RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
    ranges.sort_by_key(|range| (*range.start(), *range.end()));
    let mut merged: Vec<RangeInclusive<u16>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if *range.start() <= last.end().saturating_add(1) => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_digits_and_one_unit() {
        assert_eq!(parse_duration("10m"), Some(Duration::from_secs(600)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("50us"), Some(Duration::from_micros(50)));
        assert_eq!(parse_duration("2d"), Some(Duration::from_secs(172_800)));
        for wrong in [
            "",
            "10",
            "m",
            "-1s",
            "+1s",
            "1.5h",
            "1h30m",
            " 1s",
            "1 s",
            "1S",
            "18446744073709551615d",
        ] {
            assert_eq!(parse_duration(wrong), None, "{wrong:?}");
        }
        for text in [
            "10m", "90s", "24h", "7d", "500ms", "1500ms", "50us", "1500us", "0s",
        ] {
            assert_eq!(duration_text(parse_duration(text).expect(text)), text);
        }
    }

    #[test]
    fn port_ranges_are_sorted_and_joined() {
        assert_eq!(
            merged(vec![5..=9, 1..=4, 20..=20, 8..=12]),
            [1..=12, 20..=20]
        );
        assert_eq!(merged(vec![65535..=65535, 0..=65535]), [0..=65535]);
    }
}
