//! Just enough HTTP/1.1 for a test: one request a connection, answered or not.
//!
//! Responsible for reading requests, and for all the ways in which an answer can fail to arrive. Not responsible for what is
//! answered.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The greatest body that is read.
const MOST: u64 = 1 << 20;

/// A request that was received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The API's action, or the HTTP method of a bucket.
    pub action: String,
    /// Its parameters: those of the query protocol, or a bucket's `path` and headers.
    pub parameters: BTreeMap<String, String>,
    /// The status that was answered, whether that arrived or not.
    pub status: u16,
}

impl Recorded {
    /// A parameter; empty where it is not there.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }
}

/// Something that goes wrong with the next calls of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The action; empty: any.
    pub action: String,
    /// What goes wrong.
    pub trouble: Trouble,
    /// How often.
    pub times: u32,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The service refuses; it does nothing.
    Refused {
        /// HTTP status.
        status: u16,
        /// Its code.
        code: String,
        /// Its words.
        message: String,
    },
    /// Something before the service answers with a page for people; nothing is done.
    Page {
        /// HTTP status.
        status: u16,
    },
    /// The connection ends without an answer; nothing is done.
    Dropped,
    /// It is done, and the connection ends without an answer.
    DroppedAfter,
    /// It is done, and the answer comes late.
    Late(Duration),
    /// It is done, and the answer ends after this part of it, as if that were all.
    Cut {
        /// Thousandths of the answer that arrive.
        permille: u32,
    },
    /// It is done, and the connection ends after this part of the answer, before the length that was announced.
    Torn {
        /// Thousandths of the answer that arrive.
        permille: u32,
    },
    /// It is not done, and this is answered with status 200.
    Said(String),
}

/// A request as it was written.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn xml(status: u16, body: String) -> Self {
        Self {
            status,
            headers: vec![("content-type", "text/xml".to_owned())],
            body,
        }
    }
}

pub(crate) fn read(stream: &TcpStream) -> io::Result<Request> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut reader = BufReader::new(stream.take(MOST));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let method = words.next().ok_or_else(|| invalid("no method"))?.to_owned();
    let path = words.next().ok_or_else(|| invalid("no path"))?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("no header"))?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(Ok(0), |text| text.parse());
    let length: usize = length.map_err(|_| invalid("no length"))?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Request {
        method,
        path,
        headers,
        body,
    })
}

/// Writes an answer, or as much of it as arrives.
pub(crate) fn write(
    mut stream: &TcpStream,
    answer: &Answer,
    trouble: Option<&Trouble>,
) -> io::Result<()> {
    let part = |permille: u32| {
        let end = answer.body.len() * usize::try_from(permille.min(1000)).unwrap_or(1000) / 1000;
        let end = (0..=end)
            .rev()
            .find(|end| answer.body.is_char_boundary(*end));
        answer.body.get(..end.unwrap_or(0)).unwrap_or_default()
    };
    let (body, length) = match trouble {
        Some(Trouble::Dropped | Trouble::DroppedAfter) => return Ok(()),
        Some(Trouble::Cut { permille }) => (part(*permille), part(*permille).len()),
        Some(Trouble::Torn { permille }) => (part(*permille), answer.body.len()),
        Some(
            Trouble::Refused { .. } | Trouble::Page { .. } | Trouble::Late(_) | Trouble::Said(_),
        )
        | None => (answer.body.as_str(), answer.body.len()),
    };
    let mut head = format!(
        "HTTP/1.1 {} -\r\nconnection: close\r\ncontent-length: {length}\r\n",
        answer.status
    );
    for (name, value) in &answer.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(body.as_bytes())?;
    stream.flush()
}
