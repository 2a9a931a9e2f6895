//! Whom a route is for, and who asks.
//!
//! Responsible for the words and for which of them go together. Not responsible for finding out who asks (`access`), nor for
//! turning anybody away (`gate`).

use std::sync::Arc;

use axum::http::Method;

/// Whom a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Every program, without a proof: health, as load balancers and orchestrators have no token. No web page.
    Everybody,
    /// Everybody, web pages and those who follow a link among them: static pages and what they are made of, without data.
    Page,
    /// Whoever may look and change nothing, over GET; and this program's own pages, for whoever may.
    Reader,
    /// A program that has a name of its own, such as a signalling server; and the operator.
    Subject,
    /// Whoever has a ticket, which the route judges itself; this program's own pages among them.
    Ticket,
    /// The operator alone.
    Operator,
}

/// What a caller may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// May do everything.
    Operator,
    /// May look.
    Reader,
    /// A program with a name of its own.
    Subject,
    /// Has proved nothing; reaches routes for everybody, and those that judge a ticket.
    Stranger,
}

impl Role {
    /// What it is called towards people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Reader => "reader",
            Self::Subject => "subject",
            Self::Stranger => "stranger",
        }
    }
}

/// Who asks, as the gate has found it: in the extensions of each request that it lets through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What it may.
    pub role: Role,
    /// A subject's name from the configuration; otherwise `operator`, `local` (the operator on this machine, of whom no proof
    /// is asked), `reader` or `stranger`. A closed set, fit for labels and logs.
    pub name: Arc<str>,
}

impl Caller {
    /// Whoever has proved nothing.
    pub(super) fn stranger() -> Self {
        Self {
            role: Role::Stranger,
            name: Role::Stranger.as_str().into(),
        }
    }

    /// Whether a route for this audience serves this caller.
    pub fn may(&self, audience: Audience, method: &Method) -> bool {
        match audience {
            Audience::Everybody | Audience::Page | Audience::Ticket => true,
            Audience::Reader => match self.role {
                Role::Operator => true,
                Role::Reader => looks(method),
                Role::Subject | Role::Stranger => false,
            },
            Audience::Subject => matches!(self.role, Role::Subject | Role::Operator),
            Audience::Operator => self.role == Role::Operator,
        }
    }
}

/// Whether a method only looks.
pub(super) fn looks(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}
