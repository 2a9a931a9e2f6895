//! Why a path does not work, for people who run networks: a closed list, each with plain words and what to ask for.
//!
//! Responsible for words. Not responsible for finding out (`notes`, `connect`, `caller`).

use taciturn_protocol::address::Transport;

use crate::forensics::turns_or_breaks_lines;

/// Longest text from the other side that is shown, in characters.
const FOREIGN_TEXT: usize = 80;

/// Why a path does not work. The message is for people who run networks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The DNS has no address for the name, or does not answer.
    #[error("the name does not resolve")]
    Name,
    /// The port is closed: the host, or a firewall in its name, says so at once.
    #[error("the connection is refused: nothing listens on that port, or a firewall rejects it")]
    Refused,
    /// A router or firewall says that the way is prohibited, or that there is none.
    #[error("the network says that there is no way there: {0}")]
    Unreachable(String),
    /// Nothing comes back.
    #[error("silence: nothing comes back, so the path is blocked, or nothing listens there")]
    Silent,
    /// Answers came and stopped.
    #[error("the relay answers at first and then no more")]
    Stopped,
    /// The connection was made and then cut.
    #[error("the connection is cut after it was made")]
    Closed,
    /// The proxy cannot be reached.
    #[error("no connection to the proxy: {0}")]
    ProxyUnreachable(String),
    /// The proxy wants a login.
    #[error("the proxy asks for a login of its own (407)")]
    ProxyLogin,
    /// The proxy refuses to connect.
    #[error("the proxy refuses to connect ({0})")]
    ProxyRefused(u16),
    /// What should be a proxy answers as none.
    #[error("what answers as the proxy is no HTTP proxy")]
    ProxyNonsense,
    /// An HTTP answer where a TURN answer should be.
    #[error("an HTTP answer comes back: a web proxy or a portal is in the way")]
    Http,
    /// Something other than a relay answers.
    #[error("what answers is not a relay")]
    NotRelay,
    /// TLS is wanted where none is spoken.
    #[error("what answers does not speak TLS")]
    NotTls,
    /// The TLS handshake was cut or refused.
    #[error("TLS is refused: the handshake is cut ({0})")]
    TlsRefused(String),
    /// The certificate is not signed by an authority that is trusted.
    #[error("the certificate is not trusted; it was issued by {issuer}")]
    TlsUntrusted {
        /// Who says to have issued it.
        issuer: String,
    },
    /// The certificate is for another name.
    #[error("the certificate is for another name; it was issued by {issuer}")]
    TlsName {
        /// Who says to have issued it.
        issuer: String,
    },
    /// The certificate has expired or is not valid yet.
    #[error("the certificate has expired or is not valid yet; it was issued by {issuer}")]
    TlsExpired {
        /// Who says to have issued it.
        issuer: String,
    },
    /// The certificate is not the one that was expected to be there.
    #[error("the certificate is another than the relay's own; it was issued by {issuer}")]
    TlsOther {
        /// Who says to have issued it.
        issuer: String,
    },
    /// 401 to credentials.
    #[error("the credentials are refused (401)")]
    Credentials,
    /// 401 to credentials whose name says that their time is over.
    #[error("the credentials have expired (401)")]
    Expired,
    /// 486.
    #[error("the user has as many allocations as one may have (486)")]
    Quota,
    /// 508.
    #[error("the relay is full, overloaded or being taken out of service (508)")]
    Full,
    /// 300.
    #[error(
        "the relay sends its clients elsewhere: it is being taken out of service or overloaded (300)"
    )]
    Elsewhere,
    /// 403 where no peer is in question, or to a peer that is the relay itself.
    #[error("the relay forbids it (403)")]
    Forbidden,
    /// Another error code.
    #[error("the relay refuses ({0})")]
    Code(u16),
    /// A success that whoever knows the password did not send.
    #[error("the answer is not sealed with the password: something answers in the relay's place")]
    Unproven,
    /// Allocations were granted, but nothing came through.
    #[error("allocations are granted, but no payload comes through")]
    NothingRelayed,
    /// Fewer than half of the payloads came through.
    #[error("most payloads are lost: {received} of {sent} come through")]
    Lossy {
        /// How many were sent.
        sent: usize,
        /// How many came through.
        received: usize,
    },
    /// This machine does not do what is needed.
    #[error("this machine refuses: {0}")]
    Local(String),
}

impl Failure {
    /// The word for programs, which does not change.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Refused => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Silent => "silent",
            Self::Stopped => "stopped",
            Self::Closed => "closed",
            Self::ProxyUnreachable(_) => "proxy_unreachable",
            Self::ProxyLogin => "proxy_login",
            Self::ProxyRefused(_) => "proxy_refused",
            Self::ProxyNonsense => "proxy_nonsense",
            Self::Http => "http",
            Self::NotRelay => "not_relay",
            Self::NotTls => "not_tls",
            Self::TlsRefused(_) => "tls_refused",
            Self::TlsUntrusted { .. } => "tls_untrusted",
            Self::TlsName { .. } => "tls_name",
            Self::TlsExpired { .. } => "tls_expired",
            Self::TlsOther { .. } => "tls_other",
            Self::Credentials => "credentials",
            Self::Expired => "expired",
            Self::Quota => "quota",
            Self::Full => "full",
            Self::Elsewhere => "elsewhere",
            Self::Forbidden => "forbidden",
            Self::Code(_) => "code",
            Self::Unproven => "unproven",
            Self::NothingRelayed => "nothing_relayed",
            Self::Lossy { .. } => "lossy",
            Self::Local(_) => "local",
        }
    }

    /// Whether it is the relay that has no room, so that the path to it is in order.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Quota | Self::Full | Self::Elsewhere)
    }

    /// Whether a STUN server answered and refused: it is there, and does not let in.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Credentials | Self::Expired | Self::Forbidden | Self::Code(_) | Self::Unproven
        )
    }

    /// What to do, or to ask the network team for, about a path over `transport` to `place` (host and port).
    pub fn advice(&self, transport: Transport, place: &str) -> String {
        let protocol = match transport {
            Transport::Udp => "UDP",
            Transport::Tcp | Transport::Tls => "TCP",
        };
        match self {
            Self::Name => format!(
                "check the spelling; ask whether the DNS that this machine uses answers for names outside ({place})"
            ),
            Self::Silent if transport == Transport::Udp => format!(
                "ask to allow outgoing UDP to {place}, and its answers back in"
            ),
            Self::Refused | Self::Silent | Self::Unreachable(_) => {
                format!("ask to allow outgoing {protocol} to {place}")
            }
            Self::Stopped => format!(
                "ask whether a firewall or an inspection between here and {place} drops packets of a connection that it let begin"
            ),
            Self::Closed => format!(
                "ask whether a firewall inspects {protocol} to {place} and cuts what is not web traffic; exempt {place} from it"
            ),
            Self::ProxyUnreachable(_) => {
                "check the proxy's name and port with those who run it".to_owned()
            }
            Self::ProxyLogin => format!(
                "ask those who run the proxy to let {place} through without a login: browsers do not log in for calls in every setup"
            ),
            Self::ProxyRefused(_) => {
                format!("ask those who run the proxy to allow CONNECT to {place}")
            }
            Self::ProxyNonsense => {
                "check the proxy's name and port: an HTTP proxy that knows CONNECT is needed"
                    .to_owned()
            }
            Self::Http => format!(
                "ask to exempt {place} from the web proxy or portal; log in to the portal first if there is one"
            ),
            Self::NotRelay | Self::NotTls => format!(
                "check with those who run the relay that it listens on {place}; if it does, ask what intercepts this port here"
            ),
            Self::TlsRefused(_) => format!(
                "ask to exempt {place} from TLS inspection: a call is not web traffic, and inspection cuts it"
            ),
            Self::TlsUntrusted { issuer } | Self::TlsName { issuer } | Self::TlsOther { issuer } => {
                format!(
                    "if {issuer} is your own firewall, TLS is intercepted: ask to exempt {place}; if it is the relay's own authority, give its certificate with --ca-file"
                )
            }
            Self::TlsExpired { .. } => {
                "check this machine's clock; if it is right, tell those who run the relay".to_owned()
            }
            Self::Credentials => {
                "check user name and password, and that they are for this relay; the network is in order so far"
                    .to_owned()
            }
            Self::Expired => {
                "get new credentials, or check this machine's clock; the network is in order so far"
                    .to_owned()
            }
            Self::Quota => {
                "end other calls of this user, or try again in ten minutes; the network is in order so far"
                    .to_owned()
            }
            Self::Full | Self::Elsewhere => {
                "try again later or try another relay; the network is in order so far".to_owned()
            }
            Self::Forbidden => {
                "tell those who run the relay, unless its [peers] only lists an SFU: then no two clients reach each other, as the trial wants; the network is in order so far"
                    .to_owned()
            }
            Self::Code(_) => {
                "tell those who run the relay; the network is in order so far".to_owned()
            }
            Self::Unproven => format!("ask what intercepts {protocol} to {place}"),
            Self::NothingRelayed => format!(
                "ask whether a firewall drops packets of unknown content between here and {place}; if not, tell those who run the relay"
            ),
            Self::Lossy { .. } => format!(
                "ask whether the line is overloaded, or {protocol} to {place} limited to a low rate"
            ),
            Self::Local(_) => "look at this machine's own firewall and limits".to_owned(),
        }
    }
}

/// Whether a character of the other side's moves no cursor, breaks no line and leaves the direction of writing alone.
fn is_harmless(c: char) -> bool {
    !(c.is_control() || turns_or_breaks_lines(c))
}

/// Text of the other side as it may be shown: one line of printable characters, and not too long.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(FOREIGN_TEXT)
        .map(|c| if is_harmless(c) { c } else { ' ' })
        .collect();
    if text.chars().nth(FOREIGN_TEXT).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_other_side_is_one_bounded_line_without_control_characters() {
        assert_eq!(shown("Example CA\r\n\x1b[2J"), "Example CA   [2J");
        assert_eq!(shown("A\u{9b}B\u{202e}C\u{2028}D\u{2067}"), "A B C D ");
        assert_eq!(shown("Müller & Søn AC"), "Müller & Søn AC");
        let long = shown(&"x".repeat(1000));
        assert_eq!(long.len(), FOREIGN_TEXT + 3);
        assert!(long.ends_with("..."));
    }

    #[test]
    fn advice_names_what_to_allow_and_where() {
        let place = "turn.example.org:3478";
        let advice = Failure::Silent.advice(Transport::Udp, place);
        assert!(advice.contains("UDP") && advice.contains(place), "{advice}");
        let advice = Failure::Silent.advice(Transport::Tls, place);
        assert!(advice.contains("TCP") && advice.contains(place), "{advice}");
    }

    #[test]
    fn a_relay_without_room_is_told_from_one_that_does_not_let_in() {
        assert!(Failure::Quota.is_full() && Failure::Full.is_full());
        assert!(!Failure::Credentials.is_full() && !Failure::Silent.is_full());
        assert!(Failure::Credentials.is_refusal() && Failure::Unproven.is_refusal());
        assert!(!Failure::Silent.is_refusal() && !Failure::Http.is_refusal());
    }
}
